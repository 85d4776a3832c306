"""Where links stand: the same in a large page as in a small one, and in time that does not run away."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsel import Selector

from streamcrawl import Headers, Response
from streamcrawl.hrefs import LARGE, all_hrefs, css_hrefs, css_path, xpath_hrefs

PAGE = """
<body id="top"><div class="menu main" id="m"><ul><li><a href="/1">1</a></li><li class="next"><a href="/2" rel="x">2</a>
</li></ul><p>t</p><p><a href="/3">3</a><img src="/4"></p></div><div><div class="menu"><a href="/5"><img src="/6"></a>
<span><a href="/7">7</a></span></div><h2>h</h2><p><a href="/8">8</a></p><p><i><area href="/9"></i></p></div>
<a name="none">n</a><iframe src="/10"></iframe><a href="/11" class="next">11</a><link href="/12"></body>
"""
SELECTORS = """
a | * | div a | div > a | li.next a | ul > li > a | p ~ p a | h2 + p a | h2 ~ p > a | #m a | div div a | div.menu a
a, area | a, img | img, a, iframe, link | div.menu img, p > a | a[href] | a[href$="1"], a[rel] | p:first-child a
li:nth-child(2) a | li:last-child > a | p:nth-of-type(2) a | div:not(.main) a | a:not(.next) | a:not(li a)
div:has(h2) a | :root a | body > a | * > a | div * a | i > * | a:contains("1")
div.menu > span > a, h2 + p a | nothing a | a:empty
:scope a | li:only-child a | a::attr(href) | div a::attr(href), img::attr(src) | p a::text | .menu, .next
""".replace("\n", " | ")
QUERIES = [query.strip() for query in SELECTORS.split(" | ") if query.strip()]


NOTHING = ("p:first-child a", "nothing a", "a:empty", "li:only-child a")


@pytest.mark.parametrize("query", QUERIES)
def test_css_selects_the_same_on_a_large_page(query: str) -> None:
    root = Selector(PAGE).root
    small, large = root.xpath(css_path(query, large=False)), root.xpath(css_path(query, large=True))
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


NAMES = st.sampled_from(["a", "b", "div", "p", ".x", ".y", "*", "a.x", "div.y", "p:first-child", "b:not(.x)"])
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
    assert root.xpath(css_path(query, large=True)) == root.xpath(css_path(query, large=False))


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
    ],
)
def test_xpath_gives_href_or_src_or_the_text(query: str, found: list[str]) -> None:
    assert xpath_hrefs(Selector(PAGE).root, query) == found


def test_what_is_no_document_has_no_addresses() -> None:
    roots: list[Any] = [{"a": 1}, [], None, "text"]
    for root in roots:
        assert (all_hrefs(root), css_hrefs(root, "a", large=False), xpath_hrefs(root, "//a")) == ([], [], [])


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
