"""The layer that counts the links between the start and a request."""

from __future__ import annotations

from streamcrawl.core import Request, Run, ScrapeInput, Start
from streamcrawl.errors import Drop
from streamcrawl.streams.scrape_layer import NamedScrapeLayer, ScrapeHooks, scrape_layer


def depth(*, limit: int = 0, priority: int = 0) -> NamedScrapeLayer:
    """Count the links from the start to each request, and stop at a limit.

    Args:
        limit: Links from the start that are followed at most; 0: no limit.
        priority: Taken off a request's priority for every link: 1 crawls breadth first, -1 depth first.

    Emits: the same Requests, `depth` set. One that is too deep is dropped ("depth limit").
    Raises: ValueError if `limit` < 0, when built.
    """
    if limit < 0:
        raise ValueError(f"depth(limit={limit!r}): 0 or more; 0 means no limit")

    def make(run: Run) -> ScrapeHooks:
        stats = run.stats
        deepest = 0

        def request(link: Request, page: ScrapeInput) -> Request:
            nonlocal deepest
            if isinstance(page, Start):
                return link
            level = page.request.depth + 1
            if limit and level > limit:
                stats["depth/request_ignored_count"] = stats.get("depth/request_ignored_count", 0) + 1
                raise Drop("depth limit")
            if level > deepest:
                deepest = level
                stats["request_depth_max"] = max(level, stats.get("request_depth_max", 0))
            if priority:
                return link.replace(depth=level, priority=link.priority - level * priority)
            return link.replace(depth=level)

        return ScrapeHooks(request=request)

    return scrape_layer("depth", make)
