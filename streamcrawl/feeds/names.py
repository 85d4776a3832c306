"""Parameters in the URI of a feed: `{part:05}`, `{time}`, `{name}`.

Scrapy's spelling is taken too: `%(batch_id)05d`, `%(time)s`, `%(batch_time)s`, `%(name)s`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from inspect import signature
from typing import Any, TypeAlias, cast

from streamcrawl.core import Run
from streamcrawl.errors import SinkError

UriParams: TypeAlias = "Mapping[str, Any] | Callable[..., Mapping[str, Any] | None]"
"""Values, or a function of those known; it may take the spider as its second argument."""

PART, PART_TIME = ("part", "batch_id"), ("part_time", "batch_time")

_FIELD = re.compile(
    r"\{(?P<ours>[A-Za-z_]\w*)(?::(?P<spec>[^{}]*))?\}|%\((?P<theirs>\w+)\)(?P<format>[#0\- +]*\d*(?:\.\d+)?[a-z])"
)


class Stamp(datetime):
    """A date that is text for file names unless its form is said: `{time:%Y-%m-%d}`."""

    def __str__(self) -> str:
        return self.isoformat().replace(":", "-")

    def __format__(self, spec: str) -> str:
        return self.strftime(spec) if spec else str(self)


def stamp(seconds: float, *, exact: bool = False) -> Stamp:
    """In UTC; `exact`: with microseconds."""
    made = Stamp.fromtimestamp(seconds, UTC)
    return made if exact else made.replace(microsecond=0)


def names_in(uri: str) -> set[str]:
    """The parameters that it has."""
    return {found["ours"] or found["theirs"] for found in _FIELD.finditer(uri)}


def has_part(uri: str) -> bool:
    """Whether each part gets a name of its own."""
    return not names_in(uri).isdisjoint((*PART, *PART_TIME))


def has_part_time(uri: str) -> bool:
    return not names_in(uri).isdisjoint(PART_TIME)


def has_time(uri: str) -> bool:
    return "time" in names_in(uri)


def filled(uri: str, values: Mapping[str, Any]) -> str:
    """The URI with the values that are known; parameters that are not stay as they are. Raises: ValueError."""

    def value(found: re.Match[str]) -> str:
        name = found["ours"] or found["theirs"]
        if name not in values:
            return found[0]
        given = values[name]
        try:
            if found["theirs"]:
                return str(f"%{found['format']}" % given)
            spec = found["spec"] or ""
            if name in PART:
                return str(given).zfill(int(spec or 0))
            return format(given, spec)
        except (TypeError, ValueError) as error:
            raise ValueError(f"feed {uri!r}: {found[0]}: {error}") from None

    return _FIELD.sub(value, uri)


def of_part(uri: str, part: int, began: float) -> str:
    """The URI of a part: by its number, from 1, and the time at which it began."""
    at = stamp(began, exact=True)
    return filled(uri, {**dict.fromkeys(PART, part), **dict.fromkeys(PART_TIME, at)})


def check(uri: str) -> None:
    """See that the parameters of parts can be written so. Raises: ValueError."""
    of_part(uri, 1, 0.0)
    filled(uri, {"time": stamp(0.0)})


def _takes_spider(params: Callable[..., Any]) -> bool:
    """Whether it has a second parameter, as Scrapy's functions have it."""
    needed = [each for each in signature(params).parameters.values() if each.default is each.empty]
    return len(needed) == 2 and all(each.kind is not each.KEYWORD_ONLY for each in needed)


def of_run(uri: str, run: Run, began: float, params: UriParams | None) -> str:
    """The URI with everything but the parameters of parts.

    Args:
        began: When the crawl did, or its job: seconds since the epoch.
        params: Further values, or a function that takes those known and gives further ones.

    Raises: SinkError for a parameter that nobody knows.
    """
    spider: Any = run.spider
    values: dict[str, Any] = {"time": stamp(began)}
    if callable(params):
        known = {**values, "name": getattr(spider, "name", ""), "spider": spider}
        given = params(known, spider) if _takes_spider(params) else params(known)
        values |= cast("Mapping[str, Any]", given or {})
    else:
        values |= params or {}
    unknown: list[str] = []
    for name in sorted(names_in(uri) - values.keys() - {*PART, *PART_TIME}):
        if spider is not None and hasattr(spider, name):
            values[name] = getattr(spider, name)
        else:
            unknown.append(name)
    if unknown:
        raise SinkError(
            f"feed {uri}: no value for {', '.join(unknown)} in its name: give uri_params={{{unknown[0]!r}: …}}"
        )
    return filled(uri, values)
