"""One hop to another address: what `redirect`, `meta_refresh` and `ajax_crawl` have in common."""

from __future__ import annotations

from collections.abc import Awaitable

from streamcrawl.core import Again, Failed, Outcome, Request
from streamcrawl.errors import FetchError
from streamcrawl.headers import Headers
from streamcrawl.mistakes import plural
from streamcrawl.referrer import DEFAULT_POLICY, policy_on_redirect, referrer_for
from streamcrawl.response import BodyStream, Response
from streamcrawl.transport.body import shown
from streamcrawl.urls import host_of, hostname_of, scheme_of

BODY_HEADERS = ("Content-Encoding", "Content-Language", "Content-Length", "Content-Location", "Content-Type")
"""What describes a body: gone with it. Source: WHATWG Fetch, "request-body-header name", and Content-Length."""

PRIVATE_HEADERS = ("Authorization", "Host")
"""What is meant for one origin alone."""

ONCE = "dedupe"
"""In `Request.skip`, with `dont_filter`: let in although it was seen; its hops are asked like any."""


class TooManyRedirects(FetchError):
    """A request was led on more often than it may be."""


class InvalidRedirect(FetchError):
    """A redirect whose Location is no URL."""


def hop(
    response: Response,
    target: str,
    reason: str,
    *,
    times: int,
    priority: int,
    told: str = "",
    as_get: bool = False,
    not_before: float = 0.0,
) -> Again | Failed:
    """Send the request to `target` instead, made from its origin: nothing that layers added for the wire travels.

    Args:
        response: What leads there.
        target: An absolute URL.
        reason: What `via_reasons` says of it.
        times: Hops that a request may take; its own `max_redirects` wins.
        priority: Added to the request's.
        told: The reason as events have it; "": as `reason`.
        as_get: Whether it becomes a GET without a body.
        not_before: Seconds since the epoch.
    """
    origin = response.request.origin
    via = (*origin.via, origin.url)
    most = times if origin.max_redirects is None else origin.max_redirects
    if len(via) > most:
        return Failed(
            response.request,
            TooManyRedirects(
                f"{shown(via[0])} redirects more than {most} {plural(most, 'time')}, last to {shown(target)}"
            ),
        )
    policy = policy_on_redirect(response.headers, origin.referrer_policy)
    headers = origin.headers.without(*BODY_HEADERS) if as_get else origin.headers
    once = ONCE in origin.skip
    following = origin.replace(
        url=target,
        method="GET" if as_get else origin.method,
        body=b"" if as_get else origin.body,
        headers=_without_what_is_private(headers, origin, target, policy),
        cookies={},  # the jar has them, or newer ones; sent again they would undo what the server has just set
        attempt=0,
        not_before=not_before,
        dont_filter=origin.dont_filter and not once,
        skip=tuple(name for name in origin.skip if name != ONCE) if once else origin.skip,
        priority=origin.priority + priority,
        via=via,
        via_reasons=(*origin.via_reasons, reason),
        referrer=None if origin.referrer is None else referrer_for(policy, origin.referrer, target),
        referrer_policy=None if policy == DEFAULT_POLICY else policy,
        answer=None,
    )
    return Again(response.request, following, told or reason, hop=True)


def once_more(request: Request) -> Request:
    """`request` let in although it was seen, without leading there whatever it redirects to."""
    return request if request.dont_filter else request.replace(dont_filter=True, skip=(*request.skip, ONCE))


def leaving(response: Response, outcome: Outcome) -> Outcome | Awaitable[Outcome]:
    """`outcome` instead of `response`, whose streamed body nobody will read."""
    return outcome if response.stream is None else _closed(response.stream, outcome)


async def _closed(stream: BodyStream, outcome: Outcome) -> Outcome:
    await stream.aclose()  # it holds a connection
    return outcome


def _without_what_is_private(headers: Headers, origin: Request, target: str, policy: str) -> Headers:
    """The header fields that may go on to `target`. Source: WHATWG Fetch, "HTTP-redirect fetch", step 13."""
    left = origin.url
    if not len(headers) or host_of(left) == host_of(target):
        return headers
    headers = headers.without(*PRIVATE_HEADERS)
    if not origin.proxy:  # else it is for the proxy that the request names itself, which the hop has too
        headers = headers.without("Proxy-Authorization")
    if is_downgrade(left, target) or hostname_of(left) != hostname_of(target):
        headers = headers.without("Cookie")
    told = headers.get("referer")
    if told is not None:
        referrer = referrer_for(policy, told, target)
        headers = headers.without("Referer") if referrer is None else headers.set("Referer", referrer)
    return headers


def is_downgrade(left: str, target: str) -> bool:
    """Whether what was secret on the way to `left` could be read on the way to `target`."""
    return scheme_of(left) == "https" and scheme_of(target) == "http"
