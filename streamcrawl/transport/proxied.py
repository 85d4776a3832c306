"""Requests through proxies: over aiohttp's connections, over SOCKS, and over httpx's for HTTP/2."""

from __future__ import annotations

import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any, Generic, TypeVar, cast
from urllib.parse import urlsplit

import aiohttp
import httpx
from multidict import CIMultiDict
from yarl import URL

from streamcrawl.core import Request
from streamcrawl.errors import ProxyError, UnsupportedScheme
from streamcrawl.proxy_urls import ProxyAddress, proxy_address
from streamcrawl.transport.body import one_line, shown
from streamcrawl.transport.framing import Noticed, unnoticed
from streamcrawl.transport.outgoing import Fields, encoded
from streamcrawl.transport.pool import IDLE_SECONDS, session_on

FIELD = "proxy-authorization"
OPEN = 64
"""Proxies that have connections of their own, SOCKS and HTTP/2, at once; what is in use is not counted."""

BEYOND = frozenset({500, 502, 503, 504})
"""What a proxy answers to CONNECT that could not reach the server, and sometimes one that has trouble itself."""

T = TypeVar("T")
Over = Callable[[], Awaitable[None]]


def proxy_of(url: str | None, fields: Fields) -> ProxyAddress | None:
    """The proxy of a request. A `Proxy-Authorization` among its fields is taken out: a server must never see it.

    It goes to the proxy if the proxy's URL has no credentials. Raises: ValueError for a URL that is none.
    """
    own = ""
    for pair in [pair for pair in fields if pair[0].lower() == FIELD]:
        fields.remove(pair)
        own = encoded(pair[1]).decode("latin-1")
    if not url:
        return None
    address = proxy_address(url)
    return replace(address, authorization=own) if own and address.user is None and not address.socks else address


def through(request: Request) -> str:
    """How error messages name a request: by its URL and its proxy."""
    if not request.proxy:
        return shown(request.url)
    return f"{shown(request.url)}, through the proxy {proxy_address(request.proxy)}"


def refused(proxy: ProxyAddress, url: str, status: int, phrase: str) -> ProxyError:
    """The error for a proxy that answered itself, and not with a page."""
    answer = f"{status} {phrase}".rstrip()
    if status == 407:
        why = "credentials that it does not take" if proxy.authorization else "no credentials"
        text = f"{shown(url)}: the proxy {proxy} was given {why}: {answer}"
    else:
        text = f"{shown(url)}: the proxy {proxy} does not connect to the server: {answer}"
    return ProxyError(text, proxy=proxy.url, status=status, beyond=status in BEYOND)


class Opened(Generic[T]):
    """What stands open for one proxy, and how many use it."""

    __slots__ = ("users", "value")

    def __init__(self, value: T) -> None:
        self.value = value
        self.users = 0


class PerProxy(Generic[T]):
    """Something open for each of the proxies that were used last; what others had is closed as soon as it is unused."""

    def __init__(self, make: Callable[[ProxyAddress], T], close: Callable[[T], Awaitable[None]]) -> None:
        self._make = make
        self._close = close
        self._open: OrderedDict[ProxyAddress, Opened[T]] = OrderedDict()
        self._leaving: set[Opened[T]] = set()

    async def take(self, proxy: ProxyAddress) -> tuple[T, Over]:
        """What is open for the proxy, and what to await when it is no longer used."""
        opened = self._open.get(proxy)
        if opened is None:
            opened = self._open[proxy] = Opened(self._make(proxy))
        self._open.move_to_end(proxy)
        opened.users += 1
        while len(self._open) > OPEN:
            _, oldest = self._open.popitem(last=False)
            self._leaving.add(oldest)
            await self._part(oldest)
        returned = False

        async def over() -> None:
            nonlocal returned
            if not returned:
                returned = True
                opened.users -= 1
                await self._part(opened)

        return opened.value, over

    async def _part(self, opened: Opened[T]) -> None:
        if not opened.users and opened in self._leaving:
            self._leaving.discard(opened)
            await self._close(opened.value)

    async def aclose(self) -> None:
        every = [*self._open.values(), *self._leaving]
        self._open.clear()
        self._leaving.clear()
        for opened in every:
            await self._close(opened.value)


