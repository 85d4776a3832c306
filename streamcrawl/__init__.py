"""streamcrawl: a web crawler made of reactive streams."""

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

__all__ = [
    "Again",
    "Crawl",
    "Drop",
    "Dropped",
    "Failed",
    "Headers",
    "Request",
    "Response",
    "Run",
    "Slot",
    "StreamcrawlError",
    "Summary",
    "Wire",
    "__version__",
    "fetch",
    "get_retry_request",
]
