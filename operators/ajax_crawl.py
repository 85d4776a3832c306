"""The layer that asks for the HTML snapshot of pages made by scripts, where a site offers one."""

from __future__ import annotations

import re
from collections.abc import Awaitable

from streamcrawl.core import Outcome, Request, Run
from streamcrawl.hops import hop, leaving
from streamcrawl.metas import is_html, metas
from streamcrawl.response import Response
from streamcrawl.streams.layer import Hooks, NamedLayer, layer
from streamcrawl.urls import WEB_SCHEMES, scheme_of

REASON = "ajax crawl"
SNAPSHOT = "_escaped_fragment_="
IGNORED = frozenset({"noscript", "script"})

_ESCAPED = re.compile(r"[#&+]|%(?![0-9A-Fa-f]{2})")
"""What is escaped in the state: the URL's parser has escaped the rest of what has to be."""
_BEFORE_CONTENT = frozenset(b"\"'= \t\n\f\r")


def ajax_crawl(*, max_size: int = 32_768, times: int = 20, priority: int = 2) -> NamedLayer:
    """Ask for the snapshot of a page that says `<meta name="fragment" content="!">`, or whose URL has a `#!`.

    The scheme: `https://a.example/#!state` is to be had as `https://a.example/?_escaped_fragment_=state`, and a page
    with that `meta` element as `?_escaped_fragment_=`. Google gave it up in 2015, and other search engines followed:
    few sites still have snapshots. It is none of the default layers.

    Acts on GET requests: on a `#!` in the URL before anything is fetched, on the `meta` element of a 200 page of HTML;
    once for each page. A streamed page is left as it is. URLs that differ in the fragment only are one page unless
    they say `keep_fragments`.

    Args:
        max_size: Characters of the page that are looked at; 1 or more.
        times: Hops that one request may take, redirects included; 0 or more. `Request.max_redirects` wins.
        priority: Added to the priority for each hop.

    Emits: `Again` with the request for the snapshot, or Failed with TooManyRedirects, else the outcome itself.
        One in, one out.
    Raises: ValueError if `max_size` < 1 or `times` < 0, when built.
    Source: Google, "Making AJAX applications crawlable: Full specification" (2009).
    """
    if max_size < 1:
        raise ValueError(f"ajax_crawl(max_size={max_size!r}): 1 character or more")
    if times < 0:
        raise ValueError(f"ajax_crawl(times={times!r}): 0 or more")

    def down(request: Request) -> Request | Outcome:
        if "#!" not in request.url or not _may_be_asked(request):
            return request
        nothing = Response(request.url, request=request)  # the URL says it all, so it is not sent
        return hop(nothing, snapshot_url(request.url), REASON, times=times, priority=priority)

    def up(outcome: Outcome) -> Outcome | Awaitable[Outcome]:
        if not isinstance(outcome, Response) or outcome.status != 200 or outcome.stream is not None:
            return outcome
        if not _may_offer(outcome.body, 4 * max_size):
            return outcome
        if not _may_be_asked(outcome.request) or not is_html(outcome) or not _offers_snapshot(outcome.text[:max_size]):
            return outcome
        target = snapshot_url(outcome.request.origin.url)
        return leaving(outcome, hop(outcome, target, REASON, times=times, priority=priority))

    def make(run: Run) -> Hooks:
        return Hooks(down, up)

    return layer("ajax_crawl", make)


def _may_be_asked(request: Request) -> bool:
    return (
        request.method == "GET"
        and SNAPSHOT not in request.url
        and request.max_redirects != 0
        and scheme_of(request.url) in WEB_SCHEMES
    )


def _may_offer(body: bytes, most: int) -> bool:
    """Whether it may be worth a look. This runs for every page: the cheapest test first, a content of "!" alone.

    It has to stand there as it is: to look for `&#33;` would cost ten times as much.
    """
    if 0 in body[:4]:  # UTF-16, with or without a byte order mark
        return True
    at = body.find(b"!", 0, most)
    while at >= 0:
        if at and body[at - 1] in _BEFORE_CONTENT:
            return body.find(b"ragment", 0, most) >= 0 or body.find(b"RAGMENT", 0, most) >= 0
        at = body.find(b"!", at + 1, most)
    return False


def _offers_snapshot(text: str) -> bool:
    return any(meta.name == "fragment" and meta.content == "!" for meta in metas(text, IGNORED))


def snapshot_url(url: str) -> str:
    """Where the snapshot of a page is to be had: `#!state` becomes an argument; other fragments are dropped.

    >>> snapshot_url("https://a.example/?q=1#!a=1&b=2")
    'https://a.example/?q=1&_escaped_fragment_=a=1%26b=2'
    """
    page, _, fragment = url.partition("#")
    state = fragment[1:] if fragment.startswith("!") else ""
    escaped = _ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", state)
    return f"{page}{'&' if '?' in page else '?'}{SNAPSHOT}{escaped}"
