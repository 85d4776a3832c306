"""What a recrawl asks for, with which conditions, and what becomes of the results."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import chdir, closing
from pathlib import Path
from typing import Any

import pytest

from streamcrawl import Crawl, Headers, Request, Response
from streamcrawl import operators as ops
from streamcrawl.core import Dropped
from streamcrawl.crawl.summary import Summary
from streamcrawl.testing import run_virtual
from streamcrawl.testing.virtual_time import START

HOST = "http://a.test"
DAY = 86_400.0
CONDITIONS = ("If-None-Match", "If-Modified-Since")


class Web:
    """A start page that links to pages with a text each. What a page has is in `texts`; a status stands for itself."""

    def __init__(self, **texts: str | int) -> None:
        self.texts = texts
        self.asked: list[Request] = []
        self.etags = True

    async def __call__(self, request: Request) -> Response:
        await asyncio.sleep(0.5)
        self.asked.append(request)
        name = request.url.rpartition("/")[2]
        text = self.texts.get(name, 404) if name else " ".join(f"<a href='/{each}'>x</a>" for each in self.texts)
        if isinstance(text, int):
            return Response(request.url, text, Headers({"Location": "/target"}), b"no", request)
        headers = Headers({"Content-Type": "text/html"} | ({"ETag": f'"{text}"'} if self.etags else {}))
        if self.etags and request.headers.get("If-None-Match") == headers["etag"]:
            return Response(request.url, 304, headers, request=request)
        return Response(request.url, 200, headers, f"<p>{text}</p>".encode(), request)

    def paths(self) -> list[str]:
        """Those that were asked for since the last time."""
        found = sorted(request.url.removeprefix(HOST) for request in self.asked)
        self.asked.clear()
        return found


def parse(page: Response) -> Iterator[Any]:
    if page.url != f"{HOST}/":
        yield {"url": page.url.removeprefix(HOST), "text": page.css("p::text").get()}
    yield from page.follow_all(css="a")


def broken(page: Response) -> Iterator[Any]:
    yield from parse(page)
    if page.url == f"{HOST}/a":
        raise ValueError("a")


def crawl(web: Web, *sinks: Any, callback: Any = parse, layers: dict[str, Any] | None = None, **options: Any) -> Any:
    download = ops.download(*ops.default_layers(robots_txt=None, **(layers or {})), fetch=web)
    errback = options.pop("errback", None)
    made: Any = Crawl(f"{HOST}/", job="job", **options).pipe(
        download, ops.scrape(callback, errback=errback), *(sinks or (ops.feed("items.jsonl"),))
    )
    return made


def ran(made: Any, hours: float = 0.0, *, stop: float | None = None) -> Summary:
    """Run it so many hours after the first run; `stop`: seconds until it is stopped."""

    async def main() -> Summary:
        run = made.start()
        if stop is not None:
            asyncio.get_running_loop().call_later(stop, run.stop)
        summary: Summary = await run
        return summary

    summary = run_virtual(main, start=START + hours * 3600)
    assert summary.error is None
    return summary


def texts(path: str = "items.jsonl") -> Counter[str]:
    return Counter(json.loads(line)["text"] for line in Path(path).read_text().splitlines())


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path) -> Iterator[None]:
    with chdir(tmp_path):
        yield


# -- what is asked -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("etags", [True, False])
def test_changed_and_new_pages_reach_the_callback(etags: bool) -> None:
    web, heard = Web(a="a", b="b"), list[Any]()
    web.etags = etags
    ran(crawl(web, errback=heard.append))
    web.texts.update(b="B", c="c")
    web.paths()
    summary = ran(crawl(web, errback=heard.append, recrawl=0.0), 1)
    assert web.paths() == ["/", "/a", "/b", "/c"]
    assert texts() == Counter(["B", "c"])
    reason = "not modified" if etags else "unchanged"
    assert summary.counts.dropped[reason] == 1
    assert [(type(each), each.request.url, each.reason) for each in heard if each.reason == reason] == [
        (Dropped, f"{HOST}/a", reason)
    ]


def test_the_age_counts_from_the_last_time_that_it_was_asked_for() -> None:
    web = Web(a="a")
    ran(crawl(web))
    web.paths()
    ran(crawl(web, recrawl=DAY), 23)
    assert web.paths() == []
    ran(crawl(web, recrawl=DAY), 25)
    assert web.paths() == ["/", "/a"]
    ran(crawl(web, recrawl=DAY), 48)  # it was unchanged 23 hours ago
    assert web.paths() == []


def test_what_failed_is_asked_again_whatever_its_age_and_without_a_condition() -> None:
    web = Web(a="a", b="b", c=404)
    ran(crawl(web, callback=broken))
    web.asked.clear()
    ran(crawl(web, recrawl=DAY), 1)
    conditional = [any(name in request.headers for name in CONDITIONS) for request in web.asked]
    assert (web.paths(), conditional) == (["/a", "/c"], [False, False])
    assert texts() == Counter(["a"])


def test_a_redirect_is_followed_again() -> None:
    web = Web(a=302, target="t")
    ran(crawl(web))
    web.texts["target"] = "T"
    web.paths()
    summary = ran(crawl(web, recrawl=0.0), 1)
    assert web.paths() == ["/", "/a", "/target"]
    assert texts() == Counter(["T"])
    assert summary.balanced


def test_without_the_layer_every_page_comes_again() -> None:
    web = Web(a="a", b="b")
    ran(crawl(web))
    ran(crawl(web, recrawl=0.0, layers={"conditional": None}), 1)
    assert texts() == Counter(["a", "b"])


def test_a_recrawl_that_was_stopped_goes_on_without_being_told_again() -> None:
    web = Web(**{f"p{n}": "old" for n in range(20)})
    ran(crawl(web, ops.feed("items.jsonl"), concurrency=2))
    web.texts.update({f"p{n}": f"new {n}" for n in range(20)})
    ran(crawl(web, concurrency=2, recrawl=0.0), 1, stop=3.2)
    assert 0 < texts().total() < 20
    web.paths()
    summary = ran(crawl(web, concurrency=2), 2)
    assert 0 < len(web.paths()) < 20
    assert texts() == Counter(f"new {n}" for n in range(20))
    assert summary.reason == "finished"


# -- what becomes of the results ---------------------------------------------------------------------------------------


def test_feeds_hold_what_has_changed_or_grow_by_it() -> None:
    web = Web(a="a", b="b")
    sinks = (ops.feed("anew.jsonl"), ops.feed("log.jsonl", mode="append"))
    ran(crawl(web, *sinks))
    web.texts["b"] = "B"
    ran(crawl(web, *sinks, recrawl=0.0), 1)
    assert (texts("anew.jsonl"), texts("log.jsonl")) == (Counter(["B"]), Counter(["a", "b", "B"]))
    ran(crawl(web, *sinks, recrawl=0.0), 2)
    assert (texts("anew.jsonl"), texts("log.jsonl")) == (Counter(), Counter(["a", "b", "B"]))


def test_a_table_with_a_key_is_kept_up_to_date() -> None:
    web = Web(a="a", b="b")
    sinks = (ops.sqlite("whole.db", key="url", mode="append"), ops.sqlite("changes.db", key="url"))
    ran(crawl(web, *sinks))
    web.texts.update(b="B", c="c")
    ran(crawl(web, *sinks, recrawl=0.0), 1)
    assert rows("whole.db") == [("/a", "a"), ("/b", "B"), ("/c", "c")]
    assert rows("changes.db") == [("/b", "B"), ("/c", "c")]


def rows(path: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT url, text FROM items ORDER BY url").fetchall()


# -- with ops.changed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("among", ["pages", "items"])
def test_a_page_whose_callback_broke_is_not_taken_for_known(among: str) -> None:
    def made(callback: Any, **options: Any) -> Any:
        web = Web(a="a", b="b")
        changed: Any = ops.changed() if among == "pages" else ops.changed("url")
        download = ops.download(*ops.default_layers(robots_txt=None), fetch=web)
        edges = (changed, ops.scrape(callback)) if among == "pages" else (ops.scrape(callback), changed)
        return Crawl(f"{HOST}/", job="job", **options).pipe(download, *edges, ops.feed("items.jsonl"))

    def breaks_first(page: Response) -> Iterator[Any]:
        if page.url == f"{HOST}/a":
            raise ValueError("a")
        yield from parse(page)

    ran(made(breaks_first))
    assert texts() == Counter(["b"])
    ran(made(parse, recrawl=0.0), 1)
    assert texts() == Counter(["a"])
