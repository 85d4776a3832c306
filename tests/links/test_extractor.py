"""The LinkExtractor: every option of it, and what it promises of any page."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl import Headers, Response
from streamcrawl.links import IGNORED_EXTENSIONS, Link, LinkExtractor

URL = "http://a.test/dir/page"
PAGE = """
<a href="/one">One</a>
<div id="menu"><a href="/two?b=2&amp;a=1#part"> Second <b>link</b></a><p><a href="one">Deep</a></p></div>
<area href="http://b.test/three" alt="x">
<a href="https://sub.b.test:8443/four" rel="external NoFollow">Four</a>
<img src="/five" data-x="/six"> <link href="/seven">
<a href="/one">One again</a>
"""


def html(body: str | bytes, content_type: str = "text/html; charset=utf-8", url: str = URL) -> Response:
    raw = body if isinstance(body, bytes) else body.encode()
    return Response(url, headers=Headers({"Content-Type": content_type}), body=raw)


def urls(body: str = PAGE, **options: Any) -> list[str]:
    """What is extracted, without the common part."""
    links = LinkExtractor(**options).extract_links(html(body))
    return [link.url.removeprefix("http://a.test") for link in links]


ALL = ["/one", "/two?b=2&a=1#part", "/dir/one", "http://b.test/three", "https://sub.b.test:8443/four"]

# -- what a link is ---------------------------------------------------------------------------------------------------


def test_a_link_has_its_text_its_fragment_and_whether_to_follow_it() -> None:
    assert LinkExtractor().extract_links(html(PAGE)) == [
        Link("http://a.test/one", "One"),
        Link("http://a.test/two?b=2&a=1#part", " Second link", "part"),
        Link("http://a.test/dir/one", "Deep"),
        Link("http://b.test/three"),
        Link("https://sub.b.test:8443/four", "Four", "", True),
    ]


def test_a_link_is_a_value() -> None:
    link = Link("http://a.test/", text="x", nofollow=True)
    assert link == Link("http://a.test/", "x", "", True)
    assert len({link, Link("http://a.test/", "x", "", True), Link("http://a.test/")}) == 2
    assert repr(link) == "Link(url='http://a.test/', text='x', fragment='', nofollow=True)"
    assert link.replace(url="http://b.test/") == Link("http://b.test/", "x", "", True)
    with pytest.raises(AttributeError, match=r"a Link does not change: link\.replace\(url='http://b\.test/'\)"):
        link.url = "http://b.test/"  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("rel", "nofollow"),
    [
        ("nofollow", True),
        ("NOFOLLOW ugc", True),
        ("ugc,nofollow", True),
        ("x\tnofollow", True),
        ("nofollowed", False),
        ("", False),
    ],
)
def test_nofollow_is_a_word_of_rel(rel: str, nofollow: bool) -> None:
    (link,) = LinkExtractor().extract_links(html(f'<a href="/" rel="{rel}">'))
    assert link.nofollow is nofollow


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        ("a<!-- no -->b", "ab"),
        ("<i>a</i>b<i>c<u>d</u></i>e", "abcde"),
        ("\n a &amp; b ", "\n a & b "),
        ("<img alt=x>", ""),
        ("", ""),
    ],
)
def test_the_text_is_what_the_element_says(inner: str, text: str) -> None:
    (link,) = LinkExtractor().extract_links(html(f'<a href="/">{inner}</a> tail'))
    assert link.text == text


# -- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, ALL),
        ({"allow": ()}, ALL),
        ({"allow": None, "deny": None, "allow_domains": None, "restrict_text": None, "restrict_css": None}, ALL),
        ({"allow": r"/one$"}, ["/one", "/dir/one"]),
        ({"allow": [r"/dir/", re.compile("THREE", re.IGNORECASE)]}, ["/dir/one", "http://b.test/three"]),
        pytest.param({"allow": (each for each in ["#part"])}, ["/two?b=2&a=1#part"], id="allow: a generator"),
        ({"allow": r"^/one"}, []),
        ({"deny": r"one|two"}, ALL[3:]),
        ({"allow": "one", "deny": ["dir"]}, ["/one"]),
        ({"allow_domains": "b.test"}, ALL[3:]),
        ({"allow_domains": ["B.Test."]}, ALL[3:]),
        ({"allow_domains": "sub.b.test"}, ALL[4:]),
        ({"allow_domains": ["test"]}, ALL),
        ({"allow_domains": ".b.test"}, ALL[3:]),
        ({"allow_domains": "b.test:8443"}, ALL[4:]),
        ({"allow_domains": ["b.test:80"]}, ALL[3:4]),
        ({"allow_domains": "xb.test"}, []),
        ({"deny_domains": ("b.test", "c.test")}, ALL[:3]),
        ({"deny_domains": "b.test:8443"}, ALL[:4]),
        ({"allow_domains": "b.test", "deny_domains": "sub.b.test"}, ALL[3:4]),
        ({"restrict_xpaths": "//div"}, ALL[1:3]),
        ({"restrict_xpaths": "//p/a"}, ["/dir/one"]),
        ({"restrict_xpaths": ["//p", "//area"]}, ["/dir/one", "http://b.test/three"]),
        ({"restrict_xpaths": "//*[re:test(@id, '^m')]"}, ALL[1:3]),
        ({"restrict_css": "#menu"}, ALL[1:3]),
        ({"restrict_css": ["p", "#menu"]}, ["/dir/one", "/two?b=2&a=1#part"]),
        ({"restrict_css": "p", "restrict_xpaths": "//area"}, ["http://b.test/three", "/dir/one"]),
        ({"restrict_css": "nav"}, []),
        ({"restrict_text": "^One"}, ["/one"]),
        ({"restrict_text": ["Second link", re.compile("FOUR", re.IGNORECASE)]}, [ALL[1], ALL[4]]),
        ({"restrict_text": "again"}, ["/one"]),
        ({"tags": "area"}, ["http://b.test/three"]),
        ({"tags": ["link", "a"], "allow": "test/(one|seven)"}, ["/one", "/seven"]),
        ({"tags": ()}, []),
        ({"tags": None}, []),
        ({"tags": "img", "attrs": "src"}, ["/five"]),
        ({"tags": "img", "attrs": ("src", "data-x")}, ["/five", "/six"]),
        ({"tags": "img", "attrs": "*"}, ["/five", "/six"]),
        ({"tags": "img", "attrs": "*", "deny_attrs": "src"}, ["/six"]),
        ({"tags": "img", "attrs": ("src", "data-x"), "deny_attrs": ["src"]}, ["/six"]),
        ({"attrs": "href", "deny_attrs": "href"}, []),
        ({"attrs": ()}, []),
        ({"tags": "*"}, [*ALL, "/seven"]),
        ({"tags": "*", "deny_tags": ["a", "link"]}, ["http://b.test/three"]),
        ({"deny_tags": "a"}, ["http://b.test/three"]),
        (
            {"tags": "*", "deny_tags": "a", "attrs": "*", "deny_attrs": ("alt", "id")},
            [ALL[3], "/five", "/six", "/seven"],
        ),
        ({"unique": False}, [*ALL, "/one"]),
        ({"unique": False, "restrict_css": ["#menu", "p"]}, ALL[1:3]),
        ({"unique": False, "restrict_css": ["p", "#menu"]}, [ALL[2], ALL[1], ALL[2]]),
        ({"canonicalize": True}, ["/one", "/two?a=1&b=2", *ALL[2:]]),
    ],
    ids=str,
)
def test_options_choose(options: dict[str, Any], found: list[str]) -> None:
    assert urls(**options) == found


def test_regions_in_one_another_give_each_link_once() -> None:
    page = html("<div>" * 1000 + '<a href="/x">x</a>' * 1000)
    assert len(LinkExtractor(restrict_css="div", unique=False).extract_links(page)) == 1000


def test_what_is_canonical_is_unique_as_such() -> None:
    page = '<a href="?b=1&a=2">x</a><a href="?a=2&b=1#c">y</a>'
    assert urls(page) == ["/dir/page?b=1&a=2", "/dir/page?a=2&b=1#c"]
    assert urls(page, canonicalize=True) == ["/dir/page?a=2&b=1"]
    assert urls(page, canonicalize=True, unique=False) == ["/dir/page?a=2&b=1"] * 2
    assert urls(page, canonicalize=True, allow="#c") == ["/dir/page?a=2&b=1"], "the URL is judged as it was written"


def test_a_link_that_is_refused_for_its_text_does_not_hide_one_that_is_not() -> None:
    page = '<a href="/x">Edit</a><a href="/x">Read</a><a href="/x">Read on</a>'
    links = LinkExtractor(restrict_text="Read").extract_links(html(page))
    assert links == [Link("http://a.test/x", "Read")]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, ["/x.htm", "/y.pdf/", "/z?f=a.zip", "/pdf"]),
        ({"deny_extensions": ()}, ["/a.pdf", "/b.ZIP?x", "/c.png;s=1.2", "/x.htm", "/y.pdf/", "/z?f=a.zip", "/pdf"]),
        ({"deny_extensions": "htm"}, ["/a.pdf", "/b.ZIP?x", "/c.png;s=1.2", "/y.pdf/", "/z?f=a.zip", "/pdf"]),
        ({"deny_extensions": [".PDF", "zip"]}, ["/c.png;s=1.2", "/x.htm", "/y.pdf/", "/z?f=a.zip", "/pdf"]),
    ],
    ids=str,
)
def test_extensions_are_of_the_path_and_in_any_case(options: dict[str, Any], found: list[str]) -> None:
    names = ["/a.pdf", "/b.ZIP?x", "/c.png;s=1.2", "/x.htm", "/y.pdf/", "/z?f=a.zip", "/pdf"]
    assert urls("".join(f'<a href="{name}">' for name in names), **options) == found


def test_an_extension_may_have_a_dot() -> None:
    page = '<a href="/a.tar.gz"><a href="/b.gz"><a href="/c.tar.GZ?x">'
    assert urls(page, deny_extensions="tar.gz") == ["/b.gz"]


def test_a_host_is_not_taken_for_a_file() -> None:
    assert urls('<a href="http://x.zip"><a href="http://x.zip?y">') == ["http://x.zip/", "http://x.zip/?y"]


def test_the_ignored_extensions_are_names_each_once() -> None:
    assert len(IGNORED_EXTENSIONS) == len(set(IGNORED_EXTENSIONS)) >= 90
    assert all(re.fullmatch("[0-9a-z]+", name) for name in IGNORED_EXTENSIONS)
    assert not {"html", "htm", "php", "asp", "aspx", "jsp", "cgi", "xml", "json", "txt", "com", "md"} & {
        *IGNORED_EXTENSIONS
    }


# -- process_value ----------------------------------------------------------------------------------------------------


def test_process_value_sees_what_the_page_says_made_absolute() -> None:
    seen: list[str] = []

    def note(value: str) -> str | None:
        seen.append(value)
        found = re.search(r"go\('(.*?)'", value)
        return found[1] if found else None if "one" in value else value

    page = """
    <base href="/base/"><a href=" a b "><a href="javascript:go('../x y'); return false"><a href="http://[">
    <a href="/one"><a href="mailto:a@b.test"><a href="/a b"><a href="/a b">
    """
    assert urls(page, process_value=note) == ["/base/a%20b", "/x%20y", "/a%20b"]
    assert seen == [
        "http://a.test/base/a b",
        "javascript:go('../x y'); return false",
        "http://a.test/one",
        "mailto:a@b.test",
        "http://a.test/a b",
        "http://a.test/a b",
    ]


def test_without_strip_process_value_sees_the_white_space() -> None:
    seen: list[str] = []

    def note(value: str) -> str:
        seen.append(value)
        return value

    assert urls('<a href="/a \n">', process_value=note, strip=False) == ["/a"]
    assert urls('<a href="/a \n">', process_value=note) == ["/a"]
    assert seen == ["http://a.test/a ", "http://a.test/a"]


def test_process_value_comes_before_the_choice() -> None:
    def renamed(value: str) -> str:
        return value.replace("old", "new")

    assert urls('<a href="/old">', process_value=renamed, allow="new") == ["/new"]


def test_process_value_on_a_page_that_nothing_can_be_joined_with() -> None:
    page = html('<a href="/x"><a href="http://b.test/y">', url="data:text/html,x")
    links = LinkExtractor(process_value=str.lower).extract_links(page)
    assert [link.url for link in links] == ["http://b.test/y"]


def test_what_process_value_gives_is_a_str_or_none() -> None:
    with pytest.raises(TypeError, match=r"process_value gave 15 for 'http://a\.test/x'"):
        urls('<a href="/x">', process_value=len)


# -- when it is built -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"allow": "("}, r"allow has '\(', which is no regular expression"),
        ({"deny": ["x", 3]}, "deny has 3, which is no regular expression"),
        ({"restrict_text": "["}, r"restrict_text has '\['"),
        ({"allow_domains": "http://a.test/"}, "not a domain name: 'http://a.test/'"),
        ({"deny_domains": ["a.test", "*.b.test"]}, r"not a domain name: '\*\.b\.test'"),
        ({"restrict_xpaths": "//a["}, r"restrict_xpaths has '//a\[', which is no XPath"),
        ({"restrict_css": ["p", "a[[b"]}, r"restrict_css has 'a\[\[b', which is no CSS"),
        ({"tags": "<a>"}, "tags has '<a>', which is no name"),
        ({"deny_attrs": ["href", ""]}, "deny_attrs has '', which is no name"),
    ],
    ids=str,
)
def test_arguments_are_checked_when_it_is_built(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LinkExtractor(**options)


@pytest.mark.parametrize(
    ("xpath", "said"),
    [
        ("//a/@href", "selects no elements but text"),
        ("count(//a)", "selects no elements but text or a number"),
        ("//x:a", "cannot be evaluated"),
        ("//*[foo()]", "cannot be evaluated"),
    ],
)
def test_a_region_is_made_of_elements(xpath: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        urls(restrict_xpaths=xpath)


def test_it_shows_what_it_was_told() -> None:
    assert repr(LinkExtractor()) == "LinkExtractor()"
    assert repr(LinkExtractor(allow=[r"\d"], unique=False)) == r"LinkExtractor(allow=['\\d'], unique=False)"


def test_it_can_be_asked_again_and_copied() -> None:
    extractor = LinkExtractor(allow=iter(["one"]), restrict_css=(css for css in ["div", "a"]))
    first = extractor.extract_links(html(PAGE))
    assert [link.url for link in first] == ["http://a.test/dir/one", "http://a.test/one"]
    assert extractor.extract_links(html(PAGE)) == first
    assert copy.copy(extractor).extract_links(html(PAGE)) == first


# -- matches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "url", "matches"),
    [
        ({}, "http://a.test/x.pdf", True),
        ({"allow": "x$"}, "http://a.test/x", True),
        ({"allow": "x$"}, "http://a.test/y", False),
        ({"allow": "x", "deny": "y"}, "http://a.test/xy", False),
        ({"allow_domains": "a.test"}, "http://B.a.TEST:81/x", True),
        ({"allow_domains": "a.test"}, "http://a.test.b/x", False),
        ({"deny_domains": "a.test"}, "http://a.test/x", False),
        ({"allow_domains": "bücher.test"}, "http://xn--bcher-kva.test/", True),
        ({"allow_domains": "a.test"}, "no url", False),
        ({"deny_domains": "a.test"}, "no url", True),
        ({"allow_domains": "[::1]"}, "http://[0::1]:80/", True),
        ({"allow_domains": "[::1]:81"}, "http://[::1]/", False),
        ({"allow_domains": "a.test:443"}, "https://a.test/", True),
        ({"allow_domains": "a.test"}, "http://a.test@evil.test/", False),
    ],
)
def test_matches_judges_a_url_by_host_and_pattern(options: dict[str, Any], url: str, matches: bool) -> None:
    assert LinkExtractor(**options).matches(url) is matches


# -- other pages ------------------------------------------------------------------------------------------------------


def test_xhtml_that_is_parsed_as_xml_has_qualified_names() -> None:
    page = b"""<?xml version="1.0"?>
    <x:html xmlns:x="http://www.w3.org/1999/xhtml" xmlns:l="http://www.w3.org/1999/xlink" xmlns:o="urn:other">
    <x:a href="/one">One</x:a><a href="/two"/><o:a href="/three"/><A href="/four"/><b l:href="/five"/>
    </x:html>"""
    response = html(page, "text/xml")
    found = [link.url for link in LinkExtractor().extract_links(response)]
    assert found == ["http://a.test/one", "http://a.test/two"]
    linked = LinkExtractor(tags="b", attrs="{http://www.w3.org/1999/xlink}href").extract_links(response)
    assert [link.url for link in linked] == ["http://a.test/five"]
    denied = LinkExtractor(tags="*", deny_tags="a").extract_links(response)
    assert [link.url for link in denied] == ["http://a.test/three", "http://a.test/four"]


@pytest.mark.parametrize(
    ("body", "content_type"), [('{"a": "<a href=/x>"}', "application/json"), ("", "text/html"), ("", "text/xml")]
)
def test_a_page_without_elements_has_no_links(body: str, content_type: str) -> None:
    assert LinkExtractor().extract_links(html(body, content_type)) == []
    assert LinkExtractor(restrict_css="a").extract_links(html(body, content_type)) == []
    assert html(body, content_type).follow_all() == []


@given(
    st.binary(max_size=200)
    | st.lists(
        st.sampled_from(
            [
                "<a href=",
                "'",
                '"',
                ">",
                "<a ",
                "</a>",
                "<base href=",
                "http://",
                "//",
                "[",
                "]",
                ":",
                "é",
                "\0",
                "\x01",
                "%",
                "#",
                "?",
                "<div>",
                "x",
            ]
        )
    ).map(lambda parts: "".join(parts).encode()),
    st.sampled_from(
        ["text/html", "text/xml", "text/html; charset=shift_jis", "text/html; charset=utf-16", "image/png", ""]
    ),
)
def test_no_bytes_make_it_raise(body: bytes, content_type: str) -> None:
    response = html(body, content_type)
    links = LinkExtractor(tags="*", attrs="*", deny_extensions=()).extract_links(response)
    assert all(link.url.startswith(("http://", "https://", "file://", "ftp://")) for link in links)
    assert len({link.url for link in links}) == len(links)
    assert LinkExtractor(canonicalize=True, restrict_css="a, div").extract_links(response) is not None
