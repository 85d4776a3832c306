"""Asynchronous work on a stream: at most so many tasks at once, leases carried across (DESIGN laws 5, 7)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any

from reactivex import Observable, abc

from streamcrawl.core import LEASE, OUTCOMES, Extent, Request, Run
from streamcrawl.streams.kinds import is_awaitable
from streamcrawl.streams.layer import stray, unawaited

Work = Callable[[Any, Extent], "Awaitable[Any] | Any"]
"""(element, for whom) -> what is emitted instead of it, or an awaitable of it."""

Failure = Callable[[Any, Exception], Any]
"""(element, error) -> what is emitted instead of it; NOTHING: nothing."""

NOTHING: Any = object()
QUEUE = 16
"""Elements that wait for a task before callbacks are asked to pause."""


class Concurrent:
    """One subscription of an asynchronous operator: its queue and its tasks."""

    __slots__ = ("_active", "_completed", "_failure", "_full", "_limit", "_lower", "_name", "_queue", "_run", "_work")

    def __init__(
        self, run: Run, work: Work, failure: Failure, limit: int, name: str, lower: abc.ObserverBase[Any]
    ) -> None:
        self._run = run
        self._work = work
        self._failure = failure
        self._limit = limit
        self._name = name
        self._lower = lower
        self._active = 0
        self._queue: deque[tuple[Any, Extent]] = deque()
        self._full = False
        self._completed = False

    def on_next(self, element: Any) -> None:
        extent = self._run.extent
        if extent is None:
            self._run.outside(self._name)
            extent = Extent(())
        if self._active < self._limit:
            self._begin(element, extent)
            return
        extent.hold()
        self._queue.append((element, extent))
        if not self._full and len(self._queue) >= QUEUE:
            self._full = True
            self._run.congest(1)

    def _begin(self, element: Any, extent: Extent) -> None:
        try:
            result = self._work(element, extent)
        except Exception as error:
            self._failed(element, error, extent)
            return
        if not is_awaitable(result):
            self._emit(result, extent)
            return
        self._active += 1
        extent.hold()
        context = copy_context()
        if extent.leases:
            context.run(LEASE.set, extent.leases[0])
        items = not isinstance(element, (Request, *OUTCOMES))
        task = context.run(lambda: self._run.spawn(self._finish(element, result, extent), items=items))
        unawaited(task, result)

    async def _finish(self, element: Any, result: Awaitable[Any], extent: Extent) -> None:
        try:
            value = await result
        except asyncio.CancelledError as error:
            self._failed(element, stray(error), extent)
        except Exception as error:
            self._failed(element, error, extent)
        else:
            self._emit(value, extent)
        self._active -= 1
        extent.release()
        self._next()

    def _failed(self, element: Any, error: Exception, extent: Extent) -> None:
        before, self._run.extent = self._run.extent, extent
        try:
            value = self._failure(element, error)
        finally:
            self._run.extent = before
        self._emit(value, extent)

    def _emit(self, value: Any, extent: Extent) -> None:
        if value is NOTHING:
            return
        before, self._run.extent = self._run.extent, extent
        try:
            self._lower.on_next(value)
        finally:
            self._run.extent = before

    def _next(self) -> None:
        while self._queue and self._active < self._limit:
            element, extent = self._queue.popleft()
            self._begin(element, extent)
            extent.release()
        if self._full and len(self._queue) <= QUEUE // 2:
            self._full = False
            self._run.congest(-1)
        if self._completed and not self._active and not self._queue:
            self._lower.on_completed()

    def on_completed(self) -> None:
        self._completed = True
        self._next()


def concurrent(
    source: Observable[Any], run: Run, work: Work, failure: Failure, limit: int, name: str
) -> Observable[Any]:
    """`source` through `work`, at most `limit` at once; results in the order in which they are ready.

    A result that is no awaitable is emitted at once, in its place: no task is made for it.
    """

    def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        made = Concurrent(run, work, failure, limit, name, lower)
        return source.subscribe(made.on_next, lower.on_error, made.on_completed, scheduler=scheduler)

    return Observable(subscribe)
