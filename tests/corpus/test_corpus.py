"""A crawl of the PostgreSQL manual: every page that links lead to, once, with its title and headings."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corpus.manual import Page, expected_pages, manual_root, manual_site
from streamcrawl import Crawl
from streamcrawl import operators as ops

pytestmark = [pytest.mark.corpus, pytest.mark.timeout(300)]


def parse(page: Any) -> Iterator[Any]:
    yield {
        "url": page.url,
        "title": page.css("title::text").get(),
        "headings": page.css("h1::text, h2::text, h3::text").getall(),
    }
    yield from page.follow_all(css="a")


@pytest.fixture(scope="module")
def expected() -> dict[str, Page]:
    return expected_pages(manual_root())


@pytest.fixture(scope="module")
def crawled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[dict[str, Any]]]:
    feed = tmp_path_factory.mktemp("corpus") / "manual.jsonl"
    with manual_site() as start:
        crawl = Crawl(start, concurrency=32, per_host=32).pipe(ops.download(), ops.scrape(parse), ops.feed(str(feed)))
        summary = crawl.run()
    return summary, [json.loads(line) for line in feed.read_text("utf-8").splitlines()]


def name(url: str) -> str:
    return url.rpartition("/")[2]


def test_the_manual_is_whole(expected: dict[str, Page]) -> None:
    """Every file is reached by links, so the two ways of counting agree: 1,169 pages in PostgreSQL 15.20."""
    files = {path.name for path in Path(manual_root()).glob("*.html")}
    assert set(expected) == files
    assert len(files) > 1100


def test_every_page_is_in_the_feed_exactly_once(
    expected: dict[str, Page], crawled: tuple[Any, list[dict[str, Any]]]
) -> None:
    _, items = crawled
    assert Counter(name(item["url"]) for item in items) == Counter(dict.fromkeys(expected, 1))


def test_title_and_headings_are_those_of_the_files(
    expected: dict[str, Page], crawled: tuple[Any, list[dict[str, Any]]]
) -> None:
    _, items = crawled
    found = {name(item["url"]): Page(item["title"], item["headings"]) for item in items}
    assert {path: page for path, page in found.items() if page != expected.get(path)} == {}
    assert len(found) == len(expected)


def test_the_summary_counts_the_same(expected: dict[str, Page], crawled: tuple[Any, list[dict[str, Any]]]) -> None:
    summary, _ = crawled
    # The manual links to some hundred other sites, and to its own pages over and over: both are dropped.
    assert summary.pages == summary.items == len(expected)
    assert summary.balanced
    assert (summary.failed, summary.again) == (0, 0)
    assert summary.dropped > len(expected)
