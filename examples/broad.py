"""Several sites at once, two links deep: what each page is called, and what could not be had.

Run it: streamcrawl run examples/broad.py -O titles.csv

Each link stays on the host of the start that it descends from. A slow or dead site holds no more than its share
of the places, so the others go on.
"""

import os
from collections.abc import Iterator
from typing import Any

from streamcrawl import Crawl, Dropped, Failed, Response
from streamcrawl import operators as ops

SITES = "https://quotes.toscrape.com/ https://books.toscrape.com/ https://www.scrapethissite.com/"
START = os.environ.get("START_URL", SITES).split()


def title(page: Response) -> Iterator[Any]:
    if page.kind == "html":
        yield {"url": page.url, "title": page.css("title::text").get("").strip(), "trouble": ""}
        yield from page.follow_all(css="a")


def trouble(outcome: Failed | Dropped) -> dict[str, str]:
    why = outcome.reason if isinstance(outcome, Dropped) else str(outcome.error)
    return {"url": outcome.request.url, "title": "", "trouble": why}


crawl = Crawl(START, concurrency=64, per_host=4).pipe(
    ops.download(
        *ops.default_layers(
            timeout=ops.timeout(20),
            size_limit=ops.size_limit(2_000_000),
            retry=ops.retry(times=1),
        )
    ),
    ops.scrape(title, ops.depth(limit=2, priority=1), errback=trouble),
)

if __name__ == "__main__":
    print(crawl.pipe(ops.feed("titles.csv")).run())
