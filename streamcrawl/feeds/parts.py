"""A feed in parts: each is written to a file of this machine, and stored where it belongs when it is whole.

So readers see whole parts only, an object store need not append, and what is not yet stored is safe in the job.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, cast

from streamcrawl.core import Item, ItemId, Run
from streamcrawl.errors import SinkError
from streamcrawl.events import Notice
from streamcrawl.feeds.opened import OpenFeed
from streamcrawl.storage.objects import ObjectLost, Objects, shown

TRIES = 5
"""How often a part is tried to be stored, in one run."""
PAUSE = 1.0
"""Seconds after the first of them; each further pause is twice as long."""

_PART = re.compile(r"\{part(?::0?(\d+))?\}")


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


def numbered(uri: str, part: int) -> str:
    """The URI of a part: `{part}` or `{part:05}` replaced by its number, which begins with 1."""
    return _PART.sub(lambda found: str(part).zfill(int(found[1] or 0)), uri)


def has_number(uri: str) -> bool:
    return _PART.search(uri) is not None


class OpenParts:
    """Takes items for the part that is being written, and stores those that are whole.

    Args:
        uri: Where the parts go; with `{part}`, unless everything is one part.
        make: Opens a part's file: (path, token) -> the feed.
        spool: How the names of the job's files for it begin; None: there is no job.
        token: What `flush` gave in an earlier run of the same job.

    Raises: SinkError if the place cannot be written to.
    """

    def __init__(
        self,
        uri: str,
        run: Run,
        objects: Objects,
        make: Callable[[Path, int | None], OpenFeed],
        *,
        limits: Limits,
        spool: Path | None,
        token: Any = None,
    ) -> None:
        self._uri = uri
        self._run = run
        self._objects = objects
        self._make = make
        self._limits = limits
        self._kept = spool is not None
        self._spool = Path(mkdtemp(prefix="streamcrawl-")) / "part" if spool is None else spool
        self._lock = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._turning: asyncio.Task[None] | None = None
        self._storing: asyncio.Task[None] | None = None
        self._whole: list[int] = []
        """Parts that are to be stored, or are being stored."""
        self._stored: list[int] = []
        """Parts that were stored since the last flush."""
        self._past: list[int] = []
        """Parts that the last token no longer asks for, but the one before may have: is it committed?"""
        self._error: SinkError | None = None
        self.part, self._items, size = 1, 0, None
        objects.check(uri)
        if token is None:
            self._forget(keep=())
        else:
            self.part, self._items, size, self._whole = token
            self._forget(keep=(self.part, *self._whole))
        # What an earlier crawl left, or what came after the token: it would stand beside what comes now.
        after = self.part if has_number(uri) else 0
        while after and objects.remove(numbered(uri, after)):
            after += 1
        self._feed = make(self._file(self.part), size)
        if self._whole:
            self._storing = run.loop.create_task(self._store_all())
        self._start_clock()

    def _file(self, part: int) -> Path:
        return self._spool.with_name(f"{self._spool.name}.{part}")

    def _forget(self, keep: tuple[int, ...]) -> None:
        """Delete the files of parts that nobody asks for."""
        names = {self._file(part).name for part in keep}
        for path in self._spool.parent.glob(f"{self._spool.name}.*"):
            if path.name.removesuffix(".part") not in names:
                path.unlink(missing_ok=True)

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
        if not self._items:
            self._start_clock()
        self._items += len(cast("Sequence[Item]", item)) if isinstance(item, (list, tuple)) else 1
        self._feed.accept(item, item_id)
        limits = self._limits
        if (limits.items is not None and self._items >= limits.items) or (
            limits.size is not None and self._feed.size >= limits.size
        ):
            return self._turn()
        return None

    def _start_clock(self) -> None:
        if self._limits.seconds is not None and self._timer is None:
            self._timer = self._run.loop.call_later(self._limits.seconds, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        self._turning = self._run.loop.create_task(self._turn())

    async def _turn(self) -> None:
        """The part is whole: the next one begins. At most one more than that which is being stored waits for it."""
        async with self._lock:
            if not self._feed.size:
                return
            if self._storing is not None and len(self._whole) > 1:
                await asyncio.wait([self._storing])
            if self._error is not None:
                return  # the run is about to end; the part goes on growing
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            await self._feed.close()
            self._whole.append(self.part)
            self.part += 1
            self._items = 0
            self._feed = self._make(self._file(self.part), None)
            if self._storing is None:
                self._storing = self._run.loop.create_task(self._store_all())

    # -- storing ---------------------------------------------------------------------------------------------------

    async def _store_all(self) -> None:
        try:
            while self._whole:
                part = self._whole[0]
                await self._store(part)
                self._whole.remove(part)
                self._stored.append(part)
        except SinkError as error:
            self._error = self._explained(error)
            self._run.fail(self._error)
        finally:
            self._storing = None

    async def _store(self, part: int) -> None:
        loop, uri, pause = self._run.loop, numbered(self._uri, part), PAUSE
        for tries in range(1, TRIES + 1):
            try:
                await loop.run_in_executor(None, self._objects.put, self._file(part), uri)
                return
            except ObjectLost as error:
                if not error.again or tries == TRIES:
                    raise
                self._run.events.emit(
                    Notice(text=f"feed {shown(self._uri)}: {error}; again in {pause:g} s", level="warning")
                )
            await asyncio.sleep(pause)
            pause *= 2

    def _explained(self, error: SinkError) -> SinkError:
        kept = "in the job: the same command goes on" if self._kept else f"in {self._spool.parent}"
        told = SinkError(f"feed {shown(self._uri)}: {error}; what is not stored is {kept}")
        told.__cause__ = error
        return told

    # -- the run ---------------------------------------------------------------------------------------------------

    async def flush(self) -> Any:
        """What `open` goes on from: the part, its items and bytes, and the parts that are to be stored.

        Everything is safe then: in the job's own files, if not stored. Raises: SinkError.
        """
        async with self._lock:
            size = await self._feed.flush()
            token = [self.part, self._items, size, [*self._whole]]
            # There is another flush: so the token of the last one was committed, and nobody goes back behind it.
            past, self._past, self._stored = self._past, self._stored, []
        for part in past:
            self._file(part).unlink(missing_ok=True)
        return token

    async def close(self) -> None:
        """Store what there is. Raises: SinkError."""
        if self._timer is not None:
            self._timer.cancel()
        async with self._lock:
            await self._feed.close()
            if self._feed.size or self.part == 1:
                self._whole.append(self.part)
        if self._storing is not None:
            await asyncio.wait([self._storing])
        if self._run.cut and self._kept:
            return  # when the job goes on, it goes on with this part
        if self._error is None:
            await self._store_all()
        if self._error is not None:
            raise self._error
        if not self._kept:
            rmtree(self._spool.parent, ignore_errors=True)

    def __repr__(self) -> str:
        return f"<OpenParts {shown(self._uri)}: part {self.part}, {len(self._whole)} to be stored>"
