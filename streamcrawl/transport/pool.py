"""The connections below http and https: an aiohttp session, set up for crawling."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http_exceptions import TransferEncodingError
from multidict import CIMultiDict

from streamcrawl.transport.addresses import Permits, permits
from streamcrawl.transport.connections import Connector
from streamcrawl.transport.framing import FramedConnection, Noticed, framed, unnoticed
from streamcrawl.transport.outgoing import size_of
from streamcrawl.transport.reach import Reach, refused
from streamcrawl.transport.resolver import CheckedResolver, Names

HEADER_SIZE = 128 * 1024
"""Bytes of one header field or of the status line; some sites' cookies and policies are far above aiohttp's 8 KiB."""

HEADER_COUNT = 512
IDLE_SECONDS = 30.0
CONNECT_SECONDS = 30.0
READ_SIZE = 128 * 1024
"""Bytes read ahead of the reader; the socket is paused at twice as much."""

GARBLED = "the chunks are garbled"

AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""What aiohttp would send of its own."""


AddressInfo: TypeAlias = "tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]"
"""What `socket.getaddrinfo` gives."""


class Unanswered(aiohttp.ClientError):
    """A new connection was closed before the answer.

    aiohttp sends a request again, at once and past every delay, when its connection is closed. That is right where the
    server gave up an idle connection, and hammering where it gave up the request: so it gets to see another error then.
    """


class PooledRequest(aiohttp.ClientRequest):
    """A request that goes out with the header fields that it was made with: none of aiohttp's own."""

    _skip_auto_headers = CIMultiDict[None]((name, None) for name in AUTOMATIC)

    def update_headers(self, headers: Any) -> None:
        # One Host, and first (RFC 9110 §7.2): they are taken at once, not one by one.
        if headers and next(iter(headers)) == "Host" and len(headers.getall("Host")) == 1:
            self.headers = CIMultiDict[str](headers)
        else:
            super().update_headers(headers)

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        sent = await super().send(conn)
        if isinstance(conn.protocol, FramedConnection):
            target = str(self.url) if self.proxy and not self.is_ssl() else self.url.raw_path_qs
            head = size_of(self.method, len(target), self.headers.items())
            conn.protocol.sent(head + int(self.headers.get("Content-Length", 0)))
        return sent

    def update_auto_headers(self, skip_auto_headers: Iterable[str] | None) -> None:
        """There are none."""


class PooledResponse(aiohttp.ClientResponse):
    """A response that still knows its server when a short body has given the connection back already."""

    server: str = ""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        transport, protocol = connection.transport, connection.protocol
        peer: Any = transport.get_extra_info("peername") if transport is not None else None
        if isinstance(peer, tuple):
            self.server = str(peer[0])  # pyright: ignore[reportUnknownArgumentType] - what a socket says is untyped
        try:
            started = await super().start(connection)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            if isinstance(protocol, FramedConnection) and protocol.answered:
                raise
            raise Unanswered(str(error)) from error
        if isinstance(protocol, FramedConnection):
            protocol.answered = True
        if protocol is not None and not self.content.is_eof():
            watch(self.content, protocol.closed)
        return started


def watch(body: aiohttp.StreamReader, closed: asyncio.Future[None] | None) -> None:
    """Tell the reader of `body` when the connection is gone.

    aiohttp's parser closes the connection over a garbled chunk and tells nobody who reads the body: it would wait on.
    """
    if closed is None:
        return

    def lost(_: asyncio.Future[None]) -> None:
        if not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientPayloadError(GARBLED), TransferEncodingError(GARBLED))

    def over() -> None:
        closed.remove_done_callback(lost)

    closed.remove_done_callback(retrieved)
    closed.add_done_callback(retrieved)
    closed.add_done_callback(lost)
    body.on_eof(over)


def retrieved(closed: asyncio.Future[None]) -> None:
    """asyncio would complain that nobody asked how an idle connection ended."""
    if not closed.cancelled():
        closed.exception()


def make_connector(reach: tuple[str, ...]) -> aiohttp.TCPConnector:
    """The pool of connections. How many there are at once is the frontier's business, and that of the file descriptors.

    Which addresses may be connected to is decided here, twice: of a name's addresses only those are tried that `reach`
    permits, and no socket is made for any other, wherever it comes from.
    """
    permitted = permits(reach)
    names = reach.names if isinstance(reach, Reach) else None
    return Connector(
        resolver=CheckedResolver(names if isinstance(names, Names) else Names(), permitted),
        use_dns_cache=False,  # Names has one, for all connectors of the run
        keepalive_timeout=IDLE_SECONDS,
        socket_factory=None if permitted.everything else socket_maker(permitted),
    )


def socket_maker(permitted: Permits) -> Callable[[AddressInfo], socket.socket]:
    """Makes sockets for addresses that may be connected to. It is given the very address that will be."""

    def make(target: AddressInfo) -> socket.socket:
        family, kind, protocol, _, (address, *_) = target
        why = permitted.objection(address)
        if why:
            raise refused(address, address, why)
        return socket.socket(family, kind, protocol)

    return make


def make_session(reach: tuple[str, ...], noticed: Noticed = unnoticed) -> aiohttp.ClientSession:
    """A session on connections that go only where `reach` permits."""
    return session_on(make_connector(reach), noticed)


def session_on(connector: aiohttp.TCPConnector, noticed: Noticed = unnoticed) -> aiohttp.ClientSession:
    """A session that sends what it is given: no cookies, proxies, timeouts, decoding or fields of its own.

    Args:
        connector: Makes its connections.
        noticed: Counts what servers sent that is not quite HTTP.
    """
    return aiohttp.ClientSession(
        connector=framed(connector, noticed),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        # To the end of the TLS handshake; what follows has the exchange's own timeout.
        timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_read=None, sock_connect=CONNECT_SECONDS),
        skip_auto_headers=AUTOMATIC,
        request_class=PooledRequest,
        response_class=PooledResponse,
        read_bufsize=READ_SIZE,
        max_line_size=HEADER_SIZE,
        max_field_size=HEADER_SIZE,
        max_headers=HEADER_COUNT,
    )
