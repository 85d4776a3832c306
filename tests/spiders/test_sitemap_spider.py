"""SitemapSpider: from robots.txt, indexes and sitemaps to pages."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import pytest

from streamcrawl import Crawl, Request, Response, Summary
from streamcrawl import operators as ops
from streamcrawl.errors import ConnectError, FlowError, TruncatedBody
from streamcrawl.events import Notice
from streamcrawl.spiders import Sitemap, SitemapSpider
from streamcrawl.testing import FakeFetch, run_virtual
from streamcrawl.testing.site_server import Answer, Site

A = "http://a.test"


def urlset(*locs: str, extra: str = "") -> str:
    inner = "".join(f"<url><loc>{loc}</loc>{extra}</url>" for loc in locs)
    return f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{inner}</urlset>'


def index(*locs: str) -> str:
    return f"<sitemapindex>{''.join(f'<sitemap><loc>{loc}</loc></sitemap>' for loc in locs)}</sitemapindex>"


class Stream:
    """A body as the wire brings it."""

    def __init__(self, body: bytes, error: Exception | None = None) -> None:
        self.body = body
        self.error = error
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.body), 1000):
            yield self.body[start : start + 1000]
        if self.error is not None:
            raise self.error

    async def aclose(self) -> None:
        self.closed = True


def streamed(body: bytes | str, *errors: Exception | None) -> Any:
    """An answer whose body comes in pieces, and breaks off with each of the errors in turn."""
    left = list(errors)

    def answer(request: Request) -> Response:
        assert request.stream
        data = body if isinstance(body, bytes) else body.encode()
        return Response(request.url, request=request, stream=Stream(data, left.pop(0) if left else None))

    return answer


class Pages(SitemapSpider):
    name = "pages"
    sitemap_urls = [f"{A}/sitemap.xml"]  # noqa: RUF012 - as people write it

    def parse(self, page: Response) -> Any:
        return {"url": page.url}

    def parse_product(self, page: Response) -> Any:
        return {"product": page.url}


class Found:
    """What a run of a spider over a site brought."""

    def __init__(self, kind: type[SitemapSpider], site: dict[str, Any], **changes: Any) -> None:
        self.fetch = FakeFetch(site)
        crawl = Crawl.of(kind).replace(
            download=ops.download(*ops.default_layers(robots_txt=None), fetch=self.fetch), **changes
        )
        self.notices: list[str] = []
        crawl.events.on(Notice, lambda notice: self.notices.append(notice.text))
        self.items: list[Any] = []

        async def main() -> Summary:
            return await crawl.start(self.items.append)

        self.summary = run_virtual(main)
        assert self.summary.balanced
        self.urls = sorted(item["url"] for item in self.items if "url" in item)
        self.stats = {key: value for key, value in self.summary.stats.items() if key.startswith("sitemap") and value}


def kind(**body: Any) -> type[SitemapSpider]:
    return type("Own", (Pages,), body)


def pages(*names: str) -> dict[str, str]:
    return {f"/{name}": name for name in names}


def test_from_robots_txt_over_an_index_to_pages() -> None:
    site = {
        "/robots.txt": streamed(f"User-agent: *\nDisallow: /x\nSitemap: {A}/index.xml\nSitemap: /relative.xml\n"),
        "/index.xml": streamed(index(f"{A}/one.xml.gz", f"{A}/two.txt", f"{A}/feed.rss")),
        "/one.xml.gz": streamed(gzip.compress(urlset(f"{A}/1", f"{A}/2").encode())),
        "/two.txt": streamed(f"{A}/3\n{A}/1\n"),
        "/feed.rss": streamed(f"<rss><channel><item><link>{A}/4</link></item></channel></rss>"),
        "/relative.xml": streamed(urlset("/5")),
        **pages("1", "2", "3", "4", "5"),
    }
    found = Found(kind(sitemap_urls=[f"{A}/robots.txt"]), site)
    assert found.urls == [f"{A}/{n}" for n in range(1, 6)]
    assert found.summary.counts.dropped == {"duplicate": 1}
    assert max(found.fetch.hits.values()) == 1


def test_rules_say_what_becomes_of_pages() -> None:
    site = {"/sitemap.xml": streamed(urlset(f"{A}/p/1", f"{A}/about", f"{A}/p/x")), **pages("p/1", "p/x", "about")}
    rules = [(re.compile(r"/p/\d"), "parse_product"), ("/p/", "parse")]
    found = Found(kind(sitemap_rules=rules), site)
    assert sorted(map(str, found.items)) == [f"{{'product': '{A}/p/1'}}", f"{{'url': '{A}/p/x'}}"]
    assert found.stats == {"sitemap/ignored": 1}


def test_which_sitemaps_are_followed() -> None:
    site = {
        "/sitemap.xml": streamed(index(f"{A}/shop.xml", f"{A}/blog.xml")),
        "/shop.xml": streamed(urlset(f"{A}/1")),
        "/blog.xml": streamed(urlset(f"{A}/2")),
        **pages("1", "2"),
    }
    found = Found(kind(sitemap_follow=["shop"]), site)
    assert (found.urls, found.stats) == ([f"{A}/1"], {"sitemap/ignored": 1})


@pytest.mark.parametrize("wanted", [True, False])
def test_alternates(wanted: bool) -> None:
    link = f'<x:link xmlns:x="http://www.w3.org/1999/xhtml" rel="alternate" hreflang="de" href="{A}/de"/>'
    found = Found(
        kind(sitemap_alternate_links=wanted),
        {"/sitemap.xml": streamed(urlset(f"{A}/en", extra=link)), **pages("en", "de")},
    )
    assert found.urls == ([f"{A}/de", f"{A}/en"] if wanted else [f"{A}/en"])


def test_the_filter_sees_all_entries_of_one_sitemap_at_once() -> None:
    seen: list[tuple[str, list[str]]] = []

    class Newest(Pages):
        def sitemap_filter(self, entries: Any, /) -> Iterable[Any]:
            assert isinstance(entries, Sitemap)
            every = list(entries)
            seen.append((entries.type, [entry["lastmod"] for entry in every]))
            yield from sorted(every, key=lambda entry: str(entry["lastmod"]))[-1:]

    body = "".join(
        f"<url><loc>{A}/{n}</loc><lastmod>2024-01-{n:02}</lastmod><priority>0.{n}</priority></url>" for n in range(1, 9)
    )
    found = Found(Newest, {"/sitemap.xml": streamed(f"<urlset>{body}</urlset>"), **pages(*"12345678")})
    assert found.urls == [f"{A}/8"]
    assert seen == [("urlset", [f"2024-01-{n:02}" for n in range(1, 9)])]


def test_sitemaps_lie_where_their_owner_says() -> None:
    """robots.txt may name a sitemap on any host, and an index those beside it; the pages are the site's."""
    site = {
        f"{A}/robots.txt": streamed("Sitemap: http://cdn.test/index.xml"),
        "http://cdn.test/index.xml": streamed(index("http://cdn.test/s.xml", "http://else.test/s.xml")),
        "http://cdn.test/s.xml": streamed(urlset(f"{A}/1", "http://cdn.test/page")),
        f"{A}/1": "1",
    }
    for changes in ({}, {"allowed_domains": ["a.test"]}):
        found = Found(kind(sitemap_urls=[f"{A}/robots.txt"], **changes), site)
        assert found.urls == [f"{A}/1"]
        assert found.summary.counts.dropped == {"off-site": 2}


