"""A spider as a plain class: its methods are the callbacks, its fields are what it can be told.

Run it: streamcrawl run examples/class_spider.py -O books.jsonl
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from streamcrawl import Crawl, Response
from streamcrawl import operators as ops

START = os.environ.get("START_URL", "https://books.toscrape.com/")


@dataclass(frozen=True, slots=True)
class Book:
    title: str
    price: float
    category: str
    in_stock: int


@dataclass(frozen=True, slots=True)
class BookSpider:
    """All books of a shop, or those of one category."""

    start: str
    category: str | None = None
    delay: float = 0.0

    def crawl(self) -> Crawl[Any]:
        return Crawl(self.start, delay=self.delay).pipe(ops.download(), ops.scrape(self.shop))

    def shop(self, page: Response) -> Iterator[Any]:
        for link in page.css("div.side_categories ul ul a"):
            name = link.css("::text").get("").strip()
            if self.category in (None, name):
                yield page.follow(link, callback=self.shelf, cb_kwargs={"category": name})

    def shelf(self, page: Response, category: str) -> Iterator[Any]:
        yield from page.follow_all(css="h3 a", callback=self.book, cb_kwargs={"category": category})
        yield from page.follow_all(css="li.next a", callback=self.shelf, cb_kwargs={"category": category})

    def book(self, page: Response, category: str) -> Book:
        return Book(
            title=page.css("h1::text").get(""),
            price=float(page.css("p.price_color::text").re_first(r"[\d.]+", "nan")),
            category=category,
            in_stock=int(page.css("p.availability").re_first(r"\d+", "0")),
        )


crawl = BookSpider(START).crawl()

if __name__ == "__main__":
    print(BookSpider(START, category="Poetry", delay=0.5).crawl().pipe(ops.feed("poetry.jsonl")).run())
