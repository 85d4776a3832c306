"""The memory ceiling of a run: bodies and items on their way, in bytes (DESIGN law 5)."""

from __future__ import annotations

import asyncio
import re
from collections import deque

from streamcrawl.core import Lease

PAGE = 16 * 1024
"""What a page costs beside its body: its task, its request, its headers."""

TREE = 6
"""A parsed page costs about so many times its body."""

GATHERED = 1024
"""What a page costs that is done but whose items are still on their way."""

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", re.IGNORECASE)


def parse_size(size: str | int) -> int:
    """Bytes, from "512MB", "1.5 GiB" or a number. Raises: ValueError."""
    if isinstance(size, int):
        count = size
    else:
        match = _SIZE.fullmatch(size)
        if match is None:
            raise ValueError(f"memory is {size!r}; it is a number of bytes, or such as '512MB' or '2GB'")
        count = int(float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " "))
    if count < 16 * 1024 * 1024:
        raise ValueError(f"memory is {size!r}; it must be at least 16MB")
    return count


class Budget:
    """Who holds how many bytes.

    Half of the ceiling is for bodies and parsed pages; the other half is left to the interpreter, the frontier and the
    waiting item or two. Reading on beyond the first 256 KiB of a body waits for room, so that the socket feels it; one
    reader, the first in line, may always go on, because a ring of half-read bodies would wait for each other for ever.
    """

    def __init__(self, ceiling: int) -> None:
        self.limit = ceiling // 2
        self.used = 0
        self._line: deque[tuple[asyncio.Future[None], Lease | None, int]] = deque()
        self._ahead: Lease | None = None

    @property
    def full(self) -> bool:
        """No further page may be begun."""
        return self.used >= self.limit

    def charge(self, lease: Lease, weight: int) -> None:
        """The lease stands for `weight` bytes from now on."""
        self.used += weight - lease.weight
        lease.weight = weight
        self._admit()

    def read(self, lease: Lease) -> None:
        """The lease's body is complete: if it went ahead of the line, the next one may."""
        if lease is self._ahead:
            self._ahead = None
            self._admit()

    async def reserve(self, lease: Lease, size: int) -> None:
        """Wait for room for `size` more bytes of the lease."""
        if (self.used + size > self.limit or self._line) and self._ahead is not lease:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._line.append((turn, lease, size))
            self._admit()
            await turn
        self.used += size
        lease.weight += size

    def _admit(self) -> None:
        while self._line:
            turn, lease, size = self._line[0]
            if turn.done():
                self._line.popleft()
            elif self.used + size <= self.limit:
                self._line.popleft()
                turn.set_result(None)
            elif self._ahead is None:
                self._line.popleft()
                self._ahead = lease
                turn.set_result(None)
            else:
                return

    def __repr__(self) -> str:
        return f"<Budget {self.used} of {self.limit} bytes, {len(self._line)} readers wait>"
