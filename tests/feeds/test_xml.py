"""XML that every parser reads, whatever the items hold."""

from __future__ import annotations

import re
from datetime import date
from typing import Any, cast
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl.errors import ItemRefused
from streamcrawl.feeds.xml_format import Xml


def document(*items: Any, **options: Any) -> bytes:
    made = Xml(**options)
    return b"".join(map(made.record, items)) + made.end()


def test_a_document_as_scrapy_writes_it() -> None:
    items = [{"name": "Tea & <milk>", "tags": ["hot", "green"], "maker": {"city": "Ürümqi"}}, {"name": None}]
    assert document(*items).decode() == (
        '<?xml version="1.0" encoding="utf-8"?>\n<items>\n'
        "<item><name>Tea &amp; &lt;milk&gt;</name><tags><value>hot</value><value>green</value></tags>"
        "<maker><city>Ürümqi</city></maker></item>\n"
        "<item><name></name></item>\n"
        "</items>\n"
    )
    assert document() == b'<?xml version="1.0" encoding="utf-8"?>\n<items>\n</items>\n'


def test_indented_and_under_other_names() -> None:
    written = document({"a": [1]}, indent=2, root_element="books", item_element="book").decode()
    assert written.splitlines()[1:] == [
        "<books>",
        "  <book>",
        "    <a>",
        "      <value>1</value>",
        "    </a>",
        "  </book>",
        "</books>",
    ]


def test_values_are_those_of_json() -> None:
    item = {"d": date(2024, 5, 6), "t": True, "b": b"\xff", "n": float("nan"), "f": 1.5}
    found = {field.tag: field.text for field in ElementTree.fromstring(document(item))[0]}
    assert found == {"d": "2024-05-06", "t": "true", "b": "/w==", "n": None, "f": "1.5"}


@pytest.mark.parametrize(
    ("field", "element"),
    [
        ("price", "price"),
        ("price (€)", "price_x0020__x0028__x20AC__x0029_"),
        ("1st", "_x0031_st"),
        ("xml:lang", "xml_x003A_lang"),
        ("_x0020_", "_x005F_x0020_"),
        ("größe-2.a", "größe-2.a"),
        ("", "_"),
    ],
)
def test_names_that_xml_does_not_have(field: str, element: str) -> None:
    (found,) = ElementTree.fromstring(document({field: 1}))[0]
    assert found.tag == element
    if field:
        assert re.sub(r"_x([0-9A-F]{4})_", lambda code: chr(int(code[1], 16)), found.tag) == field


@given(st.lists(st.dictionaries(st.text(), st.text() | st.lists(st.text()) | st.none()), max_size=3))
def test_whatever_it_is_parsers_read_it(items: list[dict[str, Any]]) -> None:
    root = ElementTree.fromstring(document(*items))
    assert [len(each) for each in root] == [len(item) for item in items]
    for element, item in zip(root, items, strict=True):
        for field, value in zip(element, item.values(), strict=True):
            if isinstance(value, str) and value.isprintable():
                assert (field.text or "") == value
            elif isinstance(value, list):
                assert len(field) == len(cast("list[str]", value))


def test_characters_that_xml_does_not_have() -> None:
    (found,) = ElementTree.fromstring(document({"a": "form\x0cfeed \ud83d half \r\n line"}))[0]
    assert found.text == "form\ufffdfeed \ufffd half \r\n line"


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "ascii", "utf-8-sig"])
def test_encodings(encoding: str) -> None:
    items = [{"a": "naïve ☕"}, {"a": "é"}]
    root = ElementTree.fromstring(document(*items, encoding=encoding))
    assert [item[0].text for item in root] == ["naïve ☕", "é"]


def test_what_cannot_be_written_is_named_and_begins_nothing() -> None:
    made = Xml()
    with pytest.raises(ItemRefused, match="field 'odd' cannot be written"):
        made.record({"fine": 1, "odd": object()})
    assert made.state is None
    assert len(ElementTree.fromstring(made.record({"a": 1}) + made.end())) == 1
