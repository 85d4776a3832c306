"""The layer that keeps error pages from the callback."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, TypeAlias

from streamcrawl.core import Failed, Run, ScrapeInput
from streamcrawl.errors import HttpError
from streamcrawl.response import Response
from streamcrawl.streams.counting import count
from streamcrawl.streams.scrape_layer import NamedScrapeLayer, ScrapeHooks, scrape_layer
from streamcrawl.transport.body import shown
from streamcrawl.vetting import wanted_statuses

Statuses: TypeAlias = Collection[int] | Literal["any"]


def http_error(
    *, allow: Statuses = (), callbacks: Mapping[Callable[..., Any], Statuses] | None = None
) -> NamedScrapeLayer:
    """Give the callback successful responses only; any other goes to the errback, as a Failed with an HttpError.

    `Request(statuses=…)` lets more through for that one request, `handle_httpstatus_list` and `handle_httpstatus_all`
    of a spider for all of its requests. The response is there as `failed.error.response`.

    Args:
        allow: Statuses outside 200-299 that every callback wants, or "any".
        callbacks: What single callbacks want besides, those that requests name: `{parse_missing: [404, 410]}`.

    Emits: the Response, or `Failed(request, HttpError)`. One in, one out.
    Raises: ValueError if something there is no status, when built.
    Source: RFC 9110 §15.
    """
    allowed = _checked("allow", allow)
    wanted: dict[Callable[..., Any], Statuses] = {
        callback: _checked("callbacks", statuses) for callback, statuses in (callbacks or {}).items()
    }

    def make(run: Run) -> ScrapeHooks:
        stats = run.stats

        def given(page: ScrapeInput) -> ScrapeInput:
            if not isinstance(page, Response):
                return page
            status = page.status
            if 200 <= status < 300 or _has(allowed, status) or _has(page.request.statuses, status):
                return page
            if _has(wanted_statuses(run.spider), status):
                return page
            if wanted and _has(_for(page.request.callback, wanted), status):
                return page
            for key in ("httperror/response_ignored_count", f"httperror/response_ignored_status_count/{status}"):
                count(stats, key)
            return Failed(page.request, HttpError(status, shown(page.url), page))

        return ScrapeHooks(input=given)

    return scrape_layer("http_error", make)


def _for(callback: Callable[..., Any] | None, wanted: Mapping[Callable[..., Any], Statuses]) -> Statuses:
    return () if callback is None or getattr(callback, "__hash__", None) is None else wanted.get(callback, ())


def _has(statuses: Statuses, status: int) -> bool:
    return statuses == "any" or status in statuses


def _checked(argument: str, statuses: Statuses) -> Statuses:
    if isinstance(statuses, str):
        if statuses != "any":
            raise ValueError(f'http_error({argument}={statuses!r}): statuses, or "any"')
        return statuses
    for status in statuses:
        if not 100 <= status <= 999:
            raise ValueError(f"http_error({argument}=…): {status!r} is no status; 100 to 999")
    return frozenset(statuses)
