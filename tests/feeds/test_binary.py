"""MessagePack, pickle and marshal."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.reading import READERS
from streamcrawl.errors import ItemRefused
from streamcrawl.feeds.format import Settings
from streamcrawl.feeds.formats import format_named

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@dataclass
class Author:
    name: str


def made(kind: str, **options: Any) -> Any:
    return format_named(kind).make(Settings(options=options), None, lambda text: None)


def test_pickle_keeps_objects_as_they_are() -> None:
    record = made("pickle").record({"when": date(2024, 5, 6), "by": Author("Ada"), "set": {1}})
    assert pickle.loads(record) == {"when": date(2024, 5, 6), "by": Author("Ada"), "set": {1}}
    assert record[1] == 4
    assert made("pickle", protocol=5).record({"a": 1})[1] == 5


@pytest.mark.parametrize("kind", ["msgpack", "marshal"])
def test_the_others_have_values_as_json_has_them(kind: str) -> None:
    record = made(kind).record({"when": date(2024, 5, 6), "by": Author("Ada"), "text": "é"})
    assert READERS[kind](record) == [{"when": "2024-05-06", "by": {"name": "Ada"}, "text": "é"}]


@pytest.mark.parametrize("kind", ["msgpack", "marshal", "pickle"])
def test_what_cannot_be_written_is_named(kind: str) -> None:
    with pytest.raises(ItemRefused, match="field 'odd' cannot be written"):
        made(kind).record({"fine": 1, "odd": iter(lambda: 1, 2)})


@given(st.lists(st.dictionaries(st.text(), VALUES, max_size=4), min_size=1, max_size=4), st.data())
def test_cut_anywhere_every_whole_object_is_kept(items: list[dict[str, Any]], data: st.DataObject) -> None:
    for kind in ("msgpack", "marshal", "pickle"):
        records = [made(kind).record(item) for item in items]
        written = b"".join(records)
        cut = data.draw(st.integers(0, len(written)))
        tail = format_named(kind).tail
        assert tail is not None
        (end, add), _ = tail(BytesIO(written[:cut]), Settings())
        whole = [sum(map(len, records[:n])) for n in range(len(records) + 1)]
        assert end == max(each for each in whole if each <= cut), kind
        assert add == b""


def test_every_head_of_messagepack_is_known() -> None:
    tail = format_named("msgpack").tail
    assert tail is not None
    values: list[Any] = [2**n for n in range(0, 64, 7)] + [-(2**n) for n in range(0, 63, 7)]
    values += ["x" * n for n in (0, 31, 32, 255, 256, 70_000)] + [b"x" * n for n in (0, 255, 256, 70_000)]
    values += [[1] * n for n in (0, 15, 16, 70_000)] + [{str(k): k for k in range(n)} for n in (0, 15, 16, 70_000)]
    values += [msgspec.msgpack.Ext(5, b"x" * n) for n in (0, 1, 2, 3, 4, 8, 16, 17, 256, 70_000)] + [1.5, None, True]
    for value in values:
        record = msgspec.msgpack.encode(value)
        assert tail(BytesIO(record + record), Settings())[0].end == 2 * len(record)
        assert tail(BytesIO(record[:-1]), Settings())[0].end == 0
