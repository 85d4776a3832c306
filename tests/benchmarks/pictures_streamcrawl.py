"""Pictures by streamcrawl. `URL PAGES STORE`"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import parsel  # noqa: F401 - imports are not counted for any contender, and streamcrawl imports these on first use
from late import Late, measure
from PIL import Image

import streamcrawl.transport.http  # noqa: F401 - likewise
from streamcrawl import Crawl
from streamcrawl import operators as ops

Image.init()
THUMBS = {"small": (50, 50), "big": (270, 270)}
late = Late()


def parse(page: Any) -> Iterator[Any]:
    yield {"image_urls": [page.urljoin(src) for src in page.css("img::attr(src)").getall()]}


async def crawl() -> int:
    url, pages, store = sys.argv[1:]
    start = [f"{url}/page/{number}" for number in range(int(pages))]
    watch = asyncio.create_task(late.watch())
    made = Crawl(start, concurrency=16, per_host=16).pipe(
        ops.download(*ops.default_layers(robots_txt=None)), ops.scrape(parse), ops.images(store, thumbs=THUMBS)
    )
    summary = await made.start()
    watch.cancel()
    if summary.error is not None:
        raise summary.error
    return int(summary.stats["file_count"])


if __name__ == "__main__":
    measure(lambda: asyncio.run(crawl()), late)
