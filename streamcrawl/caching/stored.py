"""What the stores of the HTTP cache have in common: arguments, errors, and work that waits for a thread together."""

from __future__ import annotations

import asyncio
import errno
import heapq
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast

from streamcrawl.caching.entry import CorruptEntry, Entry
from streamcrawl.caching.packing import Draft, Packed, draft, unpack
from streamcrawl.core import Run
from streamcrawl.errors import StreamcrawlError
from streamcrawl.streams.counting import count

Name = TypeVar("Name", str, bytes)

GIB = 1024**3
LEAST_SIZE = 64 * 1024
"""Bytes that a store may be bounded to at least: an empty one has some already."""
TOUCH = 60.0
"""Seconds after which a use is noted anew: what was read twice within them is no younger for it."""

NAMES = 100_000
"""Records to be removed that are in memory at once, at most."""

MANY = 1024
"""Calls that are worked off together, at most. So many that nobody waits for are worth a batch at once: each makes the
loop and the thread take turns, which costs more than what the thread does."""
BATCH = 16 * 1024 * 1024
"""Bytes of entries that are worked off together, unless one alone has more; likewise."""
IN_HAND = 2 * BATCH
"""Bytes of entries that nobody waits for, those that are being worked off included, unless one alone has more."""
BESIDE = 1024
"""Bytes that an entry takes beside what it says: many of them have no body."""
GATHER = 1.0
"""Seconds for which entries that nobody waits for are gathered."""


class CacheStoreError(StreamcrawlError):
    """A store of the HTTP cache that cannot be opened, read or written. Its text names the store."""


def checked(what: str, max_size: int | None, compress: object, max_age: float | None) -> None:
    """Raises: ValueError for an argument of the store `what` that cannot be meant."""
    if max_size is not None and max_size < LEAST_SIZE:
        raise ValueError(f"{what}(max_size={max_size!r}): bytes, {LEAST_SIZE} or more, or None")
    if compress not in ("zstd", "gzip", None):
        raise ValueError(f'{what}(compress={compress!r}): "zstd", "gzip" or None')
    if max_age is not None and not max_age > 0:
        raise ValueError(f"{what}(max_age={max_age!r}): seconds, more than 0, or None")


def why(error: BaseException) -> str:
    """What an error of some library says, in one line."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    return text or type(error).__name__


def make_folder(path: Path) -> None:
    """Have a folder at `path`. Raises: OSError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None


def whole_of(packed: list[Packed]) -> tuple[list[Entry], list[Packed]]:
    """The entries that can be read, in their order, and those that cannot."""
    entries: list[Entry] = []
    damaged: list[Packed] = []
    for each in packed:
        try:
            entries.append(unpack(each.head, each.body))
        except CorruptEntry:
            damaged.append(each)
    return entries, damaged


class Found:
    """What a store found under a key. `damaged`: how many variants could not be read, and are gone."""

    __slots__ = ("damaged", "entries")

    def __init__(self, entries: list[Entry], damaged: int = 0) -> None:
        self.entries = entries
        self.damaged = damaged

    def given(self, run: Run, label: str) -> list[Entry]:
        """The entries that are whole.

        Raises: CorruptEntry if there is none but damaged ones; beside whole ones these are counted here.
        """
        if self.damaged and not self.entries:
            raise CorruptEntry(f"{label}: a stored response was damaged, and is removed")
        if self.damaged:
            counted(run, "httpcache/retrieve_error", self.damaged)
        return self.entries


def counted(run: Run, name: str, more: int = 1) -> None:
    """Add to one of the run's counters. On the loop only."""
    count(run.stats, name, more)


class Oldest(Generic[Name]):
    """Of all records that are shown to it, those that were unused the longest: as many as hold `need` bytes.

    Or, where they are many, as many as memory allows.
    """

    __slots__ = ("_heap", "_need", "_size")

    def __init__(self, need: float) -> None:
        self._need = need
        self._size = 0
        self._heap: list[tuple[float, int, Name]] = []

    def show(self, used: float, size: int, name: Name) -> None:
        heapq.heappush(self._heap, (-used, size, name))
        self._size += size
        while self._size - self._heap[0][1] >= self._need or len(self._heap) > NAMES:
            self._size -= heapq.heappop(self._heap)[1]

    def names(self) -> list[tuple[Name, int]]:
        """(Name, size), the longest unused first."""
        return [(name, size) for _, size, name in sorted(self._heap, reverse=True)]


def drafted(label: str, entry: Entry, now: float) -> Draft:
    """See `draft`. Raises: CacheStoreError, naming the store, for what cannot be written."""
    try:
        return draft(entry, now)
    except Exception as error:
        raise CacheStoreError(f"{label}: cannot pack {entry.url!r}: {why(error)}") from error


