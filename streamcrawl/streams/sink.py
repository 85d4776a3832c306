"""What makes a Sink an operator: items go in, are accepted, and are passed on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, ClassVar, cast

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable, SingleAssignmentDisposable

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
            return _PassedOn(item, cast("Awaitable[Any]", result))
        return item if result is None else result

    def failure(item: Any, error: Exception) -> Any:
        if isinstance(error, OSError):
            lost = SinkError(f"{name}: {error}")
            lost.__cause__ = error
            run.fail(lost)
        item_failed(run, item, error)
        return NOTHING

    return concurrent(source, run, work, failure, sink.concurrency, name)


class _PassedOn:
    """Waits for `accept`; gives what is passed on."""

    __slots__ = ("_accepting", "_item")

    def __init__(self, item: Any, accepting: Awaitable[Any]) -> None:
        self._item = item
        self._accepting = accepting

    def __await__(self) -> Generator[Any, Any, Any]:
        changed = yield from self._accepting.__await__()
        return self._item if changed is None else changed

    def close(self) -> None:
        """It is not going to be waited for: the run was cut short."""
        close = getattr(self._accepting, "close", None)
        if close is not None:
            close()


class _Own:
    """A loop in a thread of its own: whether or not one runs in the caller's, and whatever thread items come from."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="streamcrawl-sink", daemon=True)
        self._thread.start()

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What `work` gives. Raises: what it raises."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


async def _awaited(accepting: Awaitable[Any]) -> Any:
    return await accepting


def _alone(sink: SinkOperator, source: Observable[Any], lower: abc.ObserverBase[Any]) -> abc.DisposableBase:
    """A sink with no crawl around it: every item is waited for; at the end, also by disposal, it is flushed and closed."""
    own = _Own()
    opened: OpenSink | None = None
    upstream = SingleAssignmentDisposable()

    async def opening() -> OpenSink:
        return sink.open(LocalRun(own.loop))

    async def ending(open_: OpenSink) -> None:
        try:
            await open_.flush()
        finally:
            await open_.close()

    def end() -> None:
        nonlocal opened
        if own.loop.is_closed():
            return
        try:
            if opened is not None:
                own.wait(ending(opened))
        finally:
            opened = None
            own.close()

    def on_next(item: Any) -> None:
        if opened is None:
            return
        try:
            result = opened.accept(item, (0, 0, 0))
            if isinstance(result, Awaitable):
                result = own.wait(_awaited(cast("Awaitable[Any]", result)))
        except Exception as error:
            upstream.dispose()
            on_error(error)
            return
        lower.on_next(item if result is None else result)

    def on_error(error: Exception) -> None:
        try:
            end()
        finally:
            lower.on_error(error)

    def on_completed() -> None:
        try:
            end()
        except Exception as error:
            lower.on_error(error)
        else:
            lower.on_completed()

    try:
        opened = own.wait(opening())
    except Exception:
        own.close()
        raise
    upstream.disposable = source.subscribe(on_next, on_error, on_completed)
    return CompositeDisposable(upstream, Disposable(end))
