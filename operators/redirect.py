"""The layer that follows redirects, a hop at a time, through the crawl's own loop."""

from __future__ import annotations

from collections.abc import Awaitable

from streamcrawl.core import Again, Failed, Outcome, Request, Run
from streamcrawl.errors import FetchError, InvalidURL
from streamcrawl.headers import Headers
from streamcrawl.referrer import DEFAULT_POLICY, policy_of, referrer_for
from streamcrawl.response import BodyStream, Response
from streamcrawl.streams.layer import Hooks, NamedLayer, layer
from streamcrawl.urls import WEB_SCHEMES, Base, host_of, hostname_of, scheme_of, without_fragment

CODES = frozenset({301, 302, 303, 307, 308})
BODY_HEADERS = ("Content-Encoding", "Content-Language", "Content-Length", "Content-Location", "Content-Type")


class TooManyRedirects(FetchError):
    """A request was redirected more often than `redirect(times=…)` allows."""


class InvalidRedirect(FetchError):
    """A redirect whose Location is no URL."""


def redirect(*, times: int = 20, priority: int = 2) -> NamedLayer:
    """Follow redirects: 301, 302, 303, 307 and 308 with a Location.

    Each hop goes back to the frontier, so it passes politeness, scope and robots.txt like any request. A target that
    is neither http nor https is not followed: the response goes on as it is, as one does whose status the request
    asked for (`Request(statuses=…)`).

    A hop is made from the request as it was leased. Its own `Authorization` goes no further than its origin, its own
    `Cookie` no further than its host and never from https to http, its `cookies` are in the jar already.

    Args:
        times: Hops that one request may take; 0 or more.
        priority: Added to the priority for each hop, so that what was begun is finished.

    Emits: `Again` with the next hop, or Failed with TooManyRedirects or InvalidRedirect, else the outcome itself.
        One in, one out.
    Raises: ValueError if `times` < 0, when built.
    Source: RFC 9110 §10.2.2, §15.4; WHATWG Fetch, "HTTP-redirect fetch".
    """
    if times < 0:
        raise ValueError(f"redirect(times={times!r}): 0 or more")

    def up(outcome: Outcome) -> Outcome | Awaitable[Outcome]:
        if not isinstance(outcome, Response) or outcome.status not in CODES:
            return outcome
        wanted = outcome.request.statuses
        locations = outcome.headers.getall("location")
        if not locations or wanted == "any" or outcome.status in wanted:
            return outcome
        hop = _hop(outcome, locations[0], times, priority)
        if hop is outcome or outcome.stream is None:
            return hop
        return _closed(outcome.stream, hop)

    def make(run: Run) -> Hooks:
        return Hooks(up=up)

    return layer("redirect", make)


async def _closed(stream: BodyStream, hop: Outcome) -> Outcome:
    await stream.aclose()  # nobody will read it, and it holds a connection
    return hop


def _hop(response: Response, location: str, times: int, priority: int) -> Outcome:
    origin = response.request.origin
    try:
        target = location_url(response.url, location)
    except InvalidURL as error:
        problem = InvalidRedirect(f"{origin.url} redirects to {location!r}, which is no URL")
        problem.__cause__ = error
        return Failed(response.request, problem)
    if scheme_of(target) not in WEB_SCHEMES:
        return response
    via = (*origin.via, origin.url)
    if len(via) > times:
        return Failed(
            response.request, TooManyRedirects(f"{via[0]} redirects more than {times} times, last to {target}")
        )
    if "#" not in target and "#" in origin.url:
        target += origin.url[origin.url.index("#") :]
    following = redirected(origin, response.status, target).replace(
        via=via,
        priority=origin.priority + priority,
        referrer=_referrer(response, origin.referrer, target),
    )
    return Again(response.request, following, f"redirect {response.status}", hop=True)


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


def redirected(origin: Request, status: int, target: str) -> Request:
    """`origin` sent to `target` instead: without what a redirect of this status drops.

    Source: WHATWG Fetch, "HTTP-redirect fetch", steps 12 and 13.
    """
    headers, method, body = origin.headers, origin.method, origin.body
    if (status in (301, 302) and method == "POST") or (status == 303 and method not in ("GET", "HEAD")):
        method, body = "GET", b""
        headers = headers.without(*BODY_HEADERS)
    return origin.replace(
        url=target,
        method=method,
        body=body,
        headers=_without_credentials(headers, origin.url, target),
        cookies={},  # the jar has them, or newer ones; sent again they would undo what the server has just set
        attempt=0,
        not_before=0.0,
        answer=None,
    )


def _without_credentials(headers: Headers, left: str, target: str) -> Headers:
    if not len(headers) or host_of(left) == host_of(target):
        return headers
    headers = headers.without("Authorization", "Host")
    downgraded = scheme_of(left) == "https" and scheme_of(target) == "http"
    if downgraded or hostname_of(left) != hostname_of(target):
        headers = headers.without("Cookie")
    if downgraded:
        headers = headers.without("Referer")
    return headers


def _referrer(response: Response, referrer: str | None, target: str) -> str | None:
    if referrer is None:
        return None
    return referrer_for(policy_of(response.headers) or DEFAULT_POLICY, referrer, target)
