"""A broad crawl by Scrapy, with the settings that its documentation advises. `PORT HOSTS FEED well|ill CONCURRENCY`"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

# What a crawl would import on its way is imported before the clock starts: handlers, the feed's exporter, lxml.
import scrapy.core.downloader.handlers.http11
import scrapy.exporters
import scrapy.extensions.feedexport
import scrapy.spidermiddlewares.referer
from broad_site import url_of
from measured import measure
from scrapy.crawler import CrawlerProcess

SETTINGS: dict[str, Any] = {
    "SCHEDULER_PRIORITY_QUEUE": "scrapy.pqueues.DownloaderAwarePriorityQueue",
    "CONCURRENT_REQUESTS_PER_DOMAIN": 2,
    "REACTOR_THREADPOOL_MAXSIZE": 20,
    "COOKIES_ENABLED": False,
    "RETRY_ENABLED": False,
    "DOWNLOAD_TIMEOUT": 15,
    "DOWNLOAD_MAXSIZE": 2_000_000,
    "DOWNLOAD_DELAY": 0,
    "ROBOTSTXT_OBEY": True,
    "LOG_ENABLED": False,
    "TELNETCONSOLE_ENABLED": False,
}


class Broad(scrapy.Spider):
    name = "broad"

    def __init__(self, port: int, hosts: int, well: bool) -> None:
        super().__init__()
        self.urls = (url_of(number, port, well) for number in range(hosts))

    async def start(self) -> AsyncIterator[Any]:
        for url in self.urls:
            yield scrapy.Request(url)

    def parse(self, response: Any) -> Iterator[Any]:
        yield {"url": response.url, "title": response.css("title::text").get()}
        yield from response.follow_all(css="a")


def main() -> int:
    port, hosts, feed, state, concurrency = sys.argv[1:]
    feeds = {feed: {"format": "jsonlines", "encoding": "utf8", "overwrite": True}}
    process = CrawlerProcess({**SETTINGS, "FEEDS": feeds, "CONCURRENT_REQUESTS": int(concurrency)})
    crawler = process.create_crawler(Broad)
    process.crawl(crawler, port=int(port), hosts=int(hosts), well=state == "well")
    process.start()
    return int(crawler.stats.get_value("item_scraped_count") or 0)


if __name__ == "__main__":
    measure(main)
