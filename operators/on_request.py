"""A function on requests, as a layer or straight in a pipe."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, cast, overload

import msgspec
from reactivex import Observable
from reactivex import operators as rx

from streamcrawl.core import OUTCOMES, Outcome, Request, Run, Stage
from streamcrawl.events import Notice
from streamcrawl.operators.map_async import MapAsync
from streamcrawl.response import Response
from streamcrawl.streams.layer import Hooks, NamedLayer, failure
from streamcrawl.vetting import MOVED, moved_keys

Answer: TypeAlias = Request | Outcome | None
OnRequest: TypeAlias = Callable[[Request], "Answer | Awaitable[Answer]"]

LIMIT = 16
"""Coroutines at once, straight in a pipe; in a layer the places of the run are the bound."""


@dataclass(frozen=True, slots=True)
class RequestHook(NamedLayer):
    """A Layer, and an operator on an Observable of Requests."""

    fn: OnRequest
    carries_leases: ClassVar[bool] = True

    @overload
    def __call__(self, stage: Stage) -> Stage: ...
    @overload
    def __call__(self, stage: Observable[Request]) -> Observable[Request]: ...
    def __call__(self, stage: Stage | Observable[Request]) -> Stage | Observable[Request]:
        if not isinstance(stage, Observable):
            return NamedLayer.__call__(self, stage)
        source = cast("Observable[Any]", stage)
        return MapAsync(self._later, LIMIT)(source) if is_async(self.fn) else rx.map(self._now)(source)

    def _now(self, request: Request) -> Request:
        if request.answer is not None:
            return request
        try:
            return _answered(request, _judged(request, self.fn(request)))
        except Exception as error:
            return _answered(request, failure(self.name, request, error))

    async def _later(self, request: Request) -> Request:
        try:
            return _answered(request, _judged(request, await cast("Awaitable[Answer]", self.fn(request))))
        except Exception as error:
            return _answered(request, failure(self.name, request, error))


def on_request(fn: OnRequest) -> RequestHook:
    """Call `fn` for each request on its way down.

    Works as a layer, `download(on_request(fn), …)`, and straight in a pipe, before `download`.

    Args:
        fn: Takes the Request; gives None (it goes on as it is), a changed Request, or an outcome, which goes up
            instead of it. May raise `Drop`. May be a coroutine function.

    Emits: what comes from below, or the outcome that `fn` gave; straight in a pipe the request, with that outcome as
        its `answer`. One in, one out. What `fn` raises makes `Failed`.
    """

    coroutines = is_async(fn)

    async def later(request: Request, result: Awaitable[Answer] | None = None) -> Request | Outcome:
        # A coroutine function is called in here: a task that is cancelled before it starts leaves no coroutine behind.
        return _judged(request, await (cast("Awaitable[Answer]", fn(request)) if result is None else result))

    def make(run: Run) -> Hooks:
        told: set[str] = set()

        def down(request: Request) -> Request | Outcome | Awaitable[Request | Outcome]:
            if coroutines:
                return later(request)
            keys = len(request.meta)
            result = fn(request)
            if result is None:
                if len(request.meta) > keys:
                    _without_effect(run, request, told)
                return request
            return later(request, result) if isinstance(result, Awaitable) else _judged(request, result)

        return Hooks(down=down)

    return RequestHook("on_request", make, fn)


def _without_effect(run: Run, request: Request, told: set[str]) -> None:
    """Tell, once, of keys that are put into `meta` as a downloader middleware of Scrapy does, and that nobody reads."""
    for key in moved_keys(request):
        if key not in told:
            told.add(key)
            text = f"on_request(…): meta[{key!r}] does nothing here"
            if key == "proxy":
                text += '; give request.replace(proxy="http://…"), or write ops.proxy(…)'
            else:
                text += f", write {MOVED[key]}"
            run.events.emit(Notice(text=text, level="warning"))


def _judged(request: Request, result: Any) -> Request | Outcome:
    if result is None:
        return request
    if isinstance(result, Request):
        # A request made from scratch stands for this one, and is settled with it.
        return result if result.lease is request.lease else result.replace(lease=request.lease)
    if isinstance(result, OUTCOMES):
        return bound(result, request)
    raise TypeError(f"gave {result!r} for {request!r}: neither None nor a Request nor an outcome")


def _answered(request: Request, result: Request | Outcome) -> Request:
    """Straight in a pipe nothing can go up: an outcome travels down as the answer of its request."""
    return result if isinstance(result, Request) else request.replace(answer=result)


def bound(outcome: Outcome, request: Request) -> Outcome:
    """The outcome as one of `request`, in whose place it stands."""
    if outcome.request is request or (request.lease is not None and outcome.request.lease is request.lease):
        return outcome
    if isinstance(outcome, Response):
        return outcome.replace(request=request)
    return msgspec.structs.replace(outcome, request=request)


def is_async(fn: Callable[..., Any]) -> bool:
    """Whether calling `fn` gives a coroutine."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004
