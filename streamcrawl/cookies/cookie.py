"""One cookie, and which requests it goes with.

By RFC 6265bis (draft-ietf-httpbis-rfc6265bis-22), "HTTP State Management Mechanism"; section numbers are its own.
Strings keep the bytes of the wire by way of Latin-1, as `Headers` does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from streamcrawl.urls import hostname_of, registrable_domain, scheme_of

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that a `SameSite=Lax` cookie goes with, wherever the request comes from (RFC 9110 §9.2.1)."""

_PATH = re.compile(r"[^:]*://[^/?#]*(/[^?#]*)")


@dataclass(slots=True)
class Cookie:
    """One cookie as it is kept.

    Args:
        name: May be empty.
        value: May be empty, unless the name is.
        domain: A host name, in lower case.
        path: Starts with a slash.
        host_only: Sent to `domain` alone, not to its subdomains.
        secure: Sent over https only.
        http_only: Hidden from scripts; a crawler has none, so this is kept for those who write the jar out.
        same_site: "strict", "lax", "none", or "" where nothing was said.
        expires: Seconds since the epoch; None: as long as the jar.
        created: Seconds since the epoch; stays when the value changes. 0: when it is put into a jar.
        used: Seconds since the epoch of the last time it was sent or set.
    """

    name: str
    value: str
    domain: str
    path: str = "/"
    host_only: bool = True
    secure: bool = False
    http_only: bool = False
    same_site: str = ""
    expires: float | None = None
    created: float = 0.0
    used: float = 0.0

    def goes_to(self, host: str, path: str, secure: bool) -> bool:
        """Whether it is sent with a request to this host and path (§5.8.3)."""
        if self.secure and not secure:
            return False
        if self.host_only:
            return host == self.domain and path_matches(path, self.path)
        return domain_matches(host, self.domain) and path_matches(path, self.path)

    def crosses(self, method: str) -> bool:
        """Whether it is sent with a request of this method that another site caused (§5.8.3).

        A cookie that says nothing is sent, as browsers send it to begin with ("Lax-allowing-unsafe").
        """
        return self.same_site != "strict" and (self.same_site != "lax" or method in SAFE_METHODS)

    def is_expired(self, now: float) -> bool:
        return self.expires is not None and self.expires <= now


class Refused(NamedTuple):
    """A `Set-Cookie` field that was not taken, and why."""

    line: str
    reason: str


def domain_matches(host: str, domain: str) -> bool:
    """Whether `host` is `domain` or one of its subdomains (§5.1.3)."""
    return host == domain or (host.endswith("." + domain) and not is_address(host))


def path_matches(path: str, cookie_path: str) -> bool:
    """Whether `path` is `cookie_path` or below it (§5.1.4)."""
    if not path.startswith(cookie_path):
        return False
    return len(path) == len(cookie_path) or cookie_path.endswith("/") or path[len(cookie_path)] == "/"


def default_path(path: str) -> str:
    """The path of a cookie that names none: the folder of the page that set it (§5.1.4)."""
    return path[: path.rindex("/")] or "/" if path.startswith("/") else "/"


def path_of(url: str) -> str:
    """The path of a normalized URL, without its query."""
    found = _PATH.match(url)
    return found[1] if found else "/"


def is_address(host: str) -> bool:
    """Whether the host of a normalized URL is an IP address."""
    return host.startswith("[") or (host[-1:].isdigit() and host.replace(".", "").isdigit())


def is_public_suffix(domain: str) -> bool:
    """Whether strangers share this domain: "com", "co.uk", "github.io"."""
    if is_address(domain):
        return False
    below = "x." + domain
    return registrable_domain(below) == below


@lru_cache(maxsize=4096)
def group_of(host: str) -> str:
    """The registrable domain that a host's cookies are kept under; no cookie is ever sent to another one."""
    return host if is_address(host) else registrable_domain(host)


def site_of(url: str) -> tuple[str, str]:
    """The site of a normalized URL: its scheme and registrable domain (§5.2; HTML, "same site")."""
    return scheme_of(url), group_of(hostname_of(url))
