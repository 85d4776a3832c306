"""Memory for what is large: how many pictures are decoded at once, and what is given back to the system."""

from __future__ import annotations

import ctypes
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from streamcrawl.media.room import Room

LARGE = 8 * 1024 * 1024
"""Bytes of a picture before and after which what was freed is given back to the system."""
APART = 1024 * 1024
"""Bytes from which on a block of memory is kept apart from others."""


class Memory:
    """So many bytes for pictures that need no more than that, together, and others beside them for larger ones.

    So neither small ones wait until a large one has let go, nor a large one for them. Where all threads have large ones
    in work, a small one waits until one of them is done, as always: they work in the order in which they are asked.

    Args:
        limit: Bytes.
        large: Bytes for those that need more than `limit`, together. One that needs more than this goes alone.
    """

    __slots__ = ("large", "room")

    def __init__(self, limit: int, large: int = 0) -> None:
        self.room = Room(limit)
        self.large = Room(large)

    @asynccontextmanager
    async def of(self, cost: int) -> AsyncGenerator[None]:
        """Wait until a picture that needs `cost` bytes may have them, and hold them."""
        room = self.room if cost <= self.room.limit else self.large
        await room.take(cost)
        try:
            yield
        finally:
            room.give(cost)

    def __repr__(self) -> str:
        return f"<Memory {self.room!r}, {self.large!r} for large ones>"


@cache
def keep_apart() -> None:
    """Have large blocks come from the system and go back to it, each for itself, in this process from now on.

    Left alone, glibc takes blocks of up to 32 MiB from its heaps once one of them was freed, and pictures and parts of
    files tear the heaps: what is small and stays keeps what was large and went.

    Source: mallopt(3), M_MMAP_THRESHOLD.
    """
    set_option = _of_glibc("mallopt")
    if set_option is not None:
        set_option(-3, APART)


def give_back() -> None:
    """What is free in the heaps goes back to the system, as far as it lies together. Source: malloc_trim(3)."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


@cache
def _of_glibc(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):
        return None
