"""How an entry lies in a store."""

from __future__ import annotations

from hashlib import blake2b
from random import Random
from types import SimpleNamespace

import pytest
import zstandard
from cache_stores_made import page
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl.caching import packing
from streamcrawl.caching.entry import CorruptEntry, Entry
from streamcrawl.caching.packing import Compression, Packed, draft, pack, pack_all, split, unpack

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
        together = pack_all([draft(entry, 5.0) for entry in several], compress)
        assert together == [pack(entry, 5.0, compress) for entry in several]
        assert [unpack(each.head, each.body) for each in together] == several


@pytest.mark.parametrize("compress", COMPRESSIONS)
@given(entry=entries)
def test_the_version_before_is_read_still(entry: Entry, compress: Compression) -> None:
    packed = former(pack(entry, 5.0, compress))
    assert unpack(packed.head, packed.body) == entry
    assert split(bytes(packed.head) + bytes(packed.body)) == ([packed], True)
    for place in range(min(len(packed.body), 50)):
        damaged = bytearray(packed.body)
        damaged[place] ^= 1
        with pytest.raises(CorruptEntry, match="checksum"):
            unpack(packed.head, bytes(damaged))


def former(packed: Packed) -> Packed:
    """As version 1 has it: a checksum over all of it."""
    rest = bytes(packed.head)[20:]
    return packed._replace(head=b"scS\1" + blake2b(rest + bytes(packed.body), digest_size=16).digest() + rest)


def test_no_version_is_taken_for_the_other() -> None:
    new = pack(page(1, body=b"<p>hello</p>" * 50), 5.0, "zstd")
    for packed, magic in ((new, b"scS\1"), (former(new), b"scS\2"), (new, b"scS\3")):
        with pytest.raises(CorruptEntry):
            unpack(magic + bytes(packed.head)[4:], packed.body)


def test_in_several_threads_and_without_what_only_the_c_library_has(monkeypatch: pytest.MonkeyPatch) -> None:
    several = [draft(page(number, body=b"<p>hello</p>" * 50), 5.0) for number in range(3)]
    together = pack_all(several, "zstd")
    assert pack_all(several, "zstd", threads=2) == together

    class Bare:
        compress = zstandard.ZstdCompressor(level=1, write_checksum=True).compress

    monkeypatch.setattr(packing, "_own", SimpleNamespace(zstd=Bare()))
    assert pack_all(several, "zstd") == together


def test_what_does_not_fit_together_is_no_entry() -> None:
    one, two = pack(page(1), 5.0, "zstd"), pack(page(2), 5.0, "zstd")
    for head, body in ((one.head, two.body), (one.head, b""), (b"", one.body), (bytes(one.head)[:50], b"")):
        with pytest.raises(CorruptEntry, match=r"checksum|whose head has"):
            unpack(head, body)


def test_nothing_comes_out_that_was_not_put_in() -> None:
    chance = Random(5)
    several = [page(number, body=(b"<p>%d</p>" % number) * chance.randrange(40)) for number in range(30)]
    packed = [
        (bytes(each.head), bytes(each.body))
        for compress in COMPRESSIONS
        for new in pack_all([draft(entry, 5.0) for entry in several], compress)
        for each in (new, former(new))
    ]
    whole = 0
    for _ in range(5000):
        (head, body), (other_head, other_body) = chance.choice(packed), chance.choice(packed)
        at = chance.randrange(len(body) + 1)
        spliced = chance.choice(
            [
                (head, other_body),
                (head[:20] + other_head[20:], chance.choice([body, other_body])),  # the checksum of one
                (head[:65] + other_head[65:], chance.choice([body, other_body])),
                (head, other_body[:-8] + body[-8:]),  # whose last bytes the head knows
                (head, chance.choice([other_body[:at] + body[at:], body[:at] + other_body[at:]])),
                (head, chance.choice([body + other_body, other_body + body, b"\x50\x2a\x4d\x18\0\0\0\0" + body])),
                (head, damaged(body, chance)),
                (damaged(head, chance), body),
            ]
        )
        try:
            found = unpack(*spliced)
        except CorruptEntry:
            continue
        assert found in several
        assert found in (unpack(head, body), unpack(other_head, other_body))
        whole += 1
    assert whole < 1000


def damaged(data: bytes, chance: Random) -> bytes:
    made = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        at, much = chance.randrange(len(made) + 1), chance.randrange(1, 20)
        made[at : at + chance.choice([0, much])] = chance.choice([b"", chance.randbytes(much), bytes(much)])
    return bytes(made[: chance.choice([len(made), chance.randrange(len(made) + 1)])])


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
    tried: list[int] = []

    def counting(bodies: list[bytes | memoryview], *, threads: int) -> list[bytes]:
        assert threads == 1
        tried.extend(map(len, bodies))
        return [bytes(body) for body in bodies]

    monkeypatch.setattr(packing, "_zstd", counting)
    noise = Random(1).randbytes(1_000_000)
    assert pack(page(1, body=noise), 0.0, "zstd").body is noise
    assert tried == [64 * 1024]
