"""`http:` and `https:`: the one module that knows httpx.

An httpx transport is the seam. The default one stands on aiohttp's connections, which scale (httpx's own pool looks
through all of its connections for each request); HTTP/2 goes through httpx's. Proxies are `proxied`'s business.
"""

from __future__ import annotations

import asyncio
import io
import os
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import aiohttp
import httpx
from aiohttp.http_exceptions import TransferEncodingError
from multidict import CIMultiDict
from yarl import URL

from streamcrawl.core import Request, Run
from streamcrawl.errors import (
    ConnectError,
    FetchError,
    FetchTimeout,
    ProtocolError,
    ResolveError,
    TLSError,
    TruncatedBody,
    UnsupportedScheme,
)
from streamcrawl.headers import Headers
from streamcrawl.proxy_urls import ProxyAddress
from streamcrawl.response import Response
from streamcrawl.streams.counting import count
from streamcrawl.transport.body import Intake, StreamedBody, count_decoded, intake, one_line, read_whole, shown
from streamcrawl.transport.counters import RECEIVED, SENT
from streamcrawl.transport.framing import Noticed, unnoticed
from streamcrawl.transport.light import LightRequest, LightResponse
from streamcrawl.transport.outgoing import (
    Fields,
    as_text,
    encoded,
    fields_of,
    in_ascii,
    in_bytes,
    size_of,
    split_credentials,
)
from streamcrawl.transport.pool import PooledResponse, Unanswered, make_session
from streamcrawl.transport.proxied import FIELD, Over, ProxiedSessions, proxy_of, refused, through, unused
from streamcrawl.transport.reach import ANY, Reaching
from streamcrawl.urls import host_of, hostname_of, without_fragment

if TYPE_CHECKING:
    from streamcrawl.transport.wire import Wire

ACCEPT_ENCODING = ("Accept-Encoding", "gzip, deflate, br, zstd")
IDENTITY = ("Accept-Encoding", "identity")
"""With a Range: a part of a coded form is of no use. Source: WHATWG Fetch, "HTTP-network-or-cache fetch"."""

LARGE_BODY = 1024 * 1024
"""Bytes of request body from which on aiohttp wants a file."""

HTTP_1_0, HTTP_1_1 = b"HTTP/1.0", b"HTTP/1.1"


