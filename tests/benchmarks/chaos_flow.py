"""The flow that the chaos harness kills: every kind of page, of operator and of sink.

CHAOS_SITE is the site's URL. The folder that it runs in says which crawl it is.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import reactivex
from reactivex import operators as rx

from streamcrawl import Crawl, Request, Response
from streamcrawl import operators as ops
from streamcrawl.backoff import backoff
from streamcrawl.core import Dropped, Failed

SITE = os.environ["CHAOS_SITE"]


def many(page: Response) -> int:
    return int(page.css("#many::text").get() or 0)


def links(page: Response) -> Iterator[Request]:
    """Three kinds of pages, three callbacks."""
    for link in page.css("a::attr(href)").getall():
        callback = big if link.startswith("/big/") else slow if link.startswith("/slow/") else parse
        yield page.follow(link, callback=callback)


def item(page: Response, n: int) -> dict[str, Any]:
    return {"url": page.url, "n": n, "title": page.css("title::text").get()}


def parse(page: Response) -> Iterator[Any]:
    for n in range(many(page)):
        yield item(page, n)
    yield from links(page)


def big(page: Response) -> Iterator[Any]:
    """A generator, asked for the next item as the sinks take them; its links stand among its items."""
    found = links(page)
    title = page.css("title::text").get()
    for n in range(many(page)):
        yield {"url": page.url, "n": n, "title": title}
        if n % 100 == 50:
            yield next(found, None)
    yield from found


async def slow(page: Response) -> AsyncIterator[Any]:
    """Items that come slowly: their page is under way for some seconds."""
    title = page.css("title::text").get()
    for link in links(page):
        yield link
    for n in range(many(page)):
        if n % 20 == 0:
            await asyncio.sleep(0.05)
        yield {"url": page.url, "n": n, "title": title}


def failed(outcome: Failed | Dropped) -> Iterator[Any]:
    if isinstance(outcome, Failed):
        yield {"url": outcome.request.url, "n": -1, "title": f"failed: {type(outcome.error).__name__}"}


def three(each: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**each, "part": part} for part in "abc"]


async def weighed(each: dict[str, Any]) -> dict[str, Any]:
    """Something that takes a different time for each item, so that they overtake one another."""
    weight = crc32(repr(sorted(each.items())).encode())
    if weight % 8 == 0:
        await asyncio.sleep(weight % 30 / 1000)
    return {**each, "weight": weight}


layers = ops.default_layers(
    retry=ops.retry(times=4, wait=backoff(0.05, ceiling=0.5)),
    default_headers=ops.default_headers({"X-Crawl": Path.cwd().name}),
)

crawl = Crawl(f"{SITE}/", concurrency=32, per_host=32).pipe(
    ops.download(*layers),
    ops.scrape(parse, errback=failed),
    rx.flat_map(lambda each: reactivex.from_iterable(three(each))),
    ops.map_async(weighed, limit=8),
    rx.filter(lambda each: each["weight"] % 10 < 9),
    ops.feed("items.jsonl"),
    ops.feed("items.csv"),
    ops.feed("items.json"),
    ops.sqlite("items.sqlite", "items"),
    ops.batch(50),
    ops.feed("batches.jsonl"),
)
