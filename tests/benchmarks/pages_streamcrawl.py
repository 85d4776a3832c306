"""The crawl by streamcrawl, with its whole default stack of layers. `URL FEED`"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import parsel  # noqa: F401 - imports are not counted for any contender, and streamcrawl imports these on first use
from measured import measure

import streamcrawl.transport.http  # noqa: F401 - likewise
from streamcrawl import Crawl
from streamcrawl import operators as ops


def parse(page: Any) -> Iterator[Any]:
    yield {
        "url": page.url,
        "title": page.css("title::text").get(),
        "headings": page.css("h1::text, h2::text, h3::text").getall(),
    }
    yield from page.follow_all(css="a")


def main() -> int:
    crawl = Crawl(sys.argv[1], concurrency=32, per_host=32)
    return crawl.pipe(ops.download(), ops.scrape(parse), ops.feed(sys.argv[2])).run().pages


if __name__ == "__main__":
    measure(main)
