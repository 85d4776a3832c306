"""The layer that counts the links between the start and a request."""

from __future__ import annotations

from streamcrawl.core import Request, Run, ScrapeInput, Start
from streamcrawl.errors import Drop
from streamcrawl.events import Notice
from streamcrawl.streams.counting import count
from streamcrawl.streams.scrape_layer import NamedScrapeLayer, ScrapeHooks, scrape_layer


def depth(*, limit: int = 0, priority: int = 0, verbose: bool = False) -> NamedScrapeLayer:
    """Count the links from the start to each request, and stop at a limit.

    A link with `skip=("depth",)` passes by: it begins anew at depth 0, whatever page it stands on.

    Args:
        limit: Links from the start that are followed at most; 0: no limit.
        priority: Taken off a request's priority for every link: 1 crawls breadth first, -1 depth first.
        verbose: Count the requests of each depth.

    Emits: the same Requests, `depth` set. One that is too deep is dropped ("depth limit"); a Notice tells of the first.
    Raises: ValueError if `limit` < 0, when built.
    """
    if limit < 0:
        raise ValueError(f"depth(limit={limit!r}): 0 or more; 0 means no limit")

    def make(run: Run) -> ScrapeHooks:
        stats = run.stats
        deepest = 0

        def request(link: Request, page: ScrapeInput) -> Request:
            nonlocal deepest
            if isinstance(page, Start) or (link.attempt and link.url == page.request.url):
                level = link.depth  # of the start; or the page itself once more, as `get_retry_request` gives it
            else:
                level = page.request.depth + 1
                if limit and level > limit:
                    raise _too_deep(run, link, limit)
                if level > deepest:
                    deepest = level
                    stats["request_depth_max"] = max(level, stats.get("request_depth_max", 0))
                ranked = link.priority - level * priority if priority else link.priority
                link = link.replace(depth=level, priority=ranked)
            if verbose:
                key = f"request_depth_count/{level}"
                count(stats, key)
            return link

        return ScrapeHooks(request=request)

    return scrape_layer("depth", make)


def _too_deep(run: Run, link: Request, limit: int) -> Drop:
    ignored = run.stats["depth/request_ignored_count"] = run.stats.get("depth/request_ignored_count", 0) + 1
    if ignored == 1 and run.events.wants(Notice):
        text = f"{link.url} is more than {limit} links from the start and not followed; no more is said of such links"
        run.events.emit(Notice(text=text))
    return Drop("depth limit")
