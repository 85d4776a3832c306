"""Items as bytes, format by format."""

from __future__ import annotations

import csv
import json
from collections import UserDict
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from io import StringIO
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl.errors import ItemRefused
from streamcrawl.feeds.formats import Csv, JsonArray, JsonLines, format_of


@dataclass
class Author:
    name: str


class Book(pydantic.BaseModel):
    title: str
    url: pydantic.HttpUrl


class Colour(Enum):
    RED = "red"


class Text(str):
    __slots__ = ()


class Number(int):
    pass


def line(item: Any, fields: tuple[str, ...] | None = None) -> str:
    return JsonLines(fields).record(item).decode()


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("naïve ☕", '"naïve ☕"'),
        (1.5, "1.5"),
        (float("nan"), "null"),
        (2**80, str(2**80)),
        (datetime(2024, 5, 6, 7, 8, tzinfo=UTC), '"2024-05-06T07:08:00Z"'),
        (date(2024, 5, 6), '"2024-05-06"'),
        (Decimal("1.10"), '"1.10"'),
        (b"\xff\x00", '"/wA="'),
        ({"only"}, '["only"]'),
        (PurePosixPath("a/b"), '"a/b"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Colour.RED, '"red"'),
        (Author("Ada"), '{"name":"Ada"}'),
        (UserDict(a=1), '{"a":1}'),
        (Text("t"), '"t"'),
        (Number(3), "3"),
        ([Book(title="B", url=pydantic.HttpUrl("https://a.example/b"))], '[{"title":"B","url":"https://a.example/b"}]'),
        ({1: "int keys"}, '{"1":"int keys"}'),
        ("two\nlines", '"two\\nlines"'),
    ],
)
def test_values_in_json(value: Any, written: str) -> None:
    assert line({"v": value}) == f'{{"v":{written}}}\n'


def test_half_a_surrogate_pair_survives() -> None:
    written = JsonLines().record({"text": "broken \ud83d here", "when": date(2024, 1, 2)})
    assert written.isascii()
    assert json.loads(written) == {"text": "broken \ud83d here", "when": "2024-01-02"}


def test_items_of_every_kind() -> None:
    class Struct(msgspec.Struct, rename="camel"):
        first_name: str

    assert line(Struct("Ada")) == '{"first_name":"Ada"}\n'
    assert line(Author("Ada")) == '{"name":"Ada"}\n'
    book = Book(title="B", url=pydantic.HttpUrl("https://a.example/b"))
    assert line(book) == '{"title":"B","url":"https://a.example/b"}\n'


def test_fields_select_and_order() -> None:
    assert line({"a": 1, "b": 2, "c": 3}, ("c", "missing", "a")) == '{"c":3,"a":1}\n'


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"fine": 1, "odd": object()}, "field 'odd' cannot be written: .*class object has no JSON form"),
        ({"deep": {"er": [object()]}}, "field 'deep'"),
        ({None: 1}, "field None: the name of a field is a str, not NoneType"),
        (["a"], "no item: list"),
        (3, "no item: int"),
    ],
)
@pytest.mark.parametrize("kind", [JsonLines, JsonArray])
def test_what_cannot_be_written_is_named(kind: Any, item: Any, said: str) -> None:
    with pytest.raises(ItemRefused, match=said):
        kind().record(item)


def test_a_value_that_contains_itself_is_named() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ItemRefused, match="field 'loop'"):
        JsonLines().record({"fine": 1, "loop": loop})


@given(
    st.lists(st.dictionaries(st.text(min_size=1), st.none() | st.booleans() | st.integers() | st.text()), max_size=5)
)
def test_an_array_of_any_items_reads_back(items: list[dict[str, Any]]) -> None:
    array = JsonArray()
    written = b"".join(map(array.record, items)) + array.end()
    assert json.loads(written) == items


def test_an_array_is_not_begun_by_an_item_that_fails() -> None:
    array = JsonArray()
    with pytest.raises(ItemRefused):
        array.record({"odd": object()})
    assert json.loads(array.record({"a": 1}) + array.end()) == [{"a": 1}]


def rows(*records: bytes) -> list[list[str]]:
    return list(csv.reader(StringIO(b"".join(records).decode(), newline="")))


def test_csv_has_the_columns_of_the_first_item() -> None:
    kind = Csv()
    written = [kind.record({"a": 1, "b": 'x,"y"\nz'}), kind.record({"b": None, "a": 2.5}), kind.record({"a": True})]
    assert rows(*written) == [["a", "b"], ["1", 'x,"y"\nz'], ["2.5", ""], ["true", ""]]
    assert b"".join(written).count(b"\r\n") == 4
    assert kind.end() == b""


def test_csv_cells() -> None:
    item = {
        "list": ["a", 1],
        "dict": {"k": "é"},
        "date": date(2024, 1, 2),
        "decimal": Decimal("1.10"),
        "nan": float("nan"),
        "object": Author("Ada"),
        "half": "\ud83d",
    }
    assert rows(Csv().record(item))[1] == ['["a",1]', '{"k":"é"}', "2024-01-02", "1.10", "", '{"name":"Ada"}', "?"]


def test_csv_tells_once_of_further_fields() -> None:
    told: list[str] = []
    kind = Csv(("a",), notice=told.append)
    written = [kind.record({"a": 1}), kind.record({"a": 2, "b": 3, "c": 4}), kind.record({"a": 5, "b": 6})]
    assert rows(*written) == [["a"], ["1"], ["2"], ["5"]]
    assert told == ["left out of the CSV, whose columns are a: 'b', 'c' (give fields=… to have it)"]


def test_csv_names_the_field_that_cannot_be_written() -> None:
    kind = Csv()
    with pytest.raises(ItemRefused, match="field 'odd' cannot be written"):
        kind.record({"a": 1, "odd": object()})
    assert rows(kind.record({"b": 2})) == [["b"], ["2"]], "an item that failed names no columns"


def test_an_empty_csv_has_the_columns_that_were_asked_for() -> None:
    assert Csv(("a", "b")).end() == b"a,b\r\n"
    assert Csv().end() == b""


def test_formats_by_extension() -> None:
    assert [format_of("", end) for end in (".jsonl", ".jl", ".ndjson", ".JSON", ".csv")] == [
        "jsonl",
        "jsonl",
        "jsonl",
        "json",
        "csv",
    ]
    with pytest.raises(ValueError, match=r"'x.xlsx': no format for the extension '.xlsx' \(known: .jsonl"):
        format_of("x.xlsx", ".xlsx")
