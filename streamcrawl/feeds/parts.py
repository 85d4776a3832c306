"""A feed in parts: each is written to a file of this machine, and stored where it belongs when it is whole.

So readers see whole parts only, an object store need not append, and what is not yet stored is safe in the job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from streamcrawl.core import Item, ItemId, Run
from streamcrawl.errors import ItemRefused, SinkError
from streamcrawl.feeds.events import Told
from streamcrawl.feeds.names import has_part, has_part_time, of_part
from streamcrawl.feeds.opened import OpenFeed
from streamcrawl.feeds.opening import Manner, open_feed, token_of
from streamcrawl.feeds.storing import Convert, Growing, converted, store
from streamcrawl.storage.objects import Storage, shown


@dataclass(frozen=True, slots=True)
class Limits:
    """When a part is whole; None: not for that.

    Args:
        items: Items in a part.
        size: Bytes of a part, before it may be that of one item more.
        seconds: Seconds from a part's first item.
    """

    items: int | None = None
    size: int | None = None
    seconds: float | None = None

    def __bool__(self) -> bool:
        return not (self.items is None and self.size is None and self.seconds is None)


@dataclass(slots=True)
class Part:
    """One of them. `began`: seconds since the epoch; `items`: those that are in it."""

    number: int
    began: float
    items: int = 0

    @property
    def token(self) -> list[Any]:
        return [self.number, self.began, self.items]


class OpenParts:
    """Takes items for the part that is being written, and stores those that are whole.

    Args:
        uri: Where the parts go; with `{part}`, unless everything is one part.
        manner: How a part is written.
        spool: How the names of the job's files for it begin; None: there is no job.
        token: What `flush` gave in an earlier run of the same job.

    Raises: SinkError if the place cannot be written to.
    """

    def __init__(
        self,
        uri: str,
        run: Run,
        storage: Storage,
        manner: Manner,
        *,
        limits: Limits,
        spool: Path | None,
        token: Any = None,
    ) -> None:
        self._uri = uri
        self._run = run
        self._storage = storage
        self._manner = manner
        self._limits = limits
        self._told = Told(run, uri)
        self._kept = spool is not None
        self._lock = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._turning: asyncio.Task[None] | None = None
        self._storing: asyncio.Task[None] | None = None
        self._whole: list[Part] = []
        """Parts that are to be stored, or are being stored."""
        self._stored: list[Part] = []
        """Parts that were stored since the last flush."""
        self._past: list[Part] = []
        """Parts that the last token no longer asks for, but the one before may have: is it committed?"""
        self._error: SinkError | None = None
        self._convert: Convert | None = None
        if (convert := manner.format.convert) is not None:
            self._convert = lambda written, wanted: convert(written, wanted, manner.settings)
        storage.check(uri)
        self._spool = Path(mkdtemp(prefix="streamcrawl-")) / "part" if spool is None else spool
        self._part, inner = Part(1, run.now()), None
        if token is not None:
            current, inner, whole = token
            self._part, self._whole = Part(*current), [Part(*each) for each in whole]
        self._forget(keep=() if token is None else (self._part, *self._whole))
        self._take_back()
        self._feed = self._open(inner)
        self._safe = 0
        """Bytes of the part that the last commit knows of."""
        self._growing = self._grow(inner)
        if self._whole:
            self._storing = run.loop.create_task(self._store_all())
        if self._part.items:
            self._start_clock()

    @property
    def part(self) -> int:
        """The number of the part that is being written."""
        return self._part.number

    def _open(self, token: Any) -> OpenFeed:
        path = self._file(self._part)
        return open_feed(
            shown(self._uri),
            path,
            self._manner,
            self._run,
            token=token,
            spool=path if self._kept else None,
            own=True,
        )

    def _grow(self, token: Any) -> Growing | None:
        """One object for everything is uploaded while it grows, where the store takes it in pieces."""
        if has_part(self._uri) or self._convert is not None:
            return None
        growing = Growing(self._run, self._storage, self._told, self._file(self._part), self._uri)
        at = token_of(token)
        self._safe = 0 if at is None else at.end
        return growing

    def _file(self, part: Part) -> Path:
        return self._spool.with_name(f"{self._spool.name}.{part.number}")

    def _forget(self, keep: tuple[Part, ...]) -> None:
        """Delete the files of parts that nobody asks for."""
        numbers = {str(part.number) for part in keep}
        for path in self._spool.parent.glob(f"{self._spool.name}.*"):
            number, _, kind = path.name.removeprefix(f"{self._spool.name}.").partition(".")
            if number.isdecimal() and (number not in numbers or kind == "out"):
                path.unlink(missing_ok=True)

    # -- what came after the token, or is left of an earlier crawl: it would stand beside what comes now -------------

    def _take_back(self) -> None:
        number = self._part.number
        if has_part_time(self._uri):
            for line in self._names().splitlines():
                if int(line.partition(" ")[0]) >= number:
                    self._storage.remove(line.partition(" ")[2])
            if self._kept:
                self._notebook.unlink(missing_ok=True)
            return
        while has_part(self._uri) and self._storage.remove(of_part(self._uri, number, 0.0)):
            number += 1

    @property
    def _notebook(self) -> Path:
        """Under which names parts were stored, where the names cannot be told from the numbers."""
        return self._spool.with_name(f"{self._spool.name}.names")

    def _names(self) -> str:
        return self._notebook.read_text("utf-8") if self._kept and self._notebook.exists() else ""

    def _note(self, part: Part, uri: str) -> None:
        if self._kept and has_part_time(self._uri):
            with self._notebook.open("a", encoding="utf-8") as file:
                file.write(f"{part.number} {uri}\n")

    # -- items -----------------------------------------------------------------------------------------------------

    def accept(self, item: Item, item_id: ItemId) -> Awaitable[None] | None:
        """Take an item, or a list of them; awaited where a part is whole. Raises: ItemRefused, SinkError."""
        if self._lock.locked():
            return self._later(item, item_id)
        return self._take(item, item_id)

    async def _later(self, item: Item, item_id: ItemId) -> None:
        async with self._lock:
            pass
        waiting = self.accept(item, item_id)
        if waiting is not None:
            await waiting

    def _take(self, item: Item, item_id: ItemId) -> Awaitable[None] | None:
        part, feed = self._part, self._feed
        if not part.items:
            part.began = self._later_than(part.began)
            self._start_clock()
        before = feed.items
        try:
            writing = feed.accept(item, item_id)
        except ItemRefused as refused:
            part.items += feed.items - before  # of a list, the others are taken
            if self._is_whole():
                return self._turn_and_refuse(refused)
            raise
        part.items += feed.items - before
        if writing is not None:
            return self._and_turn(writing)
        return self._turn() if self._is_whole() else None

    async def _and_turn(self, writing: Awaitable[None]) -> None:
        await writing
        if self._is_whole():
            await self._turn()

    async def _turn_and_refuse(self, refused: ItemRefused) -> None:
        await self._turn()
        raise refused

    def _later_than(self, began: float) -> float:
        """Now; two parts never begin in the same microsecond, for it may be their name."""
        return max(self._run.now(), began)

    def _is_whole(self) -> bool:
        limits = self._limits
        return (limits.items is not None and self._part.items >= limits.items) or (
            limits.size is not None and self._feed.size >= limits.size
        )

    def _start_clock(self) -> None:
        if self._limits.seconds is not None and self._timer is None:
            self._timer = self._run.loop.call_later(self._limits.seconds, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        self._turning = self._run.loop.create_task(self._turn_in_time())

    async def _turn_in_time(self) -> None:
        try:
            await self._turn()
        except SinkError as error:  # nobody waits for it
            self._run.fail(error)

    async def _turn(self) -> None:
        """The part is whole: the next one begins. At most one more than that which is being stored waits for it."""
        async with self._lock:
            if self._feed.empty:
                return
            if self._storing is not None and len(self._whole) > 1:
                await asyncio.wait([self._storing])
            if self._error is not None:
                return  # the run is about to end; the part goes on growing
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            await self._end_feed()
            self._whole.append(self._part)
            self._part = Part(self._part.number + 1, self._later_than(self._part.began + 2e-6))
            try:
                self._feed = self._open(None)
            except SinkError as error:
                self._error = self._explained(error)
                raise
            if self._storing is None:
                self._storing = self._run.loop.create_task(self._store_all())

    async def _end_feed(self) -> None:
        try:
            await self._feed.close()
        except SinkError as error:  # so it is not whole, and shall not be taken for it
            self._error = self._error or self._explained(error)
            raise

    # -- storing ---------------------------------------------------------------------------------------------------

    async def _store_all(self) -> None:
        try:
            while self._whole:
                part = self._whole[0]
                await self._store(part)
                self._whole.remove(part)
                self._stored.append(part)
        except (SinkError, OSError) as error:
            self._told.failed()
            self._error = self._explained(error)
            self._run.fail(self._error)
        finally:
            self._storing = None

    async def _store(self, part: Part) -> None:
        written = self._file(part)
        path = await converted(self._run, self._convert, written)
        uri = of_part(self._uri, part.number, part.began)
        size = path.stat().st_size
        self._note(part, uri)
        await store(self._run, self._storage, self._told, path, uri, self._growing)
        if path != written:
            path.unlink(missing_ok=True)
        self._told.stored(uri, part.number if has_part(self._uri) else 0, part.items, size)

    def _explained(self, error: SinkError | OSError) -> SinkError:
        kept = "in the job: the same command goes on" if self._kept else f"in {self._spool.parent}"
        why, name = str(error), f"feed {shown(self._uri)}: "
        told = SinkError(f"{name}{why.removeprefix(name)}; what is not stored is {kept}")
        told.__cause__ = error
        return told

    # -- the run ---------------------------------------------------------------------------------------------------

    async def flush(self) -> Any:
        """What `open` goes on from: the part, what its feed gave, and the parts that are to be stored.

        Everything is safe then: in the job's own files, if not stored. Raises: SinkError.
        """
        async with self._lock:
            inner = await self._feed.flush()
            token = [self._part.token, inner, [part.token for part in self._whole]]
            # There is another flush: so the token of the last one was committed, and nobody goes back behind it.
            past, self._past, self._stored = self._past, self._stored, []
        if self._growing is not None:
            at = token_of(inner)
            end = 0 if at is None else at.end
            self._growing.advance(self._safe if self._kept else end)
            self._safe = end
        for part in past:
            self._delete(part)
        return token

    def _delete(self, part: Part) -> None:
        path = self._file(part)
        for each in (path, *path.parent.glob(f"{path.name}.rest.*")):
            each.unlink(missing_ok=True)

    async def close(self) -> None:
        """Store what there is. Raises: SinkError."""
        try:
            await self._close()
        except SinkError:
            if self._growing is not None:
                await self._growing.abandon()
            raise
        finally:
            await self._run.loop.run_in_executor(None, self._storage.close)

    async def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._turning is not None:
            await asyncio.wait([self._turning])
        async with self._lock:
            await self._end_feed()
            if not self._feed.empty or (self._part.number == 1 and self._manner.store_empty):
                self._whole.append(self._part)
        if self._storing is not None:
            await asyncio.wait([self._storing])
        if self._run.cut and self._kept:
            if self._growing is not None:
                await self._growing.abandon()
            return  # when the job goes on, it goes on with this part
        if self._error is None:
            await self._store_all()
        if self._error is not None:
            raise self._error
        if not self._kept:
            rmtree(self._spool.parent, ignore_errors=True)

    def __repr__(self) -> str:
        return f"<OpenParts {shown(self._uri)}: part {self.part}, {len(self._whole)} to be stored>"
