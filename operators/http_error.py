"""The layer that keeps error pages from the callback."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, TypeAlias

from streamcrawl.core import Failed, Run, ScrapeInput
from streamcrawl.errors import HttpError
from streamcrawl.response import Response
from streamcrawl.streams.scrape_layer import NamedScrapeLayer, ScrapeHooks, scrape_layer

Statuses: TypeAlias = Collection[int] | Literal["any"]


def http_error(*, allow: Statuses = ()) -> NamedScrapeLayer:
    """Give the callback successful responses only; any other goes to the errback, as a Failed with an HttpError.

    `Request(statuses=…)` lets more through for that one request. The response is there as `failed.error.response`.

    Args:
        allow: Statuses outside 200-299 that every callback wants, or "any".

    Emits: the Response, or `Failed(request, HttpError)`. One in, one out.
    Raises: ValueError if `allow` holds something that is no status, when built.
    Source: RFC 9110 §15.
    """
    allowed = _checked(allow)

    def make(run: Run) -> ScrapeHooks:
        stats = run.stats

        def given(page: ScrapeInput) -> ScrapeInput:
            if not isinstance(page, Response):
                return page
            status = page.status
            if 200 <= status < 300 or _has(allowed, status) or _has(page.request.statuses, status):
                return page
            for key in ("httperror/response_ignored_count", f"httperror/response_ignored_status_count/{status}"):
                stats[key] = stats.get(key, 0) + 1
            return Failed(page.request, HttpError(status, page.url, page))

        return ScrapeHooks(input=given)

    return scrape_layer("http_error", make)


def _has(statuses: Statuses, status: int) -> bool:
    return statuses == "any" or status in statuses


def _checked(allow: Statuses) -> Statuses:
    if isinstance(allow, str):
        if allow != "any":
            raise ValueError(f'http_error(allow={allow!r}): statuses, or "any"')
        return allow
    for status in allow:
        if not 100 <= status <= 999:
            raise ValueError(f"http_error(allow=…): {status!r} is no status; 100 to 999")
    return frozenset(allow)
