"""The meta elements of a page's beginning, and what a declared refresh says."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl.headers import Headers
from streamcrawl.metas import Meta, Refresh, is_html, metas, parse_refresh
from streamcrawl.response import Response


@pytest.mark.parametrize(
    ("content", "means"),
    [
        ("0; url=/b", (0, "/b")),
        ("0;url=/b", (0, "/b")),
        ("5", (5, "")),
        (" 5 ; URL = '/b' ", (5, "/b")),
        ('5;url="/b"rest', (5, "/b")),
        ("5;url='/b", (5, "/b")),
        ("5,url=/b", (5, "/b")),
        ("5 url=/b", (5, "/b")),
        ("5\turl=/b;c=d", (5, "/b;c=d")),
        ("5;/b", (5, "/b")),
        ("5;'/b'", (5, "/b")),
        ("5;url", (5, "url")),
        ("5;urls=/b", (5, "urls=/b")),
        ("5; url=", (5, "")),
        ("1.9; url=/b", (1, "/b")),
        ("1.9.2..; url=/b", (1, "/b")),
        (".5; url=/b", (0, "/b")),
        ("5;", (5, "")),
        ("99999999999999999999; url=/b", (999_999_999, "/b")),
        ("", None),
        ("url=/b", None),
        ("-1; url=/b", None),
        ("5x; url=/b", None),
        ("; url=/b", None),
    ],
)
def test_what_a_refresh_says(content: str, means: tuple[int, str] | None) -> None:
    assert parse_refresh(content) == (None if means is None else Refresh(*means))


@given(st.text(alphabet="0123456789.;, urlURL='\"/\n", max_size=60) | st.text(max_size=60))
def test_a_refresh_never_raises(content: str) -> None:
    found = parse_refresh(content)
    assert found is None or found.seconds >= 0


@pytest.mark.parametrize(
    "content", ["1" * 200_000 + "x", "1." * 100_000 + "x", " " * 200_000 + "x", "1" + " " * 200_000]
)
def test_a_refresh_made_to_be_slow_is_not(content: str) -> None:
    began = process_time()
    parse_refresh(content)
    assert process_time() - began < 0.5  # going back and forth it would be minutes


def test_metas_in_order_whatever_their_case() -> None:
    text = """<!DOCTYPE html><HTML><head><META NAME=Generator CONTENT='x "y"'>
    <meta content="0;url=/a&amp;b" HTTP-EQUIV="Refresh"/><meta charset=utf-8></head><body><meta name=late content=1>"""
    assert list(metas(text)) == [
        Meta("generator", "", 'x "y"'),
        Meta("", "refresh", "0;url=/a&b"),
        Meta("", "", ""),
        Meta("late", "", "1"),
    ]


def test_what_is_no_meta_of_the_page() -> None:
    text = """<head><!-- <meta name=comment> --><script>"<meta name=script>"</script>
    <noscript><meta name=noscript></noscript><noscript><p><b><meta name=deep></b></p></noscript>
    <template><meta name=template><b><meta name=inert></b></template><meta name=real></head>"""
    assert [meta.name for meta in metas(text, {"noscript"})] == ["real"]
    assert [meta.name for meta in metas(text)] == ["noscript", "deep", "real"]


@pytest.mark.parametrize(
    "text", ["", " ", "\0", "<", "<!-- ", "<meta", "plain", "<?xml version='1.0' encoding='x'?>", "\ud800"]
)
def test_pages_with_nothing_in_them(text: str) -> None:
    assert list(metas(text)) == []


def test_a_page_that_breaks_off() -> None:
    assert list(metas("<?xml version='1.0' encoding='utf-16'?><html><head><meta name=a content=ä><meta na")) == [
        Meta("a", "", "ä")
    ]


@pytest.mark.parametrize(
    ("media", "body", "shown"),
    [
        ("text/html", b"x", True),
        ("Text/HTML; charset=utf-8", b"x", True),
        ("application/xhtml+xml", b"x", True),
        ("text/plain", b"<html>", False),
        ("application/json", b"<html>", False),
        ("", b"<html>", False),
        (None, b"<html>", True),
        (None, b'{"a": 1}', False),
    ],
)
def test_what_is_shown_as_html(media: str | None, body: bytes, shown: bool) -> None:
    headers = Headers({} if media is None else {"Content-Type": media})
    assert is_html(Response("http://a.example/", headers=headers, body=body)) is shown
