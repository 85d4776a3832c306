"""How old a stored response is, how long it holds, and what it may be used for: the arithmetic of RFC 9111 §4.2."""

from __future__ import annotations

from typing import NamedTuple

from streamcrawl.caching.entry import Entry
from streamcrawl.caching.rfc9111_conditions import has_validator
from streamcrawl.caching.rfc9111_fields import Directives, age_of, http_date, seconds
from streamcrawl.headers import Headers

HEURISTIC = frozenset((200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501))
"""Statuses whose responses may be given out although nothing says for how long (RFC 9110 §15.1), 206 apart."""
PERMANENT = frozenset((300, 301, 308))
"""Those that mean it for good, with or without Last-Modified."""
UNDERSTOOD = frozenset(
    (
        *(200, 201, 202, 203, 204, 205, 226, 300, 301, 302, 303, 305, 307, 308),
        *(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422),
        *(423, 424, 425, 426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511),
    )
)
"""Statuses whose meaning for a cache is known; of 206 and 304 it is known that this cache does not store them."""


class Heuristic(NamedTuple):
    """How long a response holds that does not say so itself.

    Args:
        share: Of the time since its last change.
        longest: Seconds at most.
    """

    share: float
    longest: float


def current_age(entry: Entry, headers: Headers, now: float) -> float:
    """Seconds since the response was made or validated at its origin. Source: RFC 9111 §4.2.3."""
    date = http_date(headers.get("date"), entry.response_time)
    apparent = 0.0 if date is None else max(0.0, entry.response_time - date)
    delay = max(0.0, entry.response_time - entry.request_time)
    corrected = age_of(headers) + delay
    return max(apparent, corrected) + max(0.0, now - entry.response_time)


def lifetime(entry: Entry, headers: Headers, says: Directives, heuristic: Heuristic) -> float:
    """Seconds for which the response is fresh: max-age, else Expires, else a guess. 0 if what it says is invalid.

    `s-maxage` is for shared caches, this one is private.

    Source: RFC 9111 §4.2.1, §4.2.2, §5.3.
    """
    if "max-age" in says:
        return float(seconds(says["max-age"]) or 0)
    date = http_date(headers.get("date"), entry.response_time)
    if date is None:
        date = entry.response_time
    if "expires" in headers:
        expires = http_date(headers["expires"], entry.response_time)
        return 0.0 if expires is None else max(0.0, expires - date)
    if entry.status not in HEURISTIC and "public" not in says:
        return 0.0
    changed = http_date(headers.get("last-modified"), entry.response_time)
    if changed is None:
        return heuristic.longest if entry.status in PERMANENT else 0.0
    return min(heuristic.longest, max(0.0, date - changed) * heuristic.share)


def may_store(status: int, says: Directives) -> bool:
    """Whether nothing forbids a private cache that does not combine parts (206) to store a response.

    Source: RFC 9111 §3, §5.2.2.3 (must-understand), §5.2.2.5 (no-store).
    """
    if status < 200 or status in (206, 304):
        return False
    # Whoever understands the status passes over the no-store that is meant for those who do not.
    return status in UNDERSTOOD if "must-understand" in says else "no-store" not in says


def useful(entry: Entry, headers: Headers, says: Directives, heuristic: Heuristic) -> bool:
    """Whether the response could ever be given out: it is fresh for a while, or the server can be asked about it."""
    if has_validator(headers) and (entry.status in HEURISTIC or not says.keys().isdisjoint(_EXPLICIT)):
        return True
    if says.get("no-cache", "") is None:
        return False
    later = max(allowance(says, "stale-if-error"), allowance(says, "stale-while-revalidate"))
    return lifetime(entry, headers, says, heuristic) + later > 0


_EXPLICIT = ("max-age", "public", "private", "no-cache", "must-revalidate")


def allowance(says: Directives, name: str) -> float:
    """Seconds that a directive grants beyond the lifetime; 0 if it is absent or invalid."""
    return float(seconds(says.get(name)) or 0)


def binding(says: Directives) -> bool:
    """Whether the response forbids to be given out stale, whatever anybody allows. Source: RFC 9111 §4.2.4."""
    return "must-revalidate" in says or says.get("no-cache", "") is None
