"""`streamcrawl.links` under the name that it has in Scrapy."""

from streamcrawl.links import Link, LinkExtractor

__all__ = ["Link", "LinkExtractor"]
