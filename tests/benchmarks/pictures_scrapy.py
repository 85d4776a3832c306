"""Pictures by Scrapy's ImagesPipeline. `URL PAGES STORE`"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import scrapy.core.downloader.handlers.http11
import scrapy.pipelines.images
import scrapy.spidermiddlewares.referer
from late import EVERY, Late, measure
from PIL import Image
from scrapy.crawler import CrawlerProcess

Image.init()
late = Late()

SETTINGS: dict[str, Any] = {
    "CONCURRENT_REQUESTS": 16,
    "CONCURRENT_REQUESTS_PER_DOMAIN": 16,
    "DOWNLOAD_DELAY": 0,
    "ROBOTSTXT_OBEY": False,
    "LOG_ENABLED": False,
    "TELNETCONSOLE_ENABLED": False,
    "ITEM_PIPELINES": {"scrapy.pipelines.images.ImagesPipeline": 1},
    "IMAGES_THUMBS": {"small": (50, 50), "big": (270, 270)},
}


class Pictures(scrapy.Spider):
    name = "pictures"

    async def start(self) -> AsyncIterator[Any]:
        from twisted.internet.task import LoopingCall

        LoopingCall(late.ring).start(EVERY)
        for number in range(self.pages):  # type: ignore[attr-defined]
            yield scrapy.Request(f"{self.url}/page/{number}")  # type: ignore[attr-defined]

    def parse(self, response: Any) -> Iterator[Any]:
        yield {"image_urls": [response.urljoin(src) for src in response.css("img::attr(src)").getall()], "images": []}


def main() -> int:
    url, pages, store = sys.argv[1:]
    process = CrawlerProcess({**SETTINGS, "IMAGES_STORE": store})
    crawler = process.create_crawler(Pictures)
    process.crawl(crawler, url=url, pages=int(pages))
    process.start()
    return int(crawler.stats.get_value("file_count") or 0)


if __name__ == "__main__":
    measure(main, late)
