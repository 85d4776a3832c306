"""A cookie jar: what servers set, and what goes back to them (RFC 6265bis §5.7, §5.8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from heapq import nsmallest
from operator import attrgetter
from typing import TypeAlias

from streamcrawl.arguments import telling
from streamcrawl.cookies.cookie import Cookie, Refused, domain_matches, group_of, path_matches, path_of, site_of
from streamcrawl.cookies.own import OwnCookies, own_cookies
from streamcrawl.cookies.set_cookie import parse_set_cookie
from streamcrawl.urls import hostname_of

_Key: TypeAlias = tuple[str, str, str, bool]
"""(name, domain, path, host_only): two cookies that agree in these are one (§5.7, step 23)."""

_said = attrgetter("value", "expires", "secure", "http_only", "same_site")


@telling
class CookieJar:
    """Cookies, and which of them go where. URLs that its methods take are normalized (`streamcrawl.urls`).

    Args:
        per_domain: Cookies kept for one registrable domain; 1 or more.
        total: Cookies kept in all, 1 or more; those that were used longest ago go first.
        like_browsers: Go by RFC 6265bis, which describes what browsers do, where RFC 6265 has another rule: a cookie
            without a name is taken (§5.6), and a Domain that is empty undoes the one before it (§5.6.3). Without it
            such a cookie is refused and such a Domain ignored (RFC 6265 §5.2, §5.2.3).

    `changed` is called with a registrable domain whenever its cookies have changed, be it that they had to go; that
    they were sent is no change.

    Raises: ValueError for a bound below 1, TypeError for one that is no whole number.
    """

    __slots__ = ("_groups", "_like_browsers", "_per_domain", "_size", "_total", "changed")

    def __init__(self, *, per_domain: int = 180, total: int = 20_000, like_browsers: bool = False) -> None:
        for name, bound in (("per_domain", per_domain), ("total", total)):
            if bound < 1:
                raise ValueError(f"CookieJar({name}={bound!r}): 1 or more")
        self._per_domain = min(per_domain, total)
        self._total = total
        self._like_browsers = like_browsers
        # By registrable domain: no cookie is ever sent to another one, so one look-up finds all that may go.
        self._groups: dict[str, dict[_Key, Cookie]] = {}
        self._size = 0
        self.changed: Callable[[str], object] = _nobody

    def header_for(self, url: str, now: float) -> str:
        """The `Cookie` header for a request to this normalized URL; empty if it has none (§5.8.3)."""
        return cookie_header(self.cookies_for(url, now))

    def cookies_for(self, url: str, now: float, *, method: str = "GET", source: str | None = None) -> list[Cookie]:
        """The cookies that go to a normalized URL: the longest path first, then the oldest (§5.8.3).

        Args:
            url: Where the request goes.
            now: Seconds since the epoch.
            method: Of the request.
            source: Normalized URL of the page that caused it; if that is of another site, `SameSite` counts.
        """
        if not self._groups:
            return []
        host = hostname_of(url)
        group = self._groups.get(group_of(host))
        if group is None:
            return []
        path, secure = path_of(url), url.startswith("https:")
        found = [each for each in group.values() if each.goes_to(host, path, secure) and not each.is_expired(now)]
        if source is not None and found and site_of(source) != site_of(url):
            found = [each for each in found if each.crosses(method)]
        for each in found:
            each.used = now
        if len(found) > 1:
            found.sort(key=lambda each: (-len(each.path), each.created))
        return found

    def store(self, url: str, set_cookie: Iterable[str], now: float) -> list[Cookie | Refused]:
        """Take what a response from this URL sets, one `Set-Cookie` field after the other (§5.6, §5.7).

        Args:
            url: A normalized one: of another, such as one with capitals in its host, no request is sent the cookie.
            set_cookie: The fields' values.
            now: Seconds since the epoch.

        Returns: for each field the cookie, one that was thereby removed too, or why it was refused.
        """
        host, path, secure = hostname_of(url), path_of(url), url.startswith("https:")
        results: list[Cookie | Refused] = []
        for line in set_cookie:
            cookie = parse_set_cookie(line, host, path, secure, now, like_browsers=self._like_browsers)
            if isinstance(cookie, Cookie):
                if not secure and self._overlays_secure(cookie, now):
                    cookie = Refused(line, "it would hide a Secure cookie, and came over http")
                else:
                    self._keep(cookie, now)
            results.append(cookie)
        return results

    def set(self, url: str, cookies: OwnCookies, now: float) -> None:
        """Keep cookies of the user's own, which he gives with a request to this URL.

        Args:
            url: A normalized one.
            cookies: Values by name, for the whole host; or Cookies, or dicts with name, value, domain, path, secure, …
            now: Seconds since the epoch.

        Raises: ValueError for one that would not arrive as it is, or not at this host; TypeError for what is none.
        """
        for cookie in own_cookies(url, cookies, now):
            self._keep(cookie, now)

    def add(self, cookie: Cookie, now: float) -> None:
        """Keep a copy of a cookie that is known in full, from another jar for example."""
        kept = replace(cookie)
        if not kept.created:
            kept.created = kept.used = now
        self._keep(kept, now)

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
        place = group_of(cookie.domain)
        # The order of the groups is that of their last change; it decides between cookies that were used at one time.
        group = self._groups.pop(place, None) or {}
        before = len(group)
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
                _evict(group, cookie, now)
        self._size += len(group) - before
        if group:
            self._groups[place] = group
        if changed:
            self.changed(place)
        if self._size > self._total:
            self._make_room(cookie, now)

    def _make_room(self, newest: Cookie, now: float) -> None:
        """Part with what is expired, then with what was used longest ago, and some more than needed (§5.7).

        More, because to find them takes a look at every cookie.
        """
        every = [
            (not each.is_expired(now), each.used, place, key)
            for place, group in self._groups.items()
            for key, each in group.items()
            if each is not newest
        ]
        parted: dict[str, None] = {}
        count = self._size - self._total + self._total // 20
        for _, _, place, key in nsmallest(count, every, key=lambda row: row[:2]):
            group = self._groups[place]
            del group[key]
            if not group:
                del self._groups[place]
            self._size -= 1
            parted[place] = None
        for place in parted:
            self.changed(place)

    def _overlays_secure(self, cookie: Cookie, now: float) -> bool:
        """Whether a cookie that came over http would hide one that only https may set (§5.7, step 16)."""
        return any(
            each.secure
            and each.name == cookie.name
            and not each.is_expired(now)
            and (domain_matches(each.domain, cookie.domain) or domain_matches(cookie.domain, each.domain))
            and path_matches(cookie.path, each.path)
            for each in self._groups.get(group_of(cookie.domain), {}).values()
        )

    def __iter__(self) -> Iterator[Cookie]:
        for group in self._groups.values():
            yield from group.values()

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"<CookieJar {self._size} cookies of {len(self._groups)} domains>"


def cookie_header(cookies: Iterable[Cookie]) -> str:
    """The value of a `Cookie` field (§5.8.3, step 4)."""
    return "; ".join([f"{each.name}={each.value}" if each.name else each.value for each in cookies])


def _nobody(domain: str) -> None:
    """Whom a jar tells of its changes if nobody asked."""


def _evict(group: dict[_Key, Cookie], newest: Cookie, now: float) -> None:
    """Make room for one: what is expired, else what is not secure, else anything; of these the least used (§5.7)."""
    expired = [key for key, each in group.items() if each.is_expired(now)]
    for key in expired:
        del group[key]
    if not expired:
        candidates = [key for key, each in group.items() if each is not newest]
        del group[min(candidates, key=lambda key: (group[key].secure, group[key].used))]