async def unused() -> None:
    """Nothing is to be given back."""


class ProxiedSessions:
    """HTTP/1.1 through proxies, over aiohttp: HTTP proxies by the session that is there, each SOCKS one by its own.

    Args:
        user_agent: What proxies are told at CONNECT; "": as aiohttp has it.
        noticed: Counts what servers sent that is not quite HTTP.
    """

    def __init__(self, user_agent: str, noticed: Noticed = unnoticed) -> None:
        self._user_agent = user_agent
        self._socks = PerProxy(partial(open_socks, noticed=noticed), aiohttp.ClientSession.close)

    async def request(
        self, session: aiohttp.ClientSession, proxy: ProxyAddress, method: str, url: str, options: dict[str, Any]
    ) -> tuple[aiohttp.ClientResponse, Over]:
        """The response, and what to await when its body is done with.

        Args:
            session: Sends what goes through HTTP proxies.
            proxy: Where the request goes first.
            method: Of the request.
            url: Of the request.
            options: What aiohttp is told besides.

        Raises: ProxyError, UnsupportedScheme, and what aiohttp raises.
        """
        over: Over = unused
        if proxy.socks:
            session, over = await self._socks.take(proxy)
        else:
            options |= self._through(proxy, url, options["headers"])
        try:
            return await session.request(method, URL(url, encoded=True), **options), over
        except BaseException as error:
            await over()
            known = proxy_error(error, proxy, url)
            if known is None:
                raise
            raise known from error

    def _through(self, proxy: ProxyAddress, url: str, headers: CIMultiDict[str]) -> dict[str, Any]:
        # aiohttp sends these at CONNECT only, and keeps connections apart by them: so no two credentials share one.
        told: CIMultiDict[str] = CIMultiDict()
        if self._user_agent:
            told["User-Agent"] = self._user_agent
        if proxy.authorization:
            told["Proxy-Authorization"] = proxy.authorization
            if url.startswith("http:"):
                headers["Proxy-Authorization"] = proxy.authorization
        return {"proxy": URL(proxy.url), "proxy_headers": told}

    async def aclose(self) -> None:
        await self._socks.aclose()


def open_socks(proxy: ProxyAddress, noticed: Noticed = unnoticed) -> aiohttp.ClientSession:
    """A session whose connections go through a SOCKS proxy, which resolves the names.

    Raises: UnsupportedScheme if the package for it is not installed.
    """
    if find_spec("aiohttp_socks") is None:
        raise UnsupportedScheme(f"the proxy {proxy} needs the package aiohttp-socks: pip install 'streamcrawl[socks]'")
    from aiohttp_socks import ProxyConnector, ProxyType

    connector = ProxyConnector(
        host=proxy.host,
        port=proxy.port,
        proxy_type=ProxyType.SOCKS4 if proxy.scheme.startswith("socks4") else ProxyType.SOCKS5,
        username=None if proxy.user is None else proxy.user.decode("ascii"),
        password=None if proxy.user is None else proxy.password.decode("ascii"),
        rdns=True,
        limit=0,
        limit_per_host=0,
        keepalive_timeout=IDLE_SECONDS,
    )
    return session_on(connector, noticed)


