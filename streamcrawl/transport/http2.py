"""HTTP/2 through httpx's own transport, whose connections ask here where they may lead."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from typing import cast

import httpcore
import httpx

from streamcrawl.errors import AddressRefused
from streamcrawl.transport.addresses import Permits, parse, permits
from streamcrawl.transport.reach import ANY, Reach, refused
from streamcrawl.transport.resolver import CheckedResolver, Names

IDLE_CONNECTIONS = 64
NEXT_ADDRESS_SECONDS = 5.0
"""What one address of several is given to answer, before the next is tried."""


class ByReach(httpx.AsyncBaseTransport):
    """A transport for each reach: a connection that one request may use is not lent to another that may not."""

    def __init__(self, make: Callable[[tuple[str, ...]], httpx.AsyncBaseTransport]) -> None:
        self._make = make
        self._made: dict[tuple[str, ...], httpx.AsyncBaseTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        reach: tuple[str, ...] = request.extensions.get("reach", ANY)
        transport = self._made.get(reach)
        if transport is None:
            transport = self._made[reach] = self._make(reach)
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        for transport in self._made.values():
            await transport.aclose()


class Http2Transport(httpx.AsyncHTTPTransport):
    """httpx's transport, on connections that go only where `reach` permits."""

    def __init__(self, tls: ssl.SSLContext, reach: tuple[str, ...], idle_seconds: float) -> None:
        # Its own constructor makes a pool that cannot be told how to connect.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=None,
            max_keepalive_connections=IDLE_CONNECTIONS,
            keepalive_expiry=idle_seconds,
            http1=True,
            http2=True,
            network_backend=CheckedBackend(reach),
        )


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """How httpcore connects: to the addresses that were checked, never by name."""

    def __init__(self, reach: tuple[str, ...]) -> None:
        self._permitted: Permits = permits(reach)
        names = reach.names if isinstance(reach, Reach) else None
        self._resolver = CheckedResolver(names if isinstance(names, Names) else Names(), self._permitted)
        self._sockets = cast(httpcore.AsyncNetworkBackend, httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - as httpcore has it
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises: AddressRefused, httpcore.ConnectError."""
        *others, last = await self._addresses(host)
        for address in others:
            seconds = NEXT_ADDRESS_SECONDS if timeout is None else min(timeout, NEXT_ADDRESS_SECONDS)
            try:
                return await self._sockets.connect_tcp(address, port, seconds, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._sockets.connect_tcp(last, port, timeout, local_address, socket_options)

    async def _addresses(self, host: str) -> list[str]:
        address = parse(host)
        if address is not None:
            why = self._permitted.objection(address)
            if why:
                raise refused(host, str(address), why)
            return [str(address)]
        try:
            return [each["host"] for each in await self._resolver.resolve(host)]
        except AddressRefused:
            raise
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error
