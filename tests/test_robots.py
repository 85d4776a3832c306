"""Tests of streamcrawl.robots and its parsers."""

from __future__ import annotations

import math
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamcrawl.errors import InvalidURL
from streamcrawl.headers import Headers
from streamcrawl.robots import PARSED, RequestRate, RobotsParser, RobotsRules, absolute, delay_asked, freshness
from streamcrawl.robots_agents import product_of
from streamcrawl.robots_parsers import (
    PARSERS,
    installed,
    protego_parser,
    reppy_parser,
    rerp_parser,
    sitemaps_in,
    stdlib_parser,
)
from streamcrawl.urls import normalize

URL = "http://a.example/robots.txt"
HERE = installed()

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


@pytest.mark.parametrize("parser", HERE.values(), ids=HERE)
@given(files, paths, st.one_of(st.just("streamcrawl"), st.text(max_size=20)))
@example(b"\xff\xfe\x00", "", "")
@example(b"User-agent: *\nCrawl-delay: nan\nDisallow: /%", "%", "x")
@example(b"User-agent: *\nCrawl-delay: -1\nRequest-rate: 0/0", "", "x")
@example("User-agent: *\nCrawl-delay: \u00b2\nRequest-rate: \u00b2/\u00b2".encode(), "", "x")
@example(b"User-agent: *\nCrawl-delay: " + b"9" * 5_000 + b"\nRequest-rate: 1/" + b"9" * 5_000, "", "x")
@example(b"User-agent: *\nCrawl-delay: 1e999\nDisallow: http://[/\nAllow: //a:b/\nDisallow: http://a:99999", "", "x")
@example(b"User-agent: *\nDisallow: http://" + b"a" * 70 + b".example/", "//a:b/", "\ud800")
@example("User-agent: *\nDisallow: /\U0001f600\ufffe\udc80".encode("utf-16", "surrogatepass"), "", "x")
def test_no_parser_raises(parser: RobotsParser, body: bytes, path: str, agent: str) -> None:
    rules = parser(body, URL)
    try:
        url = normalize("http://user:p%5Bw@a.example/" + path)
    except InvalidURL:
        return
    assert rules.allowed(url, agent) in (True, False)
    assert 0 <= delay_asked(rules, agent) < math.inf
    assert all(isinstance(sitemap, str) for sitemap in rules.sitemaps)
    assert absolute(rules.sitemaps, URL) is not None


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


@pytest.mark.parametrize("name", HERE)
def test_every_parser_reads_a_plain_file(name: str) -> None:
    text = "User-agent: shop\nDisallow: /a\nCrawl-delay: 3\n\nUser-agent: *\nDisallow: /b\nSitemap: /map.xml\n"
    for body in (text.encode(), text.replace("\n", "\r\n").encode("utf-8-sig"), text.encode("utf-16")):
        rules = HERE[name](body, URL)
        forbidden = {
            agent: [path for path in ("a", "b", "c") if not rules.allowed(f"http://a.example/{path}", agent)]
            for agent in ("shop", "Shop/2.0 (+http://shop.example)", "Mozilla/5.0 (compatible; shop/2.0)", "x/1", "")
        }
        assert list(forbidden.values()) == [["a"], ["a"], ["a"], ["b"], ["b"]]
        assert (rules.crawl_delay("shop/2.0"), rules.crawl_delay("x"), rules.request_rate("x")) == (3.0, None, None)
        assert list(rules.sitemaps) == ["/map.xml"]
        assert repr(rules).endswith("Rules, 1 sitemaps>")


@pytest.mark.parametrize(
    ("agent", "group"),
    [
        ("shopbot/1.0 (+https://shop.example/bot; a@crawl.example)", "shopbot"),
        ("SHOPBOT", "shopbot"),
        ("shopbots/1.0", "*"),  # by RFC 9309 a name is the whole of it
        ("shopbot-news/1.0", "*"),
        ("bot/1", "bot"),
        ("Shop Bot", "shop bot"),
        ("deals", "deals"),  # the group's name is "Deals/2.0"
        ("news", "news"),  # "*News*"
        ("two", "two words"),
        ("Mozilla/5.0 (compatible; shopbot/1.0; +https://bot.example/deals)", "shopbot"),
        ("Mozilla/5.0 (X11) Chrome/120.0 (see https://bot.example/) Deals/3", "deals"),
        ("Mozilla/5.0 (X11) Chrome/120.0", "*"),
        ("x/1 (compatible; shopbot)", "*"),
        ("", "*"),
    ],
)
def test_the_group_that_holds_for_an_agent(agent: str, group: str) -> None:
    names = ["*", "bot", "crawl", "https", "example", "shopbot", "Shop Bot", "Deals/2.0", "*News*", "two words"]
    text = "".join(
        f"User-agent: {name} # note\nDisallow: /{at}\nCrawl-delay: {at + 1}\n" for at, name in enumerate(names)
    )
    rules = protego_parser(text.encode(), URL)
    known = [name.lower().replace("*", "").partition("/")[0] or "*" for name in names]
    forbidden = [known[at] for at in range(len(names)) if not rules.allowed(f"http://a.example/{at}", agent)]
    assert forbidden == [group]
    assert rules.crawl_delay(agent) == known.index(group) + 1


