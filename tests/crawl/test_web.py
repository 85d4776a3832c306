"""Whole crawls of generated webs, in virtual time: in any interleaving, the result is the one computed directly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcrawl import Crawl, Request, Response, Summary
from streamcrawl import operators as ops
from streamcrawl.testing.fake_fetch import FakeFetch
from streamcrawl.testing.virtual_time import run_virtual
from streamcrawl.testing.web import Web
from streamcrawl.urls import without_fragment


def url_item(page: Response) -> dict[str, str]:
    return {"url": page.url}


def parse(page: Response) -> Iterator[Any]:
    yield {"url": without_fragment(page.url)}
    yield from page.follow_all(css="a")


async def crawl(
    web: Web, seed: int, concurrency: int, per_host: int, scope: str
) -> tuple[Summary, list[str], FakeFetch]:
    random = Random(seed)
    fetch = web.fetch(latency=lambda _: random.choice((0.0, 0.1, 1.0, 7.0)))
    flow = Crawl(web.start, concurrency=concurrency, per_host=per_host, scope=scope, seed=seed).pipe(
        ops.download(fetch=fetch), ops.scrape(parse)
    )
    items: list[dict[str, str]] = []
    summary = await flow.start(on_item=items.append)
    return summary, [item["url"] for item in items], fetch


@settings(max_examples=60, deadline=None)
@given(
    pages=st.integers(1, 80),
    fanout=st.integers(1, 6),
    hosts=st.integers(1, 5),
    seed=st.integers(0, 2**32),
    concurrency=st.integers(1, 20),
    per_host=st.integers(1, 8),
    scope=st.sampled_from(("any", "host")),
)
def test_any_interleaving_brings_every_page_once(
    pages: int, fanout: int, hosts: int, seed: int, concurrency: int, per_host: int, scope: Literal["any", "host"]
) -> None:
    web = Web(pages=pages, fanout=fanout, hosts=hosts, seed=seed)
    summary, urls, fetch = run_virtual(crawl(web, seed, concurrency, per_host, scope))
    expected = web.expected(scope=scope)
    assert summary.error is None
    assert Counter(urls) == Counter(expected.pages)
    assert summary.balanced, str(summary)
    assert summary.waiting == 0
    assert fetch.most <= concurrency
    assert max(fetch.most_by_host.values(), default=0) <= per_host


@pytest.mark.parametrize("seed", range(3))
def test_two_crawls_at_once_share_nothing(seed: int) -> None:
    import asyncio

    web = Web(pages=60, hosts=2, seed=seed)

    async def both() -> list[tuple[Summary, list[str], FakeFetch]]:
        return await asyncio.gather(*(crawl(web, seed + n, 4, 2, "any") for n in range(2)))

    one, two = run_virtual(both())
    assert sorted(one[1]) == sorted(two[1]) == sorted(web.expected(scope="any").pages)


def test_the_same_crawl_runs_as_often_as_you_like() -> None:
    web = Web(pages=40, seed=7)
    flow = Crawl(web.start, scope="any").pipe(ops.download(fetch=web.fetch()), ops.scrape(parse))

    async def twice() -> tuple[list[Any], list[Any]]:
        return await flow.collect(), await flow.collect()

    first, second = run_virtual(twice())
    key = sorted(item["url"] for item in first)
    assert key == sorted(item["url"] for item in second)
    assert len(key) == len(set(key)) > 5


def test_requests_of_the_start_count_as_seen_too() -> None:
    fetch = Web(pages=1, redirects=0, missing=0, broken=0, flaky=0, private=0).fetch()
    url = Web(pages=1).start
    start: list[str | Request] = [url, url, Request(url, dont_filter=True)]

    async def main() -> Summary:
        return await Crawl(start).pipe(ops.download(fetch=fetch), ops.scrape(url_item)).start()

    summary = run_virtual(main())
    assert (summary.pages, summary.counts.dropped) == (2, {"duplicate": 1})
