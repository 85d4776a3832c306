"""What a request may tell about the page that led to it: the policies of W3C Referrer Policy, as data."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple, TypeAlias

import can_ada

from streamcrawl.headers import Headers

DEFAULT_POLICY = "strict-origin-when-cross-origin"
"""What browsers do where nobody says otherwise."""

SCRAPY_DEFAULT = "scrapy-default"

Policy: TypeAlias = "str | Callable[[str, str], str | None]"
"""The name of a policy, or a function: (the page's URL, the target's) -> the referrer, or None for none."""

POLICIES: dict[str, tuple[str, str, str]] = {
    # policy: what goes to (the same origin, another origin, another origin of lesser security)
    "": ("full", "origin", "none"),
    "no-referrer": ("none", "none", "none"),
    "no-referrer-when-downgrade": ("full", "full", "none"),
    "origin": ("origin", "origin", "origin"),
    "origin-when-cross-origin": ("full", "origin", "origin"),
    "same-origin": ("full", "none", "none"),
    SCRAPY_DEFAULT: ("full", "full", "none"),
    "strict-origin": ("origin", "origin", "none"),
    "strict-origin-when-cross-origin": ("full", "origin", "none"),
    "unsafe-url": ("full", "full", "full"),
}
"""The nine policies; the empty one means "not said", that is DEFAULT_POLICY. And the one that Scrapy begins with:
"no-referrer-when-downgrade", to which nothing but TLS is secure, loopback addresses neither."""

TOKENS = frozenset(POLICIES) - {"", SCRAPY_DEFAULT}
"""What may stand in a Referrer-Policy header."""

_OLD_NAMES = {
    "always": "unsafe-url",
    "default": DEFAULT_POLICY,
    "never": "no-referrer",
    "origin-when-crossorigin": "origin-when-cross-origin",
}

_TLS = frozenset({"https:", "ftps:"})
_NETWORK = _TLS | {"http:", "ftp:"}
"""Schemes whose URLs have an origin to tell of; about:, blob:, data:, filesystem:, file:, s3: have none."""

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
    target = _origin(target_url, policy)
    if target is None:
        return None
    origin, secure = target
    if origin == page.origin:
        return page.same
    return page.downgrade if page.secure and not secure else page.cross


def policy_of(headers: Headers) -> str | None:
    """The policy that a response asks for: the last one in `Referrer-Policy` that is known, or None.

    A word there is looked up in TOKENS and nowhere else.

    Source: W3C Referrer Policy §8.1, §11.1 (unknown ones are passed over, so that new ones can be added).
    """
    value = headers.get("referrer-policy")
    return None if value is None else last_known(value)


def declared_policies(root: Any) -> list[str]:
    """The policies that the `<meta name="referrer">` in a page's head declare, in order; what is none is passed over.

    Args:
        root: Of the parsed page.

    Source: HTML Standard §4.2.5.1 ("referrer"), with its old names.
    """
    # In the head only: this runs for every page, and to look through all of it takes a tenth of a millisecond.
    metas = [meta for meta in _named_metas()(root) if meta.get("name").lower() == "referrer"]
    said = ((meta.get("content") or "").lower() for meta in metas)
    return [word for each in said if (word := _OLD_NAMES.get(each, each)) in TOKENS]


@cache
def _named_metas() -> Any:
    from lxml import etree

    return etree.XPath("/html/head/meta[@name]")


@lru_cache(maxsize=256)
def last_known(value: str, tokens: frozenset[str] = TOKENS) -> str | None:
    """The last of the policies in a list with commas that is one of `tokens`."""
    known = [word for part in value.split(",") if (word := part.strip(" \t").lower()) in tokens]
    return known[-1] if known else None


def policy_on_redirect(headers: Headers, own: str | None) -> str:
    """The policy that a hop goes by.

    Args:
        headers: Of the response that redirects; its policy takes the place of any other.
        own: The `referrer_policy` of the request that was redirected.

    Source: WHATWG Fetch, "HTTP-redirect fetch"; W3C Referrer Policy §8.2.
    """
    return policy_of(headers) or (own if own in POLICIES else None) or DEFAULT_POLICY


@lru_cache(maxsize=256)
def _page(policy: str, url: str) -> _Page | None:
    same, cross, downgrade = POLICIES[policy]
    made = _origin(url, policy)
    if made is None:
        return None
    origin, secure = made
    told = {"full": _stripped(url, origin), "origin": origin, "none": None}
    return _Page(origin, secure, told[same], told[cross], told[downgrade])


def _origin(url: str, policy: str) -> tuple[str, bool] | None:
    """(origin with a slash at the end, whether it is secure) of a URL of the network, normalized or not."""
    try:
        parsed = can_ada.parse(url)
    except (ValueError, TypeError):  # the latter for characters that no URL can have
        return None
    scheme, host = str(parsed.protocol), str(parsed.host)
    if scheme not in _NETWORK or not host:
        return None
    if scheme == "ftps:":  # to the URL parser it is a scheme like any
        host = host.lower().removesuffix(":990")
    secure = scheme in _TLS or (policy != SCRAPY_DEFAULT and is_loopback(str(parsed.hostname)))
    return f"{scheme}//{host}/", secure


def is_loopback(hostname: str) -> bool:
    if hostname == "localhost" or hostname.endswith(".localhost") or hostname == "[::1]":
        return True
    return hostname.startswith("127.") and hostname.replace(".", "").isdigit()


def _stripped(url: str, origin: str) -> str:
    parsed = can_ada.parse(url)
    full = f"{origin[:-1]}{parsed.pathname or '/'}{parsed.search}"
    return full if len(full) <= _LONGEST else origin
