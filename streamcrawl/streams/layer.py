"""The mechanism of layers: what each of them does is a pair of functions.

A layer's `make(run)` is called once a subscription, so its state lives there and two runs share nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, cast

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable

from streamcrawl.core import OUTCOMES, Again, Dropped, Failed, Layer, Outcome, Request, Run, ScrapeInput, Scraper, Stage
from streamcrawl.errors import Drop, OperatorError, StreamcrawlError
from streamcrawl.response import Response
from streamcrawl.streams.context import running
from streamcrawl.streams.edges import closed

Down: TypeAlias = Callable[[Request], "Request | Outcome | Awaitable[Request | Outcome]"]
"""A request on its way down; an Outcome instead of it goes up at once, the stage below never sees it."""

Up: TypeAlias = Callable[[Outcome], "Outcome | Awaitable[Outcome]"]
"""An outcome on its way up."""


class Hooks(NamedTuple):
    """What a layer does with the two streams that pass through it."""

    down: Down | None = None
    up: Up | None = None


@dataclass(frozen=True, slots=True)
class NamedLayer:
    """A Layer with a name, for `default_layers`, graphs and error messages."""

    name: str
    make: Callable[[Run], Hooks]

    def __call__(self, stage: Stage) -> Stage:
        def staged(requests: Observable[Request]) -> Observable[Outcome]:
            def subscribe(upper: abc.ObserverBase[Outcome], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
                return _subscribe(self, stage, requests, upper, scheduler)

            return Observable(subscribe)

        return staged

    def __repr__(self) -> str:
        return f"<layer {self.name}>"


def layer(name: str, make: Callable[[Run], Hooks]) -> NamedLayer:
    """Build a Layer from a function that makes its hooks for one run.

    A hook may be a plain function (the fast way) or give an awaitable. What it raises becomes the element's outcome:
    `Drop` a Dropped, anything else a Failed that names the layer. Requests that carry an answer pass `down` untouched.
    """
    return NamedLayer(name, make)


def stack(*layers: Layer) -> Layer:
    """`stack(a, b)(fetch)` is `a(b(fetch))`."""

    def stacked(stage: Stage) -> Stage:
        for each in reversed(layers):
            stage = each(stage)
        return stage

    return stacked


def unawaited(task: asyncio.Task[None], awaitable: Awaitable[Any]) -> None:
    """Close a coroutine whose task was cancelled before it could await it."""
    close = getattr(awaitable, "close", None)
    if close is not None:
        task.add_done_callback(lambda _: close())


def stray(cancelled: asyncio.CancelledError) -> Exception:
    """The error that stands for a cancellation which nobody asked of this task: one that a library let out.

    Raises: the cancellation itself, if the task was asked to end.
    """
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise cancelled
    error = RuntimeError("what it awaited was cancelled")
    error.__cause__ = cancelled
    return error


def failure(name: str, request: Request, error: Exception) -> Failed | Dropped:
    """What an exception in the operator `name` makes of `request`."""
    if isinstance(error, Drop):
        return Dropped(request, error.reason)
    if isinstance(error, StreamcrawlError):
        return Failed(request, error)
    wrapped = OperatorError(name, error)
    wrapped.__cause__ = error
    return Failed(request, wrapped)


def _wrong(value: object, element: object) -> TypeError:
    return TypeError(f"gave {value!r} for {element!r}, which is no {'request and no ' * isinstance(element, Request)}outcome")


def _subscribe(
    named: NamedLayer,
    stage: Stage,
    requests: Observable[Request],
    upper: abc.ObserverBase[Outcome],
    scheduler: abc.SchedulerBase | None,
) -> abc.DisposableBase:
    run = running()
    down, up = named.make(run)
    pending = 0
    """Awaitables under way. Completion waits for them: below for those going down, above for all."""
    finished: list[Callable[[], None]] = []

    def failed(element: Request | Outcome, error: Exception) -> Failed | Dropped:
        if isinstance(element, Response) and element.stream is not None:
            run.spawn(closed(element.stream))
        return failure(named.name, element if isinstance(element, Request) else element.request, error)

    def later(result: Awaitable[Any], element: Request | Outcome, go: Callable[[Any], None]) -> None:
        nonlocal pending
        if not isinstance(result, Awaitable):
            go(failed(element, _wrong(result, element)))
            return
        pending += 1

        async def wait() -> None:
            nonlocal pending
            try:
                value = await result
                if not isinstance(value, OUTCOMES) and not (isinstance(value, Request) and isinstance(element, Request)):
                    value = failed(element, _wrong(value, element))
            except asyncio.CancelledError as error:
                value = failed(element, stray(error))
            except Exception as error:
                value = failed(element, error)
            pending -= 1
            go(value)
            if pending == 0:
                for end in tuple(finished):
                    finished.remove(end)
                    end()

        unawaited(run.spawn(wait()), result)

    def when_idle(end: Callable[[], None]) -> None:
        if pending:
            finished.append(end)
        else:
            end()

    def subscribe_below(lower: abc.ObserverBase[Request], scheduler_: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        def go(result: Request | Outcome) -> None:
            if isinstance(result, Request):
                lower.on_next(result)
            else:
                upper.on_next(result)

        def on_request(request: Request) -> None:
            if request.answer is not None:
                lower.on_next(request)
                return
            try:
                result = cast(Down, down)(request)
            except Exception as error:
                result = failed(request, error)
            if isinstance(result, Request):
                lower.on_next(result)
            elif isinstance(result, (Response, Failed, Dropped, Again)):
                upper.on_next(result)
            else:
                later(result, request, go)

        on_next = on_request if down is not None else lower.on_next
        return requests.subscribe(on_next, lower.on_error, lambda: when_idle(lower.on_completed), scheduler=scheduler_)

    def on_outcome(outcome: Outcome) -> None:
        try:
            result = cast(Up, up)(outcome)
        except Exception as error:
            result = failed(outcome, error)
        if isinstance(result, (Response, Failed, Dropped, Again)):
            upper.on_next(result)
        else:
            later(result, outcome, upper.on_next)

    on_next = on_outcome if up is not None else upper.on_next
    below = stage(Observable(subscribe_below))
    return CompositeDisposable(
        below.subscribe(on_next, upper.on_error, lambda: when_idle(upper.on_completed), scheduler=scheduler)
    )


Input: TypeAlias = Callable[[ScrapeInput], ScrapeInput]
"""What goes into the callback; a Failed or Dropped instead of a Response goes to the errback."""

Output: TypeAlias = Callable[[Any, ScrapeInput], Any]
"""(an item or a Request that the callback yielded, the input it was yielded for) -> it, changed or not; None: swallowed.

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
        from streamcrawl.streams.scraper import around

        return around(self, scraper)

    def __repr__(self) -> str:
        return f"<scrape layer {self.name}>"


def scrape_layer(name: str, make: Callable[[Run], ScrapeHooks]) -> NamedScrapeLayer:
    """Build a ScrapeLayer from a function that makes its hooks for one run.

    `request` sees only links that are not known yet: duplicates are dropped before, so it may cost something.
    """
    return NamedScrapeLayer(name, make)
