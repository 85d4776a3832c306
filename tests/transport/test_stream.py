"""`Request(stream=True)`: the body while it comes."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import Any

import pytest

from streamcrawl.core import Request
from streamcrawl.errors import BodyTooLarge, DecodeError, FetchError, ProtocolError, TruncatedBody

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Script:
    """Sends one part of an answer whenever the test says so."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts
        self.next = asyncio.Semaphore(1)

    async def __call__(self, seen: Any, writer: asyncio.StreamWriter) -> None:
        if seen.line.startswith("GET /ok"):
            writer.write(OK)
            return
        for part in self.parts:
            await self.next.acquire()
            writer.write(part)
            await writer.drain()
        await seen.hung_up()


def test_chunks_are_decoded_while_they_come(serve: Any, wire: Any) -> None:
    async def main() -> None:
        packer = zlib.compressobj(wbits=31)
        first = packer.compress(b"one ") + packer.flush(zlib.Z_SYNC_FLUSH)
        second = packer.compress(b"two") + packer.flush()
        head = CHUNKED + b"Content-Encoding: gzip\r\n\r\n"
        script = Script(head, chunk(first), chunk(second) + b"0\r\n\r\n")
        async with serve(script) as site, wire() as fetch:
            response = await fetch(Request(site.url(), stream=True))
            assert response.status == 200
            assert "content-encoding" not in response.headers
            stream = response.stream
            got: list[bytes] = []
            script.next.release()
            async for piece in stream:
                got.append(piece)
                script.next.release()
            assert got == [b"one ", b"two"]
            assert stream.wire_size == len(first) + len(second)
            assert stream.size == 7
            assert [piece async for piece in stream] == []
            assert repr(stream) == f"<StreamedBody {site.url()}: read, 7 bytes>"

    asyncio.run(main())


def test_a_body_read_to_its_end_gives_the_connection_back(serve: Any, wire: Any) -> None:
    async def main() -> None:
        async with serve(OK) as site, wire() as fetch:
            for _ in range(3):
                response = await fetch(Request(site.url(), stream=True))
                assert await response.read() == b"ok"
                assert response.body == b"ok"
            assert site.connections == 1

    asyncio.run(main())


def test_a_body_that_is_closed_closes_the_connection(serve: Any, wire: Any) -> None:
    async def main() -> None:
        async with serve(Script(CHUNKED + b"\r\n" + chunk(b"one"))) as site, wire() as fetch:
            response = await fetch(Request(site.url(), stream=True))
            stream = aiter(response.stream)
            assert await anext(stream) == b"one"
            await response.stream.aclose()
            await response.stream.aclose()
            await site.closed.wait()
            with pytest.raises(FetchError, match=rf"^{site.url()}: the body was closed before it was read to its end$"):
                await anext(stream)
            assert (await fetch(Request(site.url("/ok")))).body == b"ok"

    asyncio.run(main())


def test_the_end_of_the_run_closes_what_is_still_open(serve: Any, wire: Any) -> None:
    async def main() -> None:
        async with serve(Script(CHUNKED + b"\r\n" + chunk(b"one"))) as site:
            async with wire() as fetch:
                response = await fetch(Request(site.url(), stream=True))
            await site.closed.wait()
            with pytest.raises(FetchError, match="was closed before"):
                await anext(aiter(response.stream))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("coding", "parts", "kind", "text"),
    [
        ("", (chunk(b"one"), b"5\r\nab"), TruncatedBody, "after 5 bytes"),
        ("", (chunk(b"one"), b"zz\r\nab"), ProtocolError, "the body is not HTTP after 3 bytes"),
        ("gzip", (chunk(gzip.compress(b"one" * 99)[:-3]) + b"0\r\n\r\n",), TruncatedBody, "the gzip body"),
        ("gzip", (chunk(b"\x1f\x8b and more that is no gzip"),), DecodeError, "cannot be decoded as gzip"),
        ("", (chunk(b"x" * 6000), chunk(b"x" * 6000)), BodyTooLarge, "limit of 10000 bytes"),
        ("gzip", (chunk(gzip.compress(bytes(500_000))),), BodyTooLarge, "limit of 10000 bytes"),
    ],
    ids=["cut", "garbled", "coding-cut", "coding-broken", "too-large", "bomb"],
)
def test_a_break_in_mid_stream_reaches_the_reader(
    serve: Any, wire: Any, coding: str, parts: tuple[bytes, ...], kind: type[FetchError], text: str
) -> None:
    async def answer(seen: Any, writer: asyncio.StreamWriter) -> None:
        if seen.line.startswith("GET /ok"):
            writer.write(OK)
            return
        writer.write(CHUNKED + (b"Content-Encoding: " + coding.encode() + b"\r\n" if coding else b"") + b"\r\n")
        await headed.acquire()
        for part in parts:
            writer.write(part)
        if kind is TruncatedBody and not coding:
            writer.write_eof()
        if not sound:
            await seen.hung_up()

    headed: asyncio.Semaphore
    sound = parts[-1].endswith(b"0\r\n\r\n")  # what HTTP calls complete leaves a connection that can be used again

    async def main() -> None:
        nonlocal headed
        headed = asyncio.Semaphore(0)
        async with serve(answer) as site, wire(max_size=10_000) as fetch:
            response = await fetch(Request(site.url(), stream=True))
            headed.release()
            with pytest.raises(kind, match=text) as caught:
                await response.read()
            assert type(caught.value) is kind
            assert str(caught.value).startswith(f"{site.url()}: ")
            if not sound:
                await site.closed.wait()
            assert (await fetch(Request(site.url("/ok")))).body == b"ok"
            assert site.connections == (1 if sound else 2)

    asyncio.run(main())


def test_a_bomb_in_one_chunk_comes_in_small_pieces(serve: Any, wire: Any) -> None:
    async def main() -> None:
        packed = gzip.compress(bytes(8_000_000))
        raw = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
        async with serve(raw) as site, wire() as fetch:
            response = await fetch(Request(site.url(), stream=True))
            sizes = [len(piece) async for piece in response.stream]
            assert sum(sizes) == 8_000_000
            assert max(sizes) <= 64 * 1024

    asyncio.run(main())


def test_a_slow_reader_holds_the_server_back(serve: Any, wire: Any) -> None:
    sent = 0

    async def endless(seen: Any, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(CHUNKED + b"\r\n")
        while True:
            writer.write(chunk(bytes(100_000)))
            await writer.drain()
            sent += 100_000

    async def main() -> None:
        async with serve(endless) as site, wire() as fetch:
            response = await fetch(Request(site.url(), stream=True))
            before = -1
            while sent != before:  # until nothing moves any more
                before = sent
                for _ in range(200):
                    await asyncio.sleep(0)
            assert before < 20_000_000  # what the two kernel buffers take
            await response.stream.aclose()

    asyncio.run(main())
