"""A bound on bytes in hand: whoever wants more waits until others have let go."""

from __future__ import annotations

import asyncio
from collections import deque


class Room:
    """So many bytes, lent to tasks in the order in which they ask. One that asks for more than all goes alone.

    Args:
        limit: Bytes.
    """

    __slots__ = ("_line", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._line: deque[tuple[asyncio.Future[None], int]] = deque()

    async def take(self, size: int) -> None:
        """Wait until there is room for `size` bytes, and hold it."""
        if self._line or not self._fits(size):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._line.append((turn, size))
            try:
                await turn
            except asyncio.CancelledError:
                # Either it was let in, and does not come; or who stands behind it may fit.
                self.give(0 if turn.cancelled() else size)
                raise
        else:
            self.used += size

    def grow(self, size: int) -> None:
        """Hold `size` bytes more, without waiting."""
        self.used += size

    def give(self, size: int) -> None:
        """Let go of `size` bytes."""
        self.used -= size
        while self._line:
            turn, wanted = self._line[0]
            if not turn.done():
                if not self._fits(wanted):
                    return
                self.used += wanted
                turn.set_result(None)
            self._line.popleft()

    def _fits(self, size: int) -> bool:
        return not self.used or self.used + size <= self.limit

    def __repr__(self) -> str:
        return f"<Room {self.used} of {self.limit} bytes, {len(self._line)} wait>"
