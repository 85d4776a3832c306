"""start_mark: which pages the crawl started from, for spiders that look into `meta`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from streamcrawl import Crawl, Request, Response
from streamcrawl import operators as ops
from streamcrawl.streams.scrape_layer import ScrapeHooks, scrape_layer
from streamcrawl.testing import Answer, FakeFetch, page, run_virtual

URL = "http://a.test/"
SITE: dict[str, Answer] = {
    "/": page(status=302, headers={"Location": "/home"}),
    "/home": [page(status=503), page(links=["/1"])],
    "/1": [page(status=503), "1"],
    "/2": "2",
}


def marks(*layers: Any, start: Any = URL, **options: Any) -> dict[str, tuple[bool, dict[str, Any]]]:
    """By URL: what a page's request says of its start, and its meta."""
    found: dict[str, tuple[bool, dict[str, Any]]] = {}

    def parse(page: Response) -> Iterator[Request]:
        found[page.url] = (page.request.start, page.meta)
        yield from page.follow_all(css="a", **options)
        if page.url == f"{URL}1":
            yield page.request.replace(url=f"{URL}2")  # with all that its page's request has

    run_virtual(Crawl(start).pipe(ops.download(fetch=FakeFetch(SITE)), ops.scrape(parse, *layers)).collect())
    return found


def test_start_says_so_whatever_layers_there_are_and_through_hops_and_repeats() -> None:
    assert {url: start for url, (start, _) in marks().items()} == {
        f"{URL}home": True,
        f"{URL}1": False,
        f"{URL}2": False,
    }


def test_the_mark_is_in_meta_of_the_start_alone() -> None:
    found = marks(ops.start_mark())
    assert {url: meta for url, (_, meta) in found.items()} == {
        f"{URL}home": {"is_start_request": True},
        f"{URL}1": {},
        f"{URL}2": {},
    }


def test_a_mark_that_was_copied_is_taken_off_and_nothing_else() -> None:
    def parse(page: Response) -> Iterator[Request]:
        metas[page.url] = page.meta
        yield from page.follow_all(css="a", meta=page.meta)

    metas: dict[str, Any] = {}
    start = Request(URL, meta={"mine": 1})
    crawl = Crawl(start).pipe(ops.download(fetch=FakeFetch(SITE)), ops.scrape(parse, ops.start_mark("begun")))
    run_virtual(crawl.collect())
    assert metas == {f"{URL}home": {"begun": True, "mine": 1}, f"{URL}1": {"mine": 1}}
    assert start.meta == {"mine": 1}


def test_what_the_request_says_itself_is_kept() -> None:
    start = Request(URL, meta={"is_start_request": "no"})
    assert marks(ops.start_mark(), start=start)[f"{URL}home"][1] == {"is_start_request": "no"}
    found = marks(ops.start_mark(), meta={"is_start_request": "mine"})
    assert found[f"{URL}1"][1] == {"is_start_request": "mine"}


def test_layers_around_it_see_the_mark() -> None:
    seen: list[tuple[bool, Any]] = []

    def request(link: Request, page: Any) -> Request:
        seen.append((link.start, link.meta.get("is_start_request")))
        return link

    marks(scrape_layer("looking", lambda run: ScrapeHooks(request=request)), ops.start_mark())
    assert seen[0] == (True, True)
    assert seen[1] == (False, None)


def test_arguments_are_checked_when_built() -> None:
    with pytest.raises(ValueError, match="key=''"):
        ops.start_mark("")
