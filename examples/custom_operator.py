"""Two operators of one's own: one on items, one around the download. How to build them: docs/write-an-operator.md

Run it: streamcrawl run examples/custom_operator.py -O cheap.jsonl
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import reactivex
from reactivex import operators as rx

from streamcrawl import Crawl, Response
from streamcrawl import operators as ops
from streamcrawl.core import Layer, Outcome, Run
from streamcrawl.streams.layer import Hooks, layer
from streamcrawl.urls import host_of

START = os.environ.get("START_URL", "https://books.toscrape.com/")


def cheaper_than(pounds: float) -> Callable[[reactivex.Observable[Any]], reactivex.Observable[Any]]:
    """Items with their price as a number, if it is below `pounds`: reactivex operators joined to one."""

    def priced(book: dict[str, Any]) -> dict[str, Any]:
        return book | {"price": float(book["price"].lstrip("£"))}

    def cheap(book: dict[str, Any]) -> bool:
        return float(book["price"]) < pounds

    return reactivex.compose(rx.map(priced), rx.filter(cheap))


def rest_when_slow(latency: float, *, seconds: float) -> Layer:
    """Send a host nothing for `seconds` when it took longer than `latency` to answer: a layer with one hook."""

    def make(run: Run) -> Hooks:  # called once a run: what a layer remembers lives in here
        def up(outcome: Outcome) -> Outcome:
            if isinstance(outcome, Response) and outcome.latency > latency:
                run.hosts.slow_down(host_of(outcome.url), seconds)
            return outcome

        return Hooks(up=up)

    return layer("rest_when_slow", make)


def books(page: Response) -> Iterator[Any]:
    for book in page.css("article.product_pod"):
        yield {"title": book.css("h3 a::attr(title)").get(), "price": book.css("p.price_color::text").get("")}
    yield from page.follow_all(css="li.next a")


crawl = Crawl(START).pipe(
    ops.download(rest_when_slow(2.0, seconds=10), *ops.default_layers()), ops.scrape(books), cheaper_than(20)
)

if __name__ == "__main__":
    print(crawl.pipe(ops.feed("cheap.jsonl")).run())
