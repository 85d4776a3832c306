"""Cached responses in a DBM file."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from streamcrawl.arguments import telling
from streamcrawl.caching.dbm_file import DbmFile
from streamcrawl.caching.entry import Entry
from streamcrawl.caching.packing import Compression
from streamcrawl.caching.stored import Batches, Call, Found, checked, counted
from streamcrawl.core import Run
from streamcrawl.events import Notice


@telling
def dbm_store(
    path: str | os.PathLike[str],
    *,
    module: str = "dbm",
    max_size: int | None = None,
    compress: Compression = "zstd",
    max_age: float | None = None,
) -> DbmStore:
    """Keep cached responses in a DBM file, as Scrapy's DBM storage does. One run at a time can use it.

    `sqlite_store` is the better choice unless the file has to be a DBM one.

    Args:
        path: Of the file; modules add their endings to it. Its folders are made.
        module: A module with `open(path, "c")`: "dbm", "dbm.gnu", "dbm.ndbm", "dbm.dumb", "dbm.sqlite3" (Python 3.13),
            or another by its name.
        max_size: Bytes of all responses; what was unused the longest goes first. Some modules never give back the space
            of what was removed. None: no bound.
        compress: "zstd", "gzip" or None: how bodies are kept that came without a Content-Encoding.
        max_age: Seconds after which a response counts as not there, counted from when it was put last. None: never.

    Raises: ValueError when built, for a module that cannot be imported too; CacheStoreError from `open`, naming the
        file, if another run has it for example.
    """
    checked("dbm_store", max_size, compress, max_age)
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"dbm_store(module={module!r}): it cannot be imported: {error}") from error
    if not callable(getattr(found, "open", None)):
        raise ValueError(f"dbm_store(module={module!r}): it has no function open(path, flag)")
    return DbmStore(Path(path).expanduser(), module, max_size, compress, max_age)


@dataclass(frozen=True, slots=True)
class DbmStore:
    """What `dbm_store` gives."""

    path: Path
    module: str = "dbm"
    max_size: int | None = None
    compress: Compression = "zstd"
    max_age: float | None = None

    def open(self, run: Run) -> OpenDbmStore:
        """Raises: CacheStoreError if it cannot be written, is something else, or another run has it."""
        return OpenDbmStore(self, run)


class OpenDbmStore:
    """A DbmStore in one run."""

    __slots__ = ("_batches", "_file", "_run", "label")

    def __init__(self, store: DbmStore, run: Run) -> None:
        self._run = run
        self.label = f"cache {store.path}"
        thread = ThreadPoolExecutor(1, "http-cache")
        opened = thread.submit(
            DbmFile,
            store.path,
            importlib.import_module(store.module),
            max_size=store.max_size,
            compress=store.compress,
            max_age=store.max_age,
        )
        try:
            self._file = opened.result()  # some modules allow one thread only
        except BaseException:
            thread.shutdown(wait=False)
            raise
        if self._file.set_aside and run.events.wants(Notice):
            text = f"{self.label}: it was damaged when a run was killed, and is kept as {self._file.set_aside}"
            run.events.emit(Notice(text=text, level="warning"))
        self._batches = Batches(run.loop, thread, self.label, self._file.work, self._count)

    async def get(self, key: bytes) -> list[Entry]:
        found: Found = await self._batches.ask(Call("get", key, self._run.now(), None))
        return found.given(self._run, self.label)

    async def put(self, key: bytes, entry: Entry) -> None:
        await self._batches.put(key, entry, self._run.now())

    def put_soon(self, key: bytes, entry: Entry, failed: Callable[[Exception], None]) -> bool:
        return self._batches.put_soon(key, entry, self._run.now(), failed)

    async def delete(self, key: bytes) -> None:
        await self._batches.ask(Call("delete", key, self._run.now(), None))

    async def close(self) -> None:
        await self._batches.close(self._file.close)

    def _count(self) -> None:
        counts, self._file.counts = self._file.counts, {}  # the thread has nothing to do just now
        for name, more in counts.items():
            counted(self._run, f"httpcache/{name}", more)

    def __repr__(self) -> str:
        return f"<OpenDbmStore {self.label}>"
