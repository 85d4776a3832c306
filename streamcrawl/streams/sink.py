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
        if isinstance(error, (OSError, SinkError)):
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


class _Alone:
    """A sink with no crawl around it: every item is waited for; at the end, or when it is disposed of, it is closed."""

    def __init__(self, sink: SinkOperator, lower: abc.ObserverBase[Any]) -> None:
        self._lower = lower
        self._own = _Own()
        self.upstream = SingleAssignmentDisposable()
        try:
            self._opened: OpenSink | None = self._own.wait(self._open(sink))
        except Exception:
            self._own.close()
            raise

    async def _open(self, sink: SinkOperator) -> OpenSink:
        return sink.open(LocalRun(self._own.loop))

    def on_next(self, item: Any) -> None:
        if self._opened is None:
            return
        try:
            result = self._opened.accept(item, (0, 0, 0))
            if isinstance(result, Awaitable):
                result = self._own.wait(_awaited(cast("Awaitable[Any]", result)))
        except Exception as error:
            self.upstream.dispose()
            self.on_error(error)
        else:
            self._lower.on_next(item if result is None else result)

    def on_error(self, error: Exception) -> None:
        try:
            self.end()
        except Exception as another:
            error.add_note(f"and then the sink could not be closed: {another}")
        self._lower.on_error(error)

    def on_completed(self) -> None:
        try:
            self.end()
        except Exception as error:
            self._lower.on_error(error)
        else:
            self._lower.on_completed()

    def end(self) -> None:
        """Flush and close, once."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        try:
            self._own.wait(_ended(opened))
        finally:
            self._own.close()


async def _awaited(accepting: Awaitable[Any]) -> Any:
    return await accepting


async def _ended(opened: OpenSink) -> None:
    try:
        await opened.flush()
    finally:
        await opened.close()


def _alone(sink: SinkOperator, source: Observable[Any], lower: abc.ObserverBase[Any]) -> abc.DisposableBase:
    made = _Alone(sink, lower)
    made.upstream.disposable = source.subscribe(made.on_next, made.on_error, made.on_completed)
    return CompositeDisposable(made.upstream, Disposable(made.end))
