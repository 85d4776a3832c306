"""Pages in UTF-8 are parsed as they came: to the same trees as parsel makes of their text."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree
from parsel import Selector

from streamcrawl import Response
from streamcrawl.encoding import CHUNK, declares_utf8, is_utf8
from streamcrawl.headers import Headers
from streamcrawl.trees import gather, html_tree

UTF_8 = Headers({"Content-Type": "text/html; charset=utf-8"})

PIECES = (
    *(
        "<p>",
        "</p>",
        "<html>",
        "</html>",
        "<body>",
        "<a href='/é'>",
        "<!--",
        "-->",
        "<script>",
        "<br/>",
        "&nbsp;",
        "&#0;",
    ),
    *(
        "text",
        " ",
        "\n",
        "\t",
        "\xa0",
        "\x1c",
        "\0",
        "\ufeff",
        "\ufffd",
        "é",
        "“",
        "😀",
        "<?xml version='1.0'?>",
        "<![CDATA[",
    ),
)
pages = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
BROKEN = (b"\xff", b"\xc3", b"\x80", b"\xed\xa0\x80", b"\xf0\x9f", b"\0")


@given(pages.map(str.encode), st.sampled_from((b"", *BROKEN)), st.integers(0, 60))
@example("\ufeff<p>é</p>".encode(), b"", 0)
@example(b"", b"", 0)
@example(b"<!-- nothing -->", b"", 0)
@example(b"<p>\xc2\xa0</p>", b"\0", 4)
def test_the_tree_is_that_of_the_text(whole: bytes, more: bytes, at: int) -> None:
    body = whole[:at] + more + whole[at:]
    page = Response("http://a.example/", headers=UTF_8, body=body)
    other = Response("http://a.example/", headers=UTF_8, body=body)
    expected = Selector(text=other.text, type="html")
    if expected.root.getnext() is not None:
        gather(expected.root)
    assert etree.tostring(page.selector.root) == etree.tostring(expected.root)
    assert page.selector.type == "html"
    assert page.text == other.text


def test_a_page_is_not_decoded_to_be_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("streamcrawl.response.decode")
    page = Response("http://a.example/", headers=UTF_8, body="<p>é</p><a href='?ü'>b</a>".encode())
    assert page.css("p::text").get() == "é"
    assert [request.url for request in page.follow_all(css="a")] == ["http://a.example/?%C3%BC"]
    monkeypatch.undo()
    assert page.text == "<p>é</p><a href='?ü'>b</a>"
    assert page.encoding == "utf-8"


def test_what_is_not_to_be_parsed_as_it_is() -> None:
    for body in (
        b"\xef\xbb\xbf<p>",
        b"\xc2\xa0<p>",
        b"<p>\xc2\xa0",
        b"<p>\xff</p>",
        b"<p>\0</p>",
        b"<!-- x -->",
        b" ",
        b"",
    ):
        assert html_tree(body) is None
    assert html_tree(b" <p>a</p>\n").findtext("body/p") == "a"


def test_one_page_leaves_nothing_to_the_next() -> None:
    assert html_tree(b"<p>a<nonsense></p").findtext("body/p") is not None
    assert html_tree(b"<!-- x -->") is None
    assert etree.tostring(html_tree("<p>é</p>".encode())) == b"<html><body><p>&#233;</p></body></html>"


@pytest.mark.parametrize(
    ("body", "content_type", "is_declared"),
    [
        (b"<p>", "text/html; charset=UTF8", True),
        (b"<meta charset=utf-8>", "text/html", True),
        (b"<meta charset=utf-8>", "text/html; charset=latin-1", False),
        (b"\xef\xbb\xbf<meta charset=utf-8>", "text/html; charset=utf-8", False),
        (b"<p>", None, False),
    ],
)
def test_what_declares_itself_utf_8(body: bytes, content_type: str | None, is_declared: bool) -> None:
    assert declares_utf8(body, content_type) is is_declared


@given(st.binary(max_size=40) | st.text(max_size=20).map(str.encode), st.integers(0, 8))
@example("😀".encode(), 2)
def test_bytes_are_utf_8_wherever_they_lie(body: bytes, before: int) -> None:
    for start in (0, CHUNK - before):
        page = b"a" * start + body
        try:
            page.decode("utf-8")
        except UnicodeDecodeError:
            assert not is_utf8(page)
        else:
            assert is_utf8(page)
