"""What makes a Sink an operator: items go in, are accepted, and are passed on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, ClassVar, cast
from zlib import crc32

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable, SingleAssignmentDisposable

from streamcrawl.core import RUN, Extent, ItemId, Lease, OpenSink, Run
from streamcrawl.errors import SinkError
from streamcrawl.streams.concurrent import NOTHING, concurrent
from streamcrawl.streams.edges import item_failed
from streamcrawl.streams.local import LocalRun


class SinkOperator:
    """Mixed into a sink's description, so that it can stand in any pipe."""

    __slots__ = ()

    carries_leases: ClassVar[bool] = True
    takes_items: ClassVar[bool] = True
    concurrency: ClassVar[int] = 1
    """Items that it accepts at once."""
    repeats: ClassVar[bool] = False
    """Whether an item that it holds already may come again when a job goes on: it gives what is passed on."""
    resumable: ClassVar[bool] = True
    """Whether it takes back what came after its token; if not, a flush need not wait for what is being accepted."""

    def open(self, run: Run, token: Any = None) -> OpenSink:
        raise TypeError(f"{type(self).__name__} does not say how it is opened")

    def __call__(self, source: Observable[Any]) -> Observable[Any]:
        def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            run = RUN.get(None)
            if run is None:
                return _alone(self, source, lower)
            return accepting(self, run, source).subscribe(lower, scheduler=scheduler)

        return Observable(subscribe)


class Accepting:
    """A sink in one run: it takes no item while it is flushed, and in a job knows which items it holds.

    A flush waits for the `accept` that is under way and keeps others waiting, so that its token stands for exactly
    the items that were accepted before.
    """

    def __init__(self, sink: SinkOperator, key: str, run: Run) -> None:
        self.key = key
        self.opened = sink.open(run, run.token(key))
        self._name = type(sink).__name__.lower()
        self._run = run
        self._repeats = sink.repeats
        self._exact = run.durable and sink.resumable and not sink.repeats
        self._place = crc32(key.encode())
        self._active = 0
        self._gate: asyncio.Future[None] | None = None
        """While the sink is flushed."""
        self._idle: asyncio.Future[None] | None = None
        """Who flushes waits for the last accept."""
        self._held: list[tuple[Lease, int, int]] = []
        self.unsure = False
        """An `accept` was cancelled: nobody knows what the sink has of its item."""

    # -- what comes down the pipe ----------------------------------------------------------------------------------

    def work(self, item: Any, extent: Extent) -> Any:
        """The item as it goes on, or an awaitable of it."""
        if self._gate is not None:
            return self._later(item, extent)
        if self._run.durable:
            return self._take(item, extent)
        result = self.opened.accept(item, extent.identity(self._place) if extent.leases else (0, 0, 0))
        if isinstance(result, Awaitable):
            return _PassedOn(item, cast("Awaitable[Any]", result), self._begin, self._end)
        return item if result is None else result

    async def _later(self, item: Any, extent: Extent) -> Any:
        while self._gate is not None:
            await asyncio.shield(self._gate)
        result: Any = self.work(item, extent)
        return await result if isinstance(result, Awaitable) else result  # pyright: ignore[reportUnknownVariableType]  # it may be anything

    def _take(self, item: Any, extent: Extent) -> Any:
        """In a job: what the sink holds already is passed by it, and what it takes is noted."""
        if self._run.cut:
            extent.spoil()  # it comes again when the job goes on
            return NOTHING
        if not extent.leases:
            ids: list[tuple[Lease, int, int]] = []
            item_id: ItemId = (0, 0, 0)
        else:
            whole = extent.of_many and item is extent.gathered
            parts = extent.members if whole else (extent,)
            ids = [(part.leases[0], *part.identity(self._place)[1:]) for part in parts]
            item_id = (ids[0][0].page.id, ids[0][1], ids[0][2])
            if extent.of_many and not whole:
                ids = []  # made of a list that is cut elsewhere when it comes again: there is no telling what it has
            if not self._repeats and any(self._has(each) for each in ids):
                missing = [n for n, each in enumerate(ids) if not self._has(each)]
                if len(parts) == 1 or not missing:
                    return item
                return self._take_some(cast("list[Any]", item), missing, ids)
        result = self.opened.accept(item, item_id)
        if isinstance(result, Awaitable):
            return _PassedOn(item, cast("Awaitable[Any]", result), self._begin, self._end, ids)
        self._held += ids
        return item if result is None else result

    def _take_some(self, items: list[Any], missing: list[int], ids: list[tuple[Lease, int, int]]) -> Any:
        """Of a gathered list: those that the sink does not hold yet."""
        first = ids[missing[0]]
        result = self.opened.accept([items[n] for n in missing], (first[0].page.id, first[1], first[2]))
        wanted = [ids[n] for n in missing]
        if isinstance(result, Awaitable):
            return _PassedOn(items, cast("Awaitable[Any]", result), self._begin, self._end, wanted, instead=False)
        self._held += wanted
        return items

    def _has(self, part: tuple[Lease, int, int]) -> bool:
        lease, ordinal, number = part
        return lease.progress is not None and lease.progress.holds(self.key, ordinal, number)

    def _begin(self) -> None:
        self._active += 1

    def _end(self, held: list[tuple[Lease, int, int]] | None) -> None:
        """An `accept` has ended; None: it was cancelled."""
        self._active -= 1
        if held is None:
            self.unsure = self._exact
        elif self._run.durable:
            self._held += held
        if not self._active and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def failure(self, item: Any, error: Exception) -> Any:
        """What goes on instead of an item that could not be accepted: nothing."""
        if isinstance(error, (OSError, SinkError)):
            lost = SinkError(f"{self._name}: {error}")
            lost.__cause__ = error
            if self._run.extent is not None:
                self._run.extent.spoil()
            self._run.fail(lost)
        item_failed(self._run, item, error)
        return NOTHING

    # -- what the run does -----------------------------------------------------------------------------------------

    async def flush(self) -> tuple[Any, list[tuple[Lease, int, int]]]:
        """The sink's token, and what is safe with it since the last time. Raises: SinkError, OSError."""
        if not self._exact:
            held, self._held = self._held, []
            return await self.opened.flush(), held
        loop = self._run.loop
        self._gate = loop.create_future()
        try:
            if self._active:
                self._idle = loop.create_future()
                await self._idle
            token = await self.opened.flush()
            held, self._held = self._held, []
            return token, held
        finally:
            self._idle = None
            self._gate.set_result(None)
            self._gate = None

    async def close(self) -> None:
        await self.opened.close()

    def __repr__(self) -> str:
        return f"<Accepting {self.key}: {self._active} under way, {len(self._held)} since the last flush>"


