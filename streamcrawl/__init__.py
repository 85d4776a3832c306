"""streamcrawl: a web crawler made of reactive streams."""

from typing import TYPE_CHECKING, Any

from streamcrawl.core import Again, Dropped, Failed, Request, fetch
from streamcrawl.crawl.crawl import Crawl
from streamcrawl.crawl.run import Run
from streamcrawl.crawl.summary import Summary
from streamcrawl.errors import Drop, StreamcrawlError
from streamcrawl.frontier.hosts import Slot
from streamcrawl.headers import Headers
from streamcrawl.response import Response
from streamcrawl.retrying import get_retry_request
from streamcrawl.transport import Wire
from streamcrawl.version import __version__

if TYPE_CHECKING:
    from parsel import Selector

    from streamcrawl.items import Field, Item
    from streamcrawl.links import LinkExtractor
    from streamcrawl.loaders import ItemLoader
    from streamcrawl.spiders import CrawlSpider, CSVFeedSpider, Rule, SitemapSpider, Spider, XMLFeedSpider

__all__ = [
    "Again",
    "CSVFeedSpider",
    "Crawl",
    "CrawlSpider",
    "Drop",
    "Dropped",
    "Failed",
    "Field",
    "Headers",
    "Item",
    "ItemLoader",
    "LinkExtractor",
    "Request",
    "Response",
    "Rule",
    "Run",
    "Selector",
    "SitemapSpider",
    "Slot",
    "Spider",
    "StreamcrawlError",
    "Summary",
    "Wire",
    "XMLFeedSpider",
    "__version__",
    "fetch",
    "get_retry_request",
]

_LATER = {
    "CSVFeedSpider": "streamcrawl.spiders",
    "CrawlSpider": "streamcrawl.spiders",
    "Field": "streamcrawl.items",
    "Item": "streamcrawl.items",
    "ItemLoader": "streamcrawl.loaders",
    "LinkExtractor": "streamcrawl.links",
    "Rule": "streamcrawl.spiders",
    "Selector": "parsel",
    "SitemapSpider": "streamcrawl.spiders",
    "Spider": "streamcrawl.spiders",
    "XMLFeedSpider": "streamcrawl.spiders",
}
"""Names that not every flow needs, and the modules that are loaded for them when they are asked for."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
