"""depth: the links between the start and a request."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from streamcrawl import Crawl
from streamcrawl import operators as ops
from streamcrawl.core import Dropped, Failed, Request, ScrapeInput, Start
from streamcrawl.errors import ConnectError, Drop
from streamcrawl.events import Notice
from streamcrawl.operators.depth import depth
from streamcrawl.response import Response
from streamcrawl.streams.local import LocalRun
from streamcrawl.streams.scrape_layer import Output
from streamcrawl.testing import FakeFetch, run_virtual
from streamcrawl.testing import page as a_page

URL = "http://a.example/"


@pytest.fixture
def run() -> Iterator[LocalRun]:
    loop = asyncio.new_event_loop()
    yield LocalRun(loop)
    loop.close()


def hook(run: LocalRun, *, limit: int = 0, priority: int = 0, verbose: bool = False) -> Output:
    made = depth(limit=limit, priority=priority, verbose=verbose).make(run).request
    assert made is not None
    return made


def page(level: int) -> Response:
    return Response(URL, request=Request(URL, depth=level))


def test_a_link_is_one_deeper_than_its_page(run: LocalRun) -> None:
    count = hook(run)
    link = Request(URL, priority=7, meta={"mine": 1})
    deeper = count(link, page(2))
    assert (deeper.depth, deeper.priority, deeper.meta, deeper.url) == (3, 7, {"mine": 1}, URL)
    assert link.depth == 0


@pytest.mark.parametrize(
    "origin",
    [Failed(Request(URL, depth=4), ConnectError("refused")), Dropped(Request(URL, depth=4), "robots.txt")],
)
def test_what_an_errback_yields_counts_too(run: LocalRun, origin: ScrapeInput) -> None:
    assert hook(run)(Request(URL), origin).depth == 5


def test_the_start_is_at_depth_zero(run: LocalRun) -> None:
    link = Request(URL)
    assert hook(run, limit=1, priority=1)(link, Start()) is link
    assert run.stats == {}


def test_over_the_limit_it_is_dropped_and_counted(run: LocalRun) -> None:
    count = hook(run, limit=2)
    assert count(Request(URL), page(1)).depth == 2
    with pytest.raises(Drop, match=r"^depth limit$"):
        count(Request(URL), page(2))
    assert run.stats == {"request_depth_max": 2, "depth/request_ignored_count": 1}


def test_the_first_that_is_too_deep_is_told_of_and_no_other(run: LocalRun) -> None:
    told: list[str] = []
    run.events.on(Notice, lambda event: told.append(event.text))
    count = hook(run, limit=1)
    for n in range(3):
        with pytest.raises(Drop):
            count(Request(f"{URL}{n}"), page(1))
    assert told == [f"{URL}0 is more than 1 links from the start and not followed; no more is said of such links"]
    assert run.stats["depth/request_ignored_count"] == 3


def test_requests_are_counted_by_depth_for_those_who_ask(run: LocalRun) -> None:
    count = hook(run, limit=2, verbose=True)
    count(Request(URL), Start())
    for level in (0, 0, 1):
        count(Request(URL), page(level))
    with pytest.raises(Drop):
        count(Request(URL), page(2))
    assert run.stats == {
        "request_depth_count/0": 1,
        "request_depth_count/1": 2,
        "request_depth_count/2": 1,
        "request_depth_max": 2,
        "depth/request_ignored_count": 1,
    }


def test_a_link_that_skips_the_layer_begins_anew_at_depth_zero() -> None:
    depths: dict[str, int] = {}

    def parse(page: Response) -> Iterator[Request]:
        depths[page.url] = page.request.depth
        options: Any = {"skip": ("depth",)} if page.url.endswith("/2") else {}
        yield from page.follow_all(css="a", **options)

    site = {f"/{n}": a_page(links=[f"/{n + 1}"]) for n in range(9)}
    crawl = Crawl("http://a.test/0").pipe(
        ops.download(fetch=FakeFetch(site)), ops.scrape(parse, ops.depth(limit=2, priority=3))
    )
    run_virtual(crawl.collect())
    assert list(depths.values()) == [0, 1, 2, 0, 1, 2]


def test_the_deepest_is_told(run: LocalRun) -> None:
    count = hook(run)
    for level in (0, 4, 2):
        count(Request(URL), page(level))
    assert run.stats == {"request_depth_max": 5}


@pytest.mark.parametrize(("priority", "expected"), [(1, 10 - 3), (-2, 10 + 6), (0, 10)])
def test_priority_by_depth(run: LocalRun, priority: int, expected: int) -> None:
    assert hook(run, priority=priority)(Request(URL, priority=10), page(2)).priority == expected


def test_two_runs_share_nothing(run: LocalRun) -> None:
    layer = depth()
    first, second = layer.make(run).request, layer.make(LocalRun(run.loop)).request
    assert first is not None
    assert second is not None
    first(Request(URL), page(8))
    other = LocalRun(run.loop)
    third = layer.make(other).request
    assert third is not None
    third(Request(URL), page(0))
    assert other.stats == {"request_depth_max": 1}


def test_arguments_are_checked_when_built() -> None:
    with pytest.raises(ValueError, match="limit=-1"):
        depth(limit=-1)


def test_a_page_that_its_callback_asks_for_again_is_no_deeper(run: LocalRun) -> None:
    asked = page(3)
    again = hook(run, limit=3)(asked.request.replace(attempt=1), asked)
    assert (again.depth, again.attempt) == (3, 1)
    with pytest.raises(Drop):
        hook(run, limit=3)(Request(URL + "other", attempt=1), asked)