def test_a_file_without_a_group_for_everybody_forbids_others_nothing() -> None:
    rules = protego_parser(b"User-agent: bot\nDisallow: /", URL)
    assert rules.allowed("http://a.example/", "shopbot/1.0 (+https://shop.example/bot)")
    assert not rules.allowed("http://a.example/", "Bot/7")


@pytest.mark.parametrize("parser", [protego_parser, stdlib_parser])
def test_request_rate(parser: RobotsParser) -> None:
    rules = parser(b"User-agent: *\nRequest-rate: 3/15\nDisallow:", URL)
    assert rules.request_rate("x") == RequestRate(3, 15.0)
    assert delay_asked(rules, "x") == 5.0


@pytest.mark.parametrize("parser", [parser for name, parser in HERE.items() if name in ("stdlib", "reppy")])
@pytest.mark.parametrize("line", ["Disallow: http://[", "Disallow: //shop:x/", "Allow: http://a.example:port/"])
def test_a_line_that_cannot_be_read_costs_no_other(parser: RobotsParser, line: str) -> None:
    rules = parser(f"User-agent: *\nDisallow: /a\n{line}\nDisallow: /b\n".encode(), URL)
    assert [rules.allowed(f"http://a.example/{path}", "x") for path in "abc"] == [False, False, True]


def test_the_parsers_differ_where_the_table_in_the_docs_says_so() -> None:
    def forbidden(parser: RobotsParser, text: str) -> str:
        rules = parser(text.encode(), URL)
        return "".join(path for path in "abcd" if not rules.allowed(f"http://a.example/{path}/x.pdf", "shop"))

    wildcard = "User-agent: *\nDisallow: /a/*.pdf$\n"
    first_match = "User-agent: *\nAllow: /\nDisallow: /b\n"
    blank_line = "User-agent: shop\n\nDisallow: /c\n"
    two_groups = "User-agent: shop\nDisallow: /a\n\nUser-agent: shop\nDisallow: /d\n"
    texts = (wildcard, first_match, blank_line, two_groups)
    assert [forbidden(protego_parser, text) for text in texts] == ["a", "b", "c", "ad"]
    assert [forbidden(stdlib_parser, text) for text in texts] == ["", "", "", "a"]
    assert [forbidden(rerp_parser, text) for text in texts] == ["a", "", "", "a"]


@pytest.mark.parametrize(
    ("agent", "product"),
    [
        ("shop", "shop"),
        ("Shop/2.0 (+http://shop.example)", "Shop"),
        ("Mozilla/5.0 (compatible; Shop-Bot/2.0; +http://shop.example)", "Shop-Bot"),
        ("Mozilla/5.0 (compatible;shop)", "shop"),
        ("Mozilla/5.0 AppleWebKit/537 (KHTML, like Gecko; compatible; shop/1; +http://s.example) Chrome/1", "shop"),
        ("Mozilla/5.0 (Linux; Nexus 5X) Chrome/1.2 Mobile (compatible; shop/1; +http://s.example)", "shop"),
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "Mozilla"),
        ("  two words", "two"),
        ("", ""),
        ("/", "/"),
    ],
)
def test_the_product_in_a_user_agent(agent: str, product: str) -> None:
    assert product_of(agent) == product


def test_the_sitemaps_of_a_file() -> None:
    body = "Sitemap: /a.xml\nsitemap:http://b.example/b.xml\nSitemap: /a.xml\nSitemap: file:///c\nSitemap: http://["
    assert sitemaps_in(body.encode(), URL) == ("http://a.example/a.xml", "http://b.example/b.xml")


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85"])
@pytest.mark.parametrize("name", HERE)
def test_lines_end_as_the_rfc_has_it(name: str, mark: str) -> None:
    rules = HERE[name](f"User-agent: *\nDisallow: /a{mark}b\rDisallow: /c".encode(), URL)
    judged = [rules.allowed(f"http://a.example/{path}", "x") for path in ("a", f"a{quote(mark)}b", "c")]
    assert judged == [True, False, False]


