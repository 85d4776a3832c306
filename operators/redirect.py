"""The layer that follows redirects, a hop at a time, through the crawl's own loop."""

from __future__ import annotations

import math
from collections.abc import Awaitable

from streamcrawl.backoff import retry_after
from streamcrawl.core import Failed, Outcome, Run
from streamcrawl.errors import InvalidURL
from streamcrawl.hops import InvalidRedirect as InvalidRedirect
from streamcrawl.hops import TooManyRedirects as TooManyRedirects
from streamcrawl.hops import hop, is_downgrade, leaving
from streamcrawl.response import Response
from streamcrawl.streams.layer import Hooks, NamedLayer, layer
from streamcrawl.transport.body import shown
from streamcrawl.urls import WEB_SCHEMES, Base, scheme_of, without_fragment
from streamcrawl.vetting import wanted_statuses

CODES = frozenset({301, 302, 303, 307, 308})


def redirect(*, times: int = 20, priority: int = 2, max_wait: float = 10.0) -> NamedLayer:
    """Follow redirects: 301, 302, 303, 307 and 308 with a Location.

    Each hop goes back to the frontier, so it passes politeness, scope and robots.txt like any request. A target that
    is neither http nor https is not followed, nor is one that would send a body on in the clear which went out over
    https: the response goes on as it is, as one does whose status the request or the spider asked for
    (`Request(statuses=…)`, `handle_httpstatus_list`), and that of a `Request(max_redirects=0)`.

    A hop is made from the request as it was leased. Its own `Authorization` goes no further than its origin, its own
    `Cookie` no further than its host and never from https to http, its `cookies` are in the jar already.

    Args:
        times: Hops that one request may take; 0 or more. `Request.max_redirects` wins.
        priority: Added to the priority for each hop, so that what was begun is finished.
        max_wait: Seconds of a Retry-After of the redirect that are waited for at most; 0: the hop goes at once.

    Emits: `Again` with the next hop, or Failed with TooManyRedirects or InvalidRedirect, else the outcome itself.
        One in, one out.
    Raises: ValueError if `times` or `max_wait` < 0, when built.
    Source: RFC 9110 §10.2.2, §10.2.3 (Retry-After), §15.4; WHATWG Fetch, "HTTP-redirect fetch".
    """
    if times < 0:
        raise ValueError(f"redirect(times={times!r}): 0 or more")
    if not 0 <= max_wait < math.inf:
        raise ValueError(f"redirect(max_wait={max_wait!r}): seconds, 0 or more")

    def make(run: Run) -> Hooks:
        def up(outcome: Outcome) -> Outcome | Awaitable[Outcome]:
            if not isinstance(outcome, Response) or outcome.status not in CODES:
                return outcome
            request = outcome.request
            locations = outcome.headers.getall("location")
            if not locations or request.max_redirects == 0:
                return outcome
            for wanted in (request.statuses, wanted_statuses(run.spider)):
                if wanted == "any" or outcome.status in wanted:
                    return outcome
            values = outcome.headers.getall("retry-after") if max_wait else ()
            wait = min(max_wait, retry_after(values[0], run.now())) if values else 0.0
            not_before = run.now() + wait if wait else 0.0
            following = _followed(outcome, locations[0], times, priority, not_before)
            return outcome if following is outcome else leaving(outcome, following)

        return Hooks(up=up)

    return layer("redirect", make)


def _followed(response: Response, location: str, times: int, priority: int, not_before: float) -> Outcome:
    origin, status = response.request.origin, response.status
    try:
        target = location_url(response.url, location)
    except InvalidURL as error:
        problem = InvalidRedirect(f"{shown(origin.url)} redirects to {location!r}, which is no URL")
        problem.__cause__ = error
        return Failed(response.request, problem)
    as_get = becomes_get(status, origin.method)
    if scheme_of(target) not in WEB_SCHEMES or (
        origin.body and not as_get and is_downgrade(response.url, target)  # what it holds was meant to be secret
    ):
        return response
    if "#" not in target and "#" in origin.url:
        target += origin.url[origin.url.index("#") :]
    return hop(
        response,
        target,
        str(status),
        told=f"redirect {status}",
        times=times,
        priority=priority,
        as_get=as_get,
        not_before=not_before,
    )


def becomes_get(status: int, method: str) -> bool:
    """Whether a redirect of this status makes a GET of the request. Source: WHATWG Fetch, "HTTP-redirect fetch"."""
    return (status in (301, 302) and method == "POST") or (status == 303 and method not in ("GET", "HEAD"))


def location_url(page_url: str, location: str) -> str:
    """The absolute URL that a Location header means. Raises: InvalidURL.

    Servers put bytes there that do not belong into a URL; they are sent back as they came.
    """
    if not location.isascii():
        try:
            raw = location.encode("latin-1")  # how Headers keeps the bytes of the wire
        except UnicodeEncodeError:
            raw = location.encode("utf-8", "replace")
        location = "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in raw)
    return Base(without_fragment(page_url)).join(location)
