"""An item of two pages, put together on the stream: each page gives the part that it has, in whichever order.

Run it: streamcrawl run examples/multi_page_streams.py -O books.jsonl

No callback knows of another one. In a job it is exact: a part is safe only with the whole, and its page comes again if
the run is killed in between. The same by reactivex (group_by and zip) would forget the parts that wait.
"""

import os
from collections.abc import Iterator
from typing import Any

from streamcrawl import Crawl, Response
from streamcrawl import operators as ops

START = os.environ.get("START_URL", "https://books.toscrape.com/")


def shelf(page: Response) -> Iterator[Any]:
    for link in page.css("article.product_pod"):
        yield {
            "url": page.urljoin(link.css("h3 a::attr(href)").get("")),
            "title": link.css("h3 a::attr(title)").get(),
            "price": link.css("p.price_color::text").get(),
        }
    # First the books, then the next shelf: few parts wait.
    yield from page.follow_all(css="h3 a", callback=stock, priority=1)
    yield from page.follow_all(css="li.next a")


def stock(page: Response) -> Iterator[dict[str, Any]]:
    found = page.css("p.availability").re_first(r"\d+")
    if found is not None:
        yield {"url": page.url, "in_stock": int(found)}


crawl = Crawl(START).pipe(
    ops.download(),
    ops.scrape(shelf),
    ops.zip_by("url", "price", "in_stock", incomplete="emit"),
)

if __name__ == "__main__":
    print(crawl.pipe(ops.feed("books.jsonl")).run())