def proxy_error(error: BaseException, proxy: ProxyAddress, url: str) -> ProxyError | None:
    """What an exception says of the proxy; None if it says nothing of it."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return refused(proxy, url, error.status, one_line(error.message))
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return _unreachable(proxy, url, f"its name has no address: {one_line(error.os_error)}")
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return _unreachable(proxy, url, one_line(error.os_error.strerror or error.os_error))
    if isinstance(error, (aiohttp.ClientConnectorSSLError, aiohttp.ClientConnectorCertificateError)):
        server = urlsplit(url)
        failed = getattr(error, "host", None), getattr(error, "port", None)
        if failed == (proxy.host, proxy.port) != (server.hostname, server.port):
            return _unreachable(proxy, url, f"TLS failed: {one_line(error)}")
        return None
    return _socks_error(error, proxy, url) if proxy.socks and isinstance(error, Exception) else None


def _unreachable(proxy: ProxyAddress, url: str, why: str) -> ProxyError:
    return ProxyError(f"{shown(url)}: cannot connect to the proxy {proxy}: {why}", proxy=proxy.url)


def _socks_error(error: Exception, proxy: ProxyAddress, url: str) -> ProxyError | None:
    import aiohttp_socks

    if isinstance(error, aiohttp_socks.ProxyConnectionError):
        return _unreachable(proxy, url, one_line(error))
    if isinstance(error, aiohttp_socks.ProxyTimeoutError):
        text = f"{shown(url)}: the proxy {proxy} made no connection in time"
        return ProxyError(text, proxy=proxy.url, beyond=True)
    if isinstance(error, aiohttp_socks.ProxyError):
        # With a code it speaks of the server (RFC 1928 §6); without one it did not come to that.
        text = f"{shown(url)}: the proxy {proxy} does not connect to the server: {one_line(error)}"
        return ProxyError(text, proxy=proxy.url, beyond=error.error_code is not None)
    if isinstance(error, EOFError):
        return _unreachable(proxy, url, "it hung up")
    return None


class ProxiedHttp2(httpx.AsyncBaseTransport):
    """HTTP/2 where the server speaks it, through HTTP proxies, over httpx's connections.

    Args:
        direct: Sends what goes through no proxy.
        tls: For servers, and for proxies that speak TLS themselves.
    """

    def __init__(self, direct: httpx.AsyncBaseTransport, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._direct = direct
        self._proxied = PerProxy(self._open, httpx.AsyncHTTPTransport.aclose)

    def _open(self, proxy: ProxyAddress) -> httpx.AsyncHTTPTransport:
        anything = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=IDLE_SECONDS)
        told = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
        via = httpx.Proxy(proxy.url, headers=told, ssl_context=self._tls if proxy.scheme == "https" else None)
        return httpx.AsyncHTTPTransport(verify=self._tls, http2=True, trust_env=False, limits=anything, proxy=via)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        proxy: ProxyAddress | None = request.extensions.get("proxy")
        if proxy is None:
            return await self._direct.handle_async_request(request)
        if proxy.socks:
            raise UnsupportedScheme(f"{shown(str(request.url))}: http2=True goes through HTTP proxies, not {proxy}")
        transport, over = await self._proxied.take(proxy)
        try:
            answer = await transport.handle_async_request(request)
        except BaseException as error:
            await over()
            known = _httpx_error(error, proxy, str(request.url))
            if known is None:
                raise
            raise known from error
        answer.stream = Returned(cast("httpx.AsyncByteStream", answer.stream), over)
        return answer

    async def aclose(self) -> None:
        await self._direct.aclose()
        await self._proxied.aclose()


def _httpx_error(error: BaseException, proxy: ProxyAddress, url: str) -> ProxyError | None:
    if isinstance(error, httpx.ProxyError):
        status, _, phrase = str(error).partition(" ")
        if status.isdecimal():
            return refused(proxy, url, int(status), one_line(phrase))
        return _unreachable(proxy, url, one_line(error))
    if isinstance(error, httpx.ConnectError) and not any(isinstance(each, ssl.SSLError) for each in _causes(error)):
        return _unreachable(proxy, url, one_line(error))
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    each: BaseException | None = error
    for _ in range(8):
        if each is None:
            return
        yield each
        each = each.__cause__ or each.__context__


class Returned(httpx.AsyncByteStream):
    """A body whose transport is given back with it."""

    def __init__(self, stream: httpx.AsyncByteStream, over: Over) -> None:
        self._stream = stream
        self._over = over

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            await self._over()
