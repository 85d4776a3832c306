"""What the `http_cache` layer stands on: the protocol of a store, and one in memory."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from streamcrawl.arguments import telling
from streamcrawl.caching.entry import Entry
from streamcrawl.core import Run

VARIANTS = 32
"""Variants of one key that a store keeps; the one that was put first goes first."""


class CacheStore(Protocol):
    """Where responses are kept: a description, opened for each run."""

    def open(self, run: Run) -> OpenCacheStore:
        """Raises: StreamcrawlError if it cannot be used at all."""
        ...


class OpenCacheStore(Protocol):
    """A store in one run. Its functions are called from many tasks at once; each of them is atomic.

    A key is 16 bytes or more; all that is known of it is that it is the same for the same page.

    A store may have two functions more, which are plain ones: `absent(key) -> bool`, whether there is nothing under a
    key as far as is known without looking; and `put_soon(key, entry, failed) -> bool`, which is `put` without waiting:
    whoever gets later sees the entry, `failed` is called on the loop with an error, and `close` waits for it. It gives
    False if too much waits already: `put` is awaited then.
    """

    async def get(self, key: bytes) -> list[Entry]:
        """All variants of the key, the one that was put last first.

        Raises: CorruptEntry if what is there cannot be read: the layer takes it for a miss, and deletes the key.
        """
        ...

    async def put(self, key: bytes, entry: Entry) -> None:
        """Keep the entry, in place of the variant of the key whose `vary` is the same."""
        ...

    async def delete(self, key: bytes) -> None:
        """Forget all variants of the key; nothing happens if there are none."""
        ...

    async def close(self) -> None:
        """Called once, when the run has ended."""
        ...


@telling
@dataclass(frozen=True, slots=True)
class MemoryStore:
    """Keeps responses in memory until the run ends, up to `max_size` bytes; the least lately used go first.

    Args:
        max_size: Bytes, 1 or more.

    Raises: ValueError.
    """

    max_size: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.max_size < 1:
            raise ValueError(f"MemoryStore(max_size={self.max_size!r}): bytes, 1 or more")

    def open(self, run: Run) -> OpenMemoryStore:
        return OpenMemoryStore(self.max_size)


class OpenMemoryStore:
    """A MemoryStore in one run."""

    __slots__ = ("_entries", "_max_size", "size")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._entries: OrderedDict[bytes, list[Entry]] = OrderedDict()
        self.size = 0

    async def get(self, key: bytes) -> list[Entry]:
        found = self._entries.get(key)
        if found is None:
            return []
        self._entries.move_to_end(key)
        return list(found)

    async def put(self, key: bytes, entry: Entry) -> None:
        before = self._entries.pop(key, [])
        kept = [entry, *(other for other in before if other.vary != entry.vary)][:VARIANTS]
        self._entries[key] = kept
        self.size += sum(each.size for each in kept) - sum(each.size for each in before)
        while self.size > self._max_size:
            _, gone = self._entries.popitem(last=False)
            self.size -= sum(each.size for each in gone)

    async def delete(self, key: bytes) -> None:
        self.size -= sum(each.size for each in self._entries.pop(key, []))

    async def close(self) -> None:
        self._entries.clear()
        self.size = 0

    def __repr__(self) -> str:
        return f"<OpenMemoryStore {len(self._entries)} keys, {self.size} bytes>"
