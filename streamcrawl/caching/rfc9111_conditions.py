"""Conditional requests and ranges: those that a cache makes, and those that it answers."""

from __future__ import annotations

import re

from streamcrawl.caching.entry import Entry
from streamcrawl.caching.rfc9111_fields import http_date
from streamcrawl.core import Request
from streamcrawl.headers import Headers

CONDITIONS = ("If-None-Match", "If-Modified-Since")
UNANSWERABLE = ("if-match", "if-unmodified-since")
"""Conditions about what the server has now: no cache can judge them (RFC 9111 §4.3.2)."""

_TAG = re.compile(r'(?:[Ww][/\\]?)?"[^"]*"|[^\s,]+')


def with_validators(request: Request, entry: Entry) -> Request:
    """The request with the entry's validators as its conditions; itself if the entry has none.

    Source: RFC 9111 §4.3.1.
    """
    headers = Headers(entry.headers)
    tag, modified = headers.get("etag"), headers.get("last-modified")
    if not tag and not modified:
        return request
    asked = request.headers.without(*CONDITIONS)
    if tag:
        asked = asked.add("If-None-Match", tag)
    if modified:
        asked = asked.add("If-Modified-Since", modified)
    return request.replace(headers=asked)


def has_validator(headers: Headers) -> bool:
    return bool(headers.get("etag") or headers.get("last-modified"))


def not_modified(request: Headers, stored: Headers, response_time: float) -> bool:
    """Whether who asks has the stored response already. If-None-Match comes before If-Modified-Since.

    Source: RFC 9110 §13.1.2, §13.1.3; RFC 9111 §4.3.2 (without Last-Modified, Date counts).
    """
    tags = request.get("if-none-match")
    if tags is not None:
        if tags.strip() == "*":
            return True
        own = stored.get("etag")
        return own is not None and _opaque(own) in {_opaque(tag) for tag in _TAG.findall(tags)}
    since = http_date(request.get("if-modified-since"), response_time)
    if since is None:
        return False
    changed = http_date(stored.get("last-modified") or stored.get("date"), response_time)
    return (response_time if changed is None else changed) <= since


def _opaque(tag: str) -> str:
    """Without the mark of weakness: the weak comparison of RFC 9110 §8.8.3.2."""
    return re.sub(r'^[Ww][/\\]?(?=")', "", tag.strip())


def of_304(headers: Headers) -> Headers:
    """The fields that a 304 made of a stored response has. Source: RFC 9110 §15.4.5."""
    return Headers(
        pair
        for pair in headers.pairs()
        if not (name := pair[0].lower()).startswith("content-") or name == "content-location"
    )


_RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)-(\d*)\s*", re.IGNORECASE | re.ASCII)


def part_of(request: Headers, length: int) -> tuple[int, int] | None:
    """The (first, beyond) bytes that a Range of one part asks of a whole body; None if it cannot be given.

    Source: RFC 9110 §14.1.2, §14.2.
    """
    match = _RANGE.fullmatch(request.get("range", "") or "")
    if match is None or not any(match.groups()) or max(map(len, match.groups())) > 18:
        return None
    if not match[1]:
        first, beyond = max(0, length - int(match[2])), length
    else:
        first, beyond = int(match[1]), min(length, int(match[2]) + 1) if match[2] else length
    return (first, beyond) if first < beyond else None


def range_holds(request: Headers, stored: Headers) -> bool:
    """Whether If-Range, if there is one, names the stored response; else the whole of it is wanted.

    Source: RFC 9110 §13.1.5: strong comparison.
    """
    wanted = request.get("if-range")
    if wanted is None:
        return True
    tag, modified = stored.get("etag"), stored.get("last-modified")
    return not wanted.startswith(("W/", "w/")) and wanted.strip() in (tag, modified)
