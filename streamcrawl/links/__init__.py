"""Links: finding them on a page, and choosing among them."""

from streamcrawl.links.extensions import IGNORED_EXTENSIONS
from streamcrawl.links.extractor import LinkExtractor
from streamcrawl.links.link import Link

__all__ = ["IGNORED_EXTENSIONS", "Link", "LinkExtractor"]
