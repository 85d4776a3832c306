"""robots.txt (RFC 9309): what a file says, what an answer means, and how long it holds."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import NamedTuple, Protocol, TypeAlias

from streamcrawl.core import Outcome
from streamcrawl.errors import InvalidURL
from streamcrawl.events import Event
from streamcrawl.headers import Headers
from streamcrawl.response import Response
from streamcrawl.urls import WEB_SCHEMES, Base, scheme_of

DEFAULT_AGENT = "streamcrawl"

PARSED = 500 * 1024
"""Bytes of a robots.txt that count. Source: RFC 9309 §2.5, which asks for no fewer."""


NOT_REACHED = "robots.txt unreachable"
"""Why requests are dropped whose host gave no robots.txt, and no word that there is none."""


class RequestRate(NamedTuple):
    """What a Request-rate line asks for: no more than so many requests in so many seconds."""

    requests: int
    seconds: float


class RobotsRules(Protocol):
    """What one robots.txt says. `agent` is a product name, or a whole User-Agent field."""

    @property
    def sitemaps(self) -> Sequence[str]:
        """URLs of sitemaps, as they stand in the file."""
        ...

    def allowed(self, url: str, agent: str) -> bool:
        """Whether the agent may fetch the URL."""
        ...

    def crawl_delay(self, agent: str) -> float | None:
        """Seconds that the agent is asked to leave between two requests."""
        ...

    def request_rate(self, agent: str) -> RequestRate | None:
        """How many requests the agent is asked to keep to."""
        ...


RobotsParser: TypeAlias = Callable[[bytes, str], RobotsRules]
"""(the file, its URL) -> its rules."""


class RobotsParsed(Event, frozen=True):
    """The robots.txt of `host` was read; `url` is where it was found, after redirects."""

    host: str
    url: str
    rules: RobotsRules

    @property
    def sitemaps(self) -> tuple[str, ...]:
        """The sitemaps that it names: absolute URLs, each once."""
        return absolute(self.rules.sitemaps, self.url)


def absolute(sitemaps: Iterable[str], url: str) -> tuple[str, ...]:
    """The addresses made absolute against that of the file, each once; what is no web URL is left out."""
    base, found = Base(url), dict[str, None]()
    for address in sitemaps:
        try:
            sitemap = base.join(address)
        except InvalidURL:
            continue
        if scheme_of(sitemap) in WEB_SCHEMES:
            found[sitemap] = None
    return tuple(found)


def target_of(url: str) -> str:
    """What follows the host in a URL, from its first slash on."""
    at = url.find("/", url.find("://") + 3)
    return "/" if at < 0 else url[at:]


def beginning(body: bytes) -> bytes:
    """The part of a file that counts: whole lines of its first 500 KiB."""
    if len(body) <= PARSED:
        return body
    # A rule that is cut off in the middle would forbid more than it says.
    return body[: max(body.rfind(b"\n", 0, PARSED), body.rfind(b"\r", 0, PARSED)) + 1]


def delay_asked(rules: RobotsRules, agent: str) -> float:
    """Seconds between two requests, by Crawl-delay and Request-rate: the slower of the two; 0: none is asked for."""
    delay, rate = rules.crawl_delay(agent), rules.request_rate(agent)
    asked = [0.0 if delay is None else delay]
    if rate is not None and rate.requests > 0:
        asked.append(rate.seconds / rate.requests)
    return max((each for each in asked if 0 < each < math.inf), default=0.0)


class Standing(Enum):
    """What asking for a robots.txt has shown."""

    RULES = "there is a file"
    OPEN = "there is none: everything is allowed"
    UNREACHABLE = "nobody knows: nothing is allowed for now"


def standing(outcome: Outcome) -> Standing:
    """What the outcome of a request for a robots.txt means.

    Source: RFC 9309 §2.3.1. 429 says "not now", not "there is none": it stands with the server's errors.
    """
    if not isinstance(outcome, Response):
        return Standing.UNREACHABLE
    if 200 <= outcome.status < 300:
        return Standing.RULES
    # A 3xx that arrives here could not be followed, which §2.3.1.2 lets stand for a file that is missing.
    return Standing.OPEN if 300 <= outcome.status < 500 and outcome.status != 429 else Standing.UNREACHABLE


# Possessive, and begun at the beginning of a name only: 64 KiB of blanks must not be looked at again and again.
_DIRECTIVE = re.compile(r'(?<![^\s,])([^\s=,"]++)\s*+(?:=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s,]*+)))?+\s*+(?:,|$)')


def freshness(headers: Headers, now: float) -> float | None:
    """Seconds for which an answer says that it holds; None: it does not say.

    Args:
        headers: Of the answer.
        now: Seconds since the epoch, for an Expires without a Date.

    Source: RFC 9111 §4.2.1 (max-age before Expires), §5.1 (Age), §5.2.2 (no-cache, no-store), §5.3 (Expires).
    """
    directives: dict[str, str] = {}
    for name, quoted, bare in _DIRECTIVE.findall(headers.get("cache-control") or ""):
        directives.setdefault(name.lower(), quoted or bare)
    if "no-store" in directives or directives.get("no-cache") == "":  # no-cache="field" is about that field alone
        return 0.0
    age = _seconds((headers.get("age") or "").partition(",")[0].strip()) or 0.0
    most = _seconds(directives.get("max-age", ""))
    if most is None:
        expires = headers.get("expires")
        if expires is None:
            return 0.0 if "max-age" in directives else None
        sent = _date(headers.get("date"))
        until = _date(expires)
        most = 0.0 if until is None else until - (now if sent is None else sent)
    return max(0.0, most - age)


def _seconds(text: str) -> float | None:
    return float(text[:12]) if text.isascii() and text.isdecimal() else None


def _date(text: str | None) -> float | None:
    try:
        return None if text is None else parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
