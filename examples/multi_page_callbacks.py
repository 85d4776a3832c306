"""An item of two pages, handed on from callback to callback: what the shelf has goes along with the request.

Run it: streamcrawl run examples/multi_page_callbacks.py -O books.jsonl

The pages of the books are requests like any other: many at once, each with its retries. In a job the half item is kept
with its request, so it is exact. Each step waits for the one before; multi_page_streams.py does without an order.
"""

import os
from collections.abc import Iterator
from typing import Any

from streamcrawl import Crawl, Dropped, Failed, Request, Response
from streamcrawl import operators as ops

START = os.environ.get("START_URL", "https://books.toscrape.com/")


def shelf(page: Response) -> Iterator[Request]:
    for link in page.css("article.product_pod"):
        half = {
            "title": link.css("h3 a::attr(title)").get(),
            "price": link.css("p.price_color::text").get(),
        }
        yield page.follow(link.css("h3 a")[0], callback=stock, errback=no_stock, cb_kwargs={"book": half})
    yield from page.follow_all(css="li.next a")


def stock(page: Response, book: dict[str, Any]) -> dict[str, Any]:
    found = page.css("p.availability").re_first(r"\d+")
    return book | {"in_stock": None if found is None else int(found)}


def no_stock(outcome: Failed | Dropped, book: dict[str, Any]) -> dict[str, Any]:
    return book | {"in_stock": None}


crawl = Crawl(START).pipe(ops.download(), ops.scrape(shelf))

if __name__ == "__main__":
    print(crawl.pipe(ops.feed("books.jsonl")).run())
