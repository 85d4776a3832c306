"""URLs: one parser (WHATWG, through ada), and what the frontier asks of a URL."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

import can_ada

from streamcrawl.errors import InvalidURL

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

WEB_SCHEMES = frozenset({"http", "https"})
LOCAL_SCHEMES = frozenset({"file", "data", "blob", "about", "javascript", "filesystem"})
"""Schemes that a page from the web must never lead to."""

NOT_FOLLOWED = frozenset({"javascript", "mailto", "tel", "sms", "about", "blob", "callto", "whatsapp", "data"})
"""Schemes of links that lead to no document."""


def normalize(url: str) -> str:
    """The absolute URL as browsers write it.

    Raises: InvalidURL, also for a relative URL and for a web URL without a host.
    Source: WHATWG URL Standard, "URL parsing" and "URL serializing".
    """
    try:
        return str(can_ada.parse(url.strip()).href)
    except ValueError:
        why = (
            "it is relative; a URL starts with a scheme such as https://" if "://" not in url else "it cannot be parsed"
        )
        raise InvalidURL(url, why) from None
    except (TypeError, AttributeError):
        why = (
            "it has characters that no URL can have"
            if isinstance(url, str)  # pyright: ignore[reportUnnecessaryIsInstance] - users err
            else f"a URL is a str, not {type(url).__name__}"
        )
        raise InvalidURL(url, why) from None


class Base:
    """A page's base URL, parsed once and joined with many links."""

    __slots__ = ("_parsed",)

    def __init__(self, url: str) -> None:
        self._parsed = can_ada.parse(normalize(url))

    def join(self, href: str) -> str:
        """`href` made absolute. Raises: InvalidURL."""
        try:
            return str((self._parsed + href.strip(" \t\r\n\f")).href)
        except ValueError:
            raise InvalidURL(href, "it cannot be joined with its page's URL") from None


def scheme_of(url: str) -> str:
    """The scheme of a normalized URL, in lower case, without the colon."""
    return url.partition(":")[0].lower()


def host_of(url: str) -> str:
    """The Host of a normalized URL: scheme://hostname[:port], default ports left out.

    `file:` and `data:` URLs have `file://` and `data://`.
    """
    start = url.find(":")
    if url[start : start + 3] != "://":
        return scheme_of(url) + "://"  # such as data:, whatever stands in its content
    end = start + 3
    for mark in ("/", "?", "#"):
        at = url.find(mark, start + 3)
        if at >= 0:
            end = at
            break
    else:
        end = len(url)
    netloc = url[start + 3 : end]
    return url[: start + 3] + netloc.rpartition("@")[2]


def hostname_of(url: str) -> str:
    """The host name of a normalized URL or Host: no scheme, no port, no credentials."""
    name = host_of(url).partition("://")[2]
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0]


def without_fragment(url: str) -> str:
    at = url.find("#")
    return url if at < 0 else url[:at]


def canonical(url: str, *, keep_fragments: bool = False) -> str:
    """What two normalized URLs have in common if they name the same page: arguments sorted, no fragment."""
    fragment = ""
    at = url.find("#")
    if at >= 0:
        url, fragment = url[:at], url[at:]
    mark = url.find("?")
    if mark >= 0:
        query = url[mark + 1 :]
        if "&" in query:
            query = "&".join(sorted(part for part in query.split("&") if part))
        url = f"{url[:mark]}?{query}" if query else url[:mark]
    return url + fragment if keep_fragments else url


def digest(text: str) -> bytes:
    """16 bytes that stand for `text` in a seen-set: one collision is expected in some 10**19 texts."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@lru_cache(maxsize=4096)
def registrable_domain(hostname: str) -> str:
    """The registrable domain of a host name, by the public suffix list; the name itself where there is none."""
    if hostname.startswith("[") or hostname.rpartition(".")[2].isdigit():
        return hostname  # an IP address
    return suffixes().privatesuffix(hostname) or hostname


@lru_cache(maxsize=1)
def suffixes() -> PublicSuffixList:
    """The public suffix list, private section included; made on first use, because loading it takes some 30 ms."""
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()
