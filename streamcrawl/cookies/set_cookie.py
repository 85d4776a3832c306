"""What a server sets: a `Set-Cookie` field taken apart, and whether it may be kept (§5.1.1, §5.6, §5.7)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from streamcrawl.cookies.cookie import Cookie, Refused, default_path, domain_matches, is_public_suffix

LONGEST_LIFE = 400 * 86_400.0
"""Seconds that a cookie lives at most (§5.5)."""
LONGEST_PAIR = 4096
"""Bytes of name and value together."""
LONGEST_ATTRIBUTE = 1024
"""Bytes of an attribute's value; a longer one is as if it were not there."""

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_WHITE = " \t"
_SECONDS = re.compile(r"-?[0-9]+")


class SetCookie(NamedTuple):
    """A `Set-Cookie` field, taken apart: attributes by name in lower case, of repeated ones the last."""

    name: str
    value: str
    attributes: dict[str, str]


def split_set_cookie(line: str, *, like_browsers: bool = False) -> SetCookie | None:
    """A `Set-Cookie` field taken apart; None if it is to be ignored (§5.6).

    Args:
        line: The field's value.
        like_browsers: See `CookieJar`.
    """
    parts = _split(line, like_browsers)
    return parts if isinstance(parts, SetCookie) else None


def _split(line: str, like_browsers: bool) -> SetCookie | str:
    """The field taken apart, or why it is ignored."""
    if _CONTROL.search(line):
        return "a control character"
    pair, _, rest = line.partition(";")
    name, equals, value = pair.partition("=")
    if not equals:
        name, value = "", pair
    name, value = name.strip(_WHITE), value.strip(_WHITE)
    if not (name or value):
        return "neither name nor value"
    if not (name or like_browsers):
        return "it has no name"
    if len(name) + len(value) > LONGEST_PAIR:
        return f"name and value have more than {LONGEST_PAIR} bytes"
    attributes: dict[str, str] = {}
    for part in rest.split(";") if rest else ():
        key, _, text = part.partition("=")
        key, text = key.strip(_WHITE).lower(), text.strip(_WHITE)
        if len(text) <= LONGEST_ATTRIBUTE and _counts(key, text, like_browsers):
            attributes[key] = text
    return SetCookie(name, value, attributes)


def _counts(key: str, text: str, like_browsers: bool) -> bool:
    """Whether an attribute is understood; one that is not leaves an earlier one of its name standing."""
    if key == "expires":
        return parse_date(text) is not None
    if key == "max-age":
        return _SECONDS.fullmatch(text) is not None
    if key == "domain":
        return bool(text) or like_browsers
    return True


def parse_set_cookie(
    line: str, host: str, path: str, secure: bool, now: float, *, like_browsers: bool = False
) -> Cookie | Refused:
    """The cookie that a response sets, or why it may not (§5.7).

    Args:
        line: One `Set-Cookie` field.
        host: That the response came from, in lower case.
        path: Of the URL that the response came from.
        secure: Whether it came over https.
        now: Seconds since the epoch.
        like_browsers: See `CookieJar`.
    """
    parts = _split(line, like_browsers)
    if isinstance(parts, str):
        return Refused(line, parts)
    name, value, attributes = parts
    domain = attributes.get("domain", "").removeprefix(".").lower()
    if domain and (problem := domain_problem(domain, host)):
        return Refused(line, problem)
    if domain and is_public_suffix(domain):
        domain = ""  # set by the suffix itself, for itself alone
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
    problem = _problem(cookie, given, secure)
    return Refused(line, problem) if problem else cookie


def domain_problem(domain: str, host: str) -> str:
    """Why `host` may not set a cookie for `domain`; empty if it may (§5.6.3; §5.7, steps 8 to 10)."""
    if not domain.isascii():
        return "the domain is not ASCII"
    if not domain_matches(host, domain):
        return f"{host} is not in the domain {domain}"
    if domain != host and is_public_suffix(domain):
        return f"{domain} is a public suffix"
    return ""


def _problem(cookie: Cookie, given_path: str, secure: bool) -> str:
    """What `Secure`, `SameSite=None` and the prefixes of a name demand (§5.7, steps 13 and 19 to 22)."""
    if cookie.secure and not secure:
        return "Secure, but it came over http"
    if cookie.same_site == "none" and not cookie.secure:
        return "SameSite=None without Secure"
    if not (cookie.name or cookie.value).startswith("__"):
        return ""
    name = cookie.name.lower()
    if not name:
        value = cookie.value.lower()
        return "a nameless cookie that looks like a prefix" if value.startswith(_PREFIXES) else ""
    if name.startswith(_SECURE_PREFIXES) and not cookie.secure:
        return f"the prefix {name[: name.index('-') + 1]} needs Secure"
    if name.startswith("__host-") and not (cookie.host_only and given_path == "/"):
        return "the prefix __host- needs Path=/ and no Domain"
    if name.startswith(_HTTP_PREFIXES) and not cookie.http_only:
        return "the prefix __http- needs HttpOnly"
    return ""


# Those with "http" are not in RFC 6265bis but in its successor, draft-ietf-httpbis-layered-cookies; browsers have them.
_HTTP_PREFIXES = ("__http-", "__host-http-")
_SECURE_PREFIXES = ("__secure-", "__host-", "__http-")
_PREFIXES = (*_SECURE_PREFIXES, *_HTTP_PREFIXES)


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
