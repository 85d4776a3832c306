"""How an entry lies in a store."""

from __future__ import annotations

import pytest
from cache_stores_made import page
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl.caching import packing
from streamcrawl.caching.entry import CorruptEntry, Entry
from streamcrawl.caching.packing import Compression, pack, pack_all, split, unpack

COMPRESSIONS: list[Compression] = ["zstd", "gzip", None]
pairs = st.lists(st.tuples(st.text(), st.text()), max_size=3).map(tuple)
entries = st.builds(
    Entry,
    url=st.text(),
    status=st.integers(0, 999),
    headers=pairs,
    body=st.one_of(st.binary(), st.binary().map(lambda some: some * 300)),
    vary=pairs,
    response_time=st.floats(allow_nan=False),
    invalidated=st.booleans(),
)


@given(entries, st.sampled_from(COMPRESSIONS), st.floats(allow_nan=False))
def test_what_is_unpacked_is_what_was_packed(entry: Entry, compress: Compression, stored: float) -> None:
    packed = pack(entry, stored, compress)
    assert unpack(packed.head, packed.body) == entry
    assert packed.stored == stored
    assert packed.size == len(packed.head) + len(packed.body)


@given(st.lists(entries, max_size=4), st.binary(max_size=100), st.sampled_from(COMPRESSIONS))
def test_entries_one_after_the_other_are_split(several: list[Entry], rest: bytes, compress: Compression) -> None:
    packed = [pack(entry, 5.0, compress) for entry in several]
    data = b"".join(part for each in packed for part in (bytes(each.head), bytes(each.body)))
    found, whole = split(data)
    assert whole
    assert [(each.variant, each.stored) for each in found] == [(each.variant, 5.0) for each in packed]
    assert [unpack(each.head, each.body) for each in found] == several
    found, whole = split(data + rest)
    assert [unpack(each.head, each.body) for each in found[: len(several)]] == several
    assert whole == (rest == b"")
    for cut in range(1, min(len(data), 200)):
        before, _ = split(data[:-cut])
        assert [unpack(each.head, each.body) for each in before] == several[: len(before)]
        assert len(before) < len(several)


@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_one_bit_is_enough_to_be_no_entry(compress: Compression) -> None:
    entry = page(1, body=b"<p>hello</p>" * 20 + bytes(range(200)))
    packed = pack(entry, 5.0, compress)
    data = bytes(packed.head) + bytes(packed.body)
    middle = len(packed.head)
    harmless = 0
    for place in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        try:
            found = unpack(bytes(damaged[:middle]), bytes(damaged[middle:]))
        except CorruptEntry:
            continue
        assert (found, place // 8 >= middle) == (entry, True)
        harmless += 1
    # gzip's head has a time, a level, a system; zstd's the size of a window.
    assert harmless <= {"zstd": 8, "gzip": 56, None: 0}[compress]


@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_what_is_missing_or_too_much_is_no_entry(compress: Compression) -> None:
    packed = pack(page(1, body=b"<p>hello</p>" * 50), 5.0, compress)
    body = bytes(packed.body)
    for other in (body[:-1], body[1:], body + b"\0", body + body, body[:-9] + body[-8:]):
        with pytest.raises(CorruptEntry):
            unpack(packed.head, other)


def test_several_are_packed_as_each_alone() -> None:
    several = [
        *(page(number, body=b"<p>hello</p>" * number) for number in range(1, 40)),
        page(50, body=bytes(range(256))),
        page(51, body=b"<p>hello</p>" * 100).replace(headers=(("content-encoding", "br"),)),
        page(52, body=b"<p>hello</p>" * 30_000),
        page(53, body=b""),
    ]
    for compress in COMPRESSIONS:
        together = pack_all([(entry, 5.0) for entry in several], compress)
        assert together == [pack(entry, 5.0, compress) for entry in several]
        assert [unpack(each.head, each.body) for each in together] == several


def test_what_does_not_fit_together_is_no_entry() -> None:
    one, two = pack(page(1), 5.0, "zstd"), pack(page(2), 5.0, "zstd")
    for head, body in ((one.head, two.body), (one.head, b""), (b"", one.body), (bytes(one.head)[:50], b"")):
        with pytest.raises(CorruptEntry, match=r"checksum|whose head has"):
            unpack(head, body)


def test_a_body_is_compressed_where_that_pays() -> None:
    text = page(1, body=b"<p>hello</p>" * 1000)
    assert len(pack(text, 0.0, "zstd").body) < 100
    assert len(pack(text, 0.0, "gzip").body) < 200
    for plain in (
        pack(text, 0.0, None),
        pack(text.replace(headers=(("content-encoding", "gzip"),)), 0.0, "zstd"),
        pack(text.replace(body=bytes(range(256)) * 1), 0.0, "zstd"),
    ):
        assert plain.size > 256
    assert pack(text, 0.0, None).body is text.body, "not copied"
    packed = pack(text, 0.0, None)
    assert unpack(packed.head, packed.body).body is text.body, "nor when it is read"


def test_of_a_large_body_the_beginning_is_tried_first(monkeypatch: pytest.MonkeyPatch) -> None:
    import random

    tried: list[int] = []

    def counting(bodies: list[bytes | memoryview]) -> list[bytes]:
        tried.extend(map(len, bodies))
        return [bytes(body) for body in bodies]

    monkeypatch.setattr(packing, "_zstd", counting)
    noise = random.Random(1).randbytes(1_000_000)
    assert pack(page(1, body=noise), 0.0, "zstd").body is noise
    assert tried == [64 * 1024]
