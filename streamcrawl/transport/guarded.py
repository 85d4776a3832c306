"""http and https, where a request is sent only when it is known what it may reach."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from streamcrawl.core import Request, Run
from streamcrawl.descriptors import descriptors
from streamcrawl.errors import FetchTimeout
from streamcrawl.events import Notice
from streamcrawl.response import Response
from streamcrawl.transport.addresses import START
from streamcrawl.transport.body import shown
from streamcrawl.transport.connections import most_connections
from streamcrawl.transport.http import HttpTransport, tls_context, translate
from streamcrawl.transport.pool import IDLE_SECONDS
from streamcrawl.transport.reach import Reaching, site_name
from streamcrawl.transport.resolver import Names
from streamcrawl.urls import hostname_of

if TYPE_CHECKING:
    import httpx

    from streamcrawl.transport.wire import Wire


class GuardedTransport(HttpTransport):
    """http and https in one run, over connections that go only where each request may."""

    def __init__(self, wire: Wire, run: Run) -> None:
        plain = replace(wire, reach=START, resolver=None)
        super().__init__(replace(plain, http2=False, transport=_http2(wire)) if wire.http2 else plain, run)
        self._names = Names(wire.resolver)
        self._reaching = Reaching(run, wire.reach, self._names)
        places, most = run.hosts.places, most_connections()
        if places > most:
            text = (
                f"concurrency={places}, but this process may have {descriptors()} files open at a time (ulimit -n): "
                f"{most} connections are used at once, other requests wait"
            )
            run.events.emit(Notice(text=text, level="warning"))

    async def __call__(self, request: Request) -> Response:
        if not self._reaching.knows(request):
            request = await self._learned(request)
        return await super().__call__(request)

    async def _learned(self, request: Request) -> Request:
        """The request, once it is known what it may reach; the time that this took is taken off its own."""
        seconds, before = self._wire.timeout_of(request), self._run.monotonic()
        try:
            async with asyncio.timeout(seconds):
                await self._reaching.learn(request)
        except TimeoutError as error:
            raise FetchTimeout(f"{shown(request.url)}: no complete answer within {seconds:g} s") from error
        except (OSError, ValueError) as error:  # ValueError: no name that could have an address
            known = translate(error, request.url)
            # Of the name that the request goes to itself: there is no need to ask for it once more.
            if known is not None and site_name(request) == hostname_of(request.url).removesuffix("."):
                raise known from error
        left = seconds - (self._run.monotonic() - before)
        return request.replace(timeout=max(left, 0.001))

    async def aclose(self) -> None:
        await super().aclose()
        await self._names.aclose()


def _http2(wire: Wire) -> Callable[[], httpx.AsyncBaseTransport]:
    """Makes the transport of an HTTP/2 wire: httpx's own, one for each reach, and for each proxy."""
    from streamcrawl.transport.http2 import ByReach, Http2Transport
    from streamcrawl.transport.proxied import ProxiedHttp2

    tls = tls_context(wire.verify)
    return lambda: ProxiedHttp2(ByReach(lambda reach: Http2Transport(tls, reach, IDLE_SECONDS)), tls)
