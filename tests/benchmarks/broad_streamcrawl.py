"""A broad crawl by streamcrawl. `PORT HOSTS FEED well|ill [CONCURRENCY] [all] [job]`"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import parsel  # noqa: F401 - imports are not counted for any contender, and streamcrawl imports these on first use
from broad_site import url_of
from measured import measure
from pages_streamcrawl import every_layer

import streamcrawl.transport.http  # noqa: F401 - likewise
from streamcrawl import Crawl
from streamcrawl import operators as ops

SECONDS = 15.0
"""For one request, as Scrapy's advice for broad crawls has it."""

LARGEST = 2_000_000
"""Bytes of a body."""


def parse(page: Any) -> Iterator[Any]:
    yield {"url": page.url, "title": page.css("title::text").get()}
    yield from page.follow_all(css="a")


def main() -> int:
    port, hosts, feed, state, concurrency, *words = sys.argv[1:]
    well = state == "well"
    limits: dict[str, Any] = {"timeout": ops.timeout(SECONDS), "size_limit": ops.size_limit(LARGEST), "retry": None}
    if "all" in words:
        layers = every_layer(url_of(0, int(port)), Path(feed).parent, scope=None, **limits)
    else:
        layers = ops.default_layers(**limits)
    start = (url_of(number, int(port), well) for number in range(int(hosts)))
    job = Path(feed).with_suffix(".job") if "job" in words else None
    crawl = Crawl(start, concurrency=int(concurrency), per_host=2, scope="any", job=job)
    return crawl.pipe(ops.download(*layers), ops.scrape(parse), ops.feed(feed)).run().pages


if __name__ == "__main__":
    measure(main)
