"""The bottom of every stack: `fetch` as a Stage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol, cast

from reactivex import Observable, abc

from streamcrawl.core import Dropped, Failed, Fetch, Outcome, Request, Run, Stage
from streamcrawl.response import BodyStream, Response
from streamcrawl.streams.layer import failure, stray
from streamcrawl.streams.local import running
from streamcrawl.urls import without_fragment


class OpenFetch(Protocol):
    """A Fetch that has something to close."""

    async def __call__(self, request: Request) -> Response: ...

    async def aclose(self) -> None: ...


class FetchMaker(Protocol):
    """The description of a Fetch, opened for each run."""

    def open(self, run: Run) -> OpenFetch: ...


class _Held:
    """A streamed body that holds the request's place until it was read or closed, or its page is done."""

    __slots__ = ("_body", "_over", "_request", "_run")

    def __init__(self, body: BodyStream, run: Run, request: Request) -> None:
        self._body = body
        self._run = run
        self._request = request
        self._over = False
        lease = request.lease
        while lease is not None and lease.parent is not None:
            lease = lease.parent
        if lease is not None:
            # Whoever forgets to read it: it is closed when nobody works for the lease any more.
            lease.bodies = (*lease.bodies, self)

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._run.landed(self._request)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._body:
                yield chunk
        finally:
            await self.aclose()  # whoever stops reading has done with it

    async def aclose(self) -> None:
        if self._over:
            return
        try:
            await self._body.aclose()
        finally:
            self._end()


class _Exchanges:
    """One subscription of `fetching`: the exchanges under way."""

    __slots__ = ("_bring", "_completed", "_run", "_under_way", "_upper")

    def __init__(self, fetch: Fetch | FetchMaker, upper: abc.ObserverBase[Outcome]) -> None:
        self._run = running()
        self._bring = _opened(fetch, self._run)
        self._upper = upper
        self._under_way = 0
        self._completed = False

    def on_next(self, request: Request) -> None:
        if request.answer is not None:
            self._upper.on_next(_answer(request))
            return
        self._under_way += 1
        self._run.spawn(self._exchange(request))

    async def _exchange(self, request: Request) -> None:
        run = self._run
        try:
            await run.wire(request)
            outcome: Outcome = _checked(await self._bring(request), request)
        except asyncio.CancelledError as error:
            outcome = failure("fetch", request, stray(error))
        except Exception as error:
            outcome = failure("fetch", request, error)
        if isinstance(outcome, Response) and outcome.stream is not None:
            outcome.stream = _Held(outcome.stream, run, request)
        else:
            run.landed(request)
        self._upper.on_next(outcome)
        self._under_way -= 1
        if self._completed and not self._under_way:
            self._upper.on_completed()

    def on_completed(self) -> None:
        self._completed = True
        if not self._under_way:
            self._upper.on_completed()


def fetching(fetch: Fetch | FetchMaker) -> Stage:
    """The Stage that calls `fetch`: one task for each request, errors become `Failed`.

    Answered requests come up as their answer, without the wire.
    """

    def stage(requests: Observable[Request]) -> Observable[Outcome]:
        def subscribe(
            upper: abc.ObserverBase[Outcome], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            exchanges = _Exchanges(fetch, upper)
            return requests.subscribe(exchanges.on_next, upper.on_error, exchanges.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    return stage


def _opened(fetch: Fetch | FetchMaker, run: Run) -> Fetch:
    make = getattr(fetch, "open", None)
    if make is None:
        return cast(Fetch, fetch)
    opened: OpenFetch = make(run)
    run.closing(opened.aclose)
    return opened


def _checked(value: Any, request: Request) -> Outcome:
    if not isinstance(value, Response):
        raise TypeError(f"fetch returned {value!r}, a {type(value).__name__}, and not a Response")
    if "#" in value.url:
        value.url = without_fragment(value.url)  # a page is the same whatever part of it the link named
    value.request = request  # the response of a user's own fetch may name another one
    return value


def _answer(request: Request) -> Outcome:
    answer = request.answer
    if isinstance(answer, Response):
        return answer.replace(request=request)
    if isinstance(answer, Failed):
        return Failed(request, answer.error)
    if isinstance(answer, Dropped):
        return Dropped(request, answer.reason)
    assert answer is not None
    return answer
