"""A spider that follows links by rules: every shelf of a shop is walked, and every book on it read once.

Run it: streamcrawl run examples/rules.py -O books.jsonl
"""

import os
from typing import Any

from streamcrawl import Crawl, Response
from streamcrawl import operators as ops
from streamcrawl.links import LinkExtractor
from streamcrawl.spiders import CrawlSpider, Rule

START = os.environ.get("START_URL", "https://books.toscrape.com/")


class Books(CrawlSpider):
    name = "books"
    start_urls = [START]  # noqa: RUF012 - every run has a list of its own
    rules = (
        Rule(LinkExtractor(restrict_css="div.side_categories ul ul, li.next")),  # no callback: followed
        Rule(LinkExtractor(restrict_css="h3"), callback="book"),
    )

    def book(self, page: Response) -> dict[str, Any]:
        return {
            "title": page.css("h1::text").get(),
            "price": page.css("p.price_color::text").re_first(r"[\d.]+"),
            "found as": page.meta["link_text"],
        }


crawl = Crawl.of(Books).replace(layers=(ops.depth(limit=20),))

if __name__ == "__main__":
    print(crawl.pipe(ops.feed("books.jsonl")).run())
