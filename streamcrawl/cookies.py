"""A cookie jar: what servers set, and what goes back to them.

By RFC 6265bis (draft-ietf-httpbis-rfc6265bis-22), "HTTP State Management Mechanism"; section numbers are its own.
Strings keep the bytes of the wire by way of Latin-1, as `Headers` does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from streamcrawl.urls import hostname_of, registrable_domain

LONGEST_LIFE = 400 * 86_400.0
"""Seconds that a cookie lives at most (§5.5)."""
LONGEST_PAIR = 4096
"""Bytes of name and value together."""
LONGEST_ATTRIBUTE = 1024

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_WHITE = " \t"
_PATH = re.compile(r"[^:]*://[^/?#]*(/[^?#]*)")
_NOT_SENT = re.compile(r"[\x00-\x08\x0a-\x1f\x7f;]")

_Key: TypeAlias = tuple[str, str, str, bool]
"""(name, domain, path, host_only): two cookies that agree in these are one."""

_said = attrgetter("value", "expires", "secure", "http_only", "same_site")


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
        same_site: "strict", "lax", "none", or "" where nothing was said. A crawler navigates; it is not enforced.
        expires: Seconds since the epoch; None: as long as the jar.
        created: Seconds since the epoch; stays when the value changes.
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

    def is_expired(self, now: float) -> bool:
        return self.expires is not None and self.expires <= now


class CookieJar:
    """The cookies of one run.

    Args:
        per_domain: Cookies kept for one registrable domain; 1 or more.
        total: Cookies kept in all; those of the domain that was heard of longest ago go first.

    `changed` is called with a registrable domain whenever its cookies have changed, be it that they had to go; that
    they were sent is no change.

    Raises: ValueError for a bound below 1.
    """

    __slots__ = ("_groups", "_per_domain", "_size", "_total", "changed")

    def __init__(self, *, per_domain: int = 180, total: int = 20_000) -> None:
        for name, bound in (("per_domain", per_domain), ("total", total)):
            if bound < 1:
                raise ValueError(f"CookieJar({name}={bound!r}): 1 or more")
        self._per_domain = min(per_domain, total)
        self._total = total
        # By registrable domain: no cookie is ever sent to another one, so one look-up finds all that may go.
        self._groups: dict[str, dict[_Key, Cookie]] = {}
        self._size = 0
        self.changed: Callable[[str], object] = _nobody

    def header_for(self, url: str, now: float) -> str:
        """The `Cookie` header for a request to this URL; empty if it has none (§5.8.3)."""
        return "; ".join(
            f"{each.name}={each.value}" if each.name else each.value for each in self.cookies_for(url, now)
        )

    def cookies_for(self, url: str, now: float) -> list[Cookie]:
        """The cookies that go to a normalized URL: the longest path first, then the oldest."""
        if not self._groups:
            return []
        host = hostname_of(url)
        group = self._groups.get(_group_of(host))
        if group is None:
            return []
        path, secure = _path_of(url), url.startswith("https:")
        found = [each for each in group.values() if each.goes_to(host, path, secure) and not each.is_expired(now)]
        for each in found:
            each.used = now
        found.sort(key=lambda each: (-len(each.path), each.created))
        return found

    def store(self, url: str, set_cookie: Iterable[str], now: float) -> None:
        """Take what a response from this URL sets, one `Set-Cookie` field after the other (§5.6, §5.7)."""
        host = hostname_of(url)
        for line in set_cookie:
            cookie = parse_set_cookie(line, host, _path_of(url), url.startswith("https:"), now)
            if cookie is not None and not self._overlays_secure(cookie, url, now):
                self._keep(cookie, now)

    def set(self, url: str, cookies: Mapping[str, str], now: float) -> None:
        """Keep cookies of the user's own for the whole host of this URL.

        Raises: ValueError for one that would not arrive as it is.
        """
        host, secure = hostname_of(url), url.startswith("https:")
        for name, value in cookies.items():
            if (
                not name
                or "=" in name
                or name != name.strip(_WHITE)
                or _NOT_SENT.search(name)
                or _NOT_SENT.search(value)
            ):
                raise ValueError(f"cookie {name!r} = {value!r}: no control characters, no semicolons, no = in the name")
            name, value = (text if text.isascii() else text.encode().decode("latin-1") for text in (name, value))
            self._keep(Cookie(name, value, host, secure=secure, created=now, used=now), now)

    def add(self, cookie: Cookie, now: float) -> None:
        """Keep a cookie that is known in full, from another jar for example."""
        self._keep(cookie, now)

    def of(self, domain: str) -> list[Cookie]:
        """The cookies of a registrable domain and all its hosts, expired ones included."""
        return [*self._groups.get(domain, {}).values()]

    def clear(self) -> None:
        gone = [*self._groups]
        self._groups.clear()
        self._size = 0
        for domain in gone:
            self.changed(domain)

    def _keep(self, cookie: Cookie, now: float) -> None:
        place = _group_of(cookie.domain)
        group = self._groups.pop(place, {})
        self._size -= len(group)
        key = (cookie.name, cookie.domain, cookie.path, cookie.host_only)
        old = group.get(key)
        if cookie.is_expired(now):
            changed = group.pop(key, None) is not None
        else:
            if old is not None:
                cookie.created = old.created
            changed = old is None or _said(old) != _said(cookie)
            group[key] = cookie
            if len(group) > self._per_domain:
                _evict(group, now)
        if group:
            self._groups[place] = group  # at the end: the order of the groups is that of their last change
            self._size += len(group)
        if changed:
            self.changed(place)
        self._make_room()

    def _make_room(self) -> None:
        while self._size > self._total and len(self._groups) > 1:
            oldest = next(iter(self._groups))
            self._size -= len(self._groups.pop(oldest))
            self.changed(oldest)

    def _overlays_secure(self, cookie: Cookie, url: str, now: float) -> bool:
        """Whether a cookie that came over http would hide one that only https may set (§5.7, step 16)."""
        if cookie.secure or url.startswith("https:"):
            return False
        return any(
            each.secure
            and not each.is_expired(now)
            and each.name == cookie.name
            and (domain_matches(each.domain, cookie.domain) or domain_matches(cookie.domain, each.domain))
            and path_matches(cookie.path, each.path)
            for each in self._groups.get(_group_of(cookie.domain), {}).values()
        )

    def __iter__(self) -> Iterator[Cookie]:
        for group in self._groups.values():
            yield from group.values()

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"<CookieJar {self._size} cookies of {len(self._groups)} domains>"


def _nobody(domain: str) -> None:
    """Whom a jar tells of its changes if nobody asked."""


def _evict(group: dict[_Key, Cookie], now: float) -> None:
    """Make room for one: what is expired, else what is not secure, else anything; of these the least used (§5.7)."""
    expired = [key for key, each in group.items() if each.is_expired(now)]
    for key in expired:
        del group[key]
    if not expired:
        newest = next(reversed(group))
        candidates = [key for key in group if key != newest] or [newest]
        del group[min(candidates, key=lambda key: (group[key].secure, group[key].used))]


class SetCookie(NamedTuple):
    """A `Set-Cookie` field, taken apart: attributes by name in lower case, of repeated ones the last."""

    name: str
    value: str
    attributes: dict[str, str]


def split_set_cookie(line: str) -> SetCookie | None:
    """A `Set-Cookie` field taken apart; None if it is to be ignored (§5.6)."""
    if _CONTROL.search(line):
        return None
    pair, _, rest = line.partition(";")
    name, equals, value = pair.partition("=")
    if not equals:
        name, value = "", pair
    name, value = name.strip(_WHITE), value.strip(_WHITE)
    if not (name or value) or len(name) + len(value) > LONGEST_PAIR:
        return None
    attributes: dict[str, str] = {}
    for part in rest.split(";") if rest else ():
        key, _, text = part.partition("=")
        key, text = key.strip(_WHITE).lower(), text.strip(_WHITE)
        if len(text) <= LONGEST_ATTRIBUTE and _counts(key, text):
            attributes[key] = text
    return SetCookie(name, value, attributes)


def _counts(key: str, text: str) -> bool:
    """Whether an attribute is understood; one that is not leaves an earlier one of its name standing."""
    if key == "expires":
        return parse_date(text) is not None
    if key == "max-age":
        return re.fullmatch(r"-?[0-9]+", text) is not None
    return True


def parse_set_cookie(line: str, host: str, path: str, secure: bool, now: float) -> Cookie | None:
    """The cookie that a response sets; None if it may not (§5.7).

    Args:
        line: One `Set-Cookie` field.
        host: That the response came from, in lower case.
        path: Of the URL that the response came from.
        secure: Whether it came over https.
        now: Seconds since the epoch.
    """
    parts = split_set_cookie(line)
    if parts is None:
        return None
    name, value, attributes = parts
    domain = _domain(attributes.get("domain", ""), host)
    if domain is None:
        return None
    given = attributes.get("path", "")
    same_site = attributes.get("samesite", "").lower()
    cookie = Cookie(
        name,
        value,
        domain=domain or host,
        path=given if given.startswith("/") else default_path(path),
        host_only=not domain,
        secure="secure" in attributes,
        http_only="httponly" in attributes,
        same_site=same_site if same_site in ("strict", "lax", "none") else "",
        expires=_expiry(attributes, now),
        created=now,
        used=now,
    )
    return cookie if _is_allowed(cookie, given, secure) else None


def _is_allowed(cookie: Cookie, given_path: str, secure: bool) -> bool:
    """What `Secure`, `SameSite=None` and the prefixes of a name demand (§5.7, steps 13 and 19 to 22)."""
    if cookie.secure and not secure:
        return False
    if cookie.same_site == "none" and not cookie.secure:
        return False
    name = cookie.name.lower()
    if not name:
        return not cookie.value.lower().startswith(("__secure-", "__host-"))
    if name.startswith("__secure-"):
        return cookie.secure
    if name.startswith("__host-"):
        return cookie.secure and cookie.host_only and given_path == "/"
    return True


def _domain(attribute: str, host: str) -> str | None:
    """The domain that a cookie is for: "" for the host alone, None if it may not be set (§5.6.3, §5.7)."""
    domain = attribute.removeprefix(".").lower()
    if not domain:
        return ""
    if not domain.isascii():
        return None
    if not domain_matches(host, domain):
        return None
    if is_public_suffix(domain):
        return "" if domain == host else None
    return domain


def _expiry(attributes: Mapping[str, str], now: float) -> float | None:
    """When a cookie ends: Max-Age before Expires (§5.6.1, §5.6.2)."""
    age = attributes.get("max-age")
    if age is not None:
        return now + min(float(age), LONGEST_LIFE) if float(age) > 0 else float("-inf")
    date = attributes.get("expires")
    if date is None:
        return None
    seconds = parse_date(date)
    return None if seconds is None else min(seconds, now + LONGEST_LIFE)


_TOKEN = re.compile(r"[^\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?![0-9])")
_DAY = re.compile(r"([0-9]{1,2})(?![0-9])")
_YEAR = re.compile(r"([0-9]{2,4})(?![0-9])")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def parse_date(text: str) -> float | None:
    """Seconds since the epoch of a cookie's date in whatever shape it comes; None if there is none in it (§5.1.1)."""
    time: tuple[int, int, int] | None = None
    day = month = year = None
    for token in _TOKEN.findall(text):
        if time is None and (found := _TIME.match(token)):
            time = (int(found[1]), int(found[2]), int(found[3]))
        elif day is None and (found := _DAY.match(token)):
            day = int(found[1])
        elif month is None and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower()) + 1
        elif year is None and (found := _YEAR.match(token)):
            year = int(found[1])
    if time is None or day is None or month is None or year is None:
        return None
    if year < 100:
        year += 1900 if year >= 70 else 2000
    if year < 1601:
        return None
    try:
        return datetime(year, month, day, *time, tzinfo=UTC).timestamp()
    except ValueError:  # no such day, or no such time of day
        return None


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
def _group_of(host: str) -> str:
    return host if is_address(host) else registrable_domain(host)


def _path_of(url: str) -> str:
    """The path of a normalized URL, without its query."""
    found = _PATH.match(url)
    return found[1] if found else "/"
