"""A budget of decoded pixels: pictures are decoded at once as far as their bytes fit into it."""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

LARGE = 8 * 1024 * 1024
"""Bytes of a picture before and after which what was freed is given back to the system."""


class Budget:
    """So many bytes, lent to threads in the order in which they ask. One that asks for more than all goes alone.

    Args:
        limit: Bytes.
    """

    __slots__ = ("_changed", "_line", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._line: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def of(self, size: int) -> Generator[None]:
        """Wait until there is room for `size` bytes, and hold it. Blocks: call it in a thread."""
        turn = object()
        with self._changed:
            self._line.append(turn)
            # In order, so that a large one is not passed by small ones for ever.
            self._changed.wait_for(lambda: self._line[0] is turn and (not self.used or self.used + size <= self.limit))
            self._line.popleft()
            self.used += size
            self._changed.notify_all()
        if size >= LARGE:
            _give_back()
        try:
            yield
        finally:
            if size >= LARGE:
                _give_back()
            with self._changed:
                self.used -= size
                self._changed.notify_all()

    def __repr__(self) -> str:
        return f"<Budget {self.used} of {self.limit} bytes, {len(self._line)} wait>"


@cache
def _trim() -> Any:
    try:
        return getattr(ctypes.CDLL(None), "malloc_trim", None)
    except (OSError, TypeError):
        return None


def _give_back() -> None:
    """glibc keeps what large pictures leave behind, up to 32 MB a piece, torn by what is small and stays."""
    trim = _trim()
    if trim is not None:
        trim(0)