def test_indexes_in_circles_and_without_end() -> None:
    circle = {
        "/sitemap.xml": streamed(index(f"{A}/sitemap.xml", f"{A}/1.xml")),
        "/1.xml": streamed(index(f"{A}/sitemap.xml")),
    }
    found = Found(Pages, circle)
    assert found.summary.counts.dropped == {"duplicate": 2}
    endless = {f"/{n}": streamed(index(f"{A}/{n + 1}")) for n in range(50)}
    found = Found(kind(sitemap_urls=[f"{A}/0"], sitemap_max_depth=3), endless)
    assert found.summary.pages == 4
    assert found.stats == {"sitemap/too_deep": 1}
    assert found.notices == [f"{A}/3: 3 indexes lead to this one; those in it are not read"]


def test_what_is_no_sitemap_is_told() -> None:
    found = Found(Pages, {"/sitemap.xml": streamed("<html><a href='/1'>Not found</a></html>")})
    assert (found.items, found.stats) == ([], {"sitemap/invalid": 1})
    assert found.notices == [f"{A}/sitemap.xml is no sitemap"]
    assert found.summary.pages == 1
    cut = Found(Pages, {"/sitemap.xml": streamed(urlset(f"{A}/1", f"{A}/2")[:-12]), **pages("1")})
    assert (cut.urls, cut.stats) == ([f"{A}/1"], {"sitemap/broken": 1})


