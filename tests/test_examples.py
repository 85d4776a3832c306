"""Every flow in examples/, run against small real sites on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import reactivex
from reactivex.scheduler.eventloop import AsyncIOScheduler

from streamcrawl import Crawl, Failed, Request, Response
from streamcrawl import operators as ops
from streamcrawl.backoff import transient
from streamcrawl.errors import FetchError
from streamcrawl.testing.fake_fetch import FakeFetch
from streamcrawl.testing.virtual_time import run_virtual

EXAMPLES = Path(__file__).parent.parent / "examples"


class Site:
    """A site on loopback: what each path answers, and which paths were asked for, by whom."""

    def __init__(self, pages: Mapping[str, str]) -> None:
        self.asked: Counter[str] = Counter()
        self.agents: set[str] = set()
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.asked[self.path] += 1
                site.agents.add(self.headers["User-Agent"])
                text = pages.get(self.path)
                body = (text if text is not None else "no such page").encode()
                self.send_response(404 if text is None else 200)
                plain = self.path.endswith(".txt")
                self.send_header("Content-Type", f"text/{'plain' if plain else 'html'}; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name for it
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self) -> Site:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def quote(text: str, author: str, *tags: str) -> str:
    slug = author.replace(" ", "-")
    return (
        f'<div class="quote"><span class="text">{text}</span><small class="author">{author}</small>'
        f'<a href="/author/{slug}">(about)</a>' + "".join(f'<a class="tag">{tag}</a>' for tag in tags) + "</div>"
    )


def following(path: str) -> str:
    return f'<ul><li class="next"><a href="{path}">Next</a></li></ul>'


def about(name: str, born: str) -> str:
    return f'<h3 class="author-title">{name}</h3><span class="author-born-date">{born}</span>'


QUOTES = {
    "/": quote("One", "Ada", "love") + quote("Two", "Bo") + following("/page/2/"),
    "/page/2/": quote("Three", "Ada", "life", "humor") + following("/page/3/"),
    "/page/3/": quote("Four", "Cy Young", "life"),
    "/author/Ada": about("Ada", "1815"),
    "/author/Cy-Young": about("Cy Young", "1867"),
    "/tag/love/": quote("One", "Ada", "love") + following("/tag/love/page/2/"),
    "/tag/love/page/2/": quote("Five", "Bo", "love"),
    "/tag/life/": quote("Three", "Ada", "life") + quote("Four", "Cy Young", "life"),
    "/tag/humor/": quote("Three", "Ada", "humor"),
}


def on_shelf(title: str, price: str) -> str:
    href = f"/book/{title.lower()}.html"
    return f"""<article class="product_pod"><h3><a href="{href}" title="{title}">{title[:3]}…</a></h3>
        <p class="price_color">£{price}</p></article>"""


def book(title: str, price: str, stock: int) -> str:
    return f"""<h1>{title}</h1><p class="price_color">£{price}</p>
        <p class="instock availability"><i></i> In stock ({stock} available)</p>"""


BOOKS = {
    "/": """<div class="side_categories"><ul><li><a href="/all.html">All</a><ul>
        <li><a href="poetry.html"> Poetry </a></li><li><a href="science.html"> Science </a></li></ul></li></ul></div>"""
    + on_shelf("Odes", "12.50")
    + on_shelf("Stars", "20.00")
    + following("/page-2.html"),
    "/page-2.html": on_shelf("Maps", "19.99") + on_shelf("Gold", "99.00"),
    "/poetry.html": on_shelf("Odes", "12.50") + following("/poetry-2.html"),
    "/poetry-2.html": on_shelf("Verse", "8.00"),
    "/science.html": on_shelf("Stars", "20.00"),
    "/book/odes.html": book("Odes", "12.50", 3),
    "/book/verse.html": book("Verse", "8.00", 0),
    "/book/stars.html": book("Stars", "20.00", 17),
}


@contextmanager
def example(name: str, start: str) -> Iterator[SimpleNamespace]:
    """The module of the example, its START_URL set while it is loaded."""
    before = os.environ.get("START_URL")
    os.environ["START_URL"] = start
    try:
        yield SimpleNamespace(**runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name=name))
    finally:
        os.environ.pop("START_URL")
        if before is not None:
            os.environ["START_URL"] = before


def items_of(name: str, site: Site) -> list[Any]:
    with example(name, site.url) as flow:
        return asyncio.run(flow.crawl.collect())


def test_quotes() -> None:
    with Site(QUOTES) as site:
        items = items_of("quotes", site)
    assert items == [
        {"text": "One", "author": "Ada", "tags": ["love"]},
        {"text": "Three", "author": "Ada", "tags": ["life", "humor"]},
        {"text": "Four", "author": "Cy Young", "tags": ["life"]},
    ]
    assert site.asked == {"/robots.txt": 1, "/": 1, "/page/2/": 1, "/page/3/": 1}


def test_broad() -> None:
    with Site({}) as elsewhere:
        pages = {
            "/": f'<title> {{}} </title><a href="/a">a</a><a href="/gone">gone</a><a href="{elsewhere.url}">off</a>',
            "/a": '<title>{} a</title><a href="/b">b</a>',
            "/b": '<title>{} b</title><a href="/too/deep">c</a>',
            "/private/": "never seen",
            "/robots.txt": "User-agent: *\nDisallow: /private/",
        }
        red, green, blue = (
            Site({path: page.format(name) for path, page in pages.items()}) for name in ("red", "green", "blue")
        )
        with red, green, blue, example("broad", f"{red.url} {green.url} {blue.url}private/") as flow:
            items = asyncio.run(flow.crawl.collect())
    titles = {item["url"]: item["title"] for item in items if not item["trouble"]}
    assert titles == {
        f"{site.url}{path}": f"{name} {path}".strip()
        for site, name in ((red, "red"), (green, "green"))
        for path in ("", "a", "b")
    }
    trouble = {item["url"]: item["trouble"] for item in items if item["trouble"]}
    assert trouble == {
        f"{blue.url}private/": "robots.txt",
        f"{red.url}gone": f"HTTP status 404 from {red.url}gone",
        f"{green.url}gone": f"HTTP status 404 from {green.url}gone",
    }
    assert not elsewhere.asked
    assert not red.asked["/too/deep"]
    assert blue.asked == {"/robots.txt": 1}


def test_custom_operator() -> None:
    with Site(BOOKS) as site:
        items = items_of("custom_operator", site)
    assert items == [{"title": "Odes", "price": 12.5}, {"title": "Maps", "price": 19.99}]
    assert site.asked["/page-2.html"] == 1


def test_custom_layer_gives_a_slow_host_a_rest() -> None:
    home = "http://shop.example/"
    fetch = FakeFetch({home: Response(home, latency=3.0, body=following("/2").encode()), "/2": "<p>two</p>"})
    with example("custom_operator", home) as flow:
        layer = flow.rest_when_slow(2.0, seconds=10)
        run_virtual(Crawl(home).pipe(ops.download(layer, fetch=fetch), ops.scrape(flow.books)).collect())
        assert fetch.urls == [home, f"{home}2"]
        assert fetch.times[1] - fetch.times[0] == pytest.approx(10)


def test_class_spider() -> None:
    with Site(BOOKS) as site, example("class_spider", site.url) as flow:
        items = asyncio.run(flow.crawl.collect())
        poetry = asyncio.run(flow.BookSpider(site.url, category="Poetry").crawl().collect())
        odes, verse = flow.Book("Odes", 12.5, "Poetry", 3), flow.Book("Verse", 8.0, "Poetry", 0)
        stars = flow.Book("Stars", 20.0, "Science", 17)
    assert sorted(items, key=lambda book: book.title) == [odes, stars, verse]
    assert poetry == [odes, verse]
    assert not site.asked["/all.html"]


def test_embedded() -> None:
    async def last(flow: SimpleNamespace) -> Any:
        ticks = reactivex.interval(0.01, scheduler=AsyncIOScheduler(asyncio.get_running_loop()))
        return await flow.program(reactivex.of("love", "life", "humor"), ticks)

    with Site(QUOTES) as site, example("embedded", site.url) as flow:
        assert asyncio.run(last(flow)) == {"Ada": 3, "Bo": 1, "Cy Young": 1}
        assert asyncio.run(flow.crawl.collect()) == [{"author": "Ada"}, {"author": "Bo"}]
    assert site.asked["/robots.txt"] == 4  # once a run: two runs share nothing


def test_own_fetch() -> None:
    with Site(QUOTES) as site:
        items = items_of("own_fetch", site)
    assert [item["text"] for item in items] == ["One", "Two", "Three", "Four"]
    assert site.agents == {"quotes-example/1.0"}


def test_own_fetch_that_fails_is_tried_again() -> None:
    async def failed(flow: SimpleNamespace) -> Any:
        fetch = flow.Httpx().open(None)
        try:
            with pytest.raises(FetchError, match="127.0.0.1:9"):
                await fetch(Request("http://127.0.0.1:9/"))  # the discard port: nobody listens there
        finally:
            await fetch.aclose()

    with example("own_fetch", "http://127.0.0.1:9/") as flow:
        asyncio.run(failed(flow))
    assert transient(Failed(Request("http://a.example/"), FetchError("as above")))


def test_details() -> None:
    with Site(QUOTES) as site:
        items = items_of("details", site)
    by_text = {item["text"]: item["author"] for item in items}
    assert by_text["One"] == {"name": "Ada", "born": "1815"}
    assert by_text["Four"] == {"name": "Cy Young", "born": "1867"}
    assert by_text["Two"]["name"] is None
    assert len(items) == 4


def test_as_a_script(tmp_path: Path) -> None:
    with Site(QUOTES) as site:
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / "quotes.py")],
            cwd=tmp_path,
            env={**os.environ, "START_URL": site.url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "3 pages, 3 items" in done.stdout
    lines = (tmp_path / "quotes.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["One", "Three", "Four"]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_is_short_tested_and_has_a_crawl(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60
    assert f"test_{path.stem}" in globals()
    with example(path.stem, "http://quotes.example/") as flow:
        assert isinstance(flow.crawl, Crawl)
