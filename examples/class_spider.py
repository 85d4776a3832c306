"""A spider as a class: what it can be told are its arguments, and its methods are the callbacks.

Run it: streamcrawl run examples/class_spider.py -O books.jsonl
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from streamcrawl import Crawl, Response
from streamcrawl import operators as ops
from streamcrawl.spiders import Spider

START = os.environ.get("START_URL", "https://books.toscrape.com/")


@dataclass(frozen=True, slots=True)
class Book:
    title: str
    price: float
    category: str
    in_stock: int


class BookSpider(Spider):
    """All books of a shop, or those of one category."""

    name = "books"
    start_urls = [START]  # noqa: RUF012 - every run has a list of its own
    category: str | None = None

    def parse(self, page: Response) -> Iterator[Any]:
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


crawl = Crawl.of(BookSpider)

if __name__ == "__main__":
    print(Crawl.of(BookSpider, category="Poetry").replace(delay=0.5).pipe(ops.feed("poetry.jsonl")).run())
