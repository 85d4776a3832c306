"""`streamcrawl.loaders` under the name that it has in Scrapy."""

from streamcrawl.loaders import ItemLoader

__all__ = ["ItemLoader"]
