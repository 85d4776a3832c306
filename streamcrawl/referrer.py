"""What a request may tell about the page that led to it: the policies of W3C Referrer Policy, as data."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import can_ada

from streamcrawl.headers import Headers

DEFAULT_POLICY = "strict-origin-when-cross-origin"
"""What browsers do where nobody says otherwise."""

POLICIES: dict[str, tuple[str, str, str]] = {
    # policy: what goes to (the same origin, another origin, another origin of lesser security)
    "": ("full", "origin", "none"),
    "no-referrer": ("none", "none", "none"),
    "no-referrer-when-downgrade": ("full", "full", "none"),
    "origin": ("origin", "origin", "origin"),
    "origin-when-cross-origin": ("full", "origin", "origin"),
    "same-origin": ("full", "none", "none"),
    "strict-origin": ("origin", "origin", "none"),
    "strict-origin-when-cross-origin": ("full", "origin", "none"),
    "unsafe-url": ("full", "full", "full"),
}
"""The nine policies. The empty one means "not said", that is DEFAULT_POLICY."""

_LONGEST = 4096
"""Characters of a referrer; of a longer one only the origin is told (Referrer Policy §8.4)."""


class _Page(NamedTuple):
    """What a page's URL comes to, worked out once: many links are on one page."""

    origin: str
    """With a slash at the end, so that it is the referrer that tells the origin only."""
    secure: bool
    same: str | None
    cross: str | None
    downgrade: str | None


def referrer_for(policy: str, page_url: str, target_url: str) -> str | None:
    """The referrer that a request for `target_url` carries, or None for none at all.

    Args:
        policy: One of POLICIES, in lower case.
        page_url: The page that holds the link.
        target_url: Where the link leads, absolute.

    Raises: KeyError for an unknown policy.
    Source: W3C Referrer Policy §8.3, §8.4; Secure Contexts §3.1 ("potentially trustworthy").
    """
    page = _page(policy, page_url)
    if page is None:
        return None
    if target_url.startswith(page.origin):
        return page.same
    if target_url.startswith("https://") and page.cross == page.same:
        return page.cross
    target = _origin(target_url)
    if target is None:
        return None
    origin, secure = target
    if origin == page.origin:
        return page.same
    return page.downgrade if page.secure and not secure else page.cross


def policy_of(headers: Headers) -> str | None:
    """The policy that a response asks for: the last one in `Referrer-Policy` that is known, or None.

    Source: W3C Referrer Policy §8.1, §11.1 (unknown ones are passed over, so that new ones can be added).
    """
    value = headers.get("referrer-policy")
    return None if value is None else _last_known(value)


@lru_cache(maxsize=256)
def _last_known(value: str) -> str | None:
    known = [word for part in value.split(",") if (word := part.strip(" \t").lower()) and word in POLICIES]
    return known[-1] if known else None


@lru_cache(maxsize=256)
def _page(policy: str, url: str) -> _Page | None:
    same, cross, downgrade = POLICIES[policy]
    made = _origin(url)
    if made is None:
        return None
    origin, secure = made
    told = {"full": _stripped(url, origin), "origin": origin, "none": None}
    return _Page(origin, secure, told[same], told[cross], told[downgrade])


def _origin(url: str) -> tuple[str, bool] | None:
    """(origin with a slash at the end, whether it is trustworthy) of a web URL, normalized or not."""
    try:
        parsed = can_ada.parse(url)
    except ValueError:
        return None
    scheme = str(parsed.protocol)
    if scheme not in ("http:", "https:"):
        return None
    return f"{scheme}//{parsed.host}/", scheme == "https:" or is_loopback(str(parsed.hostname))


def is_loopback(hostname: str) -> bool:
    if hostname == "localhost" or hostname.endswith(".localhost") or hostname == "[::1]":
        return True
    return hostname.startswith("127.") and hostname.replace(".", "").isdigit()


def _stripped(url: str, origin: str) -> str:
    parsed = can_ada.parse(url)
    full = f"{origin[:-1]}{parsed.pathname}{parsed.search}"
    return full if len(full) <= _LONGEST else origin
