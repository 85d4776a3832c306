"""URLs: one parser (WHATWG, through ada), and what the frontier asks of a URL."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import quote

import can_ada

from streamcrawl.errors import InvalidURL

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

WEB_SCHEMES = frozenset({"http", "https"})
LOCAL_SCHEMES = frozenset({"file", "data", "blob", "about", "javascript", "filesystem"})
"""Schemes that a page from the web must never lead to."""

NOT_FOLLOWED = frozenset({"javascript", "mailto", "tel", "sms", "about", "blob", "callto", "whatsapp", "data"})
"""Schemes of links that lead to no document."""

LOCAL_NAMES = frozenset({"internal", "lan", "local", "localhost", "test"})
"""Names, and ends of names, that are of no public host."""

_HOST_FIRST = re.compile(r"(//)?(?P<name>[\w-]+(\.[\w-]+)+|localhost|\[[0-9A-Fa-f:.]+\]):?(?P<port>\d{0,5})(?=[/?#]|$)")

Within: TypeAlias = Literal["host", "domain", "origin", "any"]
"""How far a link may lead from its page."""


def normalize(url: str) -> str:
    """The absolute URL as browsers write it.

    Raises: InvalidURL, also for a relative URL and for a web URL without a host.
    Source: WHATWG URL Standard, "URL parsing" and "URL serializing".
    """
    try:
        return str(can_ada.parse(url.strip()).href)
    except ValueError:
        raise InvalidURL(url, _why_none(url.strip())) from None
    except (TypeError, AttributeError):
        why = (
            "it has characters that no URL can have"
            if isinstance(url, str)  # pyright: ignore[reportUnnecessaryIsInstance] - users err
            else f"a URL is a str, not {type(url).__name__}"
        )
        raise InvalidURL(url, why) from None


def _why_none(url: str) -> str:
    if "://" in url:
        return "it cannot be parsed"
    meant = with_scheme(url)
    if meant:
        return f"it has no scheme: did you mean {meant}?"
    return "it is relative; a URL starts with a scheme such as https://"


def with_scheme(url: str) -> str:
    """What is meant by an address without a scheme, "example.com/x"; "" for what does not begin with a host name.

    https for names of the public suffix list, http for addresses, local names and other ports.
    """
    found = _HOST_FIRST.match(url)
    if found is None:
        return ""
    name, port = found["name"].lower(), found["port"]
    top = name.rpartition(".")[2]
    if top.isdigit() and name.count(".") != 3:
        return ""
    public = not (name.startswith("[") or top.isdigit() or top in LOCAL_NAMES)
    if public and not ("." in name and suffixes().publicsuffix(name, accept_unknown=False)):
        return ""
    meant = f"{'https' if public and port in ('', '443', '8443') else 'http'}://{url.removeprefix('//')}"
    try:
        can_ada.parse(meant)
    except (ValueError, TypeError):
        return ""
    return meant


def masked(url: str) -> str:
    """The URL with stars in place of its credentials, as a repr shows it."""
    start = url.find("://") + 3 if isinstance(url, str) else 0  # pyright: ignore[reportUnnecessaryIsInstance] - users err
    if start < 3 or "@" not in url:
        return url
    end = min((at for mark in "/?#" if (at := url.find(mark, start)) >= 0), default=len(url))
    name, _, host = url[start:end].rpartition("@")
    return f"{url[:start]}***@{host}{url[end:]}" if name else url


class Base:
    """A page's base URL, parsed once and joined with many links."""

    __slots__ = ("_parsed",)

    def __init__(self, url: str) -> None:
        self._parsed = can_ada.parse(normalize(url))

    def join(self, href: str) -> str:
        """`href` made absolute, white space around it left out. Raises: InvalidURL."""
        try:
            return (self._parsed + href).href
        except (ValueError, TypeError):  # the latter for characters that no URL can have
            raise InvalidURL(href, "it cannot be joined with its page's URL") from None

    def join_all(self, hrefs: Sequence[str]) -> list[str]:
        """Each made absolute; one that cannot be joined stays as it stands."""
        parsed = self._parsed
        try:
            return [(parsed + href).href for href in hrefs]
        except (ValueError, TypeError):
            return [self._joined_or_not(href) for href in hrefs]

    def _joined_or_not(self, href: str) -> str:
        try:
            return self.join(href)
        except InvalidURL:
            return href


