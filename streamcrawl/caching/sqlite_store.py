"""Cached responses in one SQLite file."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from streamcrawl.arguments import telling
from streamcrawl.caching.entry import Entry
from streamcrawl.caching.packing import Compression
from streamcrawl.caching.sqlite_file import SqliteFile, short
from streamcrawl.caching.stored import GIB, Batches, Call, Found, checked, counted
from streamcrawl.core import Run
from streamcrawl.processors import processors


@telling
def sqlite_store(
    path: str | os.PathLike[str] = "httpcache.sqlite",
    *,
    max_size: int | None = 4 * GIB,
    compress: Compression = "zstd",
    max_age: float | None = None,
) -> SqliteStore:
    """Keep cached responses in one SQLite file.

    Any number of runs and processes may use the file at once. All work on it is done in a thread.

    Args:
        path: Of the file; it is made, with its folders.
        max_size: Bytes that the file may have; what was unused the longest goes first. None: no bound.
        compress: "zstd", "gzip" or None: how bodies are kept that came without a Content-Encoding. A file may hold
            bodies of all kinds.
        max_age: Seconds after which a response is removed, counted from when it was put last. None: never.

    Raises: ValueError when built; CacheStoreError from `open`, naming the file.
    """
    checked("sqlite_store", max_size, compress, max_age)
    return SqliteStore(Path(path).expanduser(), max_size, compress, max_age)


THREADS = 8
"""That compress at once, at most."""


@dataclass(frozen=True, slots=True)
class SqliteStore:
    """What `sqlite_store` gives."""

    path: Path
    max_size: int | None = 4 * GIB
    compress: Compression = "zstd"
    max_age: float | None = None

    def open(self, run: Run) -> OpenSqliteStore:
        """Raises: CacheStoreError if it is no file of ours, or cannot be written."""
        return OpenSqliteStore(self, run)


class OpenSqliteStore:
    """A SqliteStore in one run."""

    __slots__ = ("_batches", "_file", "_run", "label")

    def __init__(self, store: SqliteStore, run: Run) -> None:
        self._run = run
        self.label = f"cache {store.path}"
        thread = ThreadPoolExecutor(1, "http-cache")
        opened = thread.submit(
            SqliteFile, store.path, max_size=store.max_size, compress=store.compress, max_age=store.max_age
        )
        try:
            self._file = opened.result()  # a connection belongs to the thread that made it
        except BaseException:
            thread.shutdown(wait=False)
            raise
        self._batches = Batches(run.loop, thread, self.label, self._file.work, self._count)

    def absent(self, key: bytes) -> bool:
        """Whether there is nothing under the key, as far as is known without looking."""
        keys = self._file.keys
        return keys is not None and short(key) not in keys

    async def get(self, key: bytes) -> list[Entry]:
        found: Found = await self._batches.ask(Call("get", key, self._run.now(), None))
        return found.given(self._run, self.label)

    async def put(self, key: bytes, entry: Entry) -> None:
        """The file has it when this returns."""
        self._is_there(key)
        await self._batches.put(key, entry, self._run.now())

    def put_soon(self, key: bytes, entry: Entry, failed: Callable[[Exception], None]) -> bool:
        self._is_there(key)
        return self._batches.put_soon(key, entry, self._run.now(), failed)

    def _is_there(self, key: bytes) -> None:
        keys = self._file.keys  # the thread may take it away meanwhile
        if keys is not None:
            keys.add(short(key))

    async def delete(self, key: bytes) -> None:
        await self._batches.ask(Call("delete", key, self._run.now(), None))

    async def close(self) -> None:
        self._file.threads = min(THREADS, processors())  # nobody else has anything to do now
        await self._batches.close(self._file.close)

    def _count(self) -> None:
        counts, self._file.counts = self._file.counts, {}  # the thread has nothing to do just now
        for name, more in counts.items():
            counted(self._run, f"httpcache/{name}", more)

    def __repr__(self) -> str:
        return f"<OpenSqliteStore {self.label}>"
