"""What a store remembers of where its files came from: JSON Lines in its folder `index`, a few thousand records a file.

A record says path and url, when it was stored, and of pictures their size and thumbnails. Records are written every two
seconds, with each commit of a job, and at the end, so a kill may cost some: a store without its index, or without parts
of it, is as good as one with, for nothing but people looks there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import count
from time import gmtime, strftime
from typing import Any

from streamcrawl.core import Run
from streamcrawl.storage.store import Meta, Store

FOLDER = "index"
RECORDS = 2000
"""In a file of the index."""
PAUSE = 2.0
"""Seconds between two times that a file of the index is written, unless a job commits."""

_numbers = count(1)


class Index:
    """The index of what one sink stores in one run: a file that is written again as it grows, then the next one."""

    __slots__ = ("_dirty", "_lines", "_name", "_number", "_run", "_store", "_writing", "_written")

    def __init__(self, store: Store, run: Run) -> None:
        self._store = store
        self._run = run
        self._lines: list[str] = []
        self._dirty = False
        self._written = run.monotonic()
        self._writing = False
        started = strftime("%Y%m%dT%H%M%SZ", gmtime(run.now()))
        self._name = f"{started}-{os.getpid()}-{next(_numbers)}"
        self._number = 1

    async def add(self, record: dict[str, Any]) -> None:
        """Note it; it is written soon. Raises: StoreError."""
        self._lines.append(json.dumps(record, ensure_ascii=False, separators=(",", ":")))
        self._dirty = True
        if len(self._lines) >= RECORDS or self._run.monotonic() - self._written >= PAUSE:
            await self.write()

    async def write(self) -> None:
        """Write what was noted since the last time. Raises: StoreError."""
        if not self._dirty or self._writing:
            return
        self._writing = True
        try:
            number, lines = self._number, self._lines
            if len(lines) >= RECORDS:
                self._number, self._lines = number + 1, []
            self._dirty = False
            body = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")
            path = f"{FOLDER}/{self._name}-{number:05}.jsonl"
            await self._store.put(path, body, Meta("application/jsonl"))
            self._written = self._run.monotonic()
        except BaseException:
            self._dirty = True
            raise
        finally:
            self._writing = False


async def records(store: Store) -> dict[str, dict[str, Any]]:
    """By path: what the index says of each file, the newest record of several."""
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(name for name in await store.list(FOLDER) if name.endswith(".jsonl")):
        for record in _parsed(await store.read(name)):
            found[record["path"]] = record
    return found


def _parsed(body: bytes) -> Iterator[dict[str, Any]]:
    for line in body.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue  # somebody else's
        if isinstance(record, dict) and isinstance(record.get("path"), str):  # pyright: ignore[reportUnknownMemberType] - JSON
            yield record
