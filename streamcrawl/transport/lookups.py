"""The operating system's resolver, in threads of its own: names that are slow to fail hold up no others.

The event loop has some six threads on a small machine, for files as well: six dead names, each five or ten seconds in
the resolver, and nothing else moves. It also waits for them when it is closed.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import aiohttp

THREADS = 128
"""Names that are looked up at the same time, at most. A thread is started when none is free."""

IDLE_SECONDS = 10.0
"""After which a thread that has nothing to do ends."""

Lookup: TypeAlias = "tuple[asyncio.Future[Any], Callable[[], Any]]"


class Threads:
    """Calls that block, each in a thread; nobody waits for them at the end, because a resolver cannot be interrupted.

    Args:
        most: Threads at the same time.
    """

    def __init__(self, most: int = THREADS) -> None:
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Lookup] = deque()
        self._changed = threading.Condition()
        self._alive = 0
        self._idle = 0
        self._closed = False

    def call(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        """What `work` gives or raises."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        with self._changed:
            self._waiting.append((answer, work))
            if len(self._waiting) <= self._idle:
                self._changed.notify()
            elif self._alive < self._most:
                self._alive += 1
                threading.Thread(target=self._work, name="resolver", daemon=True).start()
        return answer

    def close(self) -> None:
        """No thread begins with another one; those that are free end."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _work(self) -> None:
        while (lookup := self._next()) is not None:
            answer, work = lookup
            if answer.cancelled():
                continue
            try:
                told: tuple[Callable[[Any], None], Any] = answer.set_result, work()
            except Exception as error:
                told = answer.set_exception, error
            try:
                self._loop.call_soon_threadsafe(_tell, answer, *told)
            except RuntimeError:  # the loop is closed: nobody waits for it any more
                return

    def _next(self) -> Lookup | None:
        with self._changed:
            self._idle += 1
            while not self._waiting and not self._closed and self._changed.wait(IDLE_SECONDS):
                pass
            self._idle -= 1
            if self._waiting:
                return self._waiting.popleft()
            self._alive -= 1
            return None

    def __repr__(self) -> str:
        return f"<Threads: {self._alive - self._idle} at work, {len(self._waiting)} calls waiting>"


def _tell(answer: asyncio.Future[Any], tell: Callable[[Any], None], what: Any) -> None:
    if not answer.done():
        tell(what)


class _AsLoop:
    """What aiohttp's resolver wants of an event loop."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    async def getaddrinfo(self, host: str, port: int, **options: Any) -> Any:
        return await self._threads.call(lambda: socket.getaddrinfo(host, port, **options))

    async def getnameinfo(self, address: Any, flags: int = 0) -> Any:
        return await self._threads.call(lambda: socket.getnameinfo(address, flags))


class SystemResolver(aiohttp.ThreadedResolver):
    """The operating system's resolver."""

    def __init__(self) -> None:
        self._threads = Threads()
        super().__init__(cast(asyncio.AbstractEventLoop, _AsLoop(self._threads)))

    async def close(self) -> None:
        """Let the threads go."""
        self._threads.close()
