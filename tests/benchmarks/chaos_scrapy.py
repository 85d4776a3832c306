"""What chaos_flow.py does, by Scrapy with a JOBDIR. `CHAOS_SITE` is the site's URL."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import scrapy
from scrapy.crawler import CrawlerProcess
from scrapy.spidermiddlewares.httperror import HttpError

SITE = os.environ["CHAOS_SITE"]

SETTINGS: dict[str, Any] = {
    "JOBDIR": "job",
    # Two feeds that are appended to, as a crawl that goes on needs it.
    "FEEDS": {
        "items.jsonl": {"format": "jsonlines", "encoding": "utf8", "overwrite": False},
        "items.csv": {"format": "csv", "encoding": "utf8", "overwrite": False},
    },
    "CONCURRENT_REQUESTS": 32,
    "CONCURRENT_REQUESTS_PER_DOMAIN": 32,
    "DOWNLOAD_DELAY": 0,
    "ROBOTSTXT_OBEY": True,
    "RETRY_TIMES": 4,
    "DEFAULT_REQUEST_HEADERS": {"X-Crawl": Path.cwd().name},
    "LOG_LEVEL": "ERROR",
    "TELNETCONSOLE_ENABLED": False,
}


def many(page: Any) -> int:
    return int(page.css("#many::text").get() or 0)


def made(url: str, n: int, title: str | None) -> Iterator[dict[str, Any]]:
    """What the operators behind the callback make of an item: three, weighed, nine tenths of them kept."""
    for part in "abc":
        each = {"url": url, "n": n, "title": title, "part": part}
        weight = crc32(repr(sorted(each.items())).encode())
        if weight % 10 < 9:
            yield {**each, "weight": weight}


class Chaos(scrapy.Spider):
    name = "chaos"

    async def start(self) -> AsyncIterator[Any]:
        yield scrapy.Request(f"{SITE}/", errback=self.failed)

    def links(self, page: Any) -> Iterator[Any]:
        for link in page.css("a::attr(href)").getall():
            big = link.startswith("/big/")
            callback = self.big if big else self.slow if link.startswith("/slow/") else self.parse
            yield page.follow(link, callback=callback, errback=self.failed)

    def parse(self, page: Any) -> Iterator[Any]:
        for n in range(many(page)):
            yield from made(page.url, n, page.css("title::text").get())
        yield from self.links(page)

    def big(self, page: Any) -> Iterator[Any]:
        found = self.links(page)
        title = page.css("title::text").get()
        for n in range(many(page)):
            yield from made(page.url, n, title)
            if n % 100 == 50:
                yield next(found, None)
        yield from found

    async def slow(self, page: Any) -> AsyncIterator[Any]:
        title = page.css("title::text").get()
        for link in self.links(page):
            yield link
        for n in range(many(page)):
            if n % 20 == 0:
                await asyncio.sleep(0.05)
            for each in made(page.url, n, title):
                yield each

    def failed(self, failure: Any) -> Iterator[Any]:
        request = failure.value.response.request if failure.check(HttpError) else failure.request
        yield from made(request.url, -1, "failed")


def main() -> int:
    process = CrawlerProcess(SETTINGS)
    crawler = process.create_crawler(Chaos)
    process.crawl(crawler)
    process.start()
    return 0 if crawler.stats.get_value("finish_reason") == "finished" else 1


if __name__ == "__main__":
    sys.exit(main())
