"""Tests of ops.decompress."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from through import Spy, piped, through

from streamcrawl.core import Failed, Request
from streamcrawl.errors import BodyTooLarge, DecodeError, TruncatedBody
from streamcrawl.headers import Headers
from streamcrawl.operators.decompress import decompress
from streamcrawl.operators.download import download
from streamcrawl.operators.map_async import map_async
from streamcrawl.response import Response
from streamcrawl.testing.fake_fetch import Chunks, FakeFetch
from streamcrawl.transport.decoding import zstd

URL = "http://a.example/"
TEXT = b"<p>hello, hello, hello</p>\n" * 500


brotli: Any = import_module("brotli")  # it has no types


def coded(body: bytes, encoding: str, **more: Any) -> Response:
    return Response(
        "x:", headers=Headers({"Content-Encoding": encoding, "Content-Length": str(len(body))}), body=body, **more
    )


def answer(response: Response, request: Request | None = None, *, max_size: int | None = None) -> Any:
    (outcome,) = through(decompress(max_size=max_size), to=[request or Request(URL)], fetch=FakeFetch({"/": response}))
    return outcome


CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": lambda body: zstd().compress(body),
    "gzip, br": lambda body: brotli.compress(gzip.compress(body)),
}


@pytest.mark.parametrize(("encoding", "encode"), CODERS.items(), ids=CODERS)
def test_whole_bodies(encoding: str, encode: Callable[[bytes], bytes]) -> None:
    sent = encode(TEXT)
    response = answer(coded(sent, encoding))
    assert response.body == TEXT
    assert response.headers.pairs() == ()
    assert response.wire_size == len(sent)


@pytest.mark.parametrize(("encoding", "encode"), CODERS.items(), ids=CODERS)
def test_streamed_bodies(encoding: str, encode: Callable[[bytes], bytes]) -> None:
    body = Chunks(encode(TEXT), size=7)
    response = coded(b"", encoding).replace(stream=body)
    stage = download(decompress(), fetch=FakeFetch({"/": response}))
    (found,) = piped(stage, map_async(read), to=[Request(URL, stream=True)])
    assert found == TEXT
    assert body.closed


@pytest.mark.parametrize(
    ("response", "request_"),
    [
        (Response("x:", body=b"plain"), Request(URL)),
        (coded(b"strange", "x-unknown"), Request(URL)),
        (coded(b"strange", "x-unknown").replace(stream=Chunks(b"strange")), Request(URL, stream=True)),
        (coded(b"", "gzip"), Request(URL)),
        (coded(b"", "gzip", status=304), Request(URL)),
        (coded(b"", "gzip"), Request(URL, method="HEAD")),
    ],
)
def test_what_is_left_as_it_is(response: Response, request_: Request) -> None:
    outcome = answer(response, request_)
    assert outcome.headers == response.headers
    if request_.stream:
        assert outcome.stream is not None
    else:
        assert outcome.body == response.body


def test_an_unknown_coding_below_a_known_one_stays() -> None:
    response = answer(coded(gzip.compress(b"strange"), "x-unknown, gzip"))
    assert response.body == b"strange"
    assert response.headers.pairs() == (("Content-Encoding", "x-unknown"),)


@pytest.mark.parametrize(
    ("body", "error"),
    [(b"no gzip at all", DecodeError), (gzip.compress(TEXT, mtime=0)[:-20], TruncatedBody)],
    ids=["not gzip", "cut off"],
)
def test_broken_bodies_fail(body: bytes, error: type[Exception]) -> None:
    outcome = answer(coded(body, "gzip"))
    assert isinstance(outcome, Failed)
    assert type(outcome.error) is error


@pytest.mark.parametrize(
    ("request_", "max_size", "fits"),
    [
        (Request(URL), len(TEXT), True),
        (Request(URL), len(TEXT) - 1, False),
        (Request(URL, max_size=len(TEXT)), 10, True),
        (Request(URL, max_size=10), len(TEXT), False),
        (Request(URL), None, True),
    ],
)
def test_the_limit(request_: Request, max_size: int | None, fits: bool) -> None:
    outcome = answer(coded(gzip.compress(TEXT), "gzip"), request_, max_size=max_size)
    if fits:
        assert outcome.body == TEXT
    else:
        assert isinstance(outcome.error, BodyTooLarge)


@pytest.mark.parametrize(("encoding", "encode"), CODERS.items(), ids=CODERS)
def test_what_there_is_of_a_body_that_breaks_off_may_be_kept(encoding: str, encode: Callable[[bytes], bytes]) -> None:
    packed = encode(bytes(range(256)) * 40)[:-15]
    outcome: Any
    (outcome,) = through(decompress(truncated="keep"), to=[URL], fetch=FakeFetch({"/": coded(packed, encoding)}))
    assert (bytes(range(256)) * 40).startswith(outcome.body)
    assert outcome.flags == ("truncated",)
    assert isinstance(answer(coded(packed, encoding)).error, TruncatedBody)


def test_a_body_that_is_whole_has_no_flag() -> None:
    whole, broken = coded(gzip.compress(TEXT), "gzip"), coded(b"no gzip at all", "gzip")
    site = FakeFetch({"/": whole, "/broken": broken})
    outcomes: list[Any] = through(decompress(truncated="keep"), to=[URL, URL + "broken"], fetch=site)
    assert outcomes[0].flags == ()
    assert isinstance(outcomes[1].error, DecodeError)


def test_a_streamed_body_that_breaks_off_just_ends_if_that_is_kept() -> None:
    packed = gzip.compress(TEXT)[:-9]
    response = coded(b"", "gzip").replace(stream=Chunks(packed, size=11))
    stage = download(decompress(truncated="keep"), fetch=FakeFetch({"/": response}))
    assert piped(stage, map_async(read), to=[Request(URL, stream=True)]) == [TEXT]


def test_an_unknown_word_is_refused_when_built() -> None:
    with pytest.raises(ValueError, match='"fail" or "keep"'):
        decompress(truncated="drop")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - what is tested


def test_a_streamed_body_that_breaks_is_closed_and_the_reader_sees_it() -> None:
    body = Chunks(b"no gzip at all" * 100, size=10)
    stage = download(decompress(), fetch=FakeFetch({"/": coded(b"", "gzip").replace(stream=body)}))
    (failed,) = piped(stage, map_async(read), to=[Request(URL, stream=True)])
    assert isinstance(failed, DecodeError)
    assert body.closed


async def read(response: Response) -> Any:
    try:
        return await response.read()
    except DecodeError as error:
        return error


def test_more_codings_than_anybody_needs_close_the_stream() -> None:
    body = Chunks(b"x")
    outcome = answer(coded(b"", ",".join(["gzip"] * 9)).replace(stream=body), Request(URL, stream=True))
    assert isinstance(outcome.error, DecodeError)
    assert body.closed


def test_closing_a_decoded_body_closes_the_body_below() -> None:
    body = Chunks(gzip.compress(TEXT))

    async def close(response: Response) -> None:
        assert response.stream is not None
        await response.stream.aclose()

    stage = download(decompress(), fetch=FakeFetch({"/": coded(b"", "gzip").replace(stream=body)}))
    piped(stage, map_async(close), to=[Request(URL, stream=True)])
    assert body.closed


def test_compressed_bodies_are_asked_for() -> None:
    spy = Spy()
    own = Request(URL, headers=Headers({"Accept-Encoding": "identity"}))
    through(decompress(), to=[Request(URL), own], spy=spy)
    assert [request.headers["Accept-Encoding"] for request in spy.sent] == ["gzip, deflate, br, zstd", "identity"]


def test_with_a_range_the_page_itself_is_asked_for() -> None:
    spy = Spy()
    part, own = {"range": "bytes=0-9"}, {"Range": "bytes=0-9", "Accept-Encoding": "gzip"}
    requests = [Request(URL, headers=Headers(headers)) for headers in (part, own, {})]
    through(decompress(), to=requests, spy=spy)
    sent = [request.headers["Accept-Encoding"] for request in spy.sent]
    assert sent == ["identity", "gzip", "gzip, deflate, br, zstd"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_part_of_a_coded_body_stays_as_it_came(stream: bool) -> None:
    part = gzip.compress(TEXT)[10:60]
    response = coded(part, "gzip", status=206)
    response = response.replace(headers=response.headers.add("Content-Range", "bytes 10-59/100"))
    if stream:
        response = response.replace(body=b"", stream=Chunks(part))
    stage = download(decompress(), fetch=FakeFetch({"/": response}))
    (found,) = piped(stage, map_async(read), to=[Request(URL, stream=stream)])
    assert found == part
    outcome = answer(response.replace(stream=None), Request(URL))
    assert outcome.headers == response.headers


def test_a_part_that_is_the_whole_is_decoded() -> None:
    packed = gzip.compress(TEXT)
    response = coded(packed, "gzip", status=206)
    whole = response.headers.add("Content-Range", f"bytes 0-{len(packed) - 1}/{len(packed)}")
    assert answer(response.replace(headers=whole)).body == TEXT


def test_what_is_counted() -> None:
    spy = Spy()
    site = FakeFetch({"/": coded(gzip.compress(TEXT), "gzip"), "/plain": "plain", "/same": coded(b"x", "identity")})
    through(decompress(), to=[URL, URL + "plain", URL + "same"], fetch=site, spy=spy)
    assert spy.stats == {"httpcompression/response_count": 1, "httpcompression/response_bytes": len(TEXT)}


@pytest.mark.parametrize("size", [0, -5])
def test_a_bad_limit_is_refused_when_built(size: int) -> None:
    with pytest.raises(ValueError, match=rf"decompress\(max_size={size}\)"):
        decompress(max_size=size)
