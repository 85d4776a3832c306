"""Crawls in a bigger reactive program: jobs come in, two crawls go at once, a clock asks how far they are.

Run it: python examples/embedded.py
"""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import reactivex
from reactivex import Observable
from reactivex import operators as rx
from reactivex.scheduler.eventloop import AsyncIOScheduler

from streamcrawl import Crawl, Response
from streamcrawl import operators as ops

START = os.environ.get("START_URL", "https://quotes.toscrape.com/")


def parse(page: Response) -> Iterator[Any]:
    for quote in page.css("div.quote"):
        yield {"author": quote.css("small.author::text").get()}
    yield from page.follow_all(css="li.next a")


def quotes_about(tag: str) -> Crawl[dict[str, str]]:
    return Crawl(f"{START}tag/{tag}/").pipe(ops.download(), ops.scrape(parse))


def counted(seen: Counter[str], quote: dict[str, str]) -> Counter[str]:
    return seen + Counter([quote["author"]])


def program(tags: Observable[str], ticks: Observable[Any]) -> Observable[Counter[str]]:
    """How many quotes of each author were found so far: told with each tick, until all tags are done."""
    return tags.pipe(
        rx.map(lambda tag: quotes_about(str(tag)).items()),  # an Observable like any other: it runs when subscribed
        rx.merge(max_concurrent=2),
        rx.scan(counted, Counter[str]()),
        rx.sample(ticks),
        rx.distinct_until_changed(),
    )


crawl = quotes_about("love")


async def main() -> None:
    clock = reactivex.interval(timedelta(seconds=1), scheduler=AsyncIOScheduler(asyncio.get_running_loop()))
    await program(reactivex.of("love", "life", "humor"), clock).pipe(rx.do_action(print))


if __name__ == "__main__":
    asyncio.run(main())
