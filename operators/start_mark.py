"""The layer that marks what comes from the crawl's start."""

from __future__ import annotations

from streamcrawl.core import Request, Run, ScrapeInput, Start
from streamcrawl.streams.scrape_layer import NamedScrapeLayer, ScrapeHooks, scrape_layer


def start_mark(key: str = "is_start_request") -> NamedScrapeLayer:
    """Mark the requests of the start in their `meta`, for spiders that look there: `page.meta.get("is_start_request")`.

    Without this layer `page.request.start` says the same. A mark that a link took over with its page's meta
    (`meta=page.meta`) is taken off: it did not come from the start. Redirects and repeats keep it, in both places.

    Args:
        key: The key in `meta`. What the request has there already is kept.

    Emits: the same Requests, those of the start with `meta[key]` True and `start` set.
    Raises: ValueError for an empty key, when built.
    """
    if not key:
        raise ValueError(f"start_mark(key={key!r}): a key of meta")

    def request(link: Request, page: ScrapeInput) -> Request:
        if isinstance(page, Start):
            return link.replace(start=True, meta={key: True, **link.meta})
        # The same page once more, from get_retry_request, is what it was.
        if link.meta.get(key) is True and key in page.request.meta and link.url != page.request.url:
            return link.replace(meta={name: value for name, value in link.meta.items() if name != key})
        return link

    def make(run: Run) -> ScrapeHooks:
        return ScrapeHooks(request=request)

    return scrape_layer("start_mark", make)
