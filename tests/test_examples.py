"""Every flow in examples/, run against small real sites on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import reactivex
from reactivex.scheduler.eventloop import AsyncIOScheduler

from streamcrawl import Crawl, Failed, Request, Response
from streamcrawl import operators as ops
from streamcrawl.backoff import transient
from streamcrawl.cli.main import main
from streamcrawl.errors import ConnectError, FetchTimeout
from streamcrawl.testing import FakeFetch, run_virtual
from streamcrawl.testing.site_server import Answer, Site

EXAMPLES = Path(__file__).parent.parent / "examples"


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


MULTI_PAGE = {"Odes": ("£12.50", 3), "Stars": ("£20.00", 17), "Maps": ("£19.99", None), "Gold": ("£99.00", None)}
"""Those of the two shelves; the pages of the last two are not there."""


@contextmanager
def example(name: str, start: str) -> Generator[SimpleNamespace]:
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
    with example(name, f"{site.url}/") as flow:
        return asyncio.run(flow.crawl.collect())


def test_quotes() -> None:
    with Site(QUOTES) as site:
        items = items_of("quotes", site)
    assert items == [
        {"text": "One", "author": "Ada", "tags": ["love"]},
        {"text": "Three", "author": "Ada", "tags": ["life", "humor"]},
        {"text": "Four", "author": "Cy Young", "tags": ["life"]},
    ]
    assert site.counts() == {"/robots.txt": 1, "/": 1, "/page/2/": 1, "/page/3/": 1}


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
        with red, green, blue, example("broad", f"{red.url} {green.url} {blue.url}/private/") as flow:
            items = asyncio.run(flow.crawl.collect())
    titles = {item["url"]: item["title"] for item in items if not item["trouble"]}
    assert titles == {
        f"{site.url}/{path}": f"{name} {path}".strip()
        for site, name in ((red, "red"), (green, "green"))
        for path in ("", "a", "b")
    }
    trouble = {item["url"]: item["trouble"] for item in items if item["trouble"]}
    assert trouble == {
        f"{blue.url}/private/": "robots.txt",
        f"{red.url}/gone": f"HTTP status 404 from {red.url}/gone",
        f"{green.url}/gone": f"HTTP status 404 from {green.url}/gone",
    }
    assert elsewhere.served == 0
    assert red.count("/too/deep") == 0
    assert blue.counts() == {"/robots.txt": 1}


def test_custom_operator() -> None:
    with Site(BOOKS) as site:
        items = items_of("custom_operator", site)
    assert items == [{"title": "Odes", "price": 12.5}, {"title": "Maps", "price": 19.99}]
    assert site.count("/page-2.html") == 1


def test_custom_layer_gives_a_slow_host_a_rest() -> None:
    home = "http://shop.example/"
    fetch = FakeFetch({home: Response(home, latency=3.0, body=following("/2").encode()), "/2": "<p>two</p>"})
    with example("custom_operator", home) as flow:
        layer = flow.rest_when_slow(2.0, seconds=10)
        run_virtual(Crawl(home).pipe(ops.download(layer, fetch=fetch), ops.scrape(flow.books)).collect())
        assert fetch.urls == [home, f"{home}2"]
        assert fetch.times[1] - fetch.times[0] == pytest.approx(10)


def test_class_spider() -> None:
    with Site(BOOKS) as site, example("class_spider", f"{site.url}/") as flow:
        items = asyncio.run(flow.crawl.collect())
        poetry = asyncio.run(Crawl.of(flow.BookSpider, category="Poetry").collect())
        odes, verse = flow.Book("Odes", 12.5, "Poetry", 3), flow.Book("Verse", 8.0, "Poetry", 0)
        stars = flow.Book("Stars", 20.0, "Science", 17)
    assert sorted(items, key=lambda book: book.title) == [odes, stars, verse]
    assert poetry == [odes, verse]
    assert site.count("/all.html") == 0


def test_rules() -> None:
    with Site(BOOKS) as site:
        items = items_of("rules", site)
    assert sorted((item["title"], item["price"]) for item in items) == [
        ("Odes", "12.50"),
        ("Stars", "20.00"),
        ("Verse", "8.00"),
    ]
    assert {site.count(path) for path in ("/page-2.html", "/poetry.html", "/poetry-2.html", "/book/odes.html")} == {1}
    assert site.count("/all.html") == 0


def test_embedded() -> None:
    async def last(flow: SimpleNamespace) -> Any:
        ticks = reactivex.interval(0.01, scheduler=AsyncIOScheduler(asyncio.get_running_loop()))
        return await flow.program(reactivex.of("love", "life", "humor"), ticks)

    with Site(QUOTES) as site, example("embedded", f"{site.url}/") as flow:
        assert asyncio.run(last(flow)) == {"Ada": 3, "Bo": 1, "Cy Young": 1}
        assert asyncio.run(flow.crawl.collect()) == [{"author": "Ada"}, {"author": "Bo"}]
    assert site.count("/robots.txt") == 4  # once a run: two runs share nothing


def test_own_fetch() -> None:
    with Site(QUOTES) as site:
        items = items_of("own_fetch", site)
    assert [item["text"] for item in items] == ["One", "Two", "Three", "Four"]
    assert {arrival.headers["user-agent"] for arrival in site.arrivals} == {"quotes-example/1.0"}


def test_own_fetch_tells_failures_that_are_worth_a_retry() -> None:
    async def failure(flow: SimpleNamespace, request: Request) -> Failed:
        fetch = flow.Httpx().open(None)
        try:
            with pytest.raises(Exception, match=request.url) as raised:
                await fetch(request)
        finally:
            await fetch.aclose()
        return Failed(request, raised.value)

    with Site({"/slow": Answer(delay=60)}) as site, example("own_fetch", site.url) as flow:
        slow = asyncio.run(failure(flow, Request(f"{site.url}/slow", timeout=0.05)))
    gone = asyncio.run(failure(flow, Request(f"{site.url}/gone")))
    assert isinstance(slow.error, FetchTimeout)
    assert isinstance(gone.error, ConnectError)
    assert transient(slow)
    assert transient(gone)


def test_details() -> None:
    with Site(QUOTES) as site:
        items = items_of("details", site)
    by_text = {item["text"]: item["author"] for item in items}
    assert by_text["One"] == {"name": "Ada", "born": "1815"}
    assert by_text["Four"] == {"name": "Cy Young", "born": "1867"}
    assert by_text["Two"] == {"name": None, "born": None, "trouble": "status 404"}
    assert len(items) == 4


def books_by_title(name: str) -> dict[str, Any]:
    with Site(BOOKS) as site:
        items = items_of(name, site)
    return {item["title"]: (item["price"], item.get("in_stock")) for item in items}


def test_multi_page_await() -> None:
    assert books_by_title("multi_page_await") == MULTI_PAGE


def test_multi_page_callbacks() -> None:
    assert books_by_title("multi_page_callbacks") == MULTI_PAGE


def test_multi_page_streams() -> None:
    assert books_by_title("multi_page_streams") == MULTI_PAGE


@pytest.mark.parametrize(
    ("name", "pages", "count"),
    [
        ("quotes", QUOTES, 3),
        ("broad", QUOTES, 5),
        ("custom_operator", BOOKS, 2),
        ("class_spider", BOOKS, 3),
        ("rules", BOOKS, 3),
        ("embedded", QUOTES, 2),
        ("own_fetch", QUOTES, 4),
        ("details", QUOTES, 4),
        ("multi_page_await", BOOKS, 4),
        ("multi_page_callbacks", BOOKS, 4),
        ("multi_page_streams", BOOKS, 4),
    ],
)
def test_from_the_command_line(
    name: str, pages: dict[str, str], count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = tmp_path / "items.jsonl"
    with Site(pages) as site:
        monkeypatch.setenv("START_URL", f"{site.url}/")
        assert main(["run", str(EXAMPLES / f"{name}.py"), "-O", str(items), "--quiet"]) == 0
    assert len([json.loads(line) for line in items.read_text().splitlines()]) == count


@pytest.mark.parametrize(
    ("name", "made"), [("quotes", "quotes.jsonl"), ("class_spider", "poetry.jsonl"), ("embedded", None)]
)
def test_as_a_script(name: str, made: str | None, tmp_path: Path) -> None:
    with Site(QUOTES | BOOKS if name == "class_spider" else QUOTES) as site:
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / f"{name}.py")],
            cwd=tmp_path,
            env={**os.environ, "START_URL": f"{site.url}/"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ([made] if made else [])
    assert "'Ada': 3" in done.stdout if made is None else "items in" in done.stdout


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_is_short_tested_and_has_a_crawl(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60
    assert f"test_{path.stem}" in globals()
    with example(path.stem, "http://quotes.example/") as flow:
        assert isinstance(flow.crawl, Crawl)
