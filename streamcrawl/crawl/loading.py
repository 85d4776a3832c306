"""Crawls that are run by the file that describes them, while it is being loaded."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from streamcrawl.crawl.of import OfSpider

if TYPE_CHECKING:
    from streamcrawl.crawl.crawl import Crawl
    from streamcrawl.spiders.spider import Spider

BEGINNING: ContextVar[Callable[[Crawl[Any]], None] | None] = ContextVar("streamcrawl_beginning", default=None)
"""Told of each crawl before its run begins, by whoever loads a file; what it raises, `crawl.run()` raises."""


def alike(one: Crawl[Any], other: Crawl[Any]) -> bool:
    """Whether both are one crawl: the same pipe, or its beginning, or the same callback at its end."""
    pairs = list(zip(one.operators, other.operators, strict=False))
    if one is other or (pairs and all(each is its for each, its in pairs)):
        return True
    callbacks = [None if each.pipes.scrape is None else each.pipes.scrape.callback for each in (one, other)]
    spiders = [spider_of(each) for each in (one, other)]
    return (callbacks[0] is not None and callbacks[0] == callbacks[1]) or (
        spiders[0] is not None and spiders[0] is spiders[1]
    )


def spider_of(crawl: Crawl[Any]) -> type[Spider] | None:
    """The class of spiders that it is the crawl of; None: of none."""
    described = None if crawl.pipes.scrape is None else crawl.pipes.scrape.callback
    return described.spider if isinstance(described, OfSpider) else None