def test_a_bomb_is_refused_before_anything_is_made_of_it() -> None:
    bomb = gzip.compress(urlset(*[f"{A}/1"] * 50_000).encode())
    found = Found(kind(sitemap_max_size=1_000_000), {"/sitemap.xml": streamed(bomb), **pages("1")})
    assert found.items == []
    assert (found.summary.counts.callback_errors, found.summary.pages) == (1, 1)
    assert found.fetch.hits[f"{A}/sitemap.xml"] == 1  # it would be no shorter the next time


def test_a_body_that_breaks_off_is_asked_for_again() -> None:
    whole = urlset(*(f"{A}/{n}" for n in range(100)))
    errors = (TruncatedBody("cut"), ConnectError("reset"))
    found = Found(Pages, {"/sitemap.xml": streamed(whole, *errors), **pages(*map(str, range(100)))})
    assert len(found.urls) == 100
    assert found.fetch.hits[f"{A}/sitemap.xml"] == 3
    found = Found(Pages, {"/sitemap.xml": streamed(whole, *[TruncatedBody("cut")] * 9)})
    assert found.fetch.hits[f"{A}/sitemap.xml"] == 3
    assert found.summary.counts.callback_errors == 1


def test_the_jar_and_the_site_go_with_the_pages() -> None:
    sent: list[Request] = []

    def page(request: Request) -> str:
        sent.append(request)
        return ""

    class Own(Pages):
        def start_requests(self) -> Iterator[Request]:
            for request in super().start_requests():
                yield request.replace(cookiejar="mine")

    Found(Own, {"/sitemap.xml": streamed(urlset(f"{A}/1")), "/1": page})
    assert [(request.cookiejar, request.site, request.depth, request.stream) for request in sent] == [
        ("mine", A, 1, False)
    ]


def test_a_response_that_is_not_streamed_serves_too() -> None:
    found = Found(Pages, {"/sitemap.xml": urlset(f"{A}/1"), **pages("1")})
    assert found.urls == [f"{A}/1"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"sitemap_urls": f"{A}/s.xml"}, r"Own\.sitemap_urls is the text 'http://a\.test/s\.xml': make it a list"),
        ({"sitemap_urls": []}, "Own has no sitemap_urls"),
        ({"sitemap_rules": [("", "parse_nothing")]}, r"Own\.sitemap_rules\[0\]: 'parse_nothing' is no method"),
        ({"sitemap_rules": [("(", "parse")]}, r"Own\.sitemap_rules\[0\] is '\(', and no pattern"),
        ({"sitemap_follow": [5]}, r"Own\.sitemap_follow\[0\] is 5, and no pattern"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(body: dict[str, Any], message: str) -> None:
    with pytest.raises(FlowError, match=message):
        Found(kind(**body), {})


def test_a_rule_for_parse_needs_it() -> None:
    bare = type("Bare", (SitemapSpider,), {"name": "bare", "sitemap_urls": [f"{A}/s.xml"]})
    with pytest.raises(FlowError, match=r"Bare has no parse\(\)"):
        Found(bare, {})


# -- on the wire -------------------------------------------------------------------------------------------------------

MEASURE = """
import re, sys
from pathlib import Path
from streamcrawl import Crawl
from streamcrawl.spiders import SitemapSpider

class Big(SitemapSpider):
    name = "big"
    def sitemap_filter(self, entries, /):
        return (entry for entry in entries if re.search(r"/(7|\\d*00000)$", entry["loc"]))
    def parse(self, page):
        return {"url": page.url}

def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024

small, large = (Crawl.of(Big, sitemap_urls=[url]) for url in sys.argv[1:])
assert small.run().items == 1
before = peak()
print(large.run().items, peak() - before)
"""


def big_sitemap(base: str, size: int) -> Iterator[bytes]:
    yield b'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">'
    first = 0
    while size > 0:
        lines = (f"<url><loc>{base}/a/rather/long/path/{n}</loc></url>\n" for n in range(first, first + 500))
        piece = "".join(lines).encode()
        first, size = first + 500, size - len(piece)
        yield piece
    yield b"</urlset>"


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_sitemap_of_50_megabytes_takes_little_memory(packed: bool) -> None:
    with Site({"/a/*": "a page"}) as site:
        whole = gzip.compress(b"".join(big_sitemap(site.url, 50_000_000)), 1) if packed else b""
        site.routes = {
            "/small.xml": b"".join(big_sitemap(site.url, 1000)),
            "/large.xml": Answer(whole) if packed else Answer(chunks=big_sitemap(site.url, 50_000_000)),
            "/a/*": "a page",
        }
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, f"{site.url}/small.xml", f"{site.url}/large.xml"],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        items, more = map(int, done.stdout.split())
    assert items > 5
    assert more < 16, f"{more} MiB more than for a small sitemap"
