"""Cookies of the user's own: what `Request.cookies` may be, and the dicts that browsers and their tools give."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf, isfinite, nan
from typing import Any, TypeAlias, cast

from streamcrawl.cookies.cookie import Cookie, is_public_suffix
from streamcrawl.cookies.set_cookie import domain_problem
from streamcrawl.mistakes import shortened
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
_SAME_SITE = {
    **{name: name for name in ("lax", "none", "strict")},
    "no_restriction": "none",
    **dict.fromkeys(("", "unspecified", "default"), ""),
}

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
    if isinstance(cookies, str | bytes) or not isinstance(cookies, Iterable):  # pyright: ignore - users err
        raise TypeError(f"cookies={type(cookies).__name__}: a dict, or a list of dicts or Cookies")
    made: list[Cookie] = []
    if isinstance(cookies, Mapping):
        for name, value in cast("Mapping[str, Any]", cookies).items():
            if not name:
                raise ValueError(f"cookie {name!r}: it has no name")
            made.append(_told({"name": name, "value": value, "secure": https}, host, name))
    else:
        for number, each in enumerate(cookies, 1):
            if isinstance(each, Mapping):
                made.append(_told({"secure": https, **each}, host, each.get("name", number)))
            elif isinstance(each, Cookie):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
                made.append(replace(each))
            else:
                raise TypeError(f"a cookie is a dict or a Cookie, not {type(each).__name__}")
    for cookie in made:
        _fit(cookie, host)
        if not cookie.created:
            cookie.created = cookie.used = now
    return made


def _told(fields: Mapping[str, Any], host: str, which: object) -> Cookie:
    """The cookie that a dict tells. Raises: ValueError that says which one is wrong, by its name or its number."""
    try:
        return cookie_of(fields, host)
    except ValueError as error:
        raise ValueError(f"cookie {_shown(which)}: {error}") from None


def _shown(name: object) -> str:
    """The name for an error: never what may be a value."""
    return shortened(re.split("[=;]", name)[0] if isinstance(name, str) else name, 60)


def _fit(cookie: Cookie, host: str) -> None:
    """Raises: ValueError if the cookie would not arrive as it is, or if `host` may not have it."""
    name, value = cookie.name, cookie.value
    for field in ("name", "value", "path", "same_site"):
        if not isinstance(getattr(cookie, field), str):
            raise ValueError(f"cookie {_shown(name)}: {field} is {type(getattr(cookie, field)).__name__}, and no text")
    problem = ""
    if "=" in name or name != name.strip(_WHITE) or _NOT_SENT.search(name) or _NOT_SENT.search(value):
        problem = "no control characters, no semicolons, no = in the name"
    elif not (name or value):
        problem = "a cookie with neither name nor value"
    elif not cookie.path.startswith("/"):
        problem = f"path is {shortened(cookie.path, 60)}, and does not start with a slash"
    elif cookie.same_site not in _SAME_SITE.values():
        problem = f"same_site is {shortened(cookie.same_site, 60)}, neither strict nor lax nor none"
    else:
        problem = domain_problem(cookie.domain, host)
        if not problem and cookie.host_only and cookie.domain != host:
            problem = f"it is for {cookie.domain} alone, not for {host}"
    if problem:
        raise ValueError(f"cookie {_shown(name)}: {problem}")
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

    Raises: ValueError for a field that is missing or not what it may be, and with `host` for one that is not known. It
        shows no value.
    """
    known: dict[str, Any] = {}
    for name, value in fields.items():
        plain = str(name).lower()
        field = _NAMES.get(plain)
        if field is not None:
            if value is not None:
                known[field] = value
        elif host and plain not in _PASSED_OVER:  # files have what tools come up with
            raise ValueError(f"unknown field {name!r}")
    given = _text(known, "domain", "").lower()
    domain = given.removeprefix(".") or host
    if not domain or not _HOST.fullmatch(domain):
        raise ValueError(f"{given!r} is no domain" if given else "no domain")
    # With a request, as in a Set-Cookie field; else as browsers write down what they have.
    alone = not given if host else not given.startswith(".")
    path = _text(known, "path", "/") or "/"
    if not path.startswith("/"):
        if host:
            raise ValueError(f"path is {shortened(path, 60)}, and does not start with a slash")
        path = "/"
    if not host:  # files have what tools come up with: §5.6.7 takes an unknown SameSite for none
        known = {name: _plain(name, value) for name, value in known.items()}
    return Cookie(
        wire(_text(known, "name")),
        wire(_text(known, "value")),
        domain,
        wire(path),
        host_only=_flag(known, "host_only", alone),
        secure=_flag(known, "secure"),
        http_only=_flag(known, "http_only"),
        same_site=_same_site(known.get("same_site", "")),
        expires=None if _flag(known, "session") else _seconds(known.get("expires")),
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


def _plain(name: str, value: Any) -> Any:
    """What a tool meant that wrote text for a truth, or a SameSite that nobody knows."""
    if name == "same_site":
        return value if isinstance(value, str) and value.lower() in _SAME_SITE else ""
    if name in ("secure", "http_only", "host_only", "session") and isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower(), value)
    return value


def _flag(fields: Mapping[str, Any], name: str, default: bool = False) -> bool:
    """Raises: ValueError if it is neither true nor false; 1 and 0 are."""
    value = fields.get(name, default)
    if not isinstance(value, int | float) or value not in (0, 1):
        raise ValueError(f"{name} is {shortened(value, 60)}, neither true nor false")
    return bool(value)


def _same_site(value: object) -> str:
    """Raises: ValueError for a word that nobody has for it."""
    found = _SAME_SITE.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"same_site is {shortened(value, 60)}, neither strict nor lax nor none")
    return found


def _seconds(value: object) -> float | None:
    """Raises: ValueError if it is no number."""
    if value is None:
        return None
    try:
        seconds = nan if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    except OverflowError:
        seconds = inf
    if not isfinite(seconds):
        raise ValueError(f"expires is {shortened(value, 60)}, and no number of seconds")
    return seconds if seconds > 0 else None
