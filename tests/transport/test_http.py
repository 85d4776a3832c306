"""http over real sockets: what goes out, what comes back, and what happens to the connection."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import Any

import httpx
import pytest

from streamcrawl.core import Request
from streamcrawl.errors import BodyTooLarge, DecodeError, FetchError, FetchTimeout
from streamcrawl.headers import Headers
from streamcrawl.transport.wire import USER_AGENT


def answer(body: bytes = b"hello", *fields: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def test_a_page_and_all_that_is_known_of_it(serve: Any, wire: Any) -> None:
    async def main() -> None:
        async with serve(answer(b"hello", "X-Two: a", "x-one: \xe9", "X-Two: b")) as site, wire() as fetch:
            request = Request(site.url("/page?x=1#part"))
            response = await fetch(request)
            assert response.url == request.url
            assert response.request is request
            assert (response.status, response.body) == (200, b"hello")
            pairs = (("Content-Length", "5"), ("X-Two", "a"), ("x-one", "\xe9"), ("X-Two", "b"))
            assert response.headers.pairs() == pairs
            assert response.headers.getall("x-two") == ["a", "b"]
            assert (response.protocol, response.ip_address, response.wire_size) == ("HTTP/1.1", "127.0.0.1", 5)
            assert 0 < response.latency < 60
            assert response.stream is None
            (seen,) = site.seen
            assert seen.line == "GET /page?x=1 HTTP/1.1"
            assert seen.fields == [
                ("Host", f"127.0.0.1:{site.port}"),
                ("User-Agent", USER_AGENT),
                ("Accept-Encoding", "gzip, deflate, br, zstd"),
            ]

    asyncio.run(main())


def test_fields_go_out_in_order_apart_and_as_they_were_spelled(serve: Any, wire: Any) -> None:
    pairs = [
        ("X-B", "1"),
        ("user-agent", "mine"),
        ("X-A", "1"),
        ("x-b", "2"),
        ("X-B", "3"),
        ("Accept-Encoding", "identity"),
        ("Cookie", "name=caf\xe9; b=\u20ac"),
        ("Host", "other.example"),
        ("Content-Length", "77"),
    ]

    async def main() -> None:
        async with serve(answer()) as site, wire() as fetch:
            await fetch(Request(site.url(), headers=Headers(pairs)))
            (seen,) = site.seen
            assert [field for field in seen.fields if field[0] not in ("Host", "Cookie")] == [
                ("X-B", "1"),
                ("user-agent", "mine"),
                ("X-A", "1"),
                ("X-B", "2"),
                ("X-B", "3"),
                ("Accept-Encoding", "identity"),
            ]
            assert seen.all("host") == ["other.example"]
            assert seen.all("cookie")[0].encode("latin-1").decode("utf-8") == "name=caf\xe9; b=\u20ac"

    asyncio.run(main())


@pytest.mark.parametrize("user_agent", ["", "mine/1.0"])
def test_no_field_goes_out_that_nobody_asked_for(serve: Any, wire: Any, user_agent: str) -> None:
    async def main() -> None:
        async with serve(answer()) as site, wire(user_agent=user_agent, decompress=False) as fetch:
            await fetch(Request(site.url()))
            await fetch(Request(site.url(), method="POST", body=b"a=1"))
            host = ("Host", f"127.0.0.1:{site.port}")
            own = [("User-Agent", user_agent)] if user_agent else []
            assert site.seen[0].fields == [host, *own]
            assert site.seen[1].fields == [host, *own, ("Content-Length", "3")]

    asyncio.run(main())


@pytest.mark.parametrize("names", [("X", "Host"), ("Host", "Host"), ("Host", "X", "host")])
def test_there_is_one_host_and_it_comes_first(serve: Any, wire: Any, names: tuple[str, ...]) -> None:
    """RFC 9110 §7.2; RFC 9112 §3.2: a request with two is answered with 400."""
    pairs = [(name, f"{number}.example") for number, name in enumerate(names)]

    async def main() -> None:
        async with serve(answer()) as site, wire() as fetch:
            await fetch(Request(site.url(), headers=Headers(pairs)))
            first, *others = site.seen[0].fields
            assert first == ("Host", pairs[-1][1])
            assert "host" not in [name.lower() for name, _ in others]

    asyncio.run(main())


def test_bytes_of_a_field_go_round(serve: Any, wire: Any) -> None:
    """What came in as UTF-8 (kept as Latin-1) leaves as the same bytes."""
    raw = "caf\xe9".encode().decode("latin-1")

    async def main() -> None:
        async with serve(answer()) as site, wire() as fetch:
            await fetch(Request(site.url(), headers=Headers({"Cookie": raw})))
            assert site.seen[0].all("cookie") == [raw]

    asyncio.run(main())


@pytest.mark.parametrize(
    "target",
    ["/a%7Eb/%41?q=a+b%20c&d=%e2%82%ac", "/a|b'c;d=e,f", "/x//y/../z%2F..", "/?a=http://u@h/", "/%zz?%"],
)
def test_the_target_goes_out_as_it_stands(serve: Any, wire: Any, target: str) -> None:
    async def main() -> None:
        async with serve(answer()) as site, wire() as fetch:
            await fetch(Request(site.url(target)))
            assert site.seen[0].line == f"GET {target} HTTP/1.1"
            assert not site.seen[0].all("authorization")

    asyncio.run(main())


def test_referrer_and_credentials_become_fields(serve: Any, wire: Any) -> None:
    async def main() -> None:
        async with serve(answer()) as site, wire() as fetch:
            url = f"http://us%40er:p%C3%A4ss:word@127.0.0.1:{site.port}/x?mail=a@b"
            response = await fetch(Request(url, referrer="http://me:secret@h/page#top"))
            seen = site.seen[0]
            assert response.url == url
            assert seen.line == "GET /x?mail=a@b HTTP/1.1"
            assert seen.all("referer") == ["http://h/page"]
            # base64 of "us@er:päss:word" in UTF-8
            assert seen.all("authorization") == ["Basic dXNAZXI6cMOkc3M6d29yZA=="]
            own = Headers({"authorization": "Bearer t", "referer": "http://own/"})
            await fetch(Request(url, headers=own, referrer="http://h/"))
            assert site.seen[1].all("authorization") == ["Bearer t"]
            assert site.seen[1].all("referer") == ["http://own/"]

    asyncio.run(main())


@pytest.mark.parametrize("size", [0, 3, 3_000_000])
def test_a_body_goes_out_with_its_length(serve: Any, wire: Any, size: int) -> None:
    async def main() -> None:
        async with serve(answer()) as site, wire() as fetch:
            await fetch(Request(site.url(), method="POST", body=bytes(size), headers=Headers({"Content-Type": "x/y"})))
            seen = site.seen[0]
            assert seen.line == "POST / HTTP/1.1"
            assert seen.body == bytes(size)
            assert seen.all("content-length") == [str(size)]
            assert seen.all("content-type") == ["x/y"]
            assert not seen.all("transfer-encoding")

    asyncio.run(main())


def test_nothing_is_added_that_was_turned_off(serve: Any, wire: Any) -> None:
    async def main() -> None:
        packed = gzip.compress(b"hello")
        async with serve(answer(packed, "Content-Encoding: gzip")) as site:
            async with wire(decompress=False, user_agent="") as fetch:
                response = await fetch(Request(site.url()))
            assert [name for name, _ in site.seen[0].fields] == ["Host"]
            assert response.body == packed
            assert response.headers.get("content-encoding") == "gzip"

    asyncio.run(main())


def test_one_connection_serves_one_after_another_and_runs_share_none(serve: Any, wire: Any) -> None:
    async def main() -> None:
        async with serve(answer()) as site, wire() as fetch, wire() as other:
            for _ in range(5):
                assert (await fetch(Request(site.url()))).body == b"hello"
            assert site.connections == 1
            await asyncio.gather(*(fetch(Request(site.url())) for _ in range(7)))
            assert site.connections == 7
            await other(Request(site.url()))
            assert site.connections == 8
            assert len(site.seen) == 13

    asyncio.run(main())


def test_redirects_and_cookies_are_none_of_its_business(serve: Any, wire: Any) -> None:
    async def main() -> None:
        moved = answer(b"", "Location: /elsewhere", "Set-Cookie: a=1", "Set-Cookie: b=2", status="302 Found")
        async with serve(moved) as site, wire() as fetch:
            for _ in range(2):
                response = await fetch(Request(site.url()))
                assert response.status == 302
                assert response.headers.getall("set-cookie") == ["a=1", "b=2"]
            assert not site.seen[1].all("cookie")

    asyncio.run(main())


def test_environment_proxies_are_not_used(serve: Any, wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    async def main() -> None:
        async with serve(answer()) as site, wire() as fetch:
            assert (await fetch(Request(site.url()))).status == 200

    asyncio.run(main())


@pytest.mark.parametrize("framing", ["length", "chunked", "until-close"])
def test_codings_are_undone_whatever_the_framing(serve: Any, wire: Any, framing: str) -> None:
    page = b"<p>page</p>" * 5000
    packed = zlib.compress(gzip.compress(page))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, deflate\r\n"
    if framing == "length":
        raw = head + b"Content-Length: %d\r\n\r\n" % len(packed) + packed
    elif framing == "chunked":
        raw = head + b"Transfer-Encoding: chunked\r\n\r\n"
        raw += b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in (packed[:7], packed[7:])) + b"0\r\n\r\n"
    else:
        raw = head + b"\r\n" + packed

    async def main() -> None:
        async with serve(raw, closing=framing == "until-close") as site, wire() as fetch:
            response = await fetch(Request(site.url()))
            assert response.body == page
            assert response.wire_size == len(packed)
            assert "content-encoding" not in response.headers
            assert "content-length" not in response.headers

    asyncio.run(main())


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 999999999\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Encoding: gzip\r\nContent-Length: 999999999\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Encoding: gzip\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_no_body_is_left_alone(serve: Any, wire: Any, method: str, raw: bytes, stream: bool) -> None:
    async def main() -> None:
        async with serve(raw) as site, wire(max_size=1000) as fetch:
            for _ in range(2):
                response = await fetch(Request(site.url(), method=method, stream=stream))
                assert await response.read() == b""
                if not stream or b"chunked" not in raw:  # that it is empty cannot be known before it is read
                    assert response.headers.get("content-encoding") == "gzip"
            assert site.connections == 1

    asyncio.run(main())


PACKED = gzip.compress(b"<p>page</p>" * 50, mtime=0)


@pytest.mark.parametrize("own", [None, "gzip"])
def test_with_a_range_the_page_itself_is_asked_for(serve: Any, wire: Any, own: str | None) -> None:
    async def main() -> None:
        async with serve(answer(b"hello", "Content-Range: bytes 5-9/20", status="206 OK")) as site, wire() as fetch:
            headers = Headers({"range": "bytes=5-9"}).add("Accept-Encoding", own) if own else Headers({"Range": "x=1"})
            response = await fetch(Request(site.url(), headers=headers))
            assert site.seen[0].all("accept-encoding") == [own or "identity"]
            assert response.body == b"hello"

    asyncio.run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_a_part_of_a_coded_body_stays_as_it_came(serve: Any, wire: Any, metered_run: Any, stream: bool) -> None:
    async def main() -> None:
        part = PACKED[10:30]
        told = f"Content-Range: bytes 10-29/{len(PACKED)}"
        run = metered_run()
        async with serve(answer(part, "Content-Encoding: gzip", told, status="206 OK")) as site, wire(run) as fetch:
            response = await fetch(Request(site.url(), headers=Headers({"Range": "bytes=10-29"}), stream=stream))
            assert await response.read() == part
            assert (response.headers.get("content-encoding"), response.headers.get("content-length")) == ("gzip", "20")
            assert "httpcompression/response_count" not in run.stats

    asyncio.run(main())


def test_a_part_that_is_the_whole_is_decoded(serve: Any, wire: Any) -> None:
    async def main() -> None:
        told = f"Content-Range: bytes 0-{len(PACKED) - 1}/{len(PACKED)}"
        async with serve(answer(PACKED, "Content-Encoding: gzip", told, status="206 OK")) as site, wire() as fetch:
            response = await fetch(Request(site.url(), headers=Headers({"Range": "bytes=0-"})))
            assert response.body == gzip.decompress(PACKED)
            assert "content-encoding" not in response.headers

    asyncio.run(main())


@pytest.mark.parametrize(
    ("fields", "body", "size"),
    [
        (["Content-Encoding: gzip"], PACKED, 550),
        (["Content-Encoding: gzip"], b"", None),
        (["Content-Encoding: identity"], b"page", None),
        ([], b"page", None),
    ],
)
def test_decoded_bodies_are_counted(
    serve: Any, wire: Any, metered_run: Any, fields: list[str], body: bytes, size: int | None
) -> None:
    async def main() -> None:
        run = metered_run()
        async with serve(answer(body, *fields)) as site, wire(run) as fetch:
            for _ in range(2):
                await fetch(Request(site.url()))
        counted = [run.stats.get(f"httpcompression/response_{each}") for each in ("count", "bytes")]
        assert counted == ([None, None] if size is None else [2, 2 * size])

    asyncio.run(main())


def test_an_announced_size_over_the_limit_is_not_read(serve: Any, wire: Any) -> None:
    async def main() -> None:
        raw = b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n"  # and then nothing: only reading would hang
        async with serve(raw) as site, wire(max_size=1000) as fetch:
            with pytest.raises(BodyTooLarge, match=rf"^{site.url()}: the body is 2000 bytes long, the limit is 1000$"):
                await fetch(Request(site.url()))
            await site.closed.wait()
            with pytest.raises(BodyTooLarge, match="limit is 500"):
                await fetch(Request(site.url(), max_size=500))
            site.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n"
            with pytest.raises(BodyTooLarge, match="9223372036854775807 bytes long"):
                await fetch(Request(site.url()))

    asyncio.run(main())


@pytest.mark.parametrize("packed", [False, True])
def test_a_body_that_does_not_end_is_cut_at_the_limit(serve: Any, wire: Any, packed: bool) -> None:
    async def endless(seen: Any, writer: asyncio.StreamWriter) -> None:
        coding = b"Content-Encoding: gzip\r\n" if packed else b""
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + coding + b"\r\n")
        packer = zlib.compressobj(wbits=31)
        while True:
            zeros = packer.compress(bytes(200_000)) + packer.flush(zlib.Z_SYNC_FLUSH)
            data = zeros if packed else b"x" * 50_000
            writer.write(b"%x\r\n%s\r\n" % (len(data), data))
            await writer.drain()
            await asyncio.sleep(0)

    async def main() -> None:
        async with serve(endless) as site, wire(max_size=3_000_000) as fetch:
            with pytest.raises(BodyTooLarge, match=r"over the limit of 3000000 bytes; reading was stopped"):
                await fetch(Request(site.url()))
            await site.closed.wait()
            assert site.open_connections == 0

    asyncio.run(main())


def test_broken_coding_is_told_and_the_next_request_works(serve: Any, wire: Any) -> None:
    async def main() -> None:
        async with serve(answer(b"plain text", "Content-Encoding: gzip")) as site, wire() as fetch:
            with pytest.raises(DecodeError, match=rf"^{site.url()}: the body cannot be decoded as gzip"):
                await fetch(Request(site.url()))
            site.answer = answer()
            assert (await fetch(Request(site.url()))).body == b"hello"

    asyncio.run(main())


def test_timeout_names_url_and_seconds_and_the_pool_stays_usable(serve: Any, wire: Any) -> None:
    async def slow(seen: Any, writer: asyncio.StreamWriter) -> None:
        if seen.line.startswith("GET /fast"):
            writer.write(answer())
            return
        if seen.line.startswith("GET /body"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        await seen.hung_up()

    async def main() -> None:
        async with serve(slow) as site, wire(timeout=0.05) as fetch:
            for path in ("/head", "/body"):
                with pytest.raises(FetchTimeout, match=rf"^{site.url(path)}: no complete answer within 0.05 s$"):
                    await fetch(Request(site.url(path)))
            with pytest.raises(FetchTimeout, match=r"within 0\.02 s$"):
                await fetch(Request(site.url("/head"), timeout=0.02))
            for _ in range(3):
                assert (await fetch(Request(site.url("/fast"), timeout=5))).body == b"hello"
            assert site.connections == 4
            while site.open_connections > 1:
                await asyncio.sleep(0)

    asyncio.run(main())


def test_cancelling_passes_through_and_closes_the_connection(serve: Any, wire: Any) -> None:
    async def silent(seen: Any, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await seen.hung_up()

    arrived: asyncio.Event

    async def main() -> None:
        nonlocal arrived
        arrived = asyncio.Event()
        async with serve(silent) as site, wire() as fetch:
            task = asyncio.create_task(fetch(Request(site.url())))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while site.open_connections:
                await asyncio.sleep(0)
            site.answer = answer()
            assert (await fetch(Request(site.url()))).status == 200

    asyncio.run(main())


@pytest.mark.parametrize(
    "bad",
    [
        Headers({"X": "a\r\nInjected: 1"}),
        Headers({"X\u20ac": "1"}),
        Headers({"X Y\r\n": "1"}),
        Headers({"X": "\udcff"}),
    ],
    ids=["value", "name", "break", "surrogate"],
)
def test_fields_that_cannot_be_sent(serve: Any, wire: Any, bad: Headers) -> None:
    async def main() -> None:
        async with serve(answer()) as site, wire() as fetch:
            with pytest.raises(FetchError, match=r"the request cannot be sent: .+") as caught:
                await fetch(Request(site.url(), headers=bad))
            assert "\n" not in str(caught.value)
            assert site.seen == []

    asyncio.run(main())


def test_a_transport_of_ones_own(wire: Any) -> None:
    closed: list[bool] = []

    class Own(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            assert (request.url.host, request.url.raw_path) == ("h.example", b"/p?q")
            assert request.headers["host"] == "h.example"
            if request.method == "PUT":
                raise httpx.ReadTimeout("slow")
            return httpx.Response(200, content=b"own:" + await request.aread(), headers=[("A", "1"), ("A", "2")])

        async def aclose(self) -> None:
            closed.append(True)

    async def main() -> None:
        async with wire(transport=Own) as fetch:
            response = await fetch(Request("https://h.example/p?q", method="POST", body=b"x"))
            assert response.body == b"own:x"
            assert response.headers.getall("a") == ["1", "2"]
            with pytest.raises(FetchTimeout, match=r"^https://h.example/p\?q: no answer in time: slow$"):
                await fetch(Request("https://h.example/p?q", method="PUT"))
        assert closed == [True]

    asyncio.run(main())


def test_what_went_over_the_wire_is_counted(serve: Any, wire: Any, metered_run: Any) -> None:
    async def main() -> None:
        run = metered_run()
        packed = gzip.compress(bytes(5000))
        async with serve(answer(packed, "Content-Encoding: gzip")) as site, wire(run) as fetch:
            await fetch(Request(site.url()))
            await (await fetch(Request(site.url(), stream=True))).read()
            assert run.stats["wire/requests"] == 2
            assert run.stats["wire/bytes"] == 2 * len(packed)

    asyncio.run(main())
