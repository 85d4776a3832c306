"""The mechanism of layers: what each of them does is a pair of functions.

A layer's `make(run)` is called once a subscription, so its state lives there and two runs share nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, cast

from reactivex import Observable, abc

from streamcrawl.core import OUTCOMES, Dropped, Failed, Layer, Outcome, Request, Run, Stage
from streamcrawl.errors import Drop, OperatorError, StreamcrawlError
from streamcrawl.response import Response
from streamcrawl.streams.edges import closed
from streamcrawl.streams.kinds import is_awaitable
from streamcrawl.streams.local import running

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
            def subscribe(
                upper: abc.ObserverBase[Outcome], scheduler: abc.SchedulerBase | None = None
            ) -> abc.DisposableBase:
                passing = _Passing(self, requests, upper)
                outcomes = stage(Observable(passing.subscribe_below))
                on_next = upper.on_next if passing.up is None else passing.on_outcome
                return outcomes.subscribe(on_next, upper.on_error, passing.on_completed, scheduler=scheduler)

            return Observable(subscribe)

        return staged

    def __repr__(self) -> str:
        return f"<layer {self.name}>"


def layer(name: str, make: Callable[[Run], Hooks]) -> NamedLayer:
    """Build a Layer from a function that makes its hooks for one run.

    A hook may be a plain function (the fast way) or give an awaitable. What it raises becomes the element's outcome:
    `Drop` a Dropped, anything else a Failed that names the layer. Requests that carry an answer pass `down` untouched,
    and those that name the layer in `skip` pass it both ways.
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
    wanted = "no request and no outcome" if isinstance(element, Request) else "no outcome"
    return TypeError(f"gave {value!r} for {element!r}, which is {wanted}")


class _Passing:
    """One subscription of a layer: requests pass down through it, outcomes up."""

    __slots__ = ("_ends", "_lower", "_name", "_pending", "_requests", "_run", "_upper", "down", "up")

    def __init__(self, named: NamedLayer, requests: Observable[Request], upper: abc.ObserverBase[Outcome]) -> None:
        self._name = named.name
        self._run = running()
        self.down, self.up = named.make(self._run)
        self._requests = requests
        self._upper = upper
        self._lower: abc.ObserverBase[Request] = upper  # type: ignore[assignment]  # until the stage below subscribes
        self._pending = 0
        """Awaitables under way. Completion waits for them."""
        self._ends: list[Callable[[], None]] = []

    def subscribe_below(
        self, lower: abc.ObserverBase[Request], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        self._lower = lower
        on_next = lower.on_next if self.down is None else self._on_request
        return self._requests.subscribe(
            on_next, lower.on_error, lambda: self._when_idle(lower.on_completed), scheduler=scheduler
        )

    def _on_request(self, request: Request) -> None:
        if request.answer is not None or (request.skip and self._name in request.skip):
            self._lower.on_next(request)
            return
        try:
            result = cast(Down, self.down)(request)
        except Exception as error:
            result = self._failed(request, error)
        if isinstance(result, Request):
            self._lower.on_next(result)
        elif isinstance(result, OUTCOMES):
            self._upper.on_next(result)
        else:
            self._later(result, request)

    def on_outcome(self, outcome: Outcome) -> None:
        skip = outcome.request.skip
        if skip and self._name in skip:
            self._upper.on_next(outcome)
            return
        try:
            result = cast(Up, self.up)(outcome)
        except Exception as error:
            result = self._failed(outcome, error)
        if isinstance(result, OUTCOMES):
            self._upper.on_next(result)
        else:
            self._later(result, outcome)

    def _go(self, result: Request | Outcome) -> None:
        if isinstance(result, Request):
            self._lower.on_next(result)
        else:
            self._upper.on_next(result)

    def _failed(self, element: Request | Outcome, error: Exception) -> Failed | Dropped:
        if isinstance(element, Response) and element.stream is not None:
            self._run.spawn(closed(element.stream))
        return failure(self._name, element if isinstance(element, Request) else element.request, error)

    def on_completed(self) -> None:
        self._when_idle(self._upper.on_completed)

    def _when_idle(self, end: Callable[[], None]) -> None:
        if self._pending:
            self._ends.append(end)
        else:
            end()

    def _later(self, result: Any, element: Request | Outcome) -> None:
        if not is_awaitable(result):
            self._go(self._failed(element, _wrong(result, element)))
            return
        self._pending += 1
        unawaited(self._run.spawn(self._wait(result, element)), result)

    async def _wait(self, result: Awaitable[Any], element: Request | Outcome) -> None:
        try:
            value = await result
            if not isinstance(value, OUTCOMES) and not (isinstance(value, Request) and isinstance(element, Request)):
                value = self._failed(element, _wrong(value, element))
        except asyncio.CancelledError as error:
            value = self._failed(element, stray(error))
        except Exception as error:
            value = self._failed(element, error)
        self._pending -= 1
        self._go(value)
        if self._pending == 0:
            ends, self._ends = self._ends, []
            for end in ends:
                end()
