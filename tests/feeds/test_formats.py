"""Items as bytes, format by format."""

from __future__ import annotations

import csv
import json
import re
from collections import UserDict
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

import msgspec
import pydantic
import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st

from feeds.reading import unpacked
from streamcrawl.errors import FlowError, ItemRefused
from streamcrawl.feeds import formats as formats_module
from streamcrawl.feeds.csv_format import Csv
from streamcrawl.feeds.csv_format import line as csv_line
from streamcrawl.feeds.format import FeedFormat
from streamcrawl.feeds.formats import format_of
from streamcrawl.feeds.json_formats import JsonArray, JsonLines
from streamcrawl.feeds.xml_format import Xml
from streamcrawl.operators.feed import feed


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


CELLS = st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('a,"\r\n; \t\0é')


@given(st.lists(CELLS, min_size=1, max_size=4))
def test_a_row_is_that_of_the_library(cells: list[Any]) -> None:
    written = StringIO(newline="")
    csv.writer(written).writerow(cells)
    assert csv_line(cells) == written.getvalue()


@given(st.text())
def test_text_in_xml_is_escaped_once(text: str) -> None:
    """Whatever way it takes."""
    kind = Xml()
    written = (kind.record({"a": text, "b": [text]}) + kind.end()).decode()
    known = "".join(
        c if re.match("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", c) else "\ufffd" for c in text
    )
    shown = known.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")
    assert f"<item><a>{shown}</a><b><value>{shown}</value></b></item>" in written


def test_csv_tells_once_of_further_fields() -> None:
    told: list[str] = []
    kind = Csv(notice=told.append)
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
    assert [format_of("", end).name for end in (".jsonl", ".jl", ".ndjson", ".JSON", ".csv")] == [
        "jsonl",
        "jsonl",
        "jsonl",
        "json",
        "csv",
    ]
    with pytest.raises(ValueError, match=r"'x.xlsx': no format for the extension '.xlsx' \(known: .jsonl"):
        format_of("x.xlsx", ".xlsx")


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("utf-8", '{"v":"é☕😀"}'.encode()),
        ("ascii", rb'{"v":"\u00e9\u2615\ud83d\ude00"}'),
        ("latin-1", b'{"v":"\xe9\\u2615\\ud83d\\ude00"}'),
    ],
)
def test_json_in_other_encodings(encoding: str, written: bytes) -> None:
    assert JsonLines(encoding=encoding).record({"v": "é☕😀"}) == written + b"\n"
    assert json.loads(JsonArray(encoding=encoding).record({"v": "é☕😀"})[2:].decode(encoding)) == {"v": "é☕😀"}


def test_a_byte_order_mark_stands_once() -> None:
    lines = JsonLines(encoding="utf-8-sig")
    assert lines.record({"a": 1}) + lines.record({"a": 2}) == b'\xef\xbb\xbf{"a":1}\n{"a":2}\n'
    array = JsonArray(encoding="utf-16")
    assert json.loads((array.record({"a": 1}) + array.record({"a": 2}) + array.end()).decode("utf-16")) == [
        {"a": 1},
        {"a": 2},
    ]
    further = JsonArray(encoding="utf-16", begun=True)
    assert further.end() == "\n]\n".encode("utf-16")[2:]


def test_an_indented_array() -> None:
    array = JsonArray(indent=2)
    written = array.record({"a": [1]}) + array.record({"b": {}}) + array.end()
    assert written.decode() == '[\n{\n  "a": [\n    1\n  ]\n},\n{\n  "b": {}\n}\n]\n'


def test_options_of_json() -> None:
    assert JsonLines(sort_keys=True).record({"b": 1, "a": {"d": 1, "c": 2}}) == b'{"a":{"c":2,"d":1},"b":1}\n'
    assert JsonLines(ensure_ascii=True).record({"a": "é"}) == b'{"a":"\\u00e9"}\n'
    assert JsonLines(default=repr).record({"a": range(2)}) == b'{"a":"range(0, 2)"}\n'


def test_fields_under_other_names() -> None:
    names = {"title": "Titel", "url": "Adresse"}
    assert JsonLines(names).record({"url": "u", "title": "t", "more": 1}) == b'{"Titel":"t","Adresse":"u"}\n'
    assert rows(Csv(names).record({"url": "u"})) == [["Titel", "Adresse"], ["", "u"]]


