"""The layer that follows pages which lead on to another one by themselves."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable

from streamcrawl.core import Outcome, Request, Run
from streamcrawl.errors import InvalidURL
from streamcrawl.hops import hop, leaving
from streamcrawl.metas import Refresh, is_html, metas, parse_refresh
from streamcrawl.response import Response
from streamcrawl.streams.layer import Hooks, NamedLayer, layer
from streamcrawl.urls import WEB_SCHEMES, canonical, scheme_of, without_fragment

CHARACTERS = 4096
"""How much of a page is looked at."""

REASON = "meta refresh"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def meta_refresh(
    *,
    max_delay: float = 100.0,
    max_wait: float = 10.0,
    ignore_tags: Iterable[str] = ("noscript",),
    times: int = 20,
    priority: int = 2,
) -> NamedLayer:
    """Follow `<meta http-equiv="refresh">` in the first 4096 characters of a page, and the `Refresh` header field.

    Only of a response with status 200 whose body is here: not for HEAD, not of a streamed one. The hop is a GET, and
    like one of `redirect` in everything else: it counts with those, drops what they drop, and leads to http and https
    only. A page that refreshes itself is left as it is, as is one that leads to where its chain has been twice, and
    that of a `Request(max_redirects=0)`.

    Args:
        max_delay: A page that stays for so many seconds, or longer, is there to be read: it is not left.
        max_wait: Seconds that the page's own delay is waited for at most; 0: the hop goes at once.
        ignore_tags: Elements in which a refresh does not count; pages say in `noscript` what to do without scripts.
        times: Hops that one request may take, redirects included; 0 or more. `Request.max_redirects` wins.
        priority: Added to the priority for each hop.

    Emits: `Again` with the next hop, or Failed with TooManyRedirects, else the outcome itself. One in, one out.
    Raises: ValueError if `times`, `max_wait` or `max_delay` < 0, when built.
    Source: WHATWG HTML, "shared declarative refresh steps".
    """
    if times < 0:
        raise ValueError(f"meta_refresh(times={times!r}): 0 or more")
    if not (max_delay >= 0 and 0 <= max_wait < math.inf):
        raise ValueError(f"meta_refresh({max_delay=}, {max_wait=}): seconds, 0 or more")
    ignored = frozenset(tag.lower() for tag in ignore_tags)

    def make(run: Run) -> Hooks:
        def go(response: Response, target: str, seconds: float) -> Outcome | Awaitable[Outcome]:
            wait = min(seconds, max_wait)
            not_before = run.now() + wait if wait else 0.0
            following = hop(
                response, target, REASON, times=times, priority=priority, as_get=True, not_before=not_before
            )
            return leaving(response, following)

        return Hooks(up=_following(go, ignored, max_delay))

    return layer("meta_refresh", make)


def _following(
    go: Callable[[Response, str, float], Outcome | Awaitable[Outcome]], ignored: frozenset[str], max_delay: float
) -> Callable[[Outcome], Outcome | Awaitable[Outcome]]:
    def up(outcome: Outcome) -> Outcome | Awaitable[Outcome]:
        # This runs for every page.
        if not isinstance(outcome, Response) or outcome.status != 200:
            return outcome
        in_body = outcome.stream is None and _may_refresh(outcome.body)
        if not in_body and "refresh" not in outcome.headers:
            return outcome
        request = outcome.request
        if request.method == "HEAD" or request.max_redirects == 0:
            return outcome
        refresh = declared(outcome, ignored)
        if refresh is None or refresh.seconds >= max_delay:
            return outcome
        target = _target(outcome, refresh.url)
        return outcome if target is None else go(outcome, target, refresh.seconds)

    return up


def _may_refresh(body: bytes) -> bool:
    """Whether it may be worth a look: whatever has "refresh" at its beginning, in the usual spellings."""
    # Two searches in bytes as they are take half the time of one in lower case.
    most = CHARACTERS if body[:CHARACTERS].isascii() else 2 * CHARACTERS
    return body.find(b"efresh", 0, most) >= 0 or body.find(b"EFRESH", 0, most) >= 0 or body[:2] in UTF_16


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
