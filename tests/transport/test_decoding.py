"""Content codings: what was coded comes back, a bomb stops, and nothing but our own errors comes out."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl.errors import BodyTooLarge, DecodeError, FetchError, TruncatedBody
from streamcrawl.headers import Headers
from streamcrawl.transport.decoding import (
    BROTLI_KEPT,
    CODECS,
    MAX_CODINGS,
    STEP,
    Decoder,
    codings_of,
    decode_body,
    is_part,
    plan,
    zstd,
)

brotli: Any = import_module("brotli")
URL = "http://h/page"
LIMIT = 1 << 24


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def brotli_of(data: bytes) -> bytes:
    packed: bytes = brotli.compress(data, quality=4)
    return packed


def zstd_of(data: bytes) -> bytes:
    packed: bytes = zstd().compress(data)
    return packed


ENCODERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", lambda data: gzip.compress(data, 1)),
    ("x-gzip", lambda data: gzip.compress(data, 9)),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("br", brotli_of),
    ("zstd", zstd_of),
]
IDS = ["gzip", "x-gzip", "deflate-zlib", "deflate-raw", "br", "zstd"]
each_encoder = pytest.mark.parametrize(("coding", "encode"), ENCODERS, ids=IDS)


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = 0
    for size in sizes:
        yield data[at : at + size]
        at += size
    yield data[at:]


def decode(coding: str, chunks: Iterator[bytes] | list[bytes], limit: int = LIMIT) -> bytes:
    decoder = Decoder([coding], limit, URL)
    decoded = b"".join(piece for chunk in chunks for piece in decoder.feed(chunk))
    decoder.finish()
    assert decoder.size == len(decoded)
    return decoded


@given(
    seed=st.binary(max_size=600),
    times=st.integers(1, 1000),
    nth=st.integers(0, len(ENCODERS) - 1),
    sizes=st.lists(st.integers(0, 700), max_size=12),
)
def test_what_was_coded_comes_back_however_it_is_cut(seed: bytes, times: int, nth: int, sizes: list[int]) -> None:
    data = seed * times
    coding, encode = ENCODERS[nth]
    assert decode(coding, cut(encode(data), sizes)) == data


@given(
    data=st.binary(max_size=400), coding=st.sampled_from(sorted(CODECS)), sizes=st.lists(st.integers(0, 40), max_size=5)
)
def test_arbitrary_bytes_raise_only_fetch_errors(data: bytes, coding: str, sizes: list[int]) -> None:
    try:
        decoded = decode(coding, cut(data, sizes))
    except FetchError as error:
        assert URL in str(error)  # noqa: PT017 - it may pass or raise, and both are fine
    else:
        assert isinstance(decoded, bytes)


@given(
    data=st.binary(min_size=1, max_size=400),
    nth=st.integers(0, len(ENCODERS) - 1),
    place=st.integers(0),
    flip=st.integers(1, 255),
)
def test_a_flipped_byte_raises_only_fetch_errors(data: bytes, nth: int, place: int, flip: int) -> None:
    coding, encode = ENCODERS[nth]
    packed = bytearray(encode(data))
    packed[place % len(packed)] ^= flip
    try:
        decode(coding, [bytes(packed)])
    except FetchError as error:
        assert URL in str(error)  # noqa: PT017 - some flips do no harm (a gzip header's time)


@each_encoder
def test_a_truncated_body_is_an_error(coding: str, encode: Callable[[bytes], bytes]) -> None:
    packed = encode(bytes(range(256)) * 40)
    for keep in (1, 2, len(packed) // 2, len(packed) - 1):
        with pytest.raises(TruncatedBody, match=coding):
            decode(coding, [packed[:keep]])


@each_encoder
def test_a_bomb_stops_at_the_limit(coding: str, encode: Callable[[bytes], bytes]) -> None:
    bomb = encode(bytes(50_000_000))
    limit = 1_000_000
    decoder = Decoder([coding], limit, URL)
    pieces: list[bytes] = []
    with pytest.raises(BodyTooLarge, match=r"http://h/page.* 1000000 bytes"):
        pieces.extend(decoder.feed(bomb))
    assert max(map(len, pieces)) <= 4 * STEP
    assert sum(map(len, pieces)) <= limit


@each_encoder
def test_exactly_the_limit_is_allowed(coding: str, encode: Callable[[bytes], bytes]) -> None:
    assert len(decode(coding, [encode(bytes(5000))], limit=5000)) == 5000
    with pytest.raises(BodyTooLarge):
        decode(coding, [encode(bytes(5001))], limit=5000)


def test_a_bomb_between_two_codings_stops_too() -> None:
    inner = gzip.compress(b"") * 1_000_000  # decodes to nothing at all, 20 MB of it
    with pytest.raises(BodyTooLarge):
        decode_body(gzip.compress(inner), Headers({"Content-Encoding": "gzip, gzip"}), limit=1_000_000, url=URL)


def test_all_of_a_brotli_body_comes_although_its_last_bytes_held_more_than_one_step() -> None:
    packer = brotli.Compressor(quality=1)
    packed = b"".join(packer.process(bytes(2**22)) for _ in range(6)) + packer.finish()
    assert len(decode("br", [packed], limit=2**25)) == 6 * 2**22
    assert len(decode("br", cut(packed, [1000] * 100), limit=2**25)) == 6 * 2**22


def test_members_of_gzip_and_frames_of_zstd_follow_each_other() -> None:
    assert decode("gzip", [gzip.compress(b"one ") + gzip.compress(b"two")]) == b"one two"
    assert decode("zstd", [zstd_of(b"one ") + zstd_of(b"two")]) == b"one two"


def test_what_follows_the_last_gzip_member_is_ignored() -> None:
    assert decode("gzip", [gzip.compress(b"page") + bytes(500)]) == b"page"
    assert decode("gzip", [gzip.compress(b"page"), b"\0", b"<!-- served by -->"]) == b"page"


TAILS = [b"xx", b"\0\0", b"\n", bytes(5000), b"<!-- served by -->", b"Q", b"Q" * 9, bytes(range(1, 256)) * 40]


@each_encoder
@given(tail=st.sampled_from(TAILS), sizes=st.lists(st.integers(0, 9000), max_size=9), byte_by_byte=st.booleans())
def test_what_follows_the_end_is_ignored_wherever_it_is_cut(
    coding: str, encode: Callable[[bytes], bytes], tail: bytes, sizes: list[int], byte_by_byte: bool
) -> None:
    for data in (b"", b"page", bytes(range(256)) * 300):
        packed = encode(data)
        assert decode(coding, [packed + tail]) == data
        assert decode(coding, [packed, tail]) == data
        assert decode(coding, cut(packed + tail, [1] * 300 if byte_by_byte else sizes)) == data


@given(
    data=st.binary(max_size=300),
    nth=st.integers(0, len(ENCODERS) - 1),
    tail=st.binary(max_size=40) | st.sampled_from([zstd_of(b"x")[:n] for n in range(1, 9)] + [gzip.compress(b"x")]),
    flip=st.integers(0, 300) | st.none(),
    sizes=st.lists(st.integers(0, 60), max_size=9),
)
def test_whatever_comes_it_does_not_matter_how_it_is_cut(
    data: bytes, nth: int, tail: bytes, flip: int | None, sizes: list[int]
) -> None:
    coding, encode = ENCODERS[nth]
    packed = bytearray(encode(data) + tail)
    if flip is not None and coding != "zstd":  # of broken frames libzstd says now this, now that
        packed[flip % len(packed)] ^= 0x55
    whole = bytes(packed)
    assert came_of(coding, [whole]) == came_of(coding, cut(whole, sizes)) == came_of(coding, cut(whole, [1] * 900))


def came_of(coding: str, chunks: Iterator[bytes] | list[bytes]) -> bytes | None:
    """What it decodes to; None if it does not."""
    try:
        return decode(coding, chunks)
    except FetchError:
        return None


@pytest.mark.parametrize("size", [1000, 70_000, 10**7])
def test_a_longer_brotli_body_with_something_behind_it(size: int) -> None:
    data = random.Random(1).randbytes(200_000) + bytes(700_000)
    packed = brotli_of(data)
    assert BROTLI_KEPT / 2 < len(packed) < BROTLI_KEPT - 3000
    for tail in (b"", b"x", bytes(3000)):
        assert decode("br", cut(packed + tail, [size] * (len(packed) // size))) == data
    with pytest.raises(TruncatedBody):
        decode("br", cut(packed[:-1], [size] * (len(packed) // size)))
    with pytest.raises(DecodeError):
        decode("br", cut(packed[:-40] + b"\xff" * 900, [size] * (len(packed) // size)))


def test_of_a_brotli_body_that_is_too_long_to_keep_nothing_may_stand_behind_the_end() -> None:
    data = random.Random(1).randbytes(300_000)
    packed = brotli_of(data)
    assert len(packed) > BROTLI_KEPT
    assert decode("br", [packed]) == decode("br", [packed, b"x"]) == data
    with pytest.raises(DecodeError):
        decode("br", [packed + b"x"])


def test_skippable_frames_of_zstd_and_a_frame_that_is_cut() -> None:
    skipped = b"\x5a\x2a\x4d\x18\x05\0\0\0hello"
    packed = skipped + zstd_of(b"one ") + skipped + zstd_of(b"two")
    for tail in (b"", b"\0\0", skipped, skipped[:2]):
        assert decode("zstd", [packed + tail]) == b"one two"
        assert decode("zstd", cut(packed + tail, [1] * 900)) == b"one two"
    for keep in (1, 4, 5, 9):
        with pytest.raises(TruncatedBody):
            decode("zstd", [packed + zstd_of(b"three")[:keep]])


@pytest.mark.parametrize(
    ("status", "content_range", "part"),
    [
        (200, None, False),
        (200, "bytes 5-9/10", False),
        (206, None, True),
        (206, "bytes 0-9/20", True),
        (206, "bytes 1-9/10", True),
        (206, "bytes 0-9/*", True),
        (206, "bytes 0-9/10", False),
        (206, "Bytes  0-9/10", False),
    ],
)
def test_which_bodies_are_parts(status: int, content_range: str | None, part: bool) -> None:
    headers = Headers() if content_range is None else Headers({"Content-Range": content_range})
    assert is_part(status, headers) is part


def test_a_zstd_window_above_8_mib_is_refused() -> None:
    module = zstd()
    wide = module.compress(bytes(100), options={module.CompressionParameter.window_log: 27})
    packer = module.ZstdCompressor(options={module.CompressionParameter.window_log: 27})
    streamed = packer.compress(bytes(100)) + packer.flush()
    assert decode("zstd", [wide]) == bytes(100)  # a frame that tells its size needs no window
    with pytest.raises(DecodeError, match="zstd"):
        decode("zstd", [streamed])


def test_several_codings_are_undone_from_the_right() -> None:
    body = brotli_of(gzip.compress(zlib.compress(b"page")))
    headers = Headers(
        [("Content-Encoding", "deflate, GZIP"), ("X", "1"), ("Content-Encoding", "br"), ("Content-Length", "9")]
    )
    assert decode_body(body, headers, limit=LIMIT, url=URL) == (b"page", Headers([("X", "1")]))


def test_an_unknown_coding_stays_with_what_it_lies_around() -> None:
    headers = Headers([("Content-Encoding", "gzip, exi, br"), ("Content-Length", "9"), ("X", "1")])
    body, left = decode_body(brotli_of(b"exi data"), headers, limit=LIMIT, url=URL)
    assert body == b"exi data"
    assert left == Headers([("X", "1"), ("Content-Encoding", "gzip, exi")])
    outside = Headers([("Content-Encoding", "gzip, exi"), ("Content-Length", "8")])
    assert decode_body(b"exi data", outside, limit=LIMIT, url=URL) == (b"exi data", outside)


def test_identity_and_no_coding_leave_the_body() -> None:
    assert decode_body(b"x", Headers({"Content-Encoding": "identity"}), limit=LIMIT, url=URL) == (b"x", Headers())
    plain = Headers({"Content-Length": "1"})
    body, left = decode_body(b"x", plain, limit=LIMIT, url=URL)
    assert (body, left) == (b"x", plain)


def test_an_empty_body_is_left_alone() -> None:
    headers = Headers({"Content-Encoding": "gzip", "Content-Length": "0"})
    assert decode_body(b"", headers, limit=LIMIT, url=URL) == (b"", headers)


def test_too_many_codings_are_refused() -> None:
    many = ", ".join(["gzip"] * (MAX_CODINGS + 1))
    with pytest.raises(DecodeError, match="6 content codings"):
        decode_body(b"x", Headers({"Content-Encoding": many}), limit=LIMIT, url=URL)


def test_corrupt_data_names_url_and_coding() -> None:
    with pytest.raises(DecodeError, match=r"^http://h/page: the body cannot be decoded as gzip: ") as caught:
        decode_body(b"<html>not packed</html>", Headers({"Content-Encoding": "gzip"}), limit=LIMIT, url=URL)
    assert isinstance(caught.value.__cause__, zlib.error)
    assert "\n" not in str(caught.value)


def test_plan_and_codings() -> None:
    assert codings_of(Headers({"content-encoding": " GZip ,, identity,br"})) == ("gzip", "br")
    assert plan(Headers({"Content-Encoding": "gzip, br"})) == (("br", "gzip"), Headers())
