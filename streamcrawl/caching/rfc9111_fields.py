"""Header fields that a cache reads: Cache-Control, dates, ages, Vary; and those that it keeps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeAlias

from streamcrawl.caching.entry import Vary
from streamcrawl.headers import Headers

Directives: TypeAlias = dict[str, str | None]
"""Lower-case name to value. None: it has none. "": it has one that cannot be relied on."""

LONGEST = 2**31
"""Seconds: what is longer counts as this (RFC 9111 §1.2.2)."""

_PART = re.compile(r'(?:[^,"]|"[^"]*"|")+')


def directives(headers: Headers) -> Directives:
    """What all Cache-Control lines say together.

    Two different values of one directive, and spaces around "=", make a value that cannot be relied on; lists of
    field names are joined.

    Source: RFC 9111 §4.2.1 (conflicts), §5.2 (syntax).
    """
    found: Directives = {}
    if "cache-control" not in headers:
        return found
    for line in headers.getall("cache-control"):
        for part in _PART.findall(line):
            name, equals, value = part.partition("=")
            bare = name.strip().lower()
            if bare:
                _add(found, bare, _unquoted(name.lstrip(), value) if equals else None)
    return found


def _unquoted(name: str, value: str) -> str:
    text = value.rstrip()
    if name != name.rstrip() or text != text.lstrip():
        return ""
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] == '"' else text


def _add(found: Directives, name: str, value: str | None) -> None:
    if name not in found or found[name] == value:
        found[name] = value
    elif name in ("no-cache", "private"):
        before = found[name]
        # Without names it is about the whole response: the stricter one.
        found[name] = None if before is None or value is None else f"{before},{value}"
    else:
        found[name] = ""


def seconds(value: str | None) -> int | None:
    """A delta-seconds, LONGEST at most; None for anything else. Source: RFC 9111 §1.2.2."""
    if value is None or not value.isascii() or not value.isdigit():
        return None
    return min(int(value[-15:]) if len(value.lstrip("0")) <= 15 else LONGEST, LONGEST)


def names(value: str) -> list[str]:
    """The lower-case members of a list of field names."""
    return [name for each in value.split(",") if (name := each.strip().lower())]


_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: at for at, name in enumerate(_NAMES, 1)}
_TIME = r"(?P<h>\d\d):(?P<i>\d\d):(?P<s>\d\d)"
_MONTH = r"(?P<m>[a-z]{3})"
_DATES = tuple(
    re.compile(form, re.IGNORECASE | re.ASCII)
    for form in (
        rf"[a-z]{{3}}, (?P<d>\d\d) {_MONTH} (?P<y>\d{{4}}) {_TIME} gmt",  # IMF-fixdate
        rf"[a-z]{{6,9}}, (?P<d>\d\d)-{_MONTH}-(?P<y>\d\d) {_TIME} gmt",  # RFC 850
        rf"[a-z]{{3}} {_MONTH} (?P<d>[ \d]\d) {_TIME} (?P<y>\d{{4}})",  # asctime
    )
)


def http_date(text: str | None, now: float) -> float | None:
    """Seconds since the epoch of an HTTP-date in one of its three forms; None for anything else.

    Source: RFC 9110 §5.6.7. A year of two digits that is more than 50 years ahead of `now` was a century ago.
    """
    if not text or len(text) > _LONGEST_DATE:
        return None
    return _moment(text.strip(), datetime.fromtimestamp(now, UTC).year)


_LONGEST_DATE = 64
"""Characters: more than any date has, and little enough to be remembered."""


@lru_cache(maxsize=4096)
def _moment(text: str, this_year: int) -> float | None:
    match = next((found for form in _DATES if (found := form.fullmatch(text))), None)
    month = None if match is None else _MONTHS.get(match["m"].lower())
    if match is None or month is None:
        return None
    year = int(match["y"])
    if len(match["y"]) == 2:
        year += this_year - this_year % 100
        if year > this_year + 50:
            year -= 100
    # A leap second counts as the second before it: datetime has none.
    time = int(match["h"]), int(match["i"]), min(int(match["s"]), 59)
    try:
        return datetime(year, month, int(match["d"]), *time, tzinfo=UTC).timestamp()
    except ValueError:
        return None


def format_date(moment: float) -> str:
    """An IMF-fixdate."""
    return _format_second(int(moment // 1))


@lru_cache(maxsize=16)
def _format_second(moment: int) -> str:
    at = datetime.fromtimestamp(moment, UTC)
    month = _NAMES[at.month - 1].capitalize()
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[at.weekday()]
    return f"{day}, {at.day:02} {month} {at.year:04} {at:%H:%M:%S} GMT"


def age_of(headers: Headers) -> int:
    """The Age field in seconds: its first member, without parameters; 0 if there is none, or if it is no number.

    Source: RFC 9111 §5.1.
    """
    lines = headers.getall("age")
    return (seconds(re.split("[,;]", lines[0], maxsplit=1)[0].strip()) or 0) if lines else 0


def vary_of(headers: Headers, request: Headers) -> Vary | None:
    """What the response to `request` varies by; None for "*": it fits no other request at all.

    Source: RFC 9110 §12.5.5, RFC 9111 §4.1.
    """
    if "vary" not in headers:
        return ()
    varying = {name for line in headers.getall("vary") for name in names(line)}
    if "*" in varying:
        return None
    return tuple((name, normalized(name, request)) for name in sorted(varying))


def fits(vary: Vary, request: Headers, stored: Sequence[tuple[str, str]]) -> bool:
    """Whether a stored response with these fields may be given out for a request.

    A response in the one language that the request likes best fits, whatever the languages it was chosen from.
    """
    for name, value in vary:
        asked = normalized(name, request)
        if asked != value and not (name == "accept-language" and asked and _is_favourite(asked, stored)):
            return False
    return True


_PREFERENCES = ("accept", "accept-charset", "accept-encoding", "accept-language")


def normalized(name: str, request: Headers) -> str | None:
    """A request's field so that what means the same is the same: lines combined, white space gone.

    In Accept fields, case and the order of what is liked equally well do not count either.

    Source: RFC 9111 §4.1.
    """
    lines = request.getall(name)
    if not lines:
        return None
    members = [member for line in lines for each in _PART.findall(line) if (member := " ".join(each.split()))]
    if name in _PREFERENCES:
        members = sorted(re.sub(r"\s*([;=])\s*", r"\1", member.lower()) for member in members)
    return ",".join(members)


def _is_favourite(accepted: str, stored: Sequence[tuple[str, str]]) -> bool:
    language = Headers(stored).get("content-language")
    return language is not None and _favourite(accepted) == language.lower()


def _favourite(accepted: str) -> str | None:
    """The one language with the highest quality, if there is one."""
    liked: list[tuple[float, str]] = []
    for member in accepted.split(","):
        tag, _, quality = member.partition(";q=")
        try:
            liked.append((float(quality or 1), tag))
        except ValueError:
            return None
    liked.sort(reverse=True)
    return liked[0][1] if len(liked) == 1 or liked[0][0] > liked[1][0] else None


HOP_BY_HOP = frozenset(
    (
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authentication-info", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    )
)


def unkept(headers: Headers, says: Directives) -> frozenset[str]:
    """The lower-case names of a response's fields that are not stored: those of the connection, and what it names.

    Args:
        says: Its Cache-Control, whose `no-cache="…"` names fields.

    Source: RFC 9110 §7.6.1 (Connection), RFC 9111 §3.1, §5.2.2.4.
    """
    connection, named = headers.get("connection"), says.get("no-cache")
    if not named and (connection is None or connection.lower() in ("keep-alive", "close")):
        return HOP_BY_HOP
    return HOP_BY_HOP.union(names(connection or ""), names(named or ""))


def kept_fields(headers: Headers, gone: frozenset[str] | None = None) -> tuple[tuple[str, str], ...]:
    """The fields of a response that are stored: all but those of `unkept`, unless other names are given.

    Warnings about freshness went with RFC 7234.
    """
    if gone is None:
        gone = unkept(headers, directives(headers))
    kept = [pair for pair in headers.pairs() if pair[0].lower() not in gone]
    if "warning" in headers:
        kept = [pair for pair in kept if pair[0].lower() != "warning" or not pair[1].lstrip().startswith("1")]
    return tuple(kept)


_OF_THE_BODY = frozenset(("content-encoding", "content-length", "content-md5", "content-range", "etag"))
"""What describes the stored body stays with it. An ETag too: servers send another one with a 304 (Apache's "-gzip")."""


def updated_fields(stored: Sequence[tuple[str, str]], news: Headers) -> list[tuple[str, str]]:
    """Stored fields, with those of a 304 or of the answer to a HEAD in place of theirs. Source: RFC 9111 §3.2."""
    staying = _OF_THE_BODY if any(name.lower() == "etag" for name, _ in stored) else _OF_THE_BODY - {"etag"}
    fresh = [pair for pair in kept_fields(news) if pair[0].lower() not in staying]
    # The age that it had when it was stored is over, whether the server sends one or not.
    replaced = {name.lower() for name, _ in fresh} | {"age"}
    return [pair for pair in stored if pair[0].lower() not in replaced] + fresh
