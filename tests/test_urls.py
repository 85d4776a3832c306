"""URLs: normal form, joining, hosts, and what two URLs of one page have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from streamcrawl.core import Request
from streamcrawl.errors import InvalidURL
from streamcrawl.scoping import may_lead, scope_test
from streamcrawl.urls import (
    Base,
    canonical,
    digest,
    encoded_query,
    host_of,
    hostname_of,
    normalize,
    registrable_domain,
    scheme_of,
    within_test,
    without_fragment,
)

texts = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from(list("/?#&=%@:[].ab1 \t\n\\\u00e4")), max_size=30
)
urls = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(["http://", "HTTPS://", "http://user:pass@", "http:", "file:///", "data:", "mailto:", "", "//"]),
    st.sampled_from(
        ["a.test", "B.Test", "a.test:80", "a.test:443", "b.test:8080", "[::1]", "127.0.0.1", "bücher.test"]
    ),
    st.sampled_from(["", "/", "/a/../b", "/%7e"]) | texts.map(lambda text: "/" + text),
    st.sampled_from(["", "?", "?b=2&a=1", "?&&", "?a=%20&a"]) | texts.map(lambda text: "?" + text),
    st.sampled_from(["", "#", "#part"]) | texts.map(lambda text: "#" + text),
)


def normal(url: str) -> str:
    try:
        return normalize(url)
    except InvalidURL:
        assume(False)
        raise


def attempt(make: Callable[[], str]) -> tuple[str, InvalidURL | None]:
    try:
        return make(), None
    except InvalidURL as error:
        return "", error


@given(st.one_of(urls, texts))
def test_normalize_gives_a_url_or_invalid_url(url: str) -> None:
    first, error = attempt(lambda: normalize(url))
    if error is not None:
        assert repr(url) in str(error)
        assert error.url == url
        return
    assert normalize(first) == first
    assert first.isascii()
    assert scheme_of(first) == first.partition(":")[0].lower()


@pytest.mark.parametrize(
    ("url", "normalized"),
    [
        ("HTTP://EXAMPLE.com", "http://example.com/"),
        (" https://example.com:443/a/../b?x y#z ", "https://example.com/b?x%20y#z"),
        ("http://bücher.example/ä", "http://xn--bcher-kva.example/%C3%A4"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("http://[::0001]:80/", "http://[::1]/"),
        ("http:\\\\a.test\\b", "http://a.test/b"),
        ("file:///etc/../a", "file:///a"),
    ],
)
def test_normalize_writes_urls_as_browsers_do(url: str, normalized: str) -> None:
    assert normalize(url) == normalized


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("quotes", "it is relative; a URL starts with a scheme"),
        ("/path", "it is relative"),
        ("", "it is relative"),
        ("//a.test/", "it has no scheme: did you mean http://a.test/\\?"),
        ("http://", "it cannot be parsed"),
        ("http:///", "it cannot be parsed"),
        ("http://[::1", "it cannot be parsed"),
        ("http://a.test:99999/", "it cannot be parsed"),
        ("http://a b/", "it cannot be parsed"),
        ("http://a.test/\ud800", "characters that no URL can have"),
        (3, "a URL is a str, not int"),
        (None, "a URL is a str, not NoneType"),
        (b"http://a.test/", "a URL is a str, not bytes"),
    ],
)
def test_what_is_no_url_is_told_with_the_reason(url: str, why: str) -> None:
    with pytest.raises(InvalidURL, match=why) as raised:
        normalize(url)
    assert repr(url) in str(raised.value)
    assert isinstance(raised.value, ValueError)


@given(urls, st.one_of(texts, urls))
def test_joining_gives_a_normal_url_or_invalid_url(page: str, href: str) -> None:
    base = Base(normal(page))
    joined, error = attempt(lambda: base.join(href))
    if error is not None:
        assert repr(href) in str(error)
    else:
        assert normalize(joined) == joined


@given(urls)
def test_an_absolute_url_joins_as_itself(url: str) -> None:
    url = normal(url)
    assert Base("http://other.test/x/y").join(url) == url


@pytest.mark.parametrize(
    ("href", "joined"),
    [
        ("c", "https://a.test/x/c"),
        ("\n ./c?d \t", "https://a.test/x/c?d"),
        ("../../../c", "https://a.test/c"),
        ("//b.test", "https://b.test/"),
        ("?q=1", "https://a.test/x/y?q=1"),
        ("#f", "https://a.test/x/y?p=1#f"),
        ("", "https://a.test/x/y?p=1"),
        ("javascript:void(0)", "javascript:void(0)"),
    ],
)
def test_join(href: str, joined: str) -> None:
    assert Base("https://a.test/x/y?p=1").join(href) == joined


@pytest.mark.parametrize(
    ("url", "host", "hostname"),
    [
        ("http://a.test/x", "http://a.test", "a.test"),
        ("http://a.test:8080/", "http://a.test:8080", "a.test"),
        ("https://user:pa%40ss@a.test/", "https://a.test", "a.test"),
        ("http://[::1]:8080/x", "http://[::1]:8080", "[::1]"),
        ("http://a.test/?x=/@b", "http://a.test", "a.test"),
        ("http://a.test/#@b/", "http://a.test", "a.test"),
        ("http://a.test", "http://a.test", "a.test"),
        ("file:///a/b", "file://", ""),
        ("data:text/html,x", "data://", ""),
        ("data:text/html,<a href=http://b.test/>", "data://", ""),
        ("mailto:a@b.test?body=http://c.test/", "mailto://", ""),
    ],
)
def test_the_host_has_scheme_name_and_port(url: str, host: str, hostname: str) -> None:
    assert host_of(url) == host
    assert hostname_of(url) == hostname
    assert hostname_of(host) == hostname


@given(urls)
def test_the_host_of_a_web_url_is_one_for_all_its_pages(url: str) -> None:
    url = normal(url)
    assume(scheme_of(url) in ("http", "https"))
    host = host_of(url)
    assert "@" not in host
    assert host_of(Base(url).join("/other?x#y")) == host
    assert normalize(host).rstrip("/") == host


@given(urls, st.booleans())
def test_canonical_is_idempotent_and_still_a_normal_url(url: str, keep_fragments: bool) -> None:
    url = normal(url)
    once = canonical(url, keep_fragments=keep_fragments)
    assert canonical(once, keep_fragments=keep_fragments) == once
    if not keep_fragments:
        assert "#" not in once
        assert canonical(without_fragment(url)) == once


@given(st.permutations(["a=1", "b=2", "b=1", "c", "=d"]))
def test_canonical_does_not_mind_the_order_of_arguments(arguments: list[str]) -> None:
    assert canonical("http://a.test/?" + "&".join(arguments)) == "http://a.test/?=d&a=1&b=1&b=2&c"


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("http://a.test/?", "http://a.test/", True),
        ("http://a.test/?&", "http://a.test/", True),
        ("http://a.test/?a&&b", "http://a.test/?b&a", True),
        ("http://a.test/#x", "http://a.test/", True),
        ("http://a.test/?a=1", "http://a.test/?a=2", False),
        ("http://a.test/?a", "http://a.test/?a=", False),
        ("http://a.test/?a=1&a=1", "http://a.test/?a=1", False),
        ("http://a.test/x", "http://a.test/x/", False),
        ("http://a.test/", "https://a.test/", False),
        ("http://a.test/X", "http://a.test/x", False),
    ],
)
def test_which_urls_name_one_page(one: str, two: str, same: bool) -> None:
    assert (canonical(one) == canonical(two)) is same


def test_fragments_may_be_kept() -> None:
    assert canonical("http://a.test/?b&a#x", keep_fragments=True) == "http://a.test/?a&b#x"
    assert canonical("http://a.test/#x?b&a", keep_fragments=True) == "http://a.test/#x?b&a"


@given(st.lists(st.text(), unique=True, max_size=20))
def test_digests_are_of_one_size_and_tell_texts_apart(many: list[str]) -> None:
    digests = {digest(text) for text in many}
    assert len(digests) == len(many)
    assert all(len(each) == 16 for each in digests)


@pytest.mark.parametrize(
    ("hostname", "domain"),
    [
        ("www.shop.example.co.uk", "example.co.uk"),
        ("example.com", "example.com"),
        ("a.b.github.io", "b.github.io"),
        ("co.uk", "co.uk"),
        ("localhost", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("", ""),
    ],
)
def test_the_registrable_domain(hostname: str, domain: str) -> None:
    assert registrable_domain(hostname) == domain


# -- how far a link may lead ------------------------------------------------------------------------------------------

HOSTS = [
    "http://a.test/x",
    "https://a.test/",
    "http://www.a.test/",
    "http://a.test:8080/",
    "http://b.a.test/",
    "http://b.test/",
    "http://www.test/",
    "http://user@a.test/",
    "http://a.co.uk/",
    "http://b.co.uk/",
    "http://127.0.0.1/",
    "http://127.0.0.2/",
    "http://[::1]/",
    "file:///a",
    "ftp://a.test/",
    "mailto:x@a.test",
]


@pytest.mark.parametrize("word", ["host", "domain"])
def test_within_means_what_the_scope_of_a_crawl_means(word: Literal["host", "domain"]) -> None:
    in_scope = scope_test(word)
    for page in HOSTS:
        inside = within_test(page, word)
        for url in HOSTS:
            if may_lead(host_of(page), url):
                assert inside(url) is in_scope(Request(url, site=host_of(page))), (page, url)


@pytest.mark.parametrize(
    ("page", "url", "same"),
    [
        ("http://a.test/x", "http://a.test/y", True),
        ("http://a.test/x", "http://user@a.test/y", True),
        ("http://a.test/x", "https://a.test/y", False),
        ("http://a.test/x", "http://a.test:8080/y", False),
        ("http://a.test:8080/x", "http://a.test:8080/y", True),
        ("http://a.test/", "http://a.test.evil.test/", False),
        ("http://[::1]:81/", "http://[::1]:81/x", True),
        ("http://[::1]:81/", "http://[::1]:8/x", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(page: str, url: str, same: bool) -> None:
    assert within_test(page, "origin")(url) is same
    assert within_test(page, "any")(url)


def test_within_test_says_what_it_takes() -> None:
    with pytest.raises(ValueError, match="within is 'site': it must be"):
        within_test("http://a.test/", "site")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


# -- queries in the page's encoding -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("href", "encoding", "written"),
    [
        ("/ä?ä#ä", "cp1252", "/ä?%E4#ä"),
        ("?a=ä&b=%C3%A4+'\"", "cp1252", "?a=%E4&b=%C3%A4+'%22"),
        ("?日ä", "cp1252", "?%26%2326085%3B%E4"),
        ("?日", "shift_jis", "?%93%FA"),
        ("?日#日", "iso2022_jp", "?%1B$BF|%1B(B#日"),
        ("/ä#?ä", "cp1252", "/ä#?ä"),
        ("http://b.test/?ä", "cp1252", "http://b.test/?%E4"),
        ("HTTPS:?ä", "cp1252", "HTTPS:?%E4"),
        ("mailto:x?subject=ä", "cp1252", "mailto:x?subject=ä"),
        ("ws://b.test/?ä", "cp1252", "ws://b.test/?ä"),
        ("?ä", "no such encoding", "?ä"),
    ],
)
def test_a_query_is_percent_encoded_as_the_page_means_it(href: str, encoding: str, written: str) -> None:
    assert encoded_query(href, encoding) == written


def test_the_base_decides_for_a_link_without_a_scheme() -> None:
    assert encoded_query("?ä", "cp1252", "wss") == "?ä"


@given(texts, st.sampled_from(["cp1251", "shift_jis", "gb18030", "iso2022_jp", "big5", "utf-7", "idna", "hex"]))
def test_no_query_makes_encoding_it_raise(href: str, encoding: str) -> None:
    written = encoded_query(href, encoding)
    mark = written.find("?")
    assert written == href or written[mark:].partition("#")[0].isascii()


# -- joining many -----------------------------------------------------------------------------------------------------


def test_of_many_links_those_that_cannot_be_joined_stay_as_they_are() -> None:
    base = Base("http://a.test/x/")
    assert base.join_all(["y", " z\n"]) == ["http://a.test/x/y", "http://a.test/x/z"]
    assert base.join_all(["y", "http://[", "\ud800", "/"]) == [
        "http://a.test/x/y",
        "http://[",
        "\ud800",
        "http://a.test/",
    ]
    with pytest.raises(InvalidURL, match="cannot be joined"):
        base.join("\ud800")