class HttpTransport:
    """http and https in one run."""

    def __init__(self, wire: Wire, run: Run) -> None:
        self._wire = wire
        self._run = run
        self._transport = open_transport(wire, partial(count, run.stats))
        self._measuring = isinstance(self._transport, PooledTransport)
        """Whether what comes is counted where it comes: another transport does not tell."""
        for counter in (SENT, RECEIVED):
            count(run.stats, counter, 0)
        self._user_agent = ("User-Agent", in_ascii(wire.user_agent))
        self._reaching = Reaching(run)
        self._streams: set[StreamedBody] = set()

    async def __call__(self, request: Request) -> Response:
        run, seconds = self._run, self._wire.timeout_of(request)
        outgoing = self._outgoing(request)
        clock = asyncio.timeout(seconds)
        started = run.monotonic()
        count(run.stats, "wire/requests")
        try:
            async with clock:
                answer = await self._transport.handle_async_request(outgoing)
                if not self._measuring:
                    self._count_sent(outgoing, request)
                if answer.status_code == 407 and request.proxy:
                    await self._refused(request, outgoing, answer)
                return await self._receive(request, answer, clock, run.monotonic() - started)
        except Exception as error:
            if isinstance(error, FetchError):
                raise
            if clock.expired():
                raise FetchTimeout(f"{through(request)}: no complete answer within {seconds:g} s") from error
            known = translate(error, request.url, at=through(request))
            if known is None:
                raise
            raise known from error

    def _count_sent(self, outgoing: LightRequest, request: Request) -> None:
        head = size_of(request.method, len(request.url), outgoing.fields)
        count(self._run.stats, SENT, head + len(request.body))

    def _count_received(self, size: int) -> None:
        if not self._measuring:
            count(self._run.stats, RECEIVED, size)

    async def _refused(self, request: Request, outgoing: httpx.Request, answer: httpx.Response) -> None:
        """Raises: ProxyError, unless it is the server that answers, through a tunnel."""
        proxy: ProxyAddress = outgoing.extensions["proxy"]
        if request.url.startswith("http:") and not proxy.socks:
            await answer.aclose()
            raise refused(proxy, request.url, answer.status_code, answer.reason_phrase)

    def _outgoing(self, request: Request) -> LightRequest:
        url = without_fragment(request.url)
        try:
            fields, names = fields_of(request.headers)
            proxy = proxy_of(request.proxy, fields) if request.proxy or FIELD in names else None
            url, credentials = split_credentials(url)
            self._complete(fields, names, request, credentials)
            if "host" not in names:
                fields.insert(0, ("Host", in_ascii(host_of(url).partition("://")[2])))
        except ValueError as error:
            raise FetchError(f"{shown(request.url)}: the request cannot be sent: {one_line(error)}") from error
        return LightRequest(request.method, url, fields, request.body, self._reaching.of(request), proxy)

    def _complete(self, fields: Fields, names: set[str], request: Request, credentials: bytes | None) -> None:
        """Add the fields that every request has, where it has none of its own."""
        if "user-agent" not in names and self._wire.user_agent:
            fields.append(self._user_agent)
        if "accept-encoding" not in names and self._wire.decompress:
            fields.append(IDENTITY if "range" in names else ACCEPT_ENCODING)
        if "referer" not in names and request.referrer is not None:
            # RFC 9110 §10.1.3: neither fragment nor credentials.
            fields.append(("Referer", in_bytes(split_credentials(without_fragment(request.referrer))[0])))
        if "authorization" not in names and credentials is not None:
            fields.append(("Authorization", "Basic " + b64encode(credentials).decode("ascii")))
        if request.body or request.method in ("POST", "PUT", "PATCH"):  # RFC 9110 §8.6
            fields.append(("Content-Length", str(len(request.body))))

    async def _receive(
        self, request: Request, answer: httpx.Response, clock: asyncio.Timeout, latency: float
    ) -> Response:
        wire, stream, body = self._wire, None, b""
        try:
            headers = Headers.from_raw(answer.raw if isinstance(answer, LightResponse) else answer.headers.raw)
            if not self._measuring:
                self._count_received(16 + sum(len(name) + len(value) + 4 for name, value in answer.headers.raw))
            limit = wire.max_size_of(request)
            taking, bare = intake(request, answer.status_code, headers, limit, decompress=wire.decompress)
            chunks = aiter(cast("httpx.AsyncByteStream", answer.stream))
            if request.stream:
                stream = self._streamed(request, answer, chunks, taking)
            else:
                body = await self._read(request, chunks, taking, clock)
                if taking.coded and taking.wire_size:
                    count_decoded(self._run, len(body))
        finally:
            if stream is None:
                await answer.aclose()
        return Response(
            request.url,
            answer.status_code,
            # An empty body was not decoded: its header fields stay as they came.
            bare if stream is not None or taking.wire_size else headers,
            body,
            request,
            protocol=answer.http_version,
            ip_address="" if request.proxy else server_of(answer),
            latency=latency,
            wire_size=taking.wire_size,
            stream=stream,
        )

    async def _read(
        self, request: Request, chunks: AsyncIterator[bytes], taking: Intake, clock: asyncio.Timeout
    ) -> bytes:
        try:
            return await read_whole(chunks, taking, request, self._run, clock)
        except Exception as error:
            known = (
                None if isinstance(error, FetchError) else translate(error, request.url, taking, at=through(request))
            )
            if known is None:
                raise
            raise known from error
        finally:
            count(self._run.stats, "wire/bytes", taking.wire_size)
            self._count_received(taking.wire_size)

    def _streamed(
        self, request: Request, answer: httpx.Response, chunks: AsyncIterator[bytes], taking: Intake
    ) -> StreamedBody:
        def done(body: StreamedBody) -> None:
            self._streams.discard(body)
            count(self._run.stats, "wire/bytes", body.wire_size)
            self._count_received(body.wire_size)

        at = through(request)
        body = StreamedBody(
            at,
            chunks,
            taking,
            close=answer.aclose,
            translate=lambda error: translate(error, request.url, taking, at=at),
            timeout=self._wire.timeout_of(request),
            done=done,
        )
        self._streams.add(body)
        return body

    async def aclose(self) -> None:
        for stream in tuple(self._streams):
            await stream.aclose()
        await self._transport.aclose()


