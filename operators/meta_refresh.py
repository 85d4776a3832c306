"""The layer that follows pages which lead on to another one by themselves."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Literal, TypeAlias

from streamcrawl.core import Outcome, Request, Run
from streamcrawl.errors import InvalidURL
from streamcrawl.hops import hop, leaving
from streamcrawl.metas import Refresh, is_html, metas, parse_refresh
from streamcrawl.operators.redirect import CODES
from streamcrawl.response import Response
from streamcrawl.streams.layer import Hooks, NamedLayer, layer
from streamcrawl.urls import WEB_SCHEMES, canonical, scheme_of, without_fragment
from streamcrawl.vetting import wanted_statuses

Statuses: TypeAlias = Collection[int] | Literal["any"]

CHARACTERS = 4096
"""How much of a page is looked at."""

REASON = "meta refresh"
NO_PAGE = (204, 205, 304)
"""Statuses of responses that show nothing, so there is nothing to leave. Source: RFC 9110 §6.4.1, §15.3.6."""


def meta_refresh(
    *,
    statuses: Statuses = "any",
    max_delay: float = 100.0,
    max_wait: float = 10.0,
    ignore_tags: Iterable[str] = ("noscript",),
    times: int = 20,
    priority: int = 2,
) -> NamedLayer:
    """Follow `<meta http-equiv="refresh">` in the first 4096 characters of a page, and the `Refresh` header field.

    Of a response with any status, as browsers do it: pages that say "one moment, please" come with 403 or 503. Not for
    HEAD, and of a streamed response the header field only. The hop is a GET, and like one of `redirect` in everything
    else: it counts with those, drops what they drop, and leads to http and https only.

    The response goes on as it is if the page refreshes itself or leads to where its chain has been twice, if it is a
    redirect with a Location, or that of a `Request(max_redirects=0)`, and if its status, outside 200-299, is one that
    the request or the spider asked for (`Request(statuses=…)`, `handle_httpstatus_list`).

    Args:
        statuses: Of the responses that are followed, or "any".
        max_delay: A page that stays for so many seconds, or longer, is there to be read: it is not left.
        max_wait: Seconds that the page's own delay is waited for at most; 0: the hop goes at once.
        ignore_tags: Elements in which a refresh does not count; pages say in `noscript` what to do without scripts.
        times: Hops that one request may take, redirects included; 0 or more. `Request.max_redirects` wins.
        priority: Added to the priority for each hop.

    Emits: `Again` with the next hop, or Failed with TooManyRedirects, else the outcome itself. One in, one out.
    Raises: ValueError if `times`, `max_wait` or `max_delay` < 0, or for what is no status, when built.
    Source: WHATWG HTML, "shared declarative refresh steps".
    """
    if times < 0:
        raise ValueError(f"meta_refresh(times={times!r}): 0 or more")
    if not (max_delay >= 0 and 0 <= max_wait < math.inf):
        raise ValueError(f"meta_refresh({max_delay=}, {max_wait=}): seconds, 0 or more")
    followed = _checked(statuses)
    ignored = frozenset(tag.lower() for tag in ignore_tags)

    def make(run: Run) -> Hooks:
        def go(response: Response, target: str, seconds: float) -> Outcome | Awaitable[Outcome]:
            wait = min(seconds, max_wait)
            not_before = run.now() + wait if wait else 0.0
            following = hop(
                response, target, REASON, times=times, priority=priority, as_get=True, not_before=not_before
            )
            return leaving(response, following)

        def leads(response: Response) -> bool:
            status = response.status
            if response.request.max_redirects == 0 or not _has(followed, status) or not _is_page(response):
                return False
            asked = response.request.statuses, wanted_statuses(run.spider)
            return 200 <= status < 300 or not any(_has(wanted, status) for wanted in asked)

        return Hooks(up=_following(leads, go, ignored, max_delay))

    return layer("meta_refresh", make)


def _following(
    leads: Callable[[Response], bool],
    go: Callable[[Response, str, float], Outcome | Awaitable[Outcome]],
    ignored: frozenset[str],
    max_delay: float,
) -> Callable[[Outcome], Outcome | Awaitable[Outcome]]:
    def up(outcome: Outcome) -> Outcome | Awaitable[Outcome]:
        # This runs for every page.
        if not isinstance(outcome, Response):
            return outcome
        in_body = outcome.stream is None and _may_refresh(outcome.body)
        if not in_body and "refresh" not in outcome.headers:
            return outcome
        refresh = declared(outcome, ignored) if leads(outcome) else None
        if refresh is None or refresh.seconds >= max_delay:
            return outcome
        target = _target(outcome, refresh.url)
        return outcome if target is None else go(outcome, target, refresh.seconds)

    return up


def _may_refresh(body: bytes) -> bool:
    """Whether it may be worth a look: whatever has "refresh" at its beginning, or is in UTF-16, which has NULs."""
    beginning = body[:CHARACTERS]
    if b"\0" in beginning:
        return True
    if not beginning.isascii():
        beginning = body[: 2 * CHARACTERS]
    # A copy in lower case takes no longer than a second search, and a regular expression five times as long.
    return b"refresh" in beginning.lower()


def _is_page(response: Response) -> bool:
    """Whether a browser would show it: no answer to HEAD, nothing without a body, and no redirect."""
    if response.request.method == "HEAD" or response.status in NO_PAGE:
        return False
    return response.status not in CODES or "location" not in response.headers


def _has(statuses: Statuses, status: int) -> bool:
    return statuses == "any" or status in statuses


def _checked(statuses: Statuses) -> Statuses:
    if isinstance(statuses, str):
        if statuses != "any":
            raise ValueError(f'meta_refresh(statuses={statuses!r}): statuses, or "any"')
        return statuses
    for status in statuses:
        if not 100 <= status <= 999:
            raise ValueError(f"meta_refresh(statuses=…): {status!r} is no status; 100 to 999")
    return frozenset(statuses)


def declared(response: Response, ignored: frozenset[str]) -> Refresh | None:
    """The refresh that counts: the header field, else the first in the page that says anything."""
    for value in response.headers.getall("refresh"):
        refresh = parse_refresh(value)
        if refresh is not None:
            return refresh
    if response.stream is None and is_html(response):
        for meta in metas(response.text[:CHARACTERS], ignored):
            refresh = parse_refresh(meta.content) if meta.http_equiv == "refresh" else None
            if refresh is not None:
                return refresh
    return None


def _target(response: Response, url: str) -> str | None:
    """Where it leads; None if that is not to be followed."""
    try:
        target = response.urljoin(url) if url else response.url
    except InvalidURL:
        return None
    if scheme_of(target) not in WEB_SCHEMES:
        return None
    page = canonical(without_fragment(target))
    return None if page == canonical(response.url) or _visits(response.request.origin, page) > 1 else target


def _visits(origin: Request, page: str) -> int:
    return sum(canonical(without_fragment(each)) == page for each in (*origin.via, origin.url))