def accepting(sink: SinkOperator, run: Run, source: Observable[Any]) -> Observable[Any]:
    """`source` through `sink`, opened for `run`."""
    kind = type(sink).__name__.lower()
    made = Accepting(sink, run.sink_key(getattr(sink, "name", kind)), run)
    run.adopt(made)
    return concurrent(source, run, made.work, made.failure, sink.concurrency, kind)


class _PassedOn:
    """Waits for `accept`; gives what is passed on."""

    __slots__ = ("_accepting", "_end", "_ended", "_held", "_instead", "_item")

    def __init__(
        self,
        item: Any,
        accepting: Awaitable[Any],
        begin: Callable[[], None],
        end: Callable[[list[tuple[Lease, int, int]] | None], None],
        held: list[tuple[Lease, int, int]] | None = None,
        *,
        instead: bool = True,
    ) -> None:
        self._item = item
        self._accepting = accepting
        self._held = held or []
        self._end = end
        self._instead = instead
        """Whether what `accept` gives goes on instead of the item."""
        self._ended = False
        begin()

    def __await__(self) -> Generator[Any, Any, Any]:
        held: list[tuple[Lease, int, int]] | None = []
        try:
            changed = yield from self._accepting.__await__()
            held = self._held
        except asyncio.CancelledError:
            held = None
            raise
        finally:
            self._ended = True
            self._end(held)
        return changed if self._instead and changed is not None else self._item

    def close(self) -> None:
        """It is not going to be waited for: the run was cut short."""
        close = getattr(self._accepting, "close", None)
        if close is not None:
            close()
        if not self._ended:
            self._ended = True
            self._end([])


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