def open_transport(wire: Wire, noticed: Noticed = unnoticed) -> httpx.AsyncBaseTransport:
    """The httpx transport that a Wire asks for."""
    return PooledTransport(wire.verify, wire.user_agent, noticed) if wire.transport is None else wire.transport()


def tls_context(verify: bool | ssl.SSLContext) -> ssl.SSLContext:
    """The TLS settings: certifi's roots, or those that SSL_CERT_FILE or SSL_CERT_DIR name."""
    return verify if isinstance(verify, ssl.SSLContext) else httpx.create_ssl_context(verify=verify)


class PooledTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 over aiohttp's connections.

    Unlike `httpx-aiohttp` it sends the URL as it stands (an empty query loses its mark), keeps repeated fields apart
    and in order, and knows the server's address.
    """

    def __init__(
        self, verify: bool | ssl.SSLContext = True, user_agent: str = "", noticed: Noticed = unnoticed
    ) -> None:
        self._verify = verify
        self._noticed = noticed
        self._sessions: dict[tuple[str, ...], aiohttp.ClientSession] = {}
        """By reach: a connection that one request may use is not lent to another that may not."""
        self._proxied = ProxiedSessions(user_agent, noticed)
        self._tls: ssl.SSLContext | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        reach: tuple[str, ...] = request.extensions.get("reach", ANY)
        session = self._sessions.get(reach)
        if session is None:
            session = self._sessions[reach] = make_session(reach, self._noticed)
        content, url, proxy = request.read(), str(request.url), request.extensions.get("proxy")
        options: dict[str, Any] = {
            "headers": outgoing_fields(
                request.fields if isinstance(request, LightRequest) else as_text(request.headers.raw)
            ),
            "data": (io.BytesIO(content) if len(content) >= LARGE_BODY else content) if content else None,
            "allow_redirects": False,
            "ssl": self._context() if url.startswith("https:") else True,
        }
        over: Over = unused
        if proxy is None:
            response = await session.request(request.method, URL(url, encoded=True), **options)
        else:
            if proxy.scheme == "https":
                options["ssl"] = self._context()
            response, over = await self._proxied.request(session, proxy, request.method, url, options)
        version = HTTP_1_0 if response.version == aiohttp.HttpVersion10 else HTTP_1_1
        return LightResponse(response.status, response.raw_headers, PooledStream(response, over), version)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = tls_context(self._verify)
            if self._tls is not self._verify:
                self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    async def aclose(self) -> None:
        for session in self._sessions.values():
            await session.close()
        await self._proxied.aclose()


class PooledStream(httpx.AsyncByteStream):
    """A body on one of aiohttp's connections."""

    def __init__(self, response: aiohttp.ClientResponse, over: Over) -> None:
        self.response = response
        self._over = over

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.response.content.iter_any()

    async def aclose(self) -> None:
        # Closed, not drained, if there is more to come; at its end the body has given the connection back itself.
        self.response.close()
        await self._over()


def outgoing_fields(fields: Fields) -> CIMultiDict[str]:
    """Header fields as aiohttp takes them. It writes UTF-8 and would replace a name repeated in another case."""
    made: CIMultiDict[str] = CIMultiDict()
    spelled: dict[str, str] = {}
    for name, value in fields:
        made.add(spelled.setdefault(name.lower(), name), value if value.isascii() else _written(value))
    return made


