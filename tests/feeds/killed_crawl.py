"""A crawl with feeds on servers, in a process of its own, that may be killed whenever one likes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from streamcrawl import Crawl, Request, Response
from streamcrawl import operators as ops
from streamcrawl.crawl import settling
from streamcrawl.feeds import storing

PAGES = 200
ITEMS = 7
PART = 100
TEXT = "a pot of tea " * 350
"""So that a whole feed is longer than a piece of an upload."""


async def site(request: Request) -> Response:
    """A tree of pages."""
    n = int(request.url.rpartition("/")[2])
    await asyncio.sleep(0.01)
    links = "".join(f'<a href="/{k}">x</a>' for k in (2 * n + 1, 2 * n + 2) if k < PAGES)
    return Response(request.url, body=f"<html>{links}</html>".encode(), request=request)


def parse(page: Any) -> Iterator[Any]:
    n = int(page.url.rpartition("/")[2])
    yield from ({"page": n, "k": k, "text": TEXT} for k in range(ITEMS))
    yield from page.follow_all(css="a")


def crawl(folder: str, places: list[tuple[str, dict[str, Any]]], began: Connection) -> None:
    """Go on with the job in `folder`, and feed each place by parts and whole."""
    os.chdir(folder)
    settling.EVERY = 0.1  # more commits in less time
    setattr(storing, "BLOCK", 1 << 20)  # noqa: B010 - it is another module's
    begun: Crawl[Any] = Crawl("http://a.test/0", concurrency=2, job="job")
    feeds: list[Any] = []
    for base, storage in places:
        feeds.append(ops.feed(f"{base}/whole.jsonl", storage=storage))
        feeds.append(ops.feed(f"{base}/parts/{{part:03}}.json.gz", part_items=PART, storage=storage))
    flow = begun.pipe(ops.download(*ops.default_layers(robots_txt=None), fetch=site), ops.scrape(parse), *feeds)
    try:
        flow.run(on_start=lambda run: began.send("it has begun"))
    except Exception as error:
        began.send(f"{type(error).__name__}: {error}")
    else:
        began.send(None)
