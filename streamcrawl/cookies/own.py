"""Cookies of the user's own: what `Request.cookies` may be, and the dicts that browsers and their tools give."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import isfinite
from typing import Any, TypeAlias, cast

from streamcrawl.cookies.cookie import Cookie, is_public_suffix
from streamcrawl.cookies.set_cookie import domain_problem
from streamcrawl.urls import hostname_of

OwnCookies: TypeAlias = Mapping[str, str] | Iterable[Cookie | Mapping[str, Any]]
"""Values by name, for the whole host; or Cookies, or dicts as browsers and their tools have them."""

_NAMES = {
    **{name: name for name in ("name", "value", "domain", "path", "secure", "expires")},
    **dict.fromkeys(("http_only", "httponly"), "http_only"),
    **dict.fromkeys(("host_only", "hostonly"), "host_only"),
    **dict.fromkeys(("same_site", "samesite"), "same_site"),
    **dict.fromkeys(("expiration_date", "expirationdate", "expiry"), "expires"),  # extensions; Selenium
    "session": "session",
}
"""How each field may be called, in lower case."""
_PASSED_OVER = frozenset(
    {"id", "jar", "partitionkey", "priority", "sameparty", "size", "sourceport", "sourcescheme", "storeid", "url"}
)
_SAME_SITE = {"no_restriction": "none", "none": "none", "lax": "lax", "strict": "strict"}

_HOST = re.compile(r"[!-.0-9;-~]+|\[[0-9a-f:.]+\]")
"""What a normalized URL may have for its host, or near enough: ASCII, no colon, no slash, no blank."""
_NOT_SENT = re.compile(r"[\x00-\x08\x0a-\x1f\x7f;]")
_WHITE = " \t"


def own_cookies(url: str, cookies: OwnCookies, now: float) -> list[Cookie]:
    """The cookies that the user gives with a request to this normalized URL.

    Those that name no domain are for its host alone, and those that do not say `secure` are secure if it is https.

    Raises: ValueError for one that would not arrive as it is, or not at this host; TypeError for what is no cookie.
    """
    host, https = hostname_of(url), url.startswith("https:")
    if isinstance(cookies, str | bytes):
        raise TypeError(f"cookies={type(cookies).__name__}: a dict, or a list of dicts or Cookies")
    made: list[Cookie] = []
    if isinstance(cookies, Mapping):
        for name, value in cast("Mapping[str, Any]", cookies).items():
            if not name:
                raise ValueError(f"cookie {name!r}: it has no name")
            made.append(cookie_of({"name": name, "value": value, "secure": https}, host))
    else:
        for each in cookies:
            if isinstance(each, Mapping):
                made.append(cookie_of({"secure": https, **each}, host))
            elif isinstance(each, Cookie):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
                made.append(replace(each))
            else:
                raise TypeError(f"a cookie is a dict or a Cookie, not {type(each).__name__}")
    for cookie in made:
        _fit(cookie, host)
        if not cookie.created:
            cookie.created = cookie.used = now
    return made


def _fit(cookie: Cookie, host: str) -> None:
    """Raises: ValueError if the cookie would not arrive as it is, or if `host` may not have it."""
    name, value = cookie.name, cookie.value
    if "=" in name or name != name.strip(_WHITE) or _NOT_SENT.search(name) or _NOT_SENT.search(value):
        raise ValueError(f"cookie {name!r} = {value!r}: no control characters, no semicolons, no = in the name")
    if not (name or value):
        raise ValueError("a cookie with neither name nor value")
    problem = domain_problem(cookie.domain, host)
    if problem or (cookie.host_only and cookie.domain != host):
        raise ValueError(f"cookie {name!r}: {problem or f'it is for {cookie.domain} alone, not for {host}'}")
    if not cookie.host_only and is_public_suffix(cookie.domain):
        cookie.host_only = True


def wire(text: str) -> str:
    """Text as its UTF-8 bytes, kept by way of Latin-1; bytes that were read and are no UTF-8 stay what they are."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("latin-1")


def cookie_of(fields: Mapping[str, Any], host: str = "") -> Cookie:
    """The cookie that a dict tells, be it as we name the fields or as extensions, Playwright or Selenium do.

    A domain with a dot before it, or `hostOnly` of false, is for subdomains too.

    Args:
        fields: At least name and value, and the domain unless `host` is given. `expires` (`expirationDate`, `expiry`)
            is seconds since the epoch; -1 and 0, or `session` of true: none.
        host: For a cookie that names no domain.

    Raises: ValueError for a field that is missing or of the wrong type, and with `host` for one that is not known.
    """
    known: dict[str, Any] = {}
    for name, value in fields.items():
        field = _NAMES.get(name.lower())
        if field is not None:
            if value is not None:
                known[field] = value
        elif host and name.lower() not in _PASSED_OVER:  # files have what tools come up with
            raise ValueError(f"unknown field {name!r}")
    given = _text(known, "domain", "").lower()
    domain = given.removeprefix(".") or host
    if not domain or not _HOST.fullmatch(domain):
        raise ValueError(f"{given!r} is no domain" if given else "no domain")
    alone = known.get("host_only")
    if alone is None:
        # With a request, as in a Set-Cookie field; else as browsers write down what they have.
        alone = not given if host else not given.startswith(".")
    path = _text(known, "path", "/")
    return Cookie(
        wire(_text(known, "name")),
        wire(_text(known, "value")),
        domain,
        wire(path) if path.startswith("/") else "/",
        host_only=bool(alone),
        secure=bool(known.get("secure", False)),
        http_only=bool(known.get("http_only", False)),
        same_site=_SAME_SITE.get(str(known.get("same_site", "")).lower(), ""),
        expires=None if known.get("session") else _seconds(known.get("expires")),
    )


def _text(fields: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = fields.get(name, default)
    if value is None:
        raise ValueError(f"no {name}")
    if isinstance(value, int | float) and name == "value":
        value = str(value)
    if not isinstance(value, str):
        raise ValueError(f"{name} is {type(value).__name__}, and no text")
    return value


def _seconds(value: object) -> float | None:
    """Raises: ValueError if it is no number."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"expires is {value!r}, and no number of seconds")
    return float(value) if value > 0 else None