def _written(value: str) -> str:
    raw = encoded(value)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def server_of(answer: httpx.Response) -> str:
    """The server's IP address, or "" if the transport does not tell."""
    if isinstance(answer.stream, PooledStream):
        return cast(PooledResponse, answer.stream.response).server
    network = answer.extensions.get("network_stream")
    address: Any = network.get_extra_info("server_addr") if network is not None else None
    return str(address[0]) if isinstance(address, tuple) else ""  # pyright: ignore[reportUnknownArgumentType] - httpcore's


def translate(error: Exception, url: str, body: Intake | None = None, *, at: str = "") -> FetchError | None:
    """What an exception of httpx, aiohttp or the sockets means, or None if it is none of theirs.

    Args:
        error: As it was raised.
        url: Of the request.
        body: If the header fields had come already: what was read of the body.
        at: How the error's text names the request; "": by its URL.
    """
    if not isinstance(error, FOREIGN):
        return None
    at, why = at or shown(url), reason(error)
    if isinstance(error, (httpx.TimeoutException, aiohttp.ServerTimeoutError)):
        return FetchTimeout(f"{at}: no answer in time: {why}")
    if body is not None:
        return broken_body(error, at, why, body)
    causes = tuple(chain(error))
    host = hostname_of(url)
    if any(isinstance(each, (ssl.SSLError, ssl.CertificateError)) for each in causes):
        return TLSError(f"{at}: TLS with {host} failed: {why}")
    if any(isinstance(each, (socket.gaierror, UnicodeError, aiohttp.ClientConnectorDNSError)) for each in causes):
        return ResolveError(f"{at}: the host {host} has no address: {why}")
    port = urlsplit(url).port or (443 if url.startswith("https:") else 80)
    for kinds, made, text in MEANINGS:
        if isinstance(error, kinds):
            return made(f"{at}: {text.format(host=host, port=port, why=why)}")
    return ProtocolError(f"{at}: the connection was lost before the answer: {why}")


FOREIGN = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, aiohttp.ClientError, OSError, ValueError)
MEANINGS: tuple[tuple[tuple[type[Exception], ...], type[FetchError], str], ...] = (
    ((httpx.ConnectError, aiohttp.ClientConnectorError), ConnectError, "cannot connect to {host}, port {port}: {why}"),
    ((httpx.UnsupportedProtocol,), UnsupportedScheme, "{why}"),
    (
        (aiohttp.ServerDisconnectedError, Unanswered),
        ProtocolError,
        "the server closed the connection without an answer",
    ),
    ((aiohttp.ClientResponseError, httpx.RemoteProtocolError), ProtocolError, "the answer is not HTTP: {why}"),
    ((ValueError, httpx.InvalidURL, httpx.LocalProtocolError), FetchError, "the request cannot be sent: {why}"),
)
"""What an exception before the header fields means; the first that fits."""


def broken_body(error: Exception, at: str, why: str, body: Intake) -> ProtocolError:
    """The error for a connection that failed in the middle of a body."""
    # aiohttp's parser says "Not enough data" of a body that is cut, and something else of one that is garbled.
    if any(isinstance(each, TransferEncodingError) and "Not enough" not in each.message for each in chain(error)):
        return ProtocolError(f"{at}: the body is not HTTP after {body.wire_size} bytes: {why}")
    return TruncatedBody(f"{at}: the body ended before its time, after {body.wire_size} bytes: {why}")


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was made of."""
    each: BaseException | None = error
    for _ in range(8):
        if each is None:
            return
        yield each
        each = each.__cause__ or each.__context__


def reason(error: Exception) -> str:
    """What happened, in one line, without the object's own decoration."""
    if isinstance(error, aiohttp.ClientPayloadError) and error.__cause__ is not None:
        return one_line(getattr(error.__cause__, "message", None) or error)
    if isinstance(error, aiohttp.ClientResponseError):
        return one_line(error.message)
    inner = getattr(error, "os_error", error)
    if isinstance(inner, ssl.SSLError):
        return one_line(getattr(inner, "verify_message", None) or getattr(inner, "reason", None) or inner)
    if isinstance(inner, OSError) and inner.errno and not isinstance(inner, socket.gaierror):
        return os.strerror(inner.errno)
    return one_line(inner) or type(error).__name__
