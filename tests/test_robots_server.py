"""What robots.txt answers mean, over real connections to a server on loopback."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import reactivex
from reactivex import operators as rx

from streamcrawl.core import Dropped, Failed, Outcome, Request
from streamcrawl.operators.download import download
from streamcrawl.operators.redirect import redirect
from streamcrawl.operators.robots_txt import robots_txt
from streamcrawl.operators.timeout import timeout
from streamcrawl.response import Response
from streamcrawl.robots import PARSED
from streamcrawl.transport import Wire

RULES = b"User-agent: *\nDisallow: /private\n"
ENOUGH = 64 * 1024 * 1024
"""Bytes after which a server that is asked for an endless file gives up."""


@dataclass
class Server:
    """What was asked of it, and how much it sent."""

    url: str = ""
    asked: list[str] = field(default_factory=list[str])
    sent: int = 0


Writer = asyncio.StreamWriter
Answer = Callable[[Server, Writer], Awaitable[None]]


@asynccontextmanager
async def serving(robots: Answer) -> AsyncGenerator[Server]:
    """A site whose robots.txt is answered so."""
    made = Server()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: Writer) -> None:
        try:
            path = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()
            made.asked.append(path)
            await (robots(made, writer) if path == "/robots.txt" else page(path)(made, writer))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # whoever asked has read enough
        finally:
            writer.close()

    def connected(reader: asyncio.StreamReader, writer: Writer) -> None:
        tasks.add(asyncio.ensure_future(serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def answer(status: str, body: bytes = b"", *fields: str, length: int | None = None) -> Answer:
    head = "\r\n".join([f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body) if length is None else length}"])

    async def write(server: Server, writer: Writer) -> None:
        writer.write(f"{head}\r\nConnection: close\r\n\r\n".encode() + body)

    return write


def page(path: str) -> Answer:
    return answer("200 OK", RULES if path == "/rules.txt" else b"page")


def endless(*fields: str, begin: bytes = RULES, more: bytes = b"# filler\n" * 7_000) -> Answer:
    """A robots.txt that goes on until nobody reads it."""
    head = "\r\n".join(["HTTP/1.1 200 OK", *fields, "Connection: close"])

    async def write(server: Server, writer: Writer) -> None:
        writer.write(f"{head}\r\n\r\n".encode() + begin)
        while server.sent < ENOUGH:
            writer.write(more)
            await writer.drain()
            server.sent += len(more)

    return write


async def silent(server: Server, writer: Writer) -> None:
    await asyncio.Event().wait()


async def reset(server: Server, writer: Writer) -> None:
    writer.transport.abort()


async def not_http(server: Server, writer: Writer) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")


def squeezed() -> tuple[bytes, bytes]:
    """The beginning of a gzip body that is the rules, and a piece that is a megabyte of line ends, to be repeated."""
    packing = zlib.compressobj(9, zlib.DEFLATED, 31)
    begin = packing.compress(RULES) + packing.flush(zlib.Z_FULL_FLUSH)
    return begin, packing.compress(b"\n" * 1024 * 1024) + packing.flush(zlib.Z_FULL_FLUSH)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


BEGIN, MEGABYTE = squeezed()

OBEYED = {"/a": "200", "/private": "robots.txt"}
OPEN = {"/a": "200", "/private": "200"}
CLOSED = {"/a": "robots.txt unreachable", "/private": "robots.txt unreachable"}


def lost(error: str) -> dict[str, str]:
    return {"/a": error, "/private": error}


ANSWERS: dict[str, tuple[Answer, dict[str, str]]] = {
    "200": (answer("200 OK", RULES), OBEYED),
    "404": (answer("404 Not Found", RULES), OPEN),
    "403": (answer("403 Forbidden"), OPEN),
    "401": (answer("401 Unauthorized", b"", "WWW-Authenticate: Basic"), OPEN),
    "429": (answer("429 Too Many Requests"), CLOSED),
    "500": (answer("500 Internal Server Error", RULES), CLOSED),
    "503": (answer("503 Service Unavailable"), CLOSED),
    "silent": (silent, lost("FetchTimeout")),
    "reset": (reset, lost("ProtocolError")),
    "half a body": (answer("200 OK", RULES, length=len(RULES) + 9), lost("TruncatedBody")),
    "not HTTP": (not_http, lost("ProtocolError")),
    "redirect": (answer("301 Moved Permanently", b"", "Location: /rules.txt"), OBEYED),
    "redirect loop": (answer("302 Found", b"", "Location: /robots.txt"), OPEN),
    "redirect to a file": (answer("302 Found", b"", "Location: file:///etc/passwd"), OPEN),
    "huge, of known length": (endless("Content-Length: 1000000000"), OBEYED),
    "huge, chunked": (
        endless("Transfer-Encoding: chunked", begin=chunk(RULES), more=chunk(b"# filler\n" * 7_000)),
        OBEYED,
    ),
    "huge, until it ends": (endless(), OBEYED),
    "a bomb": (endless("Content-Encoding: gzip", begin=BEGIN, more=MEGABYTE), OBEYED),
    "binary garbage": (answer("200 OK", bytes(range(256)) * 40), OPEN),
    "garbage around the rules": (answer("200 OK", b"\x00\xff\xfe\n" + RULES + b"\x89PNG\r\n"), OBEYED),
    "byte order mark": (answer("200 OK", b"\xef\xbb\xbf" + RULES), OBEYED),
    "utf-16": (answer("200 OK", RULES.decode().encode("utf-16")), OBEYED),
    "gzip": (answer("200 OK", gzip.compress(RULES), "Content-Encoding: gzip"), OBEYED),
    "gzip that is none": (answer("200 OK", RULES, "Content-Encoding: gzip"), lost("DecodeError")),
}


def told(outcomes: list[Outcome], server: Server) -> dict[str, str]:
    """What became of each path."""
    ends: dict[str, str] = {}
    for outcome in outcomes:
        path = outcome.request.url.removeprefix(server.url)
        if isinstance(outcome, Failed):
            ends[path] = type(outcome.error).__name__
        else:
            ends[path] = outcome.reason if isinstance(outcome, Dropped) else str(getattr(outcome, "status", outcome))
    return ends


async def crawled(server: Server, seconds: float = 30.0) -> dict[str, str]:
    requests = [Request(server.url + path) for path in ("/a", "/private")]
    stage = download(robots_txt(), timeout(seconds), redirect())
    return told(await reactivex.from_iterable(requests).pipe(stage, rx.to_list()), server)


@pytest.mark.parametrize("name", ANSWERS)
def test_what_an_answer_means(name: str) -> None:
    robots, expected = ANSWERS[name]

    async def main() -> Server:
        async with serving(robots) as server:
            assert await crawled(server, 0.3 if name == "silent" else 30.0) == expected
            return server

    server = asyncio.run(main())
    # The transport itself repeats what is cut off before any answer; an overlong file is asked for once more.
    twice = robots.__qualname__.startswith("endless")
    assert server.asked.count("/robots.txt") == (2 if twice else 6 if name == "redirect loop" else 1)
    pages_asked = {path for path in server.asked if path in ("/a", "/private")}
    assert pages_asked == {path for path, end in expected.items() if end == "200"}
    # Twice what counts, what a decoder gives at once, and what the sockets of both sides hold.
    assert server.sent < 16 * 1024 * 1024


def test_a_redirect_to_another_host() -> None:
    async def main() -> None:
        async with serving(answer("200 OK", RULES)) as other:
            moved = answer("308 Permanent Redirect", b"", f"Location: {other.url}/robots.txt")
            async with serving(moved) as server:
                assert await crawled(server) == OBEYED
                assert other.asked == ["/robots.txt"]

    asyncio.run(main())


def test_a_redirect_to_a_host_that_is_down() -> None:
    async def main() -> None:
        async with serving(silent) as gone:
            pass
        moved = answer("302 Found", b"", f"Location: {gone.url}/robots.txt")
        async with serving(moved) as server:
            assert await crawled(server) == lost("ConnectError")
            assert server.asked == ["/robots.txt"]

    asyncio.run(main())


def test_nobody_is_there() -> None:
    async def main() -> None:
        async with serving(silent) as gone:
            pass
        assert await crawled(gone) == lost("ConnectError")

    asyncio.run(main())


def test_what_is_read_of_an_overlong_file_is_what_counts() -> None:
    """A rule within the first 500 KiB holds, the one that the limit cuts and those after it do not."""
    last = b"Disallow: /private\n"
    body = b"User-agent: *\n".ljust(PARSED - 2 * len(last), b"\n") + last + b"Disallow: /a" + b"/b\n" * 300_000
    assert body.index(b"Disallow: /a") < PARSED < len(body)

    async def main() -> None:
        async with serving(answer("200 OK", body)) as server:
            assert await crawled(server) == OBEYED

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("shopbot/1.0 (+https://shop.example/bot)", "/a"), ("crawler/1.0", "/private"), ("", "/b")],
    ids=["its own", "another", "none"],
)
def test_the_name_that_the_wire_sends_counts_where_a_request_has_none(name: str, allowed: str) -> None:
    groups = {"shopbot": "/a", "streamcrawl": "/b", "*": "/private"}
    rules = "".join(f"User-agent: {group}\nDisallow: /\nAllow: {path}$\n\n" for group, path in groups.items())

    async def main() -> list[str]:
        ends: list[Outcome] = []
        async with serving(answer("200 OK", rules.encode())) as server:
            requests = [Request(server.url + path) for path in groups.values()]
            stage = download(robots_txt(), fetch=Wire(user_agent=name))
            await reactivex.from_iterable(requests).pipe(stage, rx.do_action(ends.append))
            return [end.url.removeprefix(server.url) for end in ends if isinstance(end, Response)]

    assert asyncio.run(main()) == [allowed]