_SCHEME = re.compile(r"[\x00-\x20]*([A-Za-z][A-Za-z0-9+.-]*):")
_IN_ENCODING = frozenset({"http", "https", "ftp", "file"})
"""The schemes whose query is written in the page's encoding: the special ones but for ws and wss."""

_QUERY = "!$%&()*+,-./:;=?@[\\]^_`{|}~'"
"""What stands in a query as it is, beside letters and digits; `'` is the parser's to encode."""


def encoded_query(href: str, encoding: str, scheme: str = "http") -> str:
    """`href` with its query percent-encoded as a page of this encoding means it; the rest is UTF-8 in any page.

    Args:
        href: As it stands in the page.
        encoding: Python's name of the page's encoding.
        scheme: Of the page's base URL, for an `href` that has none.

    Source: WHATWG URL Standard, "query state", "percent-encode after encoding"; HTML Standard, "encoding-parse a URL".
    """
    own = _SCHEME.match(href)
    mark = href.find("?")
    if mark < 0 or (own[1].lower() if own else scheme) not in _IN_ENCODING:
        return href
    at = href.find("#")
    end = len(href) if at < 0 else at
    if mark > end or href[mark:end].isascii():
        return href
    try:
        query = href[mark + 1 : end].encode(encoding, "streamcrawl.query")
    except (LookupError, UnicodeError):
        return href
    return f"{href[: mark + 1]}{quote(query, safe=_QUERY)}{href[end:]}"


def _as_reference(error: UnicodeError) -> tuple[str, int]:
    """What the encoding does not have becomes the character reference `&#N;`, percent-encoded."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(f"%26%23{ord(each)}%3B" for each in missing), error.end


codecs.register_error("streamcrawl.query", _as_reference)


def scheme_of(url: str) -> str:
    """The scheme of a normalized URL, in lower case, without the colon."""
    return url.partition(":")[0].lower()


_WEB = ("http://", "https://")


def host_of(url: str) -> str:
    """The Host of a normalized URL: scheme://hostname[:port], default ports left out.

    `file:` and `data:` URLs have `file://` and `data://`.
    """
    end = url.find("/", 8)
    if end > 0 and url.startswith(_WEB):  # asked a dozen times a request
        host = url[:end]
        if "@" not in host and "?" not in host and "#" not in host and "///" not in host:
            return host
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


def within_test(page: str, within: Within) -> Callable[[str], bool]:
    """Whether a URL leads no farther from a page than this. Both are normalized URLs.

    Args:
        page: The URL of the page that the links are on.
        within: "host": the same host; http and https, and a name with and without "www.", are the same.
            "domain": the same registrable domain. "origin": the same scheme, host and port. "any": anywhere.

    Raises: ValueError for another word.
    """
    key_of = _KEYS.get(within)
    if key_of is None:
        raise ValueError(f'within is {within!r}: it must be "host", "domain", "origin" or "any"')
    if within == "any":
        return lambda url: True
    host = host_of(page)
    home, key = host + "/", key_of(host)

    def test(url: str) -> bool:
        return url.startswith(home) or key_of(host_of(url)) == key

    return test


def site_key(host: str) -> tuple[str, str]:
    """What Hosts have in common that differ in http, https and "www." only; a port that is not the scheme's counts."""
    scheme, _, place = host.partition("://")
    bare = place.removeprefix("www.")
    # "www.com" is a name of its own.
    return ("web" if scheme in WEB_SCHEMES else scheme), (bare if "." in bare else place)


def domain_key(host: str) -> tuple[str, str]:
    """What Hosts of one registrable domain have in common; http and https are the same."""
    scheme, name = host.partition(":")[0], hostname_of(host)
    return ("web" if scheme in WEB_SCHEMES else scheme), registrable_domain(name)


_KEYS: dict[str, Callable[[str], object]] = {
    "any": lambda host: None,
    "domain": domain_key,
    "host": site_key,
    "origin": lambda host: host,
}


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
