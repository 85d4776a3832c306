"""Stores of the HTTP cache for tests: made by their kind, opened in a run whose clock stands, filled by a process.

As a script it fills a store until it is killed: `python cache_stores_made.py KIND FOLDER FIRST COUNT`
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path
from typing import Any

from streamcrawl.caching.dbm_store import dbm_store
from streamcrawl.caching.entry import Entry
from streamcrawl.caching.fs_store import fs_store
from streamcrawl.caching.packing import Compression
from streamcrawl.caching.sqlite_store import sqlite_store
from streamcrawl.caching.store import CacheStore
from streamcrawl.streams.local import LocalRun

KINDS = ("sqlite", "folder", "memory", "dbm")
START = 1_900_000_000.0


def made(kind: str, folder: Path, *, compress: Compression = "zstd", **arguments: Any) -> CacheStore:
    """A store of this kind; in `folder`, if it is one of this machine."""
    match kind:
        case "sqlite":
            return sqlite_store(folder / "cache.sqlite", compress=compress, **arguments)
        case "folder":
            return fs_store(folder / "cache", compress=compress, **arguments)
        case "memory":
            return fs_store(f"memory:/{folder}/cache", compress=compress, **arguments)
        case "dbm":
            return dbm_store(folder / "cache.dbm", compress=compress, **arguments)
        case _:
            raise ValueError(kind)


class StillRun(LocalRun):
    """A run whose clock goes only when it is told to."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.date = START
        self.now = lambda: self.date


def still_run() -> StillRun:
    return StillRun(asyncio.get_running_loop())


def key_of(number: int) -> bytes:
    return number.to_bytes(20, "big")


def page(number: int, size: int = 2000, **changes: Any) -> Entry:
    """A page that can be told from every other, and is the same in every process."""
    text = b"<p>page %d</p>" % number
    noise = random.Random(number).randbytes(size // 2)
    body = (text + noise + text * (size // len(text)))[: max(size, len(text))]
    entry = Entry(
        url=f"https://shop.example/{number}",
        headers=(("Content-Type", "text/html"), ("ETag", f'"{number}"')),
        body=body,
        request_time=START - 1,
        response_time=START,
        protocol="HTTP/1.1",
        ip_address="127.0.0.1",
    )
    return entry.replace(**changes)


async def fill(kind: str, folder: Path, first: int, count: int) -> None:
    """Put pages, eight at once, and say of each when it is in."""
    store = made(kind, folder).open(LocalRun(asyncio.get_running_loop()))
    gate = asyncio.Semaphore(8)

    async def put(number: int) -> None:
        async with gate:
            await store.put(key_of(number), page(number))
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()

    await asyncio.gather(*map(put, range(first, first + count)))
    await store.close()


if __name__ == "__main__":
    asyncio.run(fill(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
