"""What makes a Sink an operator: items go in, are accepted, and are passed on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, ClassVar, cast

from reactivex import Observable, abc

from streamcrawl.core import RUN, Extent, ItemId, OpenSink, Run
from streamcrawl.errors import SinkError
from streamcrawl.streams.concurrent import NOTHING, concurrent
from streamcrawl.streams.edges import item_failed
from streamcrawl.streams.local import LocalRun


class SinkOperator:
    """Mixed into a sink's description, so that it can stand in any pipe."""

    __slots__ = ()

    carries_leases: ClassVar[bool] = True
    concurrency: ClassVar[int] = 1
    """Items that it accepts at once."""

    def open(self, run: Run, token: Any = None) -> OpenSink:
        raise TypeError(f"{type(self).__name__} does not say how it is opened")

    def __call__(self, source: Observable[Any]) -> Observable[Any]:
        def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            run = RUN.get(None)
            if run is None:
                return _alone(self, source, lower)
            return accepting(self, run, source).subscribe(lower, scheduler=scheduler)

        return Observable(subscribe)


def accepting(sink: SinkOperator, run: Run, source: Observable[Any]) -> Observable[Any]:
    """`source` through `sink`, opened for `run`."""
    opened = sink.open(run)
    run.adopt(opened)
    name = type(sink).__name__.lower()
    place = object()

    def work(item: Any, extent: Extent) -> Any:
        item_id: ItemId = extent.identity(place) if extent.leases else (0, 0, 0)
        result = opened.accept(item, item_id)
        if isinstance(result, Awaitable):
            return _passed_on(item, cast("Awaitable[Any]", result))
        return item if result is None else result

    def failure(item: Any, error: Exception) -> Any:
        if isinstance(error, OSError):
            lost = SinkError(f"{name}: {error}")
            lost.__cause__ = error
            run.fail(lost)
        item_failed(run, item, error)
        return NOTHING

    return concurrent(source, run, work, failure, sink.concurrency, name)


async def _passed_on(item: Any, result: Awaitable[Any]) -> Any:
    changed = await result
    return item if changed is None else changed


def _alone(sink: SinkOperator, source: Observable[Any], lower: abc.ObserverBase[Any]) -> abc.DisposableBase:
    """A sink with no crawl around it: every item is waited for; at the end it is flushed and closed."""
    loop = asyncio.new_event_loop()
    run = LocalRun(loop)
    opened = sink.open(run)

    def on_next(item: Any) -> None:
        result = opened.accept(item, (0, 0, 0))
        if isinstance(result, Awaitable):
            result = loop.run_until_complete(_passed_on(item, cast("Awaitable[Any]", result)))
        lower.on_next(item if result is None else result)

    def end() -> None:
        loop.run_until_complete(opened.flush())
        loop.run_until_complete(opened.close())
        loop.close()

    def on_error(error: Exception) -> None:
        end()
        lower.on_error(error)

    def on_completed() -> None:
        end()
        lower.on_completed()

    return source.subscribe(on_next, on_error, on_completed)
