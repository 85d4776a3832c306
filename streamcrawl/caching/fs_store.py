"""Cached responses in a folder or an object store: one object for each key."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from streamcrawl.arguments import telling
from streamcrawl.caching.entry import Entry
from streamcrawl.caching.objects import Folder, Objects, Remote
from streamcrawl.caching.packing import Compression, Packed, pack, split
from streamcrawl.caching.room import Room
from streamcrawl.caching.store import VARIANTS
from streamcrawl.caching.stored import (
    CacheStoreError,
    Found,
    checked,
    counted,
    whole_of,
    why,
)
from streamcrawl.core import Run
from streamcrawl.storage.paths import local_path

T = TypeVar("T")

LANES = {True: 2, False: 16}
"""Threads for a folder (True), and for what lies behind a network. Each key has its own: its calls keep their order."""
PATIENCE = 30.0
"""Seconds to wait for the first answer of an object store."""
TOUCH = 3600.0
"""Seconds after which a file that is read is marked as used anew."""
ABSENT = 4096
"""Names that are known to be absent, at most."""


@telling
def fs_store(
    uri: str | os.PathLike[str],
    *,
    max_size: int | None = None,
    compress: Compression = "zstd",
    max_age: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> FsStore:
    """Keep cached responses in a folder, or in what fsspec reaches: one object for each page.

    Any number of runs and processes may use it at once; of two that write the same page in the same moment, one wins.

    Args:
        uri: A path, `file:` URI, or what fsspec takes ("s3://bucket/prefix", "memory://name").
        max_size: Bytes of all objects; the longest unused go first in a folder, elsewhere the longest written. To
            see what is there it is listed, each time that a tenth of `max_size` was written. None: no bound.
        compress: "zstd", "gzip" or None: how bodies are kept that came without a Content-Encoding.
        max_age: Seconds after which a response counts as not there, counted from when it was put last. None: never.
        options: Keyword arguments of fsspec's file system, such as `key`, `secret` and `endpoint_url` for S3.

    Raises: ValueError when built; CacheStoreError from `open`, naming the place.
    """
    checked("fs_store", max_size, compress, max_age)
    if options and local_path(uri) is not None:
        raise ValueError(f"fs_store({os.fspath(uri)!r}, options={sorted(options)!r}): a folder takes none")
    return FsStore(os.fspath(uri), max_size, compress, max_age, options or {})


@dataclass(frozen=True, slots=True)
class FsStore:
    """What `fs_store` gives."""

    uri: str
    max_size: int | None = None
    compress: Compression = "zstd"
    max_age: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)  # it may hold a password

    def open(self, run: Run) -> OpenFsStore:
        """Raises: CacheStoreError if it cannot be read and written, or is something else."""
        return OpenFsStore(self, run)


class OpenFsStore:
    """An FsStore in one run."""

    __slots__ = ("_absent", "_closed", "_lanes", "_loop", "_objects", "_room", "_run", "_store", "label")

    def __init__(self, store: FsStore, run: Run) -> None:
        self._store = store
        self._run = run
        self._loop = run.loop
        self.label = f"cache {store.uri}"
        folder = local_path(store.uri)
        self._objects: Objects = (
            Remote(self.label, store.uri, store.options) if folder is None else Folder(self.label, folder)
        )
        self._lanes = [ThreadPoolExecutor(1, "http-cache") for _ in range(LANES[folder is not None])]
        self._room = Room(self._objects, store.max_size, store.max_age)
        self._absent: set[str] = set()
        """Names under which nothing was found: when the page comes, its object need not be read again."""
        self._closed = False
        try:
            self._lanes[0].submit(self._objects.prepare).result(PATIENCE)
        except TimeoutError:
            self._end()
            raise CacheStoreError(f"{self.label}: no answer for {PATIENCE:g} s") from None
        except BaseException:
            self._end()
            raise

    async def get(self, key: bytes) -> list[Entry]:
        found = await self._in_lane(key, "read", self._get)
        return found.given(self._run, self.label)

    async def put(self, key: bytes, entry: Entry) -> None:
        """It is written when this returns."""
        await self._in_lane(key, "write", lambda name, now: self._put(name, entry, now))
        counts, self._room.counts = self._room.counts, {}
        for what, more in counts.items():
            counted(self._run, f"httpcache/{what}", more)

    async def delete(self, key: bytes) -> None:
        await self._in_lane(key, "remove", lambda name, now: self._objects.remove(name))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for lane in self._lanes:
            await self._loop.run_in_executor(lane, _nothing)  # what was asked before is done then
        self._end()

    def _end(self) -> None:
        for lane in self._lanes:
            lane.shutdown(wait=False, cancel_futures=True)

    async def _in_lane(self, key: bytes, what: str, work: Callable[[str, float], T]) -> T:
        if self._closed:
            raise CacheStoreError(f"{self.label}: it is closed")
        digits = key.hex()
        name = f"{digits[:2]}/{digits[2:]}"
        lane = self._lanes[key[-1] % len(self._lanes)]
        try:
            return await self._loop.run_in_executor(lane, work, name, self._run.now())
        except Exception as error:  # each of fsspec's file systems has its own
            raise CacheStoreError(f"{self.label}: cannot {what} {name}: {why(error)}") from error

    def _get(self, name: str, now: float) -> Found:
        data = self._objects.read(name, now, None if self._store.max_size is None else TOUCH)
        if data is None:
            if len(self._absent) >= ABSENT:
                self._absent.clear()
            self._absent.add(name)
            return Found([])
        packed, whole = split(data)
        whole = whole and bool(packed)  # one that was cut to nothing is damaged too
        young = [each for each in packed if not self._too_old(each, now)]
        entries, damaged = whole_of(young)
        if damaged or not whole or len(young) < len(packed):
            gone = set(map(id, damaged))
            self._keep(name, [each for each in young if id(each) not in gone], now)
        return Found(entries, len(damaged) + (not whole))

    def _put(self, name: str, entry: Entry, now: float) -> None:
        packed = pack(entry, now, self._store.compress)
        data = None if name in self._absent else self._objects.read(name, now, None)
        self._absent.discard(name)
        before = split(data)[0] if data is not None else []
        others = [each for each in before if each.variant != packed.variant and not self._too_old(each, now)]
        kept = [packed, *others[: VARIANTS - 1]]
        if self._room.made(name, sum(each.size for each in kept), now):
            self._keep(name, kept, now)
        else:
            self._keep(name, others, now)

    def _keep(self, name: str, packed: list[Packed], now: float) -> None:
        if packed:
            self._objects.write(name, [part for each in packed for part in (each.head, each.body)], now)
        else:
            self._objects.remove(name)

    def _too_old(self, packed: Packed, now: float) -> bool:
        return self._store.max_age is not None and now - packed.stored > self._store.max_age

    def __repr__(self) -> str:
        return f"<OpenFsStore {self.label}>"


def _nothing() -> None:
    """Work that is done when all before it is."""
