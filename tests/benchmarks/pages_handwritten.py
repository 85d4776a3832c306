"""The crawl as one writes it by hand: aiohttp, parsel, a set, workers on one queue. `URL FEED`"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TextIO
from urllib.parse import urldefrag, urljoin, urlsplit

import aiohttp
from measured import measure
from parsel import Selector

WORKERS = 32


async def crawl(start: str, feed: TextIO) -> int:
    host = urlsplit(start).netloc
    seen = {start}
    queue: asyncio.Queue[str] = asyncio.Queue()
    queue.put_nowait(start)
    pages = 0

    def parse(url: str, text: str) -> None:
        page = Selector(text, type="html")
        item = {
            "url": url,
            "title": page.css("title::text").get(),
            "headings": page.css("h1::text, h2::text, h3::text").getall(),
        }
        feed.write(json.dumps(item, ensure_ascii=False) + "\n")
        for href in page.css("a::attr(href)").getall():
            link = urldefrag(urljoin(url, href)).url
            if link not in seen and urlsplit(link).netloc == host:
                seen.add(link)
                queue.put_nowait(link)

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal pages
        while True:
            url = await queue.get()
            try:
                async with session.get(url) as response:
                    response.raise_for_status()
                    text = await response.text()
                pages += 1
                parse(url, text)
            except aiohttp.ClientError as error:
                print(f"{url}: {error!r}", file=sys.stderr)
            finally:
                queue.task_done()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=WORKERS)) as session:
        workers = [asyncio.create_task(work(session)) for _ in range(WORKERS)]
        await queue.join()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return pages


def main() -> int:
    with Path(sys.argv[2]).open("w", encoding="utf-8") as feed:
        return asyncio.run(crawl(sys.argv[1], feed))


if __name__ == "__main__":
    measure(main)
