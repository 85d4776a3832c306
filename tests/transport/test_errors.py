"""Broken answers and unreachable servers: one line each, of the right kind, that names the URL."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aiohttp
import pytest

from streamcrawl.core import Request
from streamcrawl.errors import ConnectError, FetchError, ProtocolError, ResolveError, TruncatedBody
from streamcrawl.transport.body import shown

OK = b"HTTP/1.1 200 OK\r\n"

BROKEN: dict[str, tuple[bytes, type[FetchError], str]] = {
    "short-length": (OK + b"Content-Length: 10\r\n\r\n12345", TruncatedBody, "ended before its time, after 5 bytes"),
    "cut-chunks": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        TruncatedBody,
        "ended before its time, after 5 bytes",
    ),
    "cut-in-chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\nff\r\n12345", TruncatedBody, "ended before its time"),
    "bad-chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n12345\r\n", ProtocolError, "chunk size"),
    "not-http": (b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n\r\n", ProtocolError, "the answer is not HTTP"),
    "binary": (b"\x16\x03\x01\x02\x00\x01\x00\n\n\n\x00\xff" * 9, ProtocolError, "the answer is not HTTP"),
    "nothing": (b"", ProtocolError, "the server closed the connection without an answer"),
    "half-head": (OK + b"Content-Le", ProtocolError, "the server closed the connection without an answer"),
    "bad-length": (OK + b"Content-Length: many\r\n\r\n", ProtocolError, "the answer is not HTTP"),
    "huge-field": (OK + b"X: " + b"a" * 200_000 + b"\r\n\r\n", ProtocolError, "the answer is not HTTP"),
    "endless-fields": (OK + b"X: a\r\n" * 5000 + b"\r\n", ProtocolError, "the answer is not HTTP"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_answers(serve: Any, wire: Any, name: str) -> None:
    raw, kind, text = BROKEN[name]

    async def main() -> None:
        async with serve(raw, closing=True) as site, wire(timeout=20) as fetch:
            url = site.url("/page")
            with pytest.raises(kind) as caught:
                await fetch(Request(url))
            said = str(caught.value)
            assert said.startswith(f"{url}: ")
            assert text in said
            assert "\n" not in said
            assert len(said) < 400
            assert caught.value.__cause__ is not None
            site.answer = OK + b"Content-Length: 2\r\n\r\nok"
            assert (await fetch(Request(url))).body == b"ok"

    asyncio.run(main())


def test_large_fields_that_real_sites_send_are_taken(serve: Any, wire: Any) -> None:
    async def main() -> None:
        raw = OK + b"Set-Cookie: a=" + b"x" * 30_000 + b"\r\n" + b"X: 1\r\n" * 300 + b"Content-Length: 0\r\n\r\n"
        async with serve(raw) as site, wire() as fetch:
            response = await fetch(Request(site.url()))
            assert len(response.headers.getall("x")) == 300
            assert len(response.headers["set-cookie"]) == 30_002

    asyncio.run(main())


def test_a_connection_that_is_reset(serve: Any, wire: Any) -> None:
    async def reset(seen: Any, writer: asyncio.StreamWriter) -> None:
        if "/body" in seen.line:
            writer.write(OK + b"Content-Length: 10\r\n\r\n123")
            await writer.drain()
            await told.wait()
        sock = writer.get_extra_info("socket")
        # SO_LINGER of 0 makes close() send a reset.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    told: asyncio.Event

    async def main() -> None:
        nonlocal told
        told = asyncio.Event()
        async with serve(reset) as site, wire() as fetch:
            with pytest.raises(ProtocolError, match=rf"^{site.url('/head')}: "):
                await fetch(Request(site.url("/head")))
            response = await fetch(Request(site.url("/body"), stream=True))
            stream = aiter(response.stream)
            assert await anext(stream) == b"123"
            told.set()
            with pytest.raises(TruncatedBody, match=r"/body: the body ended before its time, after 3 bytes"):
                await anext(stream)

    asyncio.run(main())


def test_a_stale_connection_is_replaced(serve: Any, wire: Any) -> None:
    """The server may close an idle connection just when the next request goes out."""

    async def main() -> None:
        async with serve(OK + b"Content-Length: 2\r\n\r\nok") as site, wire() as fetch:
            assert (await fetch(Request(site.url()))).body == b"ok"
            site.closing = True
            assert (await fetch(Request(site.url()))).body == b"ok"
            assert (await fetch(Request(site.url()))).body == b"ok"
            assert site.connections == 2

    asyncio.run(main())


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_is_given_up_without_an_answer(serve: Any, wire: Any, reset: bool) -> None:
    """A request that may be repeated goes out again at once; one that may not is told, and goes out once."""

    async def give_up(seen: Any, writer: asyncio.StreamWriter) -> None:
        site.answer = OK + b"Content-Length: 2\r\n\r\nok"
        if reset:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    site: Any = None

    async def main() -> None:
        nonlocal site
        async with serve(OK + b"Content-Length: 2\r\n\r\nok") as site, wire(timeout=20) as fetch:
            assert (await fetch(Request(site.url("/a")))).body == b"ok"
            site.answer = give_up
            assert (await fetch(Request(site.url("/b")))).body == b"ok"
            site.answer = give_up
            with pytest.raises(ProtocolError, match=r"/c: the "):
                await fetch(Request(site.url("/c"), method="POST", body=b"x"))
            assert [seen.line.split()[1] for seen in site.seen] == ["/a", "/b", "/b", "/c"]

    asyncio.run(main())


def test_a_refused_port(wire: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        port = taken.getsockname()[1]

        async def main() -> None:
            async with wire() as fetch:
                url = f"http://127.0.0.1:{port}/x"
                told = rf"^{url}: cannot connect to 127.0.0.1, port {port}: Connection refused$"
                with pytest.raises(ConnectError, match=told):
                    await fetch(Request(url))

        asyncio.run(main())


@pytest.mark.parametrize(
    "host", ["nohost.invalid", f"{'a' * 64}.invalid", "a..invalid", "xn--zz--zz.invalid", "-.invalid"]
)
def test_a_host_without_address(wire: Any, host: str) -> None:
    async def main() -> None:
        async with wire(timeout=60) as fetch:
            with pytest.raises(ResolveError, match=rf"^http://{host}/x: the host {host} has no address: .+"):
                await fetch(Request(f"http://{host}/x"))

    asyncio.run(main())


def test_ipv6(wire: Any) -> None:
    async def main() -> None:
        async with wire() as fetch:
            with pytest.raises(ConnectError, match=r"^http://\[::1\]:1/: cannot connect to \[::1\], port 1: "):
                await fetch(Request("http://[::1]:1/"))

    asyncio.run(main())


def test_a_bug_is_not_disguised_as_a_failed_request(serve: Any, wire: Any, metered_run: Any) -> None:
    async def main() -> None:
        run = metered_run()
        run.reserve = None  # calling it is a TypeError
        async with serve(OK + b"Content-Length: 300000\r\n\r\n" + bytes(300_000)) as site, wire(run) as fetch:
            with pytest.raises(TypeError):
                await fetch(Request(site.url()))

    asyncio.run(main())


def test_credentials_and_long_urls_stay_out_of_messages(wire: Any) -> None:
    assert shown("http://user:secret@h:1/x?mail=a@b") == "http://h:1/x?mail=a@b"
    assert shown("http://h/a@b") == "http://h/a@b"
    assert shown("http://us:er@h") == "http://h"
    assert shown("data:," + "x" * 500) == "data:," + "x" * 191 + "..."

    async def main() -> None:
        async with wire() as fetch:
            with pytest.raises(ConnectError) as caught:
                await fetch(Request("http://user:secret@127.0.0.1:1/"))
            assert "secret" not in str(caught.value)
            assert isinstance(caught.value.__cause__, aiohttp.ClientConnectorError)

    asyncio.run(main())