def test_options_of_csv() -> None:
    kind = Csv(delimiter=";", lineterminator="\n", quoting=csv.QUOTE_ALL, join_multivalued=", ")
    assert kind.record({"a": [1, "b", None], "b": [[1]]}) == b'"a";"b"\n"1, b, ";"[[1]]"\n'
    assert Csv(include_headers_line=False).record({"a": 1}) == b"1\r\n"
    assert Csv(include_headers_line=False).end() == b""
    assert Csv(encoding="latin-1").record({"é": "☕"}) == b"\xe9\r\n?\r\n"
    assert Csv(encoding="latin-1", errors="xmlcharrefreplace").record({"a": "☕"}) == b"a\r\n&#9749;\r\n"
    excel = Csv(encoding="utf-8-sig")
    assert excel.record({"a": "é"}) + excel.record({"a": 1}) == "\ufeffa\r\né\r\n1\r\n".encode()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"uri": "a.jsonl", "indent": 2}, "indent=2: JSON Lines is not indented"),
        ({"uri": "a.json", "indent": -1}, "indent=-1: a number of spaces"),
        ({"uri": "a.csv", "encoding": "klingon"}, "encoding='klingon': no encoding that Python knows"),
        ({"uri": "a.csv", "encoding": "rot13"}, "encoding='rot13': no encoding of text"),
        ({"uri": "a.jsonl", "encoding": "utf-16"}, "JSON Lines are read line by line"),
        ({"uri": "a.pickle", "encoding": "latin-1"}, "pickle has no encoding to choose"),
        ({"uri": "a.csv", "format_options": {"delimiter": ";;"}}, '"delimiter" must be a 1-character string'),
        ({"uri": "a.csv", "format_options": {"colour": 1}}, "CSV has no 'colour'; it takes delimiter, doublequote"),
        ({"uri": "a.csv", "format_options": {"join_multivalued": 1}}, "join_multivalued=1: text, or None"),
        ({"uri": "a.xml", "format_options": {"root_element": "1 2"}}, "root_element='1 2': no name of an XML element"),
        ({"uri": "a.pickle", "format_options": {"protocol": 99}}, "protocol=99: 0 to "),
        ({"uri": "a.csv", "mode": "append", "encoding": "utf-16"}, "encoding='utf-16': a CSV in it cannot be appended"),
        ({"uri": "a.json", "fields": {"a": "x", "b": "x"}}, "distinct names of fields"),
        ({"uri": "a.sqlite", "format_options": {"colour": 1}}, "SQLite has no option colour; it takes table and key"),
        ({"uri": "{part}.sqlite"}, "a table is neither compressed nor in parts"),
    ],
)
def test_what_a_format_does_not_have_is_told_when_built(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        feed(**arguments)


class Titles:
    """A format of somebody's own."""

    state = None

    def record(self, item: Any) -> bytes:
        return f"# {item['title']}\n".encode()

    def end(self) -> bytes:
        return b"(end)\n"


MARKDOWN = FeedFormat("markdown", (".md",), lambda settings, state, notice: Titles(), ended=True)


def test_a_format_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rx.of({"title": "Tea"}).pipe(feed(tmp_path / "a.md", format=MARKDOWN)).subscribe()
    assert (tmp_path / "a.md").read_text() == "# Tea\n(end)\n"

    class Point:
        name = "markdown"
        value = "somewhere:MARKDOWN"

        def load(self) -> Any:
            return MARKDOWN

    def plugged(group: str) -> list[Point]:
        return [Point()] if group == "streamcrawl.formats" else []

    monkeypatch.setattr("importlib.metadata.entry_points", plugged)
    formats_module.plugged.cache_clear()
    try:
        rx.of({"title": "Milk"}).pipe(feed(tmp_path / "b.md.gz")).subscribe()
    finally:
        monkeypatch.undo()
        formats_module.plugged.cache_clear()
    assert unpacked(tmp_path / "b.md.gz") == b"# Milk\n(end)\n"
    with pytest.raises(ValueError, match=r"no format for the extension '\.md'"):
        feed("c.md")


def test_an_entry_point_that_is_no_format(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name = "odd"
        value = "somewhere:odd"

        def load(self) -> Any:
            return 3

    def plugged(group: str) -> list[Point]:
        return [Point()] if group == "streamcrawl.formats" else []

    monkeypatch.setattr("importlib.metadata.entry_points", plugged)
    formats_module.plugged.cache_clear()
    try:
        with pytest.raises(FlowError, match=r"entry point odd = somewhere:odd of streamcrawl\.formats: 3 is no"):
            feed("a.odd")
    finally:
        monkeypatch.undo()
        formats_module.plugged.cache_clear()
