"""Tests of streamcrawl.robots: the parser."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamcrawl.errors import InvalidURL
from streamcrawl.robots import protego_parser
from streamcrawl.urls import normalize

URL = "http://a.example/robots.txt"

words = st.sampled_from(
    [
        "User-agent",
        "Disallow",
        "Allow",
        "Crawl-delay",
        "Sitemap",
        ":",
        " ",
        "*",
        "$",
        "/",
        "\n",
        "\r",
        "#",
        "%",
        "%2F",
        "ä",
        "1e9",
    ]
)
files = st.one_of(st.binary(max_size=300), st.lists(words, max_size=60).map(lambda parts: "".join(parts).encode()))
paths = st.one_of(st.text(max_size=30), st.lists(words, max_size=10).map("".join))


@given(files, paths, st.one_of(st.just("streamcrawl"), st.text(max_size=20)))
@example(b"\xff\xfe\x00", "", "")
@example(b"User-agent: *\nCrawl-delay: nan\nDisallow: /%", "%", "x")
def test_it_never_raises(body: bytes, path: str, agent: str) -> None:
    rules = protego_parser(body, URL)
    try:
        url = normalize("http://a.example/" + path)
    except InvalidURL:
        return
    assert rules.allowed(url, agent) in (True, False)
    delay = rules.crawl_delay(agent)
    assert delay is None or 0 <= delay < float("inf")
    assert all(isinstance(sitemap, str) for sitemap in rules.sitemaps)


@pytest.mark.parametrize(
    ("rules", "path", "allowed"),
    [
        # The examples of RFC 9309 §2.2.2, §2.2.3 and §5.1, §5.2.
        ("Disallow: /foo/bar?baz=quz", "/foo/bar?baz=quz", False),
        ("Disallow: /foo/bar/%E3%83%84", "/foo/bar/%E3%83%84", False),
        ("Disallow: /foo/bar/ツ", "/foo/bar/%E3%83%84", False),
        ("Disallow: /foo/bar/%62%61%7A", "/foo/bar/baz", False),
        ("Allow: /this/path/exactly$\nDisallow: /this", "/this/path/exactly", True),
        ("Allow: /this/path/exactly$\nDisallow: /this", "/this/path/exactly/not", False),
        ("Disallow: *.gif$", "/a/b.gif", False),
        ("Disallow: *.gif$", "/a/b.gif?size=1", True),
        ("Allow: /example/page/\nDisallow: /example/page/disallowed.gif", "/example/page/disallowed.gif", False),
        ("Allow: /example/page/\nDisallow: /example/page/disallowed.gif", "/example/page/", True),
        ("Allow: /a\nDisallow: /a", "/a", True),
        ("Disallow:", "/a", True),
        ("Disallow: / # all of it", "/a", False),
    ],
)
def test_the_rfcs_examples(rules: str, path: str, allowed: bool) -> None:
    parsed = protego_parser(f"User-Agent: *\n{rules}\n".encode(), URL)
    assert parsed.allowed("http://a.example" + path, "streamcrawl") is allowed


def test_groups_for_the_same_agent_are_one() -> None:
    text = b"User-agent: streamcrawl\nDisallow: /a\nUser-agent: *\nDisallow: /\nuser-agent: StreamCrawl\nDisallow: /b"
    rules = protego_parser(text, URL)
    assert [rules.allowed(f"http://a.example/{path}", "streamcrawl") for path in "abc"] == [False, False, True]


def test_repr_shows_what_it_has() -> None:
    assert repr(protego_parser(b"Sitemap: /a.xml\nSitemap: /b.xml", URL)) == "<ProtegoRules, 2 sitemaps>"


def test_a_line_that_is_not_utf_8_forbids_what_it_says_and_no_more() -> None:
    rules = protego_parser("User-agent: *\nDisallow: /é\nDisallow: /\u00fc/".encode("latin-1"), URL)
    forbidden, allowed = ["%C3%A9", "%C3%A9t%C3%A9", "%C3%BC/"], ["", "e", "%C3%BC"]
    judged = [rules.allowed(f"http://a.example/{path}", "x") for path in forbidden + allowed]
    assert judged == [False] * 3 + [True] * 3
