"""An item of two pages, awaited where it is needed: the shelf has title and price, the book's own page the stock.

Run it: streamcrawl run examples/multi_page_await.py -O books.jsonl

Simple, and exact in a job: a shelf that was killed half-way comes again, what is safe of it is passed over. But the
books of a shelf come one after the other; multi_page_callbacks.py and multi_page_streams.py fetch them at once.
"""

import os
from collections.abc import AsyncIterator
from typing import Any

from streamcrawl import Crawl, Response, StreamcrawlError, fetch
from streamcrawl import operators as ops

START = os.environ.get("START_URL", "https://books.toscrape.com/")


async def shelf(page: Response) -> AsyncIterator[Any]:
    for link in page.css("article.product_pod"):
        book = {
            "title": link.css("h3 a::attr(title)").get(),
            "price": link.css("p.price_color::text").get(),
        }
        yield book | {"in_stock": await stock(page.urljoin(link.css("h3 a::attr(href)").get("")))}
    for request in page.follow_all(css="li.next a"):
        yield request


async def stock(url: str) -> int | None:
    try:
        page = await fetch(url)
    except StreamcrawlError:  # refused or not to be had: the item is there all the same
        return None
    found = page.css("p.availability").re_first(r"\d+")
    return None if found is None else int(found)


crawl = Crawl(START).pipe(ops.download(), ops.scrape(shelf))

if __name__ == "__main__":
    print(crawl.pipe(ops.feed("books.jsonl")).run())
