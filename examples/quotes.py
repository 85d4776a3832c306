"""Every quote of a site that has ten a page, as far as its "Next" links go.

Run it: streamcrawl run examples/quotes.py -O quotes.jsonl
"""

import os
from collections.abc import Iterator
from typing import Any

from reactivex import operators as rx

from streamcrawl import Crawl, Response
from streamcrawl import operators as ops

START = os.environ.get("START_URL", "https://quotes.toscrape.com/")


def parse(page: Response) -> Iterator[Any]:
    for quote in page.css("div.quote"):
        yield {
            "text": quote.css("span.text::text").get(),
            "author": quote.css("small.author::text").get(),
            "tags": quote.css("a.tag::text").getall(),
        }
    yield from page.follow_all(css="li.next a")


def tagged(quote: dict[str, Any]) -> bool:
    return bool(quote["tags"])


crawl = Crawl(START).pipe(
    ops.download(),
    ops.scrape(parse, ops.depth(limit=20)),
    rx.filter(tagged),
)

if __name__ == "__main__":
    print(crawl.pipe(ops.feed("quotes.jsonl")).run())
