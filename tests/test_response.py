"""The Response: reading it, selecting from it, going on from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl import Headers, Request, Response, StreamcrawlError
from streamcrawl.errors import InvalidURL, TruncatedBody
from streamcrawl.testing import Chunks

URL = "http://a.test/dir/page?x=1#part"
XHTML = (
    b'<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "x">'
    b'<html xmlns="http://www.w3.org/1999/xhtml"><head><title>T\xc3\xa4</title></head>'
    b'<body><a href="/1">one</a><br></body></html>'
)
RSS = b"<?xml version='1.0'?><rss><channel><link>http://a.test/</link><item><Title>One</Title></item></channel></rss>"
LINKS = b"""
<a href="/1">one</a> <a href=" two "></a> <a name="none">no link</a> <area href="//b.test/3">
<link rel="next" href="?page=2"> <img src="a.png"> <a href="http://[">broken</a> <a href="">here</a>
"""


def html(body: bytes | str, url: str = URL, content_type: str = "text/html; charset=utf-8", **options: Any) -> Response:
    raw = body if isinstance(body, bytes) else body.encode()
    return Response(url, headers=Headers({"Content-Type": content_type}), body=raw, **options)


# -- what it is -------------------------------------------------------------------------------------------------------


def test_one_made_by_hand_has_a_request_of_its_own() -> None:
    response = Response("http://a.test/")
    assert (response.status, response.body, response.request.url) == (200, b"", "http://a.test/")
    assert response.meta is response.request.meta
    assert repr(response) == "<Response 200 http://a.test/>"


@pytest.mark.parametrize("given", [{"Content-Type": "text/html"}, [("Content-Type", "text/html")]])
def test_header_fields_may_be_a_dict_or_pairs(given: Any) -> None:
    response = Response("http://a.test/", 200, given)
    assert (response.headers["content-type"], response.kind) == ("text/html", "html")
    assert response.replace(headers={"content-TYPE": "text/xml"}).kind == "xml"


def test_replace_changes_a_copy_and_keeps_the_rest() -> None:
    request = Request("http://a.test/", meta={"n": 1})
    options: dict[str, Any] = {
        "flags": ("cached",),
        "protocol": "HTTP/2",
        "ip_address": "127.0.0.1",
        "latency": 0.5,
        "wire_size": 7,
    }
    response = Response("http://a.test/", 404, Headers({"A": "1"}), b"body", request, encoding="cp1251", **options)
    copy = response.replace(status=200)
    assert (copy.status, response.status) == (200, 404)
    for name, value in {
        **options,
        "url": request.url,
        "body": b"body",
        "request": request,
        "encoding": "cp1251",
    }.items():
        assert getattr(copy, name) == value, name
    assert copy.headers == Headers({"A": "1"})
    assert copy.meta == {"n": 1}


def test_a_copy_with_another_body_is_read_anew() -> None:
    response = html("<title>one</title>")
    assert response.css("title::text").get() == "one"
    assert response.replace(body=b"<title>two</title>").css("title::text").get() == "two"
    moved = response.replace(url="http://b.test/x/")
    assert (response.urljoin("y"), moved.urljoin("y")) == ("http://a.test/dir/y", "http://b.test/x/y")


# -- characters -------------------------------------------------------------------------------------------------------


def test_text_goes_by_content_type_and_encoding_tells_how() -> None:
    response = html("Привет".encode("cp1251"), content_type="text/html; charset=windows-1251")
    assert (response.text, response.encoding) == ("Привет", "cp1251")
    assert html("Привет".encode("koi8-r"), encoding="koi8-r").text == "Привет"


@given(
    st.binary(max_size=300),
    st.sampled_from(["text/html", "text/xml", "application/json", "text/plain", "", ";;", "a/b/c"]),
)
def test_no_bytes_make_reading_or_selecting_raise(body: bytes, content_type: str) -> None:
    response = html(body, content_type=content_type)
    assert isinstance(response.text, str)
    assert response.kind in ("html", "xml", "json", "text")
    if response.kind == "json":
        assert isinstance(response.jmespath("a").getall(), list)
    else:
        assert isinstance(response.css("a::attr(href)").getall(), list)
        assert all(isinstance(request, Request) for request in response.follow_all(css="a"))


def test_a_copy_keeps_the_encoding_that_was_given_whether_or_not_it_was_read() -> None:
    response = html("Привет".encode("koi8-r"), content_type="text/html", encoding="koi8-r")
    assert response.text == "Привет"
    assert response.replace(flags=("seen",)).text == "Привет"
    found = html(b"plain", content_type="text/html")
    assert found.encoding == "utf-8"
    assert (
        found.replace(
            body="Привет".encode("cp1251"), headers=Headers({"Content-Type": "text/html; charset=cp1251"})
        ).text
        == "Привет"
    )


# -- what it is parsed as ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "body", "kind"),
    [
        ("text/html", XHTML, "html"),
        ("TEXT/HTML; charset=utf-8", RSS, "html"),
        ("application/xhtml+xml", XHTML, "html"),
        ("", XHTML, "html"),
        ("text/plain", XHTML, "html"),
        ("text/xml", RSS, "xml"),
        ("application/rss+xml; charset=utf-8", RSS, "xml"),
        ("", RSS, "xml"),
        ("application/octet-stream", b"\xef\xbb\xbf  " + RSS, "xml"),
        ("application/json", b"[]", "json"),
        ("application/ld+json", b"{}", "json"),
        ("", b' \n{"a": 1}', "json"),
        ("text/plain", b"[1]", "json"),
        ("text/html", b"{not json}", "html"),
        ("text/css", b"a {}", "text"),
        ("", b"just text", "html"),
        ("", b"", "html"),
    ],
)
def test_the_kind_goes_by_content_type_and_then_by_the_body(content_type: str, body: bytes, kind: str) -> None:
    assert html(body, content_type=content_type).kind == kind


@pytest.mark.parametrize("content_type", ["text/html", "application/xhtml+xml", ""])
def test_xhtml_with_an_xml_line_is_parsed_as_html(content_type: str) -> None:
    response = html(XHTML, content_type=content_type)
    assert response.css("title::text").get() == "Tä"
    assert response.xpath("//a/@href").getall() == ["/1"]
    assert [request.url for request in response.follow_all(css="a")] == ["http://a.test/1"]


def test_xml_keeps_the_case_of_names_and_what_html_would_swallow() -> None:
    response = html(RSS, content_type="application/rss+xml")
    assert response.xpath("//Title/text()").getall() == ["One"]
    assert response.css("channel > link::text").getall() == ["http://a.test/"]


def test_json_is_read_whole_or_by_jmespath() -> None:
    response = html('{"items": [{"n": 1}, {"n": 2}], "ä": "ü"}', content_type="application/json")
    assert response.json()["ä"] == "ü"
    numbers: list[Any] = response.jmespath("items[].n").getall()
    assert numbers == [1, 2]
    assert html(b"\xef\xbb\xbf[1]", content_type="application/json").json() == [1]
    with pytest.raises(ValueError, match="line 1 column 2"):
        html("{", content_type="application/json").json()


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        ("<p>a</p></html>b<p>c</p>d", "<html><body><p>a</p>b<p>c</p>d</body></html>"),
        (
            "<html><body>a</body></html><i>b</i></html><html><head><title>c</title></head><body>d</body></html>e",
            "<html><body>a<i>b</i><title>c</title>de</body></html>",
        ),
        ("<html><head></head><frameset></frameset></html>b", "<html><head></head><frameset></frameset>b</html>"),
        ("<html><body>a</body></html><!-- b -->", "<html><body>a</body></html>"),
    ],
)
def test_what_follows_the_end_of_the_page_is_a_part_of_it(body: str, whole: str) -> None:
    page = html(body)
    assert page.selector.get() == whole
    assert len(page.xpath("//html")) == 1
    assert page.css("*").getall() == page.xpath("//*").getall()


def test_links_after_the_end_of_the_page_are_followed() -> None:
    page = html("<html><body><a href=/1></a></body></html><a href=/2></a></html></html><p><a href=/3>")
    assert [request.url[-1] for request in page.follow_all(css="p a, a")] == ["1", "2", "3"]


def test_xpath_takes_variables_and_the_page_is_parsed_once() -> None:
    response = html("<p id=a>A</p><p id=b>B</p>")
    assert response.xpath("//p[@id=$id]/text()", id="b").get() == "B"
    assert response.selector is response.selector


# -- going on ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "joined"),
    [
        ("", "http://a.test/dir/next"),
        ('<base href="http://b.test/x/">', "http://b.test/x/next"),
        ('<BASE target=_top HREF="/other/">', "http://a.test/other/next"),
        ('<!-- <base href="http://b.test/"> -->', "http://a.test/dir/next"),
        ("<base target=_top>", "http://a.test/dir/next"),
        ('<base href="http://[">', "http://a.test/dir/next"),
        ('<base href="javascript:x">', "http://a.test/dir/next"),
        ('<base><base href="/1/"><base href="/2/">', "http://a.test/1/next"),
        (f"<script>{'x' * 9000}</script><base href='/late/'>", "http://a.test/late/next"),
        ("<script>'<base href=\"/no/\">'</script>", "http://a.test/dir/next"),
    ],
)
def test_links_are_joined_with_the_pages_base(head: str, joined: str) -> None:
    response = html(f"<html><head>{head}</head><body><a href='next'>")
    assert response.urljoin("next") == joined
    assert response.follow("next").url == joined
    assert [request.url for request in response.follow_all(css="a")] == [joined]
    assert [request.url for request in response.replace().follow_all(css="a")] == [joined], "asked of the tree"
    wide = html(f"<html><head>{head}</head><body><a href='next'>".encode("utf-16"), content_type="text/html")
    assert wide.urljoin("next") == joined


def test_a_base_in_what_is_no_html_does_not_count() -> None:
    response = html('{"x": "<base href=\'http://b.test/\'>"}', content_type="application/json")
    assert response.urljoin("y") == "http://a.test/dir/y"


def test_urljoin_says_what_cannot_be_joined() -> None:
    with pytest.raises(InvalidURL, match=r"'http://\['"):
        html("").urljoin("http://[")
    assert html("").urljoin("#top") == "http://a.test/dir/page?x=1#top"


@dataclass
class Link:
    url: str


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("/1", "http://a.test/1"),
        (html(LINKS).css("a")[0], "http://a.test/1"),
        (html(LINKS).css("a::attr(href)")[1], "http://a.test/dir/two"),
        (html(LINKS).xpath("//area")[0], "http://b.test/3"),
        (html(LINKS).css("link")[0], "http://a.test/dir/page?page=2"),
        (html(LINKS).css("img")[0], "http://a.test/dir/a.png"),
        (html(LINKS).xpath("//a")[0].root, "http://a.test/1"),
        (Link("y"), "http://a.test/dir/y"),
        (Request("http://c.test/"), "http://c.test/"),
    ],
    ids=["str", "a", "attribute", "area", "link", "img", "lxml", "object", "request"],
)
def test_follow_takes_whatever_has_a_link(target: Any, url: str) -> None:
    assert html(LINKS).follow(target).url == url


@pytest.mark.parametrize("target", [None, 3, html(LINKS).css("a[name]")[0]], ids=["None", "number", "no href"])
def test_follow_says_what_holds_no_link(target: Any) -> None:
    with pytest.raises(ValueError, match="no link in"):
        html(LINKS).follow(target)


@pytest.mark.parametrize("css", ["a", "a::attr(href)", "b", "b::attr(href)"])
def test_follow_takes_one_link_and_not_all_that_were_selected(css: str) -> None:
    with pytest.raises(ValueError, match="links at once"):
        html(LINKS).follow(html(LINKS).css(css))


def test_follow_passes_options_on_and_keeps_the_site() -> None:
    def parse(response: Response) -> None: ...

    page = html(LINKS, request=Request(URL, site="http://a.test", meta={"secret": 1}, headers=Headers({"Cookie": "x"})))
    request = page.follow("/1", callback=parse, priority=3, cb_kwargs={"n": 1}, method="POST", body=b"x")
    assert (request.callback, request.priority, request.cb_kwargs, request.method) == (parse, 3, {"n": 1}, "POST")
    assert request.site == "http://a.test"
    assert (request.meta, request.headers.pairs()) == ({}, ())
    assert {each.priority for each in page.follow_all(css="a", priority=7)} == {7}
    assert {each.site for each in page.follow_all(css="a", priority=7)} == {"http://a.test"}
    assert {each.site for each in page.follow_all(css="a")} == {"http://a.test"}


FOUND = ["http://a.test/1", "http://a.test/dir/two", "http://[", "http://a.test/dir/page?x=1"]


@pytest.mark.parametrize(
    "ways",
    [
        {"css": "a"},
        {"css": "a::attr(href)"},
        {"xpath": "//a"},
        {"xpath": "//a/@href"},
        {"xpath": "//a[@href]/@href"},
        {"targets": ["/1", " two ", "http://[", ""]},
    ],
    ids=str,
)
def test_follow_all_gives_every_link_in_order_and_the_broken_as_they_stand(ways: dict[str, Any]) -> None:
    assert [request.url for request in html(LINKS).follow_all(**ways)] == FOUND
    assert [request.url for request in html(LINKS).follow_all(**ways, priority=1)] == FOUND


@pytest.mark.parametrize(
    ("css", "urls"),
    [
        ("img", ["http://a.test/dir/a.png"]),
        ("link[rel=next], area", ["http://b.test/3", "http://a.test/dir/page?page=2"]),
        ("a, img", [*FOUND[:2], "http://a.test/dir/a.png", *FOUND[2:]]),
        ("video", []),
    ],
)
def test_follow_all_takes_href_or_src(css: str, urls: list[str]) -> None:
    assert [request.url for request in html(LINKS).follow_all(css=css)] == urls


def test_follow_all_takes_selectors() -> None:
    page = html(LINKS)
    assert [request.url for request in page.follow_all(page.css("a[href]"))] == FOUND
    assert [request.url for request in page.follow_all(page.css("a::attr(href)"))] == FOUND
    assert list(page.follow_all([])) == []


def test_follow_all_takes_an_extractor() -> None:
    class Odd:
        def extract_links(self, response: Response) -> list[Link | str]:
            return [Link(link) for link in response.css("a::attr(href)").getall()[:2]] + ["/3"]

    page = html(LINKS)
    assert [request.url for request in page.follow_all(Odd())] == [*FOUND[:2], "http://a.test/3"]
    assert {request.priority for request in page.follow_all(Odd(), priority=2)} == {2}


def test_follow_all_takes_all_links_of_the_page_if_it_is_told_nothing() -> None:
    assert [request.url for request in html(LINKS).follow_all()] == [*FOUND[:2], "http://b.test/3", *FOUND[2:]]
    assert [request.url for request in html("<area href=1>").follow_all(priority=1)] == ["http://a.test/dir/1"]


@pytest.mark.parametrize("ways", [{}, {"css": "a"}, {"xpath": "//a"}], ids=str)
def test_a_page_that_is_no_document_has_no_links(ways: dict[str, Any]) -> None:
    assert html('{"a": 1}', content_type="application/json").follow_all(**ways) == []


HOSTS = """
<a href="/1"></a> <a href="https://a.test/2"></a> <a href="http://www.a.test/3"></a> <a href="http://a.test:81/4"></a>
<a href="http://b.a.test/5"></a> <a href="http://b.test/6"></a> <a href="http://["></a> <a href="mailto:x@a.test"></a>
<a href="//u:p@a.test/7"></a> <a href="/1"></a>
"""


@pytest.mark.parametrize(
    ("within", "found"),
    [
        ("any", ["/1", "/2", "/3", "/4", "/5", "/6", "http://[", "mailto:x@a.test", "/7", "/1"]),
        ("domain", ["/1", "/2", "/3", "/4", "/5", "/7", "/1"]),
        ("host", ["/1", "/2", "/3", "/7", "/1"]),
        ("origin", ["/1", "/7", "/1"]),
    ],
)
@pytest.mark.parametrize("options", [{}, {"priority": 1}], ids=str)
def test_within_says_how_far_links_may_lead(within: Any, found: list[str], options: dict[str, Any]) -> None:
    page = html(HOSTS, request=Request(URL, site="http://s.test", cookiejar="jar"))
    for ways in ({}, {"css": "a"}, {"targets": page.css("a")}):
        requests = page.follow_all(**ways, within=within, **options)
        assert [
            request.url[-2:] if request.url[0] == "h" and "[" not in request.url else request.url
            for request in requests
        ] == found
        assert {(request.site, request.cookiejar) for request in requests} == {("http://s.test", "jar")}
        assert {request.priority for request in requests} == {options.get("priority", 0)}


def test_within_says_which_words_it_knows() -> None:
    with pytest.raises(ValueError, match="within is 'everywhere': it must be"):
        html("").follow_all(within="everywhere")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_unique_links_differ_in_more_than_the_fragment() -> None:
    page = html('<a href="/1#a"><a href=" /1 "><a href="http://["><a href="/2"><a href="http://["><a href="/1?x">')
    found = ["http://a.test/1#a", "http://[", "http://a.test/2", "http://a.test/1?x"]
    assert [request.url for request in page.follow_all(unique=True)] == found
    kept = page.follow_all(unique=True, keep_fragments=True)
    assert [request.url for request in kept] == [found[0], "http://a.test/1", *found[1:]]
    assert all(request.keep_fragments for request in kept)


@pytest.mark.parametrize(
    ("charset", "encoding", "query"),
    [("windows-1251", "cp1251", "%FB"), ("utf-8", "utf-8", "%D1%8B"), ("utf-16", "utf-16", "%D1%8B")],
)
def test_a_query_is_written_in_the_pages_encoding(charset: str, encoding: str, query: str) -> None:
    body = '<a href="/ы?ы=1#ы">'.encode(encoding)
    url = f"http://a.test/%D1%8B?{query}=1#%D1%8B"
    ways: list[Callable[[Response], str]] = [
        lambda page: page.urljoin("/ы?ы=1#ы"),
        lambda page: page.follow("/ы?ы=1#ы").url,
        lambda page: page.follow_all(css="a")[0].url,
        lambda page: page.follow_all(["/ы?ы=1#ы"], priority=1)[0].url,
        lambda page: page.follow_all(unique=True)[0].url,
    ]
    for ask in ways:
        assert ask(html(body, content_type=f"text/html; charset={charset}")) == url


@pytest.mark.parametrize("ways", [{"css": "a", "xpath": "//a"}, {"targets": [], "css": "a"}], ids=str)
def test_follow_all_takes_one_way_to_say_which(ways: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="one of: targets, css, xpath"):
        html(LINKS).follow_all(**ways)


# -- streamed ---------------------------------------------------------------------------------------------------------


def streamed(chunks: Chunks) -> Response:
    return Response(URL, headers=Headers({"Content-Type": "text/html"}), stream=chunks)


def test_a_streamed_body_is_read_once_and_kept() -> None:
    response = streamed(Chunks(b"<title>x</title>" * 3, size=5))
    assert asyncio.run(response.read()) == b"<title>x</title>" * 3
    assert asyncio.run(response.read()) == response.body
    assert (response.stream, response.size) == (None, 48)
    assert response.css("title::text").get() == "x"


@pytest.mark.parametrize("ask", ["body", "text", "selector", "encoding"])
def test_a_streamed_body_that_was_not_read_says_so(ask: str) -> None:
    with pytest.raises(
        StreamcrawlError, match=r"the body of http://a\.test/dir/page\S* is streamed: .*await response\.read"
    ):
        getattr(streamed(Chunks(b"x")), ask)


def test_a_streamed_body_can_be_followed_from_before_it_is_read() -> None:
    assert streamed(Chunks(b"x")).follow("/y").url == "http://a.test/y"


def test_a_stream_that_breaks_tells_its_reader_and_is_not_taken_for_whole() -> None:
    response = streamed(Chunks(b"x" * 30, size=10, error=TruncatedBody("it broke off")))
    with pytest.raises(TruncatedBody, match="it broke off"):
        asyncio.run(response.read())
    assert response.stream is not None
    with pytest.raises(StreamcrawlError, match="is streamed"):
        _ = response.body