@pytest.mark.parametrize("name", HERE)
def test_of_a_long_file_the_first_500_kib_count(name: str) -> None:
    body = b"User-agent: *\nDisallow: /a\n".ljust(PARSED - 10, b"\n") + b"Disallow: /before/the/cut\nDisallow: /b"
    rules = HERE[name](body.replace(b"\n\n", b"#\n"), URL)
    assert [rules.allowed(f"http://a.example/{path}", "x") for path in ("a", "before", "b")] == [False, True, True]


def test_all_parsers_have_a_name() -> None:
    assert list(PARSERS) == ["protego", "stdlib", "robotexclusionrulesparser", "reppy"]
    assert set(HERE) >= {"protego", "stdlib", "robotexclusionrulesparser"}
    assert PARSERS["reppy"] is reppy_parser


DATE = {"Date": "Sat, 21 Nov 2026 00:00:00 GMT"}


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, None),
        ({"Cache-Control": "public"}, None),
        ({"Cache-Control": "max-age=60"}, 60),
        ({"Cache-Control": "public, MAX-AGE=60, must-revalidate"}, 60),
        ({"Cache-Control": 'max-age="60"'}, 60),
        ({"Cache-Control": "max-age=60, max-age=90"}, 60),
        ({"Cache-Control": "s-maxage=5, max-age=60"}, 60),
        ({"Cache-Control": 'x="max-age=5, no-store", max-age=60'}, 60),
        ({"Cache-Control": "max-age=60", "Age": "20"}, 40),
        ({"Cache-Control": "max-age=60", "Age": "200"}, 0),
        ({"Cache-Control": "max-age=60", "Age": "old"}, 60),
        ({"Cache-Control": "max-age=60", "Expires": "0", **DATE}, 60),
        ({"Cache-Control": "max-age=" + "9" * 400}, 999_999_999_999),
        ({"Cache-Control": "max-age=soon"}, 0),
        ({"Cache-Control": "no-store, max-age=60"}, 0),
        ({"Cache-Control": "no-cache"}, 0),
        ({"Cache-Control": 'no-cache="Set-Cookie", max-age=60'}, 60),
        ({"Expires": "Sat, 21 Nov 2026 00:01:00 GMT", **DATE}, 60),
        ({"Expires": "Sat, 21 Nov 2026 00:01:00 GMT"}, 30),
        ({"Expires": "Sat, 21 Nov 2026 00:01:00 GMT", "Date": "today"}, 30),
        ({"Expires": "Thu, 19 Nov 1981 08:52:00 GMT", **DATE}, 0),
        ({"Expires": "0"}, 0),
        ({"Expires": "-1"}, 0),
        ({"Expires": "Sat, 21 Nov 99999 00:00:00 GMT"}, 0),
    ],
)
def test_how_long_an_answer_says_it_holds(fields: dict[str, str], seconds: float | None) -> None:
    assert freshness(Headers(fields), 1_795_219_230.0) == seconds  # 2026-11-21 00:00:30


@given(st.text(max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_whatever_stands_in_the_header_fields(cache_control: str, expires: str, age: str) -> None:
    fields = Headers({"Cache-Control": cache_control, "Expires": expires, "Age": age})
    found = freshness(fields, 0.0)
    assert found is None or 0 <= found < math.inf


class Asked:
    """Rules that ask for a rate."""

    sitemaps = ()

    def __init__(self, delay: float | None, rate: RequestRate | None) -> None:
        self.delay = delay
        self.rate = rate

    def allowed(self, url: str, agent: str) -> bool:
        return True

    def crawl_delay(self, agent: str) -> float | None:
        return self.delay

    def request_rate(self, agent: str) -> RequestRate | None:
        return self.rate


@pytest.mark.parametrize(
    ("delay", "rate", "seconds"),
    [
        (None, None, 0),
        (2.5, None, 2.5),
        (None, RequestRate(4, 60), 15),
        (20.0, RequestRate(4, 60), 20),
        (10.0, RequestRate(4, 60), 15),
        (math.nan, RequestRate(0, 60), 0),
        (math.inf, RequestRate(1, math.inf), 0),
        (-5.0, RequestRate(1, -5), 0),
    ],
)
def test_the_slower_of_two_rates(delay: float | None, rate: RequestRate | None, seconds: float) -> None:
    rules: RobotsRules = Asked(delay, rate)
    assert delay_asked(rules, "x") == seconds


def test_a_line_that_is_not_utf_8_forbids_what_it_says_and_no_more() -> None:
    rules = protego_parser("User-agent: *\nDisallow: /é\nDisallow: /\u00fc/".encode("latin-1"), URL)
    forbidden, allowed = ["%C3%A9", "%C3%A9t%C3%A9", "%C3%BC/"], ["", "e", "%C3%BC"]
    judged = [rules.allowed(f"http://a.example/{path}", "x") for path in forbidden + allowed]
    assert judged == [False] * 3 + [True] * 3
