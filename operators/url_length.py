"""The layer that drops links with very long URLs."""

from __future__ import annotations

from streamcrawl.core import Request, Run, ScrapeInput
from streamcrawl.errors import Drop
from streamcrawl.streams.counting import count
from streamcrawl.streams.scrape_layer import NamedScrapeLayer, ScrapeHooks, scrape_layer


def url_length(limit: int = 2083) -> NamedScrapeLayer:
    """Drop links, and start requests, whose URL is too long: most often a trap that grows with every page.

    A `data:` URL may have any length: it is the document itself.

    Args:
        limit: Characters; 0: no limit. 2083 is what old browsers took.

    Emits: the same Requests. One that is too long is dropped ("URL too long").
    Raises: ValueError if `limit` < 0, when built.
    """
    if limit < 0:
        raise ValueError(f"url_length(limit={limit!r}): 0 characters or more; 0 means no limit")

    def make(run: Run) -> ScrapeHooks:
        stats = run.stats

        def request(link: Request, page: ScrapeInput) -> Request:
            if len(link.url) <= limit or link.url[:5].lower() == "data:":
                return link
            count(stats, "urllength/request_ignored_count")
            raise Drop("URL too long")

        return ScrapeHooks(request=request if limit else None)

    return scrape_layer("url_length", make)
