"""A function on responses, as a layer or straight in a pipe."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, cast, overload

from reactivex import Observable
from reactivex import operators as rx

from streamcrawl.core import OUTCOMES, Outcome, Stage
from streamcrawl.operators.map_async import MapAsync
from streamcrawl.operators.on_request import LIMIT, bound, is_async
from streamcrawl.response import Response
from streamcrawl.streams.layer import Hooks, NamedLayer, failure

OnResponse: TypeAlias = Callable[[Response], "Outcome | Awaitable[Outcome | None] | None"]


@dataclass(frozen=True, slots=True)
class ResponseHook(NamedLayer):
    """A Layer, and an operator on an Observable of outcomes."""

    fn: OnResponse
    carries_leases: ClassVar[bool] = True

    @overload
    def __call__(self, stage: Stage) -> Stage: ...
    @overload
    def __call__(self, stage: Observable[Any]) -> Observable[Any]: ...
    def __call__(self, stage: Stage | Observable[Any]) -> Stage | Observable[Any]:
        if not isinstance(stage, Observable):
            return NamedLayer.__call__(self, stage)
        source = cast("Observable[Outcome]", stage)
        return MapAsync(self._async, LIMIT)(source) if is_async(self.fn) else rx.map(self._now)(source)

    def _now(self, outcome: Outcome) -> Outcome:
        if not isinstance(outcome, Response):
            return outcome
        try:
            return _judged(outcome, self.fn(outcome))
        except Exception as error:
            return failure(self.name, outcome.request, error)

    def _async(self, outcome: Outcome) -> Outcome | Awaitable[Outcome]:
        return self._later(outcome) if isinstance(outcome, Response) else outcome

    async def _later(self, response: Response) -> Outcome:
        try:
            return _judged(response, await cast("Awaitable[Outcome | None]", self.fn(response)))
        except Exception as error:
            return failure(self.name, response.request, error)


def on_response(fn: OnResponse) -> ResponseHook:
    """Call `fn` for each response on its way up; other outcomes pass.

    Works as a layer, `download(on_response(fn), …)`, and straight in a pipe, after `download`.

    Args:
        fn: Takes the Response; gives None (it goes on as it is), a changed Response, or another outcome instead.
            May raise `Drop`. May be a coroutine function.

    Emits: the response, or what `fn` gave. One in, one out. What `fn` raises makes `Failed`.
    """

    coroutines = is_async(fn)

    async def later(response: Response, result: Awaitable[Outcome | None] | None = None) -> Outcome:
        # A coroutine function is called in here: a task that is cancelled before it starts leaves no coroutine behind.
        return _judged(response, await (cast("Awaitable[Outcome | None]", fn(response)) if result is None else result))

    def up(outcome: Outcome) -> Outcome | Awaitable[Outcome]:
        if not isinstance(outcome, Response):
            return outcome
        if coroutines:
            return later(outcome)
        result = fn(outcome)
        if result is None:
            return outcome
        return later(outcome, result) if isinstance(result, Awaitable) else _judged(outcome, result)

    return ResponseHook("on_response", lambda run: Hooks(up=up), fn)


def _judged(response: Response, result: Any) -> Outcome:
    if result is None:
        return response
    if isinstance(result, OUTCOMES):
        return bound(result, response.request)
    raise TypeError(f"gave {result!r} for {response!r}: neither None nor a Response nor another outcome")
