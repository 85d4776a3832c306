"""How many connections are open at a time: a broad crawl would keep one to every host that it has met."""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest, ConnectionKey
from aiohttp.tracing import Trace

from streamcrawl.descriptors import descriptors

IDLE = 1024
"""Idle connections that are kept, at most; some 10 KB each, and more with TLS."""

FEWEST = 16
"""Connections at a time, in any case."""

PAUSES = (0.0, 0.05, 0.2, 1.0)
"""Seconds until a connection is tried again for which there was no descriptor."""


def most_connections() -> int:
    """Connections in use at a time: half of the descriptors. A quarter is for files and for connections that close."""
    return max(FEWEST, descriptors() // 2)


def most_idle() -> int:
    """Idle connections that are kept: a quarter of the descriptors."""
    return max(FEWEST, min(IDLE, descriptors() // 4))


class Connector(aiohttp.TCPConnector):
    """A connector that lets the connections go that have been idle for longest, when there are too many.

    A request for which there is no file descriptor waits until another has ended.

    Args:
        options: As aiohttp's has them.
    """

    def __init__(self, **options: Any) -> None:
        self._most_idle = most_idle()
        self._idle: dict[ResponseHandler, ConnectionKey] = {}
        """Connections that were given back, the last at the end; some are in use again, or closed."""
        super().__init__(limit=most_connections(), limit_per_host=0, **options)  # pyright: ignore[reportUnknownMemberType] - aiohttp leaves one option half typed

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own
    ) -> ResponseHandler:
        for pause in PAUSES:
            try:
                return await super()._create_connection(req, traces, timeout)
            except aiohttp.ClientOSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
            # Others have used up what was left: idle connections go, and those that are closing get time for it.
            while self._idle:
                self._let_go(next(iter(self._idle)))
            await asyncio.sleep(pause)
        return await super()._create_connection(req, traces, timeout)

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        super()._release(key, protocol, should_close=should_close)
        self._idle.pop(protocol, None)
        if protocol.transport is None:
            return  # closed
        self._idle[protocol] = key
        if len(self._idle) > self._most_idle:
            self._let_go(next(iter(self._idle)))

    def _let_go(self, protocol: ResponseHandler) -> None:
        key = self._idle.pop(protocol)
        idle = self._conns.get(key, ())
        kept = [each for each in idle if each[0] is not protocol]
        if len(kept) == len(idle):
            return  # it is in use, and comes back, or is closed
        if kept:
            self._conns[key] = deque(kept)
        else:
            del self._conns[key]
        protocol.close()
