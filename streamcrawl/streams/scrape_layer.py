"""The mechanism of scrape layers: what each of them does is three functions.

A layer's `make(run)` is called once a subscription, so its state lives there and two runs share nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from reactivex import Observable, abc
from reactivex import operators as rx

from streamcrawl.core import Done, Request, Run, ScrapeInput, Scraper
from streamcrawl.response import Response
from streamcrawl.streams.edges import closed, item_failed
from streamcrawl.streams.layer import failure
from streamcrawl.streams.local import running
from streamcrawl.streams.scraper import response_of

Input: TypeAlias = Callable[[ScrapeInput], ScrapeInput]
"""What goes into the callback; a Failed or Dropped instead of a Response goes to the errback."""

Output: TypeAlias = Callable[[Any, ScrapeInput], Any]
"""(an item or Request that the callback yielded, the input it was yielded for) -> it, changed or not; None: swallowed.

Raise `Drop(reason)` to drop it and have it counted.
"""


class ScrapeHooks(NamedTuple):
    """What a ScrapeLayer does with what goes into the callback, and with each item and Request that comes out."""

    input: Input | None = None
    request: Output | None = None
    item: Output | None = None


@dataclass(frozen=True, slots=True)
class NamedScrapeLayer:
    """A ScrapeLayer with a name."""

    name: str
    make: Callable[[Run], ScrapeHooks]

    def __call__(self, scraper: Scraper) -> Scraper:
        return _around(self, scraper)

    def __repr__(self) -> str:
        return f"<scrape layer {self.name}>"


def scrape_layer(name: str, make: Callable[[Run], ScrapeHooks]) -> NamedScrapeLayer:
    """Build a ScrapeLayer from a function that makes its hooks for one run.

    `request` sees only links that are not known yet: duplicates are dropped before, so it may cost something.
    """
    return NamedScrapeLayer(name, make)


def _around(named: NamedScrapeLayer, scraper: Scraper) -> Scraper:
    """`scraper` with a layer's hooks on what goes in and what comes out."""

    def layered(inputs: Observable[ScrapeInput]) -> Observable[Any]:
        def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            run = running()
            hooks = named.make(run)

            def on_input(input: ScrapeInput) -> ScrapeInput:
                if hooks.input is None:
                    return input
                try:
                    shown = hooks.input(input)
                except Exception as error:
                    shown = failure(named.name, input.request, error)
                if isinstance(input, Response) and input.stream is not None and response_of(shown) is not input:
                    run.spawn(closed(input.stream))
                return shown

            def on_output(output: Any) -> None:
                if isinstance(output, Done):
                    lower.on_next(output)
                    return
                hook = hooks.request if isinstance(output, Request) else hooks.item
                if hook is None:
                    lower.on_next(output)
                    return
                try:
                    output_ = hook(output, run.page)  # type: ignore[arg-type]  # set while outputs are emitted
                except Exception as error:
                    _refused(run, named.name, output, error)
                    return
                if output_ is not None:
                    lower.on_next(output_)

            shown = inputs if hooks.input is None else inputs.pipe(rx.map(on_input))
            return scraper(shown).subscribe(on_output, lower.on_error, lower.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    return layered


def _refused(run: Run, layer: str, output: Any, error: Exception) -> None:
    outcome = failure(layer, output, error) if isinstance(output, Request) else None
    if outcome is None:
        item_failed(run, output, error)
    else:
        run.refused(outcome)
