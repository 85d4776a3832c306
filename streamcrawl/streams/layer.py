"""The mechanism of layers: what each of them does is a pair of functions.

A layer's `make(run)` is called once a subscription, so its state lives there and two runs share nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable

from streamcrawl.arguments import telling
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
        return stage.within(self) if isinstance(stage, Layered) else Layered(stage, (self,))

    def __repr__(self) -> str:
        return f"<layer {self.name}>"


@dataclass(frozen=True, slots=True)
class Layered:
    """A Stage, and the layers that stand right around it: one subscription for all of them."""

    stage: Stage
    layers: tuple[NamedLayer, ...]
    """The outermost first."""

    def within(self, outer: NamedLayer) -> Layered:
        """This stage with one more layer around it."""
        return Layered(self.stage, (outer, *self.layers))

    def __call__(self, requests: Observable[Request]) -> Observable[Outcome]:
        def subscribe(
            upper: abc.ObserverBase[Outcome], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            passing = _Passing(self.layers, requests, upper)
            outcomes = self.stage(Observable(passing.subscribe_below))
            subscription = outcomes.subscribe(
                passing.on_outcome, passing.on_error, passing.on_completed, scheduler=scheduler
            )
            return CompositeDisposable(Disposable(passing.end), subscription)

        return Observable(subscribe)


@telling
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
    """One subscription of layers: requests pass down through them, outcomes up."""

    __slots__ = (
        "_above",
        "_asking",
        "_below",
        "_ends_above",
        "_ends_below",
        "_lower",
        "_over",
        "_pending",
        "_requests",
        "_run",
        "_upper",
    )

    def __init__(
        self, layers: tuple[NamedLayer, ...], requests: Observable[Request], upper: abc.ObserverBase[Outcome]
    ) -> None:
        self._run = running()
        hooks = [(at, each.name, each.make(self._run)) for at, each in enumerate(layers)]
        downs = [(at, name, down) for at, name, (down, _) in hooks if down is not None]
        ups = [(at, name, up) for at, name, (_, up) in reversed(hooks) if up is not None]
        places = range(len(layers) + 1)
        self._below = [tuple(each for each in downs if each[0] >= place) for place in places]
        """By a layer's place: what a request passes from there on. Places count from 0, the outermost."""
        self._above = [tuple(each for each in ups if each[0] < place) for place in places]
        """By a layer's place: what an outcome passes that leaves it."""
        self._requests = requests
        self._upper = upper
        self._lower: abc.ObserverBase[Request] = upper  # type: ignore[assignment]  # until the stage below subscribes
        self._pending = 0
        """Awaitables under way: the stage above completes after them."""
        self._asking = 0
        """Those of them that `down` gave: the stage below completes after these."""
        self._ends_below: list[Callable[[], None]] = []
        self._ends_above: list[Callable[[], None]] = []
        """Completions that wait."""
        self._over = False
        """Nobody listens any more."""

    def subscribe_below(
        self, lower: abc.ObserverBase[Request], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        self._lower = lower
        on_next = self.on_request if self._below[0] else lower.on_next
        return self._requests.subscribe(on_next, lower.on_error, lambda: self._no_more(lower), scheduler=scheduler)

    def on_request(self, request: Request, place: int = 0) -> None:
        # This and `on_outcome` run for every page; most hooks give what they got.
        for at, name, down in self._below[place]:
            if request.answer is not None:
                break
            if request.skip and name in request.skip:
                continue
            try:
                result = down(request)
            except Exception as error:
                result = self._failed(name, request, error)
            if result is request:
                continue
            if isinstance(result, Request):
                request = result
            elif isinstance(result, OUTCOMES):
                self.on_outcome(result, at)
                return
            else:
                self._later(result, request, at, name)
                return
        self._lower.on_next(request)

    def on_outcome(self, outcome: Outcome, place: int = -1) -> None:
        for at, name, up in self._above[place]:
            skip = outcome.request.skip
            if skip and name in skip:
                continue
            try:
                result = up(outcome)
            except Exception as error:
                result = self._failed(name, outcome, error)
            if result is outcome:
                continue
            if not isinstance(result, OUTCOMES):
                self._later(result, outcome, at, name)
                return
            outcome = result
        self._upper.on_next(outcome)

    def _failed(self, name: str, element: Request | Outcome, error: Exception) -> Failed | Dropped:
        if isinstance(element, Response) and element.stream is not None:
            self._run.spawn(closed(element.stream))
        return failure(name, element if isinstance(element, Request) else element.request, error)

    def _no_more(self, lower: abc.ObserverBase[Request]) -> None:
        self._ends_below.append(lower.on_completed)
        self._complete()

    def on_completed(self) -> None:
        self._ends_above.append(self._upper.on_completed)
        self._complete()

    def _complete(self) -> None:
        """What is to be completed, as far as nothing is under way."""
        while self._ends_below and not self._asking:
            self._ends_below.pop(0)()
        while self._ends_above and not self._pending:
            self._ends_above.pop(0)()

    def on_error(self, error: Exception) -> None:
        self._over = True
        self._upper.on_error(error)

    def end(self) -> None:
        """The subscription is disposed."""
        self._over = True

    def _later(self, result: Any, element: Request | Outcome, at: int, name: str) -> None:
        if not is_awaitable(result):
            self.on_outcome(self._failed(name, element, _wrong(result, element)), at)
            return
        self._pending += 1
        self._asking += isinstance(element, Request)
        unawaited(self._run.spawn(self._wait(result, element, at, name)), result)

    async def _wait(self, result: Awaitable[Any], element: Request | Outcome, at: int, name: str) -> None:
        try:
            value = await result
            if not isinstance(value, OUTCOMES) and not (isinstance(value, Request) and isinstance(element, Request)):
                value = self._failed(name, element, _wrong(value, element))
        except asyncio.CancelledError as error:
            value = self._failed(name, element, stray(error))
        except Exception as error:
            value = self._failed(name, element, error)
        self._pending -= 1
        self._asking -= isinstance(element, Request)
        if self._over:
            return
        if isinstance(value, Request):
            self.on_request(value, at + 1)
        else:
            self.on_outcome(value, at)
        self._complete()
