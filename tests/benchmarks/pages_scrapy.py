"""The crawl by Scrapy. `URL FEED [SETTING=VALUE …]`"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

# What a crawl would import on its way is imported before the clock starts: handlers, the feed's exporter, lxml.
import scrapy.core.downloader.handlers.http11
import scrapy.exporters
import scrapy.extensions.feedexport
import scrapy.spidermiddlewares.referer
from measured import measure
from scrapy.crawler import CrawlerProcess

SETTINGS: dict[str, Any] = {
    "CONCURRENT_REQUESTS": 32,
    "CONCURRENT_REQUESTS_PER_DOMAIN": 32,
    "DOWNLOAD_DELAY": 0,
    "ROBOTSTXT_OBEY": False,
    "LOG_ENABLED": False,
    "TELNETCONSOLE_ENABLED": False,
}


class Manual(scrapy.Spider):
    name = "manual"

    def __init__(self, start: str) -> None:
        super().__init__()
        self.start_urls = [start]
        self.allowed_domains = [urlsplit(start).hostname]

    async def start(self) -> AsyncIterator[Any]:
        for url in self.start_urls:
            yield scrapy.Request(url)  # not dont_filter as by default: the start page counts once, as for the others

    def parse(self, response: Any) -> Iterator[Any]:
        yield {
            "url": response.url,
            "title": response.css("title::text").get(),
            "headings": response.css("h1::text, h2::text, h3::text").getall(),
        }
        yield from response.follow_all(css="a")


def main() -> int:
    url, feed, *settings = sys.argv[1:]
    feeds = {feed: {"format": "jsonlines", "encoding": "utf8", "overwrite": True}}
    process = CrawlerProcess({**SETTINGS, "FEEDS": feeds, **dict(each.split("=", 1) for each in settings)})
    crawler = process.create_crawler(Manual)
    process.crawl(crawler, start=url)
    process.start()
    return int(crawler.stats.get_value("response_received_count") or 0)


if __name__ == "__main__":
    measure(main)
