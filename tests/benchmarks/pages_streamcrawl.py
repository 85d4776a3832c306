"""The crawl by streamcrawl, with its default stack of layers, or with every layer that there is. `URL FEED [all]`"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import parsel  # noqa: F401 - imports are not counted for any contender, and streamcrawl imports these on first use
from measured import measure

import streamcrawl.transport.http  # noqa: F401 - likewise
from streamcrawl import Crawl
from streamcrawl import operators as ops
from streamcrawl.caching import sqlite_store
from streamcrawl.throttling import Rate


def parse(page: Any) -> Iterator[Any]:
    yield {
        "url": page.url,
        "title": page.css("title::text").get(),
        "headings": page.css("h1::text, h2::text, h3::text").getall(),
    }
    yield from page.follow_all(css="a")


def every_layer(url: str, folder: Path, **changes: Any) -> tuple[Any, ...]:
    """The default layers, and one in each of the other places, but for `changes`; the cache keeps every page."""
    cache = Path(mkdtemp(dir=folder)) / "cache.sqlite"  # to remove one that is there would be counted
    host = url.partition("://")[2].partition("/")[0].partition(":")[0]
    layers: dict[str, Any] = {
        "scope": ops.scope(host),
        "guard": ops.guard(),
        "user_agent": ops.user_agent("bench/1.0 (+https://bench.example/)"),
        "http_auth": ops.http_auth("me", "secret", domain="members.example"),
        "timeout": ops.timeout(60),
        "size_limit": ops.size_limit(10_000_000),
        "ajax_crawl": ops.ajax_crawl(),
        "http_cache": ops.http_cache(store=sqlite_store(cache)),
        "throttle": ops.throttle(rules={"*": Rate(concurrency=64)}),
        "decompress": ops.decompress(),
    }
    return ops.default_layers(**{**layers, **changes})


def main() -> int:
    url, feed = sys.argv[1], sys.argv[2]
    layers = every_layer(url, Path(feed).parent) if sys.argv[3:] == ["all"] else ()
    crawl = Crawl(url, concurrency=32, per_host=32)
    return crawl.pipe(ops.download(*layers), ops.scrape(parse), ops.feed(feed)).run().pages


if __name__ == "__main__":
    measure(main)
