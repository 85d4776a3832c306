"""Where links stand: the same in a large page as in a small one, and in time that does not run away."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsel import Selector

from streamcrawl import Headers, Response
from streamcrawl.hrefs import LARGE, NAMESPACES, all_hrefs, css_hrefs, css_path, xpath_hrefs

PAGE = """
<body id="top"><div class="menu main" id="m"><ul><li><a href="/1">1</a></li><li class="next"><a href="/2" rel="x">2</a>
</li></ul><p>t</p><p><a href="/3">3</a><img src="/4"></p></div><div><div class="menu"><a href="/5"><img src="/6"></a>
<span><a href="/7">7</a></span></div><h2>h</h2><p><a href="/8">8</a></p><p><i><area href="/9"></i></p></div>
<a name="none">n</a><iframe src="/10"></iframe><a href="/11" class="next">11</a><link href="/12"></body>
"""
SELECTORS = """
a | * | div a | div > a | li.next a | ul > li > a | p ~ p a | h2 + p a | h2 ~ p > a | #m a | div div a | div.menu a
a, area | a, img | img, a, iframe, link | div.menu img, p > a | a[href] | a[href$="1"], a[rel] | p:first-child a
li:nth-child(2) a | li:nth-child(-n+1) a | *:nth-child(n+2) | p:nth-last-child(2n+1) a | p:nth-of-type(2n) a
a:nth-child(0) | div:nth-last-of-type(odd) a | *:nth-last-child(3n+2) > * | a:only-of-type | p:nth-child(-2n+7) a
*:not(:nth-child(2n))
li:nth-child(2) a | li:last-child > a | p:nth-of-type(2) a | div:not(.main) a | a:not(.next) | a:not(li a)
div:has(h2) a | :root a | body > a | * > a | div * a | i > * | a:contains("1")
div.menu > span > a, h2 + p a | nothing a | a:empty
:scope a | li:only-child a | a::attr(href) | div a::attr(href), img::attr(src) | p a::text | .menu, .next
h2 + p a::text | p a::text, li a::text | div a::attr(href), span a::attr(href)
a, p a::text | li:nth-child(2n) a::attr('href')
""".replace("\n", " | ")
QUERIES = [query.strip() for query in SELECTORS.split(" | ") if query.strip()]


NOTHING = ("a:nth-child(0)", "p:first-child a", "nothing a", "a:empty", "li:only-child a")


@pytest.mark.parametrize("query", QUERIES)
def test_css_selects_the_same_on_a_large_page(query: str) -> None:
    root = Selector(PAGE).root
    small, large = (
        root.xpath(css_path(query, large=False)),
        root.xpath(css_path(query, large=True), namespaces=NAMESPACES),
    )
    assert large == small
    assert css_hrefs(root, query, large=True) == css_hrefs(root, query, large=False)


@pytest.mark.parametrize("query", QUERIES)
def test_a_response_selects_the_same_however_large_it_is(query: str) -> None:
    found: list[tuple[list[str], list[str]]] = []
    for filling in ("", f"<!--{'x' * LARGE}-->"):
        page = Response(
            "http://a.test/", headers=Headers({"Content-Type": "text/html"}), body=(PAGE + filling).encode()
        )
        found.append((page.css(query).getall(), [request.url for request in page.follow_all(css=query)]))
    assert found[0][0] or query in NOTHING
    # What has the filling in it differs in that only.
    assert [len(each) for each in found[0]] == [len(each) for each in found[1]]
    assert found[0][1] == found[1][1]


NAMES = st.sampled_from(
    [
        "a",
        "b",
        "div",
        "p",
        ".x",
        ".y",
        "*",
        "a.x",
        "div.y",
        "p:first-child",
        "b:not(.x)",
        "*:nth-child(2n)",
        "*:last-child",
        "b:nth-last-of-type(2n+1)",
        "*:nth-last-child(-n+2)",
        "p:nth-of-type(n+2)",
    ]
)
TREES = st.recursive(
    st.sampled_from(["<a href=1>t</a>", "<img src=2>", "<p>t</p>", "<b class=x>t</b>"]),
    lambda inner: (
        st.builds("<{0} class={1}>{2}</{0}>".format, st.sampled_from(["div", "b", "p"]), st.sampled_from("xy"), inner)
        | st.lists(inner, max_size=4).map("".join)
    ),
    max_leaves=20,
)


@given(
    TREES,
    st.lists(NAMES, min_size=1, max_size=4),
    st.lists(st.sampled_from([" ", " > ", " + ", " ~ ", ", "]), min_size=3),
)
def test_any_css_selects_the_same_from_the_right(page: str, names: list[str], combinators: list[str]) -> None:
    query = names[0] + "".join(combinator + name for combinator, name in zip(combinators, names[1:], strict=False))
    root = Selector(page).root
    assert root.xpath(css_path(query, large=True), namespaces=NAMESPACES) == root.xpath(css_path(query, large=False))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("//a", ["/1", "/2", "/3", "/5", "/7", "/8", "/11"]),
        ("//img", ["/4", "/6"]),
        ("//div[2]//*[self::a or self::img]", ["/5", "/6", "/7", "/8"]),
        ("//a/@rel", ["x"]),
        ("//h2/text()", ["h"]),
        ("string(//h2)", ["h"]),
        ("//h2", []),
        ("//a/@href[. > '/4']", []),
        ("//a/@href[contains(., '1')]", ["/1", "/11"]),
        ("(//a/@href)[2]", ["/2"]),
        ("//a/@href | //img/@src", ["/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8", "/11"]),
        ("//a/@rel | //img | //h2", ["x", "/4", "/6"]),
        ("//a[@rel]", ["/2"]),
        ("//a[text()='[@x]']", []),
        ("//p/text()[1]", ["t"]),
        ("id('m')//a", ["/1", "/2", "/3"]),
        ("string(//nothing)", []),
        ("concat('/x', //a[1])", ["/x1"]),
        ("//attribute::src", ["/4", "/6", "/10"]),
    ],
)
def test_xpath_gives_href_or_src_or_the_text(query: str, found: list[str]) -> None:
    assert xpath_hrefs(Selector(PAGE).root, query) == found


def test_xpath_that_selects_nothing_is_told() -> None:
    with pytest.raises(ValueError, match=r"'count\(//a\)' selects no links: it gives 8.0"):
        xpath_hrefs(Selector(PAGE).root, "count(//a)")


def test_what_is_no_document_has_no_addresses() -> None:
    roots: list[Any] = [{"a": 1}, [], None, "text"]
    for root in roots:
        assert (all_hrefs(root), css_hrefs(root, "a", large=False), xpath_hrefs(root, "//a")) == ([], [], [])


WIDE = [
    "a:nth-child(2n)",
    "b + a",
    "b + b",
    "a:first-child",
    "a:only-child",
    "a:nth-last-of-type(3n+1)",
    "b:last-of-type",
]


@pytest.mark.parametrize("query", WIDE)
def test_many_siblings_are_counted_once(query: str) -> None:
    """Twenty thousand elements in one: counted for each of them anew, it takes half a minute."""
    siblings = "<b></b><a href=/x>y</a>" * 10_000
    page = Response("http://a.test/", headers=Headers({"Content-Type": "text/html"}), body=siblings.encode())
    began = time.process_time()
    found = len(page.css(query))
    assert found == {0: 10_000, 1: 10_000, 5: 3_334, 6: 1}.get(WIDE.index(query), 0)
    assert len(page.follow_all(css=query)) == (found if query[-1] != "b" and "b:" not in query else 0)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "query", ["p + p", "p + p::text", "p:nth-child(2n)", "p:nth-child(2n)::attr(x)", "p, hr", "p:last-child", "p ~ p"]
)
def test_a_small_page_takes_no_long_time_either(query: str) -> None:
    page = Response("http://a.test/", headers=Headers({"Content-Type": "text/html"}), body=b"<p x>t" * 5_400)
    began = time.process_time()
    assert 1 <= len(page.css(query)) <= 5_400
    assert time.process_time() - began < 2


HARMFUL = {
    "deep, then long": "<div>" * 2000 + "<a href=/x><b>y</b></a>" * 20_000,
    "two kinds of links": "<a href=/x>y</a><area href=/z><img src=/i>" * 15_000,
}


@pytest.mark.parametrize("body", HARMFUL.values(), ids=HARMFUL)
def test_no_page_makes_selecting_take_the_square_of_its_size(body: str) -> None:
    """Half a megabyte: asked from the left, each of these takes minutes."""
    page = Response("http://a.test/", headers=Headers({"Content-Type": "text/html"}), body=body.encode())
    began = time.process_time()
    counts = [len(page.css(query)) for query in ("div a", "a, area", "div > a, body area, img")]
    assert counts == [len(page.follow_all(css=query)) for query in ("div a", "a, area", "div > a, body area, img")]
    assert max(counts) >= len(page.follow_all()) >= 20_000
    assert time.process_time() - began < 10
