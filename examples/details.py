"""Items made of several pages: the callback awaits the other pages where it needs them.

Run it: streamcrawl run examples/details.py -O authors.jsonl

A fetch inside a callback goes through the same layers as any request, and waits for its host's turn.
"""

import os
from collections.abc import AsyncIterator
from typing import Any

from streamcrawl import Crawl, Drop, Response, StreamcrawlError, fetch
from streamcrawl import operators as ops

START = os.environ.get("START_URL", "https://quotes.toscrape.com/")


async def parse(page: Response) -> AsyncIterator[Any]:
    for quote in page.css("div.quote"):
        about = quote.css("a[href^='/author/']::attr(href)").get("")
        yield {"text": quote.css("span.text::text").get(), "author": await author(page.urljoin(about))}
    for request in page.follow_all(css="li.next a"):
        yield request


async def author(url: str) -> dict[str, str | None]:
    try:
        page = await fetch(url)
    except (Drop, StreamcrawlError) as error:  # refused by robots.txt, say, or not to be had
        return {"name": None, "born": None, "trouble": str(error)}
    if page.status != 200:  # error pages are kept from callbacks, not from those who ask
        return {"name": None, "born": None, "trouble": f"status {page.status}"}
    return {
        "name": page.css("h3.author-title::text").get("").strip(),
        "born": page.css("span.author-born-date::text").get(),
    }


crawl = Crawl(START).pipe(ops.download(), ops.scrape(parse))

if __name__ == "__main__":
    print(crawl.pipe(ops.feed("authors.jsonl")).run())
