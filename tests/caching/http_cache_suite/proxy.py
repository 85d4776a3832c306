"""A reverse proxy that is nothing but the `http_cache` layer: what comes in goes through it, what comes out goes back.

It forwards methods, bodies and header fields as they are, those of the connection apart, and adds none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count

from reactivex.subject import Subject

from streamcrawl.caching.store import MemoryStore
from streamcrawl.core import CacheMode, Failed, Layer, Outcome, Request
from streamcrawl.headers import Headers
from streamcrawl.operators.download import download
from streamcrawl.operators.http_cache import http_cache
from streamcrawl.response import Response
from streamcrawl.transport import Wire

HOP_BY_HOP = ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host")

MODE = "x-cache-mode"
"""How the runner hands the cache mode of `fetch()` to the layer: it is not forwarded."""

MODES: dict[str, CacheMode] = {"no-cache": "no-cache", "reload": "reload", "force-cache": "force-cache"}


class Exchanges:
    """Requests into the layer, and each one's outcome out of it."""

    def __init__(self, origin: str, layer: Layer) -> None:
        self._origin = origin
        self._tickets = count()
        self._waiting: dict[int, asyncio.Future[Outcome]] = {}
        self.requests: Subject[Request] = Subject()
        self.ended = asyncio.Event()
        wire = Wire(timeout=20, user_agent="", decompress=False)
        outcomes = self.requests.pipe(download(layer, fetch=wire))
        self.subscription = outcomes.subscribe(self._on_outcome, self._on_error, self.ended.set)

    async def send(self, method: str, target: str, headers: Headers, body: bytes) -> Outcome:
        ticket = next(self._tickets)
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[ticket] = outcome
        mode = MODES.get(headers.get(MODE) or "", "default")
        fields = Headers(pair for pair in headers.without(MODE).pairs() if pair[0].lower() not in dropped(headers))
        self.requests.on_next(
            Request(
                self._origin + target,
                method=method,
                headers=fields,
                body=body,
                cache=mode,
                reach=("127.0.0.0/8",),
                meta={"ticket": ticket},
            )
        )
        return await outcome

    def _on_outcome(self, outcome: Outcome) -> None:
        self._waiting.pop(outcome.request.meta["ticket"]).set_result(outcome)

    def _on_error(self, error: Exception) -> None:
        for waiting in self._waiting.values():
            waiting.set_exception(error)
        self.ended.set()


def dropped(headers: Headers) -> set[str]:
    """Names of the fields that are of the connection (RFC 9110 §7.6.1); aiohttp and this module write their own."""
    named = {name.strip().lower() for line in headers.getall("connection") for name in line.split(",")}
    return {*HOP_BY_HOP, "content-length", *named}


def written(method: str, outcome: Outcome) -> bytes:
    """An outcome as HTTP/1.1. What failed is a 502."""
    response = outcome
    if not isinstance(response, Response):
        text = str(outcome.error) if isinstance(outcome, Failed) else repr(outcome)
        response = Response(outcome.request.url, 502, body=text.encode())
    gone = dropped(response.headers)
    lines = [f"HTTP/1.1 {response.status} -"]
    lines += [f"{name}: {value}" for name, value in response.headers.pairs() if name.lower() not in gone]
    bodiless = method == "HEAD" or response.status in (204, 304)
    if not bodiless:
        lines.append(f"Content-Length: {response.size}")
    elif method == "HEAD" and "content-length" in response.headers:
        lines.append(f"Content-Length: {response.headers['content-length']}")
    head = "\r\n".join((*lines, "", "")).encode("latin-1")
    return head if bodiless else head + response.body


async def _fields(reader: asyncio.StreamReader) -> Headers:
    pairs: list[tuple[bytes, bytes]] = []
    while (line := await reader.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        pairs.append((name.strip(), value.strip()))
    return Headers.from_raw(pairs)


async def _serve(exchanges: Exchanges, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while (line := await reader.readline()).strip():
            method, target, _ = line.decode("latin-1").split(" ", 2)
            headers = await _fields(reader)
            body = await reader.readexactly(int(headers.get("content-length") or 0))
            outcome = await exchanges.send(method, target, headers, body)
            writer.write(written(method, outcome))
            await writer.drain()
            if (headers.get("connection") or "").lower() == "close":
                break
    except (ConnectionError, asyncio.IncompleteReadError):
        pass  # the client has gone
    finally:
        writer.close()


@asynccontextmanager
async def proxy(origin: str) -> AsyncGenerator[str]:
    """The base URL of a proxy before `origin`, on an ephemeral port of loopback."""
    exchanges = Exchanges(origin, http_cache(store=MemoryStore()))
    server = await asyncio.start_server(lambda reader, writer: _serve(exchanges, reader, writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.close()
        exchanges.requests.on_completed()
        await exchanges.ended.wait()
        exchanges.subscription.dispose()
