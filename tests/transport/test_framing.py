"""Bytes beyond the end of an answer: the page is given out whole, the rest dropped, the connection not used again.

Without that a server could put an answer in the place of the next one (response-queue poisoning, request smuggling).
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamcrawl.core import Request
from streamcrawl.transport.framing import EXCESS, MALFORMED

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 2\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
PAGE = OK + LENGTH + b"\r\nok"
POISON = OK + b"Content-Length: 6\r\n\r\npoison"

EXCESSIVE: dict[str, tuple[str, bytes, int, bytes]] = {
    "length": ("GET", PAGE + b"more", 200, b"ok"),
    "length-and-close": ("GET", OK + b"Connection: close\r\n" + LENGTH + b"\r\nok</html>", 200, b"ok"),
    "no-length-left": ("GET", OK + b"Content-Length: 0\r\n\r\nmore", 200, b""),
    "second-answer": ("GET", PAGE + POISON, 200, b"ok"),
    "half-a-second-answer": ("GET", PAGE + POISON[:20], 200, b"ok"),
    "second-answer-after-line-breaks": ("GET", PAGE + b"\r\n\r\n" + POISON, 200, b"ok"),
    "after-the-last-chunk": ("GET", OK + CHUNKED + b"\r\n2\r\nok\r\n0\r\n\r\nmore", 200, b"ok"),
    "second-answer-after-the-last-chunk": ("GET", OK + CHUNKED + b"\r\n2\r\nok\r\n0\r\n\r\n" + POISON, 200, b"ok"),
    "after-a-trailer": ("GET", OK + CHUNKED + b"\r\n2\r\nok\r\n0\r\nX: 1\r\n\r\nmore", 200, b"ok"),
    "204": ("GET", b"HTTP/1.1 204 No Content\r\n\r\nbody", 204, b""),
    "204-with-length": ("GET", b"HTTP/1.1 204 No Content\r\n" + LENGTH + b"\r\nok", 204, b""),
    "204-with-chunks": ("GET", b"HTTP/1.1 204 No Content\r\n" + CHUNKED + b"\r\n2\r\nok\r\n0\r\n\r\n", 204, b""),
    "304": ("GET", b"HTTP/1.1 304 Not Modified\r\n\r\n<html>", 304, b""),
    "head": ("HEAD", PAGE, 200, b""),
    "head-without-length": ("HEAD", OK + b"\r\n<html>", 200, b""),
    "after-100": ("GET", b"HTTP/1.1 100 Continue\r\n\r\n" + PAGE + b"more", 200, b"ok"),
    "long": ("GET", OK + b"Content-Length: 20000\r\n\r\n" + b"x" * 20_000 + b"more" * 5000, 200, b"x" * 20_000),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", EXCESSIVE)
def test_what_is_beyond_the_answer_in_one_segment(
    serve: Any, wire: Any, metered_run: Any, name: str, stream: bool
) -> None:
    method, raw, status, body = EXCESSIVE[name]

    async def main() -> None:
        run = metered_run()
        async with serve(raw) as site, wire(run, timeout=20) as fetch:
            response = await fetch(Request(site.url("/a"), method=method, stream=stream))
            got = b"".join([chunk async for chunk in response.stream]) if stream else response.body
            assert (response.status, got) == (status, body)
            assert run.stats[EXCESS] == 1
            assert MALFORMED not in run.stats
            site.answer = OK + b"Content-Length: 3\r\n\r\nown"
            assert (await fetch(Request(site.url("/b")))).body == b"own"
            assert site.connections == 2
            assert run.stats[EXCESS] == 1

    asyncio.run(main())


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("name", EXCESSIVE)
def test_what_is_beyond_the_answer_in_many_segments(serve: Any, wire: Any, name: str, size: int) -> None:
    """The parser is fed as the loop would: by so many bytes."""
    method, raw, status, body = EXCESSIVE[name]
    if len(raw) > 1000:
        raw, body = raw.replace(b"x" * 20_000, b"x" * 50).replace(b"20000", b"50"), body[:50]

    async def answer(seen: Any, writer: asyncio.StreamWriter) -> None:
        for at in range(0, len(raw), size):
            writer.write(raw[at : at + size])
            await asyncio.sleep(0)

    async def main() -> None:
        async with serve(answer) as site, wire(timeout=20) as fetch:
            response = await fetch(Request(site.url("/a"), method=method))
            assert (response.status, response.body) == (status, body)
            site.answer = OK + b"Content-Length: 3\r\n\r\nown"
            assert (await fetch(Request(site.url("/b")))).body == b"own"

    asyncio.run(main())


@pytest.mark.parametrize("excess", [b"more", POISON, POISON[:9], b"\r\n" + POISON])
def test_what_comes_while_the_connection_is_idle(serve: Any, wire: Any, metered_run: Any, excess: bytes) -> None:
    async def main() -> None:
        read = asyncio.Event()

        async def answer(seen: Any, writer: asyncio.StreamWriter) -> None:
            writer.write(PAGE)
            await read.wait()
            writer.write(excess)

        run = metered_run()
        async with serve(answer) as site, wire(run, timeout=20) as fetch:
            assert (await fetch(Request(site.url("/a")))).body == b"ok"
            assert EXCESS not in run.stats
            read.set()
            await site.closed.wait()
            assert run.stats[EXCESS] == 1
            site.answer = OK + b"Content-Length: 3\r\n\r\nown"
            assert (await fetch(Request(site.url("/b")))).body == b"own"
            assert site.connections == 2

    asyncio.run(main())


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_came_while_the_event_loop_was_busy(serve: Any, wire: Any, method: str) -> None:
    """It waits in the socket when the next request is about to go out, and would be the first thing read after it."""

    async def main() -> None:
        writers: list[asyncio.StreamWriter] = []

        async def answer(seen: Any, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            writer.write(PAGE)

        async with serve(answer) as site, wire(timeout=20) as fetch:
            assert (await fetch(Request(site.url("/a")))).body == b"ok"
            site.answer = OK + b"Content-Length: 3\r\n\r\nown"
            writers[0].write(POISON)  # it is in the client's socket now, and nothing is awaited before the next request
            assert (await fetch(Request(site.url("/b"), method=method))).body == b"own"
            assert [seen.line.split()[1] for seen in site.seen] == ["/a", "/b"]
            assert site.connections == 2

    asyncio.run(main())


def test_a_second_answer_behind_the_end_of_a_body(serve: Any, wire: Any, metered_run: Any) -> None:
    """It comes with the last segment of a body whose first ones have been read."""

    async def main() -> None:
        begun = asyncio.Event()

        async def answer(seen: Any, writer: asyncio.StreamWriter) -> None:
            writer.write(OK + b"Content-Length: 4\r\n\r\nab")
            await begun.wait()
            writer.write(b"cd" + POISON)

        run = metered_run()
        async with serve(answer) as site, wire(run, timeout=20) as fetch:
            response = await fetch(Request(site.url("/a"), stream=True))
            body = aiter(response.stream)
            assert await anext(body) == b"ab"
            begun.set()
            assert [chunk async for chunk in body] == [b"cd"]
            site.answer = OK + b"Content-Length: 3\r\n\r\nown"
            assert (await fetch(Request(site.url("/b")))).body == b"own"
            assert run.stats[EXCESS] == 1
            assert site.connections == 2

    asyncio.run(main())


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_beyond_a_long_body(serve: Any, wire: Any, metered_run: Any, framing: str, stream: bool) -> None:
    """Longer than what is read ahead: the parser is paused with a part of it in hand."""
    body = bytes(range(256)) * 8192
    if framing == "length":
        raw = OK + b"Content-Length: %d\r\n\r\n" % len(body) + body
    else:
        parts = (body[at : at + 50_000] for at in range(0, len(body), 50_000))
        raw = OK + CHUNKED + b"\r\n" + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"

    async def main() -> None:
        run = metered_run()
        async with serve(raw + POISON) as site, wire(run, timeout=20) as fetch:
            response = await fetch(Request(site.url("/a"), stream=stream))
            got = bytearray()
            if stream:
                async for chunk in response.stream:
                    got += chunk
                    await asyncio.sleep(0)
            assert bytes(got or response.body) == body
            site.answer = OK + b"Content-Length: 3\r\n\r\nown"
            assert (await fetch(Request(site.url("/b")))).body == b"own"
            assert site.connections == 2

    asyncio.run(main())


def test_chunks_in_http_1_0_end_the_connection(serve: Any, wire: Any) -> None:
    """RFC 9112 §6.1: who speaks HTTP/1.0 does not know them, so they may be a cache's, and what follows another's."""
    raw = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + CHUNKED + b"\r\n2\r\nok\r\n0\r\n\r\n"

    async def main() -> None:
        async with serve(raw) as site, wire(timeout=20) as fetch:
            for _ in range(2):
                assert (await fetch(Request(site.url()))).body == b"ok"
            assert site.connections == 2

    asyncio.run(main())


def test_line_breaks_after_an_answer_are_no_harm(serve: Any, wire: Any, metered_run: Any) -> None:
    async def main() -> None:
        run = metered_run()
        async with serve(PAGE + b"\r\n") as site, wire(run) as fetch:
            for _ in range(3):
                assert (await fetch(Request(site.url()))).body == b"ok"
            assert site.connections == 1
            assert EXCESS not in run.stats

    asyncio.run(main())


def test_a_good_bye_that_was_not_seen_yet_costs_no_request(serve: Any, wire: Any) -> None:
    """A request that may not be repeated, too, finds the connection gone before it is sent."""

    async def main() -> None:
        writers: list[asyncio.StreamWriter] = []

        async def answer(seen: Any, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            writer.write(PAGE)

        async with serve(answer) as site, wire(timeout=20) as fetch:
            assert (await fetch(Request(site.url("/a")))).body == b"ok"
            writers[0].write_eof()  # sent at once, while the client's loop does something else
            assert (await fetch(Request(site.url("/b"), method="POST", body=b"x"))).body == b"ok"
            assert [seen.line for seen in site.seen] == ["GET /a HTTP/1.1", "POST /b HTTP/1.1"]

    asyncio.run(main())


@pytest.mark.parametrize("proxied", [False, True])
def test_it_holds_for_connections_to_proxies(serve: Any, wire: Any, metered_run: Any, proxied: bool) -> None:
    async def main() -> None:
        run = metered_run()
        async with serve(PAGE + POISON) as site, wire(run, timeout=20) as fetch:
            proxy = site.url() if proxied else None
            for path in "abc":
                url = f"http://site.test/{path}" if proxied else site.url(f"/{path}")
                assert (await fetch(Request(url, proxy=proxy))).body == b"ok"
            assert site.connections == run.stats[EXCESS] == 3

    asyncio.run(main())
