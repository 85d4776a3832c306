"""Scrape layers: what each of them does is a handful of functions.

A layer's `make(run)` is called once a subscription, so its state lives there and two runs share nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reactivex import Observable, abc
from reactivex import operators as rx

from streamcrawl.arguments import telling
from streamcrawl.core import Done, Failed, Request, Run, ScrapeInput, Scraper
from streamcrawl.errors import FlowError
from streamcrawl.streams.layered import Hooked, Layers, unskipped
from streamcrawl.streams.local import running
from streamcrawl.streams.scrape_hooks import Input as Input
from streamcrawl.streams.scrape_hooks import InvalidOutput as InvalidOutput
from streamcrawl.streams.scrape_hooks import OnException as OnException
from streamcrawl.streams.scrape_hooks import Output as Output
from streamcrawl.streams.scrape_hooks import Outputs as Outputs
from streamcrawl.streams.scrape_hooks import Recovered as Recovered
from streamcrawl.streams.scrape_hooks import ScrapeHooks as ScrapeHooks
from streamcrawl.streams.scraper import Calling


@dataclass(frozen=True, slots=True)
class NamedScrapeLayer:
    """A ScrapeLayer with a name."""

    name: str
    make: Callable[[Run], ScrapeHooks]

    def __call__(self, scraper: Scraper) -> Scraper:
        return scraper.within(self) if isinstance(scraper, Calling) else _around(self, scraper)

    def __repr__(self) -> str:
        return f"<scrape layer {self.name}>"


@telling
def scrape_layer(name: str, make: Callable[[Run], ScrapeHooks]) -> NamedScrapeLayer:
    """Build a ScrapeLayer from a function that makes its hooks for one run.

    `request` sees only links that are not known yet: duplicates are dropped before, so it may cost something. (Within a
    layer that has `output` or `exception` it sees all of them, as those do.) A Request that names the layer in `skip`
    passes its `request` by; a page whose request does passes by its `input`, `output` and `exception`.
    """
    return NamedScrapeLayer(name, make)


def _around(named: NamedScrapeLayer, scraper: Scraper) -> Scraper:
    """A layer around what is no layer of ours, so that it sees single outputs only."""

    def layered(inputs: Observable[ScrapeInput]) -> Observable[Any]:
        def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            run = running()
            layers = Layers(run, [Hooked(named.name, named.make(run))])
            if layers.whole:
                raise FlowError(
                    f"layer {named.name} takes outputs as a whole: it has to stand nearer to the callback than "
                    f"{scraper!r}, which was not made by scrape_layer()"
                )

            def on_output(output: Any) -> None:
                if not isinstance(output, Done):
                    steps = layers.items
                    if isinstance(output, Request):
                        steps = layers.requests if not output.skip else unskipped(layers.requests, output)
                    output = layers.passed(steps, output, run.page)  # type: ignore[arg-type]  # set while outputs come
                if output is not None:
                    lower.on_next(output)

            def on_input(input: ScrapeInput) -> ScrapeInput:
                try:
                    return layers.given(input).input
                except InvalidOutput as error:
                    return Failed(input.request, error)

            shown = inputs.pipe(rx.map(on_input))
            return scraper(shown).subscribe(on_output, lower.on_error, lower.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    return layered
