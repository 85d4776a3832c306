"""Entries in bytes and in memory."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl.caching import CorruptEntry, Entry, MemoryStore, decode_entry, encode_entry
from streamcrawl.caching.store import VARIANTS
from streamcrawl.core import Run

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
entries = st.builds(
    Entry,
    url=texts,
    method=st.sampled_from(["GET", "POST"]),
    status=st.integers(200, 599),
    headers=st.lists(st.tuples(texts, texts), max_size=4).map(tuple),
    body=st.binary(max_size=100),
    vary=st.lists(st.tuples(texts, st.none() | texts), max_size=3).map(tuple),
    request_time=st.floats(0, 1e10),
    response_time=st.floats(0, 1e10),
    protocol=texts,
    ip_address=texts,
    invalidated=st.booleans(),
)
NO_RUN = cast(Run, None)


@given(entries)
def test_what_was_encoded_comes_back(entry: Entry) -> None:
    assert decode_entry(encode_entry(entry)) == entry


@given(entries, st.data())
def test_any_damage_is_noticed(entry: Entry, data: st.DataObject) -> None:
    good = encode_entry(entry)
    at = data.draw(st.integers(0, len(good) - 1))
    flip = data.draw(st.integers(1, 255))
    for bad in (good[:at], good[:at] + bytes([good[at] ^ flip]) + good[at + 1 :], good + b"x"):
        with pytest.raises(CorruptEntry):
            decode_entry(bad)


@given(st.binary(max_size=200))
def test_what_is_no_entry_is_told_by_the_one_error(data: bytes) -> None:
    with pytest.raises(CorruptEntry):
        decode_entry(data)


def entry(body: bytes, **vary: str) -> Entry:
    return Entry(url="http://a.example/", body=body, vary=tuple(sorted(vary.items())))


def test_the_store_in_memory_replaces_a_variant_and_gives_the_latest_first() -> None:
    async def main() -> None:
        store = MemoryStore().open(NO_RUN)
        one, two, newer = entry(b"1", a="x"), entry(b"2", a="y"), entry(b"3", a="x")
        for each in (one, two, newer):
            await store.put(b"key", each)
        assert await store.get(b"key") == [newer, two]
        assert await store.get(b"other") == []
        await store.delete(b"key")
        await store.delete(b"key")
        assert await store.get(b"key") == []
        assert store.size == 0
        for number in range(VARIANTS + 5):
            await store.put(b"key", entry(b"", a=str(number)))
        found = await store.get(b"key")
        assert len(found) == VARIANTS
        assert found[0].vary == (("a", str(VARIANTS + 4)),)

    asyncio.run(main())


def test_the_store_in_memory_lets_the_least_lately_used_go() -> None:
    async def main() -> None:
        store = MemoryStore(max_size=3 * entry(b"x" * 1000).size).open(NO_RUN)
        for key in (b"a", b"b", b"c"):
            await store.put(key, entry(b"x" * 1000))
        await store.get(b"a")
        await store.put(b"d", entry(b"x" * 1000))
        assert [len(await store.get(key)) for key in (b"a", b"b", b"c", b"d")] == [1, 0, 1, 1]
        await store.put(b"e", entry(b"x" * 10_000))  # larger than all that there is room for
        assert store.size == 0

    asyncio.run(main())
    with pytest.raises(ValueError, match="max_size=0"):
        MemoryStore(max_size=0)
