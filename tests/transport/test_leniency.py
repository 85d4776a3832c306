"""Answers that are not quite HTTP/1, as real servers give them: each is the page that browsers show, or a clear error.

What was mended is counted, and its connection is not used again.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl import Crawl, Response
from streamcrawl import operators as ops
from streamcrawl.core import Request
from streamcrawl.errors import FetchTimeout, ProtocolError, TruncatedBody
from streamcrawl.transport.framing import EXCESS, MALFORMED, FramedConnection, unnoticed
from streamcrawl.transport.leniency import mended

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 2\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"\r\n2\r\nok\r\n0\r\n\r\n"
END = LENGTH + b"\r\nok"

AS_IT_IS: dict[str, bytes] = {
    "lines-end-with-lf": b"HTTP/1.1 200 OK\nContent-Length: 2\nX: 1\n\nok",
    "one-line-ends-with-lf": OK + b"X: 1\n" + END,
    "space-behind-the-length": OK + b"Content-Length: 2 \r\n\r\nok",
    "space-before-the-colon-of-the-length": OK + b"Content-Length : 2\r\n\r\nok",
    "obs-fold": OK + b"X: a\r\n b\r\n\tc\r\n" + END,
    "no-reason": b"HTTP/1.1 200\r\n" + END,
    "no-reason-but-a-space": b"HTTP/1.1 200 \r\n" + END,
    "reason-in-latin-1": b"HTTP/1.1 200 D\xe9j\xe0\r\n" + END,
    "reason-in-utf-8": "HTTP/1.1 200 всё\r\n".encode() + END,
    "line-breaks-before": b"\r\n\r\n" + OK + END,
    "control-characters-in-a-value": OK + b"X: a\x01b\x7f\r\n" + END,
    "value-of-100-kB": OK + b"X: " + b"a" * 100_000 + b"\r\n" + END,
    "300-fields": OK + b"".join(b"X-%d: 1\r\n" % n for n in range(300)) + END,
    "single-fields-twice": OK + b"Content-Type: a/b\r\nContent-Type: c/d\r\nServer: a\r\nServer: b\r\n" + END,
    "upgrade-offered": OK + b"Upgrade: h2,h2c\r\nConnection: Upgrade, Keep-Alive\r\n" + END,
    "100": b"HTTP/1.1 100 Continue\r\n\r\n" + OK + END,
    "100-without-reason": b"HTTP/1.1 100\r\n\r\n" + OK + END,
    "103": b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" + OK + END,
    "many-informational": b"HTTP/1.1 102 Processing\r\n\r\n" * 9
    + b"HTTP/1.1 103 Early Hints\r\nX: 0\r\n\r\n"
    + OK
    + END,
    "chunked-twice-named": OK + CHUNKED + CHUNKED + CHUNKS,
    "chunked-in-capitals": OK + b"TRANSFER-ENCODING: Chunked\r\n" + CHUNKS,
    "chunk-extensions": OK + CHUNKED + b'\r\n2;a=b;c="d;e"\r\nok\r\n0;x\r\n\r\n',
    "space-behind-a-chunk-size": OK + CHUNKED + b"\r\n2  \r\nok\r\n0  \r\n\r\n",
    "leading-zeros": OK + CHUNKED + b"\r\n" + b"0" * 30 + b"2\r\nok\r\n0000\r\n\r\n",
    "trailer": OK + CHUNKED + b"\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
}
"""The parser takes these, and the connection is good for more."""

MENDED: dict[str, bytes] = {
    "space-before-a-colon": OK + b"X-A : 1\r\n" + END,
    "tab-before-a-colon": OK + b"X-A\t: 1\r\n" + END,
    "space-within-a-name": OK + b"X Y: 1\r\n" + END,
    "separator-within-a-name": OK + b"X(Y): 1\r\n" + END,
    "name-in-utf-8": OK + "Ключ: 1\r\n".encode() + END,
    "no-name": OK + b": 1\r\n" + END,
    "no-colon": OK + b"PHP Warning in line 12\r\n" + END,
    "no-colon-and-folded": OK + b"nonsense\r\n more of it\r\n" + END,
    "status-line-twice": OK + OK + END,
    "bare-cr-in-a-value": OK + b"X-A: 1\r\r\n" + END,
    "field-behind-a-bare-cr": OK + b"X-B: 1\rContent-Length: 1\r\n" + END,
    "length-twice": OK + LENGTH + END,
    "length-twice-in-one-field": OK + b"Content-Length: 2, 2\r\n\r\nok",
    "length-and-chunks": OK + LENGTH + CHUNKED + CHUNKS,
    "chunks-and-a-wrong-length": OK + CHUNKED + b"Content-Length: 900\r\n" + CHUNKS,
    "identity-and-length": OK + b"Transfer-Encoding: identity\r\n" + END,
    "two-spaces-in-the-status-line": b"HTTP/1.1  200 OK\r\n" + END,
    "status-line-in-small-letters": b"http/1.1 200 ok\r\n" + END,
    "a-version-that-never-was": b"HTTP/1.2 200 OK\r\n" + END,
    "after-line-breaks": b"\r\n\n" + OK + b"nonsense\r\n" + END,
    "after-103": b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK + b"nonsense\r\n" + END,
}

REFUSED: dict[str, tuple[bytes, str]] = {
    "lengths-that-differ": (OK + LENGTH + b"Content-Length: 3\r\n\r\nok", "Duplicate Content-Length"),
    "length-with-a-sign": (OK + b"Content-Length: +2\r\n\r\nok", "Invalid character in Content-Length"),
    "no-number": (OK + b"Content-Length: \r\n\r\nok", "Empty Content-Length"),
    "length-beyond-all-numbers": (OK + b"Content-Length: 99999999999999999999\r\n\r\nok", "Content-Length overflow"),
    "nul-in-a-value": (OK + b"X: a\0b\r\n" + END, "Invalid HTTP header"),
    "value-of-200-kB": (OK + b"X: " + b"a" * 200_000 + b"\r\n" + END, "Got more than 131072 bytes"),
    "600-fields": (OK + b"X: 1\r\n" * 600 + END, "Too many headers"),
    "fields-of-800-kB": (OK + (b"X: " + b"a" * 40_000 + b"\r\n") * 20 + END, "longer than 262144 bytes"),
    "fields-of-400-kB-and-nonsense": (OK + b"nonsense\r\n" + (b"X: " + b"a" * 40_000 + b"\r\n") * 10, "header token"),
    "status-of-two-digits": (b"HTTP/1.1 20 OK\r\n" + END, "Invalid status code"),
    "status-of-four-digits": (b"HTTP/1.1 2000 OK\r\n" + END, "Invalid response status"),
    "no-head": (b"<html>\r\n\r\n</html>", "Expected HTTP/"),
    "other-protocol": (b"220 mail.example ESMTP\r\n", "Expected HTTP/"),
    "chunk-size-with-0x": (OK + CHUNKED + b"\r\n0x2\r\nok\r\n0\r\n\r\n", "chunk size"),
    "chunk-size-beyond-all-numbers": (OK + CHUNKED + b"\r\n" + b"f" * 20 + b"\r\nok\r\n", "Chunk size overflow"),
}


@pytest.mark.parametrize("name", AS_IT_IS)
def test_what_is_odd_and_nothing_more(serve: Any, wire: Any, metered_run: Any, name: str) -> None:
    async def main() -> None:
        run = metered_run()
        async with serve(AS_IT_IS[name]) as site, wire(run, timeout=20) as fetch:
            for _ in range(2):
                response = await fetch(Request(site.url("/page")))
                assert (response.status, response.body) == (200, b"ok")
            assert site.connections == 1
            assert not {EXCESS, MALFORMED} & run.stats.keys()

    asyncio.run(main())


@pytest.mark.parametrize("closing", [False, True])
@pytest.mark.parametrize("size", [1, 11, 1000])
@pytest.mark.parametrize("name", MENDED)
def test_what_is_mended(serve: Any, wire: Any, metered_run: Any, name: str, size: int, closing: bool) -> None:
    raw = MENDED[name]

    async def answer(seen: Any, writer: asyncio.StreamWriter) -> None:
        for at in range(0, len(raw), size):
            writer.write(raw[at : at + size])
            await asyncio.sleep(0)

    async def main() -> None:
        run = metered_run()
        async with serve(answer, closing=closing) as site, wire(run, timeout=20) as fetch:
            for _ in range(2):
                response = await fetch(Request(site.url("/page")))
                assert (response.status, response.body) == (200, b"ok")
                assert response.headers.get("x-a", "1") == "1"
                assert response.headers.get("x-b", "1 Content-Length: 1") == "1 Content-Length: 1"
                assert set(response.headers) <= {"x-a", "x-b", "content-length", "transfer-encoding"}
            assert site.connections == 2
            assert run.stats[MALFORMED] == 2
            assert EXCESS not in run.stats

    asyncio.run(main())


def test_a_mended_page_may_be_long_and_have_too_much_behind_it(serve: Any, wire: Any, metered_run: Any) -> None:
    async def main() -> None:
        body = bytes(range(256)) * 4000
        head = OK + b"nonsense\r\nContent-Length: %d\r\n\r\n" % len(body)
        run = metered_run()
        async with serve(head + body) as site, wire(run, timeout=20) as fetch:
            assert (await fetch(Request(site.url()))).body == body
            site.answer = OK + b"nonsense\r\n" + END + b"more"
            assert (await fetch(Request(site.url()))).body == b"ok"
            assert (run.stats[MALFORMED], run.stats[EXCESS]) == (2, 1)

    asyncio.run(main())


@pytest.mark.parametrize("closing", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_what_no_browser_takes(serve: Any, wire: Any, metered_run: Any, name: str, closing: bool) -> None:
    raw, why = REFUSED[name]

    async def main() -> None:
        run = metered_run()
        async with serve(raw, closing=closing) as site, wire(run, timeout=20) as fetch:
            with pytest.raises(ProtocolError) as caught:
                await fetch(Request(site.url("/page")))
            said = str(caught.value)
            assert said.startswith(f"{site.url('/page')}: the answer is not HTTP: ")
            assert why in said
            assert "\n" not in said
            assert len(said) < 400
            assert MALFORMED not in run.stats
            site.answer = OK + END
            assert (await fetch(Request(site.url()))).body == b"ok"

    asyncio.run(main())


@pytest.mark.parametrize("status", [299, 418, 600, 999])
def test_any_status_is_a_page(serve: Any, wire: Any, status: int) -> None:
    async def main() -> None:
        async with serve(b"HTTP/1.1 %d Odd\r\n" % status + END) as site, wire() as fetch:
            response = await fetch(Request(site.url()))
            assert (response.status, response.body) == (status, b"ok")

    asyncio.run(main())


def test_101_that_nobody_asked_for_ends_the_connection(serve: Any, wire: Any) -> None:
    async def main() -> None:
        async with serve(b"HTTP/1.1 101 Switching Protocols\r\n\r\n") as site, wire() as fetch:
            for _ in range(2):
                assert (await fetch(Request(site.url()))).status == 101
            assert site.connections == 2

    asyncio.run(main())


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_without_a_length_the_page_ends_with_the_connection(serve: Any, wire: Any, version: bytes) -> None:
    async def main() -> None:
        async with serve(b"HTTP/" + version + b" 200 OK\r\n\r\nok", closing=True) as site, wire() as fetch:
            assert (await fetch(Request(site.url()))).body == b"ok"

    asyncio.run(main())


@pytest.mark.parametrize("size", [1, 5, 500])
def test_an_informational_answer_that_is_odd_is_passed_over_too(serve: Any, wire: Any, size: int) -> None:
    raw = b"HTTP/1.1  100 Continue\r\nnonsense\r\n\r\nHTTP/1.1 103 Early\rHints\r\n\r\n" + OK + END

    async def answer(seen: Any, writer: asyncio.StreamWriter) -> None:
        for at in range(0, len(raw), size):
            writer.write(raw[at : at + size])
            await asyncio.sleep(0)

    async def main() -> None:
        async with serve(answer) as site, wire(timeout=20) as fetch:
            assert (await fetch(Request(site.url()))).body == b"ok"

    asyncio.run(main())


def test_a_head_that_is_never_whole_is_timed_out(serve: Any, wire: Any) -> None:
    async def main() -> None:
        async with serve(OK + b"nonsense\r\nX: 1\r\n") as site, wire(timeout=0.1) as fetch:
            with pytest.raises(FetchTimeout):
                await fetch(Request(site.url()))
        async with serve(OK + b"nonsense\r\nX: 1\r\n", closing=True) as site, wire(timeout=20) as fetch:
            with pytest.raises(ProtocolError, match="the server closed the connection without an answer"):
                await fetch(Request(site.url()))

    asyncio.run(main())


def test_chunks_in_capital_digits_and_one_that_is_missing(serve: Any, wire: Any) -> None:
    async def main() -> None:
        async with serve(OK + CHUNKED + b"\r\nA\r\n0123456789\r\n0\r\n\r\n") as site, wire() as fetch:
            assert (await fetch(Request(site.url()))).body == b"0123456789"
            site.answer, site.closing = OK + CHUNKED + b"\r\nA\r\n0123456789\r\n", True
            with pytest.raises(TruncatedBody, match="ended before its time, after 10 bytes"):
                await fetch(Request(site.url()))

    asyncio.run(main())


def test_values_outside_ascii(serve: Any, wire: Any) -> None:
    """A byte is a character (ISO 8859-1), so that nothing of it is lost: RFC 9110 §5.5."""

    async def main() -> None:
        async with serve(OK + b"A: caf\xe9\r\n" + "B: café\r\n".encode() + END) as site, wire() as fetch:
            headers = (await fetch(Request(site.url()))).headers
            assert headers["a"] == "café"
            assert headers["b"].encode("latin-1").decode() == "café"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/ü/ø".encode(), "/%C3%BC/%C3%B8"),
        (b"/\xfc", "/%FC"),
        (b"/a b  c", "/a%20b%20%20c"),
        (b" /a ", "/a"),
        ("/a?q=ü&r=ø ø".encode(), "/a?q=%C3%BC&r=%C3%B8%20%C3%B8"),
        (b"/%zz|{}", "/%zz|%7B%7D"),
    ],
)
def test_where_a_redirect_leads_that_is_no_uri(serve: Any, location: bytes, target: str) -> None:
    pages: list[str] = []

    async def answer(seen: Any, writer: asyncio.StreamWriter) -> None:
        path = seen.line.split(" ", 1)[1].rpartition(" ")[0]
        if path == "/start":
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")
        else:
            pages.append(path)
            writer.write(OK + END)

    def callback(response: Response) -> None:
        assert response.body == b"ok"

    async def main() -> None:
        async with serve(answer) as site:
            layers = ops.default_layers(robots_txt=None)
            await Crawl(site.url("/start")).pipe(ops.download(*layers), ops.scrape(callback)).start()

    asyncio.run(main())
    assert pages == [target]


PIECES = [b"\r\n", b"\n", b" ", b":", b"HTTP/1.1 ", LENGTH, CHUNKED, b"\0", b"0\r\n\r\n", b"nonsense\r\n", OK + END]


class Deaf(asyncio.Transport):
    """A transport without a socket."""

    closed = False

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


async def answered(segments: list[bytes]) -> list[tuple[int, bytes]]:
    """The answers that one request gets, whole ones."""
    connection, transport = FramedConnection(unnoticed, asyncio.get_running_loop()), Deaf()
    connection.transport = transport
    connection.set_response_params(read_until_eof=True, read_bufsize=2**17, max_headers=512)
    for segment in segments:
        if not transport.closed:
            connection.data_received(segment)
    connection.connection_lost(None)
    answers: list[tuple[int, bytes]] = []
    while len(connection):
        message, body = await connection.read()
        if (message.code > 199 or message.code == 101) and body.is_eof() and body.exception() is None:
            answers.append((message.code, await body.read()))
    return answers


@given(
    st.sampled_from([*AS_IT_IS.values(), *MENDED.values(), *(raw for raw, _ in REFUSED.values())]).filter(
        lambda raw: len(raw) < 2000
    ),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 3), st.sampled_from([b"", *PIECES])), max_size=3),
    st.lists(st.integers(0, 400), max_size=5),
)
def test_it_is_the_same_page_or_none_however_it_is_cut(
    raw: bytes, changes: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    for at, gone, piece in changes:
        raw = raw[:at] + piece + raw[at + gone :]
    ends = [0, *sorted(cuts), len(raw)]

    async def main() -> None:
        whole = await answered([raw])
        cut = await answered([raw[start:end] for start, end in pairwise(ends)])
        assert len(whole) <= 1
        assert len(cut) <= 1
        if not changes:
            assert cut == whole

    asyncio.run(main())


@given(
    st.lists(
        st.tuples(st.sampled_from([b"A", b"A ", b"B C", b"", b"Content-Length"]), st.binary(max_size=6)), max_size=6
    )
)
def test_a_mended_head_stays_as_it_is(fields: list[tuple[bytes, bytes]]) -> None:
    head = OK + b"".join(name + b":" + value.replace(b"\n", b" ") + b"\r\n" for name, value in fields) + b"\r\n"
    once = mended(head)
    assert once is None or mended(once) == once
