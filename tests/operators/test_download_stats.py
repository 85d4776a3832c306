"""Tests of ops.download_stats."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from gzip import compress

import httpx
from through import Spy, through

from streamcrawl import Crawl, Wire
from streamcrawl.core import Dropped, Request
from streamcrawl.errors import ConnectError
from streamcrawl.headers import Headers
from streamcrawl.operators import default_layers, download, scrape
from streamcrawl.operators.download_stats import download_stats
from streamcrawl.response import Response
from streamcrawl.testing.fake_fetch import Chunks, FakeFetch


def counted(fetch: FakeFetch, *requests: Request | str) -> dict[str, object]:
    spy = Spy()
    through(download_stats(), to=requests, fetch=fetch, spy=spy)
    prefix = "downloader/"
    assert all(key.startswith(prefix) for key in spy.stats)
    return {key.removeprefix(prefix): value for key, value in spy.stats.items()}


def test_requests_and_responses() -> None:
    site = FakeFetch(
        {
            "/a": Response("x:", body=b"12345", wire_size=3),
            "/b": Response("x:", 404, body=b"1234567"),
        }
    )
    posted = Request("http://a.example/b", method="POST", body=b"12", headers=Headers({"X": "1"}))
    stats = counted(site, "http://a.example/a", posted)
    # GET http://a.example/a and POST http://a.example/b: 14 bytes beside method and URL, "X: 1\r\n", the body.
    assert stats == {
        "request_count": 2,
        "request_method_count/GET": 1,
        "request_method_count/POST": 1,
        "request_bytes": (3 + 18 + 14) + (4 + 18 + 14 + 6 + 2),
        "response_count": 2,
        "response_status_count/200": 1,
        "response_status_count/404": 1,
        "response_bytes": 3 + 7,
    }


def test_failures_by_their_names() -> None:
    stats = counted(FakeFetch({"/": [ConnectError("no"), ValueError("bug")]}), "http://a.example/", "http://a.example/")
    assert stats["exception_count"] == 2
    assert stats["exception_type_count/ConnectError"] == 1
    assert stats["exception_type_count/OperatorError"] == 1
    assert "response_count" not in stats


def test_a_request_that_is_answered_already_does_not_count() -> None:
    request = Request("http://a.example/", answer=Response("http://a.example/", body=b"kept"))
    refused = Request("http://a.example/", answer=Dropped(Request("http://a.example/"), "no"))
    assert counted(FakeFetch({}), request, refused) == {}


def test_a_streamed_body_is_not_touched() -> None:
    body = Chunks(b"12345")
    stats = counted(FakeFetch({"/": Response("x:", stream=body)}), Request("http://a.example/", stream=True))
    assert stats["response_count"] == 1
    assert stats.get("response_bytes", 0) == 0
    assert not body.closed


def page(kind: str) -> bytes:
    body = b"<h1>Page</h1>" * 500
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
    if kind == "chunked":
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:1000], body[1000:]))
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    if kind == "gzip":
        body = compress(body)
        head += b"Content-Encoding: gzip\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % (len(body) + 100 * (kind == "cut")) + body


class Counting:
    """A server that counts what it reads and writes."""

    def __init__(self) -> None:
        self.read = self.written = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                found = re.search(rb"content-length: *([0-9]+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(found[1])) if found else b""
                self.read += len(head) + len(body)
                kind = head.split(b" ")[1].strip(b"/").decode()
                if kind != "dead":
                    answer = page(kind)
                    self.written += len(answer)
                    writer.write(answer)
                    await writer.drain()
                if kind in ("dead", "cut"):
                    break
        writer.close()


async def read_stream(response: Response) -> None:
    if response.stream is not None:
        async for _ in response.stream:
            pass


def test_bytes_are_those_that_went_over_the_wire() -> None:
    counting = Counting()

    async def main() -> dict[str, object]:
        server = await asyncio.start_server(counting, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        start = [
            *(Request(f"{url}/{kind}") for kind in ("plain", "chunked", "gzip", "cut", "dead")),
            Request(f"{url}/posted?a=b#c", method="POST", body=b"12345", headers=Headers({"X": "\u00e4", "Y": "1"})),
            Request(f"{url}/streamed", stream=True),
        ]
        layers = default_layers(robots_txt=None, retry=None)
        run = Crawl(start, concurrency=2).pipe(download(*layers), scrape(read_stream)).start()
        await run
        server.close()
        return run.stats

    stats = asyncio.run(main())
    assert stats["downloader/request_bytes"] == stats["wire/bytes_sent"] == counting.read > 0
    assert stats["downloader/response_bytes"] == stats["wire/bytes_received"] == counting.written > 0
    assert stats["downloader/exception_count"] == 2


def test_what_another_transport_brings_is_counted_as_it_is() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Type": "text/plain"}, content=b"12345")

    async def main() -> dict[str, object]:
        fetch = Wire(transport=lambda: httpx.MockTransport(answer), user_agent="x", decompress=False)
        layers = default_layers(robots_txt=None, default_headers=None)
        run = Crawl("http://a.example/").pipe(download(*layers, fetch=fetch), scrape(read_stream)).start()
        await run
        return run.stats

    stats = asyncio.run(main())
    head = len("GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nUser-Agent: x\r\n\r\n")
    assert stats["downloader/request_bytes"] == head
    head = len("HTTP/1.1 200\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n")
    assert stats["downloader/response_bytes"] == head + 5