class Call:
    """One thing that is asked of a store, and what came of it."""

    __slots__ = ("draft", "error", "failed", "key", "now", "packed", "reply", "result", "weight", "what")

    def __init__(self, what: Literal["get", "put", "delete"], key: bytes, now: float, draft: Draft | None) -> None:
        self.what = what
        self.key = key
        self.now = now
        self.draft = draft
        self.packed: Packed | None = None
        self.result: Any = None
        self.error: Exception | None = None
        self.reply: asyncio.Future[Any] | None = None
        """Somebody waits for it."""
        self.failed: Callable[[Exception], None] | None = None
        """Nobody waits; this is called with its error."""
        self.weight = 0 if draft is None else draft.size + BESIDE
        """Bytes that it brings."""


class Batches:
    """One thread that works off calls in their order. What comes while it works is gathered, and handed to it together.

    Args:
        label: The store, for error messages.
        work: Takes calls in their order and sets `result` or `error` of each; called in the thread.
        done: Called on the loop after each batch.
    """

    __slots__ = (
        "_asked",
        "_busy",
        "_closed",
        "_done",
        "_idle",
        "_label",
        "_loop",
        "_soon",
        "_thread",
        "_timer",
        "_waiting",
        "_weight",
        "_work",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        thread: ThreadPoolExecutor,
        label: str,
        work: Callable[[list[Call]], None],
        done: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._thread = thread
        self._label = label
        self._work = work
        self._done = done
        self._waiting: list[Call] = []
        self._weight = 0
        """Bytes of those that wait."""
        self._asked = 0
        """How many of those somebody waits for."""
        self._soon = 0
        """Bytes in hand that nobody waits for."""
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False
        self._closed = False
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()

    def ask(self, call: Call) -> asyncio.Future[Any]:
        """Its result, when the batch that it is in is done. Raises (later): its error."""
        reply = call.reply = self._loop.create_future()
        if self._closed:
            reply.set_exception(CacheStoreError(f"{self._label}: it is closed"))
            return reply
        self._waiting.append(call)
        self._weight += call.weight
        self._asked += 1
        self._idle.clear()
        if not self._busy:
            self._begin(self._loop.call_soon)  # what is asked in the same turn of the loop goes with it
        return reply

    def put(self, key: bytes, entry: Entry, now: float) -> asyncio.Future[Any]:
        """`ask` for an entry to be kept. Raises: CacheStoreError at once for one that cannot be written."""
        return self.ask(Call("put", key, now, drafted(self._label, entry, now)))

    def put_soon(self, key: bytes, entry: Entry, now: float, failed: Callable[[Exception], None]) -> bool:
        """Have it kept as `soon` does; `failed` is called at once for one that cannot be written."""
        try:
            call = Call("put", key, now, drafted(self._label, entry, now))
        except CacheStoreError as error:
            failed(error)
            return True
        return self.soon(call, failed)

    def soon(self, call: Call, failed: Callable[[Exception], None]) -> bool:
        """Have it done without waiting for it; whoever asks later sees it. False if too much is in hand for that."""
        if self._closed or (self._soon and self._soon + call.weight > IN_HAND):
            return False
        call.failed = failed
        self._waiting.append(call)
        self._weight += call.weight
        self._soon += call.weight
        self._idle.clear()
        if not self._busy:
            if self._is_enough():
                self._begin(self._loop.call_soon)
            elif self._timer is None:
                self._timer = self._loop.call_later(GATHER, self._begin)
        return True

    def _is_enough(self) -> bool:
        return len(self._waiting) >= MANY or self._weight >= BATCH

    def _begin(self, call: Callable[[Callable[[], None]], object] | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._busy:
            self._busy = True
            if call is None:
                self._next()
            else:
                call(self._next)

    def _next(self) -> None:
        batch = self._taken()
        if not batch:
            self._busy = False
            self._idle.set()
            return
        future = self._loop.run_in_executor(self._thread, self._work, batch)
        future.add_done_callback(lambda future: self._answer(batch, future))

    def _taken(self) -> list[Call]:
        size = count = 0
        for call in self._waiting[:MANY]:
            size += call.weight
            if count and size > BATCH:
                size -= call.weight
                break
            count += 1
        self._weight -= size
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    def _answer(self, batch: list[Call], future: asyncio.Future[None]) -> None:
        broken = future.exception()
        self._done()
        for call in batch:
            error = call.error or broken
            reply = call.reply
            if reply is None:
                self._soon -= call.weight
                if error is not None and call.failed is not None:
                    call.failed(cast(Exception, error))
                continue
            self._asked -= 1
            if reply.done():
                continue  # whoever asked was cancelled
            if error is not None:
                reply.set_exception(error)
            else:
                reply.set_result(call.result)
        if self._waiting and not self._asked and not self._closed and not self._is_enough():
            self._busy = False
            self._timer = self._loop.call_later(GATHER, self._begin)
        else:
            self._next()

    async def close(self, last: Callable[[], None]) -> None:
        """Work off what was asked, then `last`, in the thread; and end the thread."""
        if self._closed:
            return
        self._closed = True
        if self._waiting:
            self._begin()
        await self._idle.wait()
        try:
            await self._loop.run_in_executor(self._thread, last)
        finally:
            self._thread.shutdown(wait=False)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._waiting)} calls waiting"
        return f"<Batches of {self._label}: {state}>"
