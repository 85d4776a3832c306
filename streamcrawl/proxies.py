"""A pool of proxies: whose turn it is, which of them works, and how long one that does not is left alone."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from random import Random
from typing import Literal, NamedTuple, TypeAlias, TypeVar, get_args

from streamcrawl.arguments import telling
from streamcrawl.backoff import Wait, backoff, waited
from streamcrawl.core import Again, Failed, Outcome, Request, Run
from streamcrawl.errors import (
    AddressRefused,
    BodyTooLarge,
    DecodeError,
    FetchError,
    ProxyError,
    StreamcrawlError,
    UnsupportedScheme,
)
from streamcrawl.events import Event
from streamcrawl.proxy_urls import in_encoding, proxy_address
from streamcrawl.response import BodyStream, Response
from streamcrawl.streams.counting import count
from streamcrawl.transport.body import shown
from streamcrawl.urls import host_of

Order: TypeAlias = Literal["round robin", "random", "least used"]
Ban: TypeAlias = Callable[[Response], bool]
"""Whether a response says that the server, or the proxy, will not serve us through this proxy."""
Sticky: TypeAlias = Callable[[Request], str | None]
"""A request's session: requests of one name go through one proxy; None: through any."""

MOST_KEPT = 10_000
"""Sessions, and failed URLs, that are remembered."""
PROBE_SECONDS = 5.0
"""What waits looks again so often whether a proxy that is being tried out works."""
MOST_TRIED = 8
"""Proxies that are remembered as having failed for one URL."""
GUESSES = 8
"""How often chance may point at a resting proxy before the others are listed."""


_V = TypeVar("_V")


class ProxyRested(Event, frozen=True):
    """A proxy of a rotation failed, and is left alone for some seconds. `proxy`: its URL without credentials."""

    proxy: str
    seconds: float
    reason: str


class ProxyRestored(Event, frozen=True):
    """A proxy that had been left alone works again."""

    proxy: str


@telling
def banned(*statuses: int, body: str | bytes | None = None) -> Ban:
    """A ban test: the status is one of these (none: any), and the body has this pattern in it.

    Args:
        statuses: HTTP statuses.
        body: A regular expression that is searched in the body, case ignored; None: any body will do.

    Raises: ValueError if it would take every response for a ban, or for a bad pattern; TypeError for what is neither
        a status nor a pattern.
    """
    if not statuses and body is None:
        raise ValueError("banned(): name a status or a pattern of the body; it would take every response for a ban")
    if body is None:
        return _ban_test(statuses)
    try:
        pattern = re.compile(body.encode() if isinstance(body, str) else body, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"banned({body=}): no regular expression: {error}") from None
    return _ban_test(statuses, pattern)


def _ban_test(statuses: Collection[int], pattern: re.Pattern[bytes] | None = None) -> Ban:
    def ban(response: Response) -> bool:
        if statuses and response.status not in statuses:
            return False
        return pattern is None or (response.stream is None and pattern.search(response.body) is not None)

    return ban


@dataclass(frozen=True, slots=True, repr=False)
class Rotation:
    """What `rotation` returns. Its `repr` shows no credentials."""

    urls: tuple[str, ...]
    order: Order
    sticky: Sticky | None
    rest: Wait
    doubts: int
    ban: Ban | None
    patience: float

    def __repr__(self) -> str:
        return f"<rotation of {len(self.urls)} proxies, {self.order}>"


@telling
def rotation(
    urls: Iterable[str],
    *,
    order: Order = "round robin",
    sticky: Literal["host", "cookiejar"] | Sticky | None = None,
    rest: Wait = backoff(10.0, ceiling=600.0),  # noqa: B008 - a pure function, made once
    doubts: int = 3,
    ban: Ban | Collection[int] | None = None,
    patience: float = 600.0,
) -> Rotation:
    """Proxies that take turns. One that fails is left alone for a while, and comes back.

    Args:
        urls: The proxies' URLs, credentials included; one that is named twice counts once.
        order: Whose turn it is; "least used" goes by the requests that a proxy has under way.
        sticky: Requests of the same "host" or "cookiejar", or of the same name that a function of the request gives,
            go through one proxy as long as it works.
        rest: Seconds for which a proxy is left alone after its n-th failure in a row, n from 1.
        doubts: Failures in a row that may be the server's fault as well, until they count as one of the proxy's.
        ban: Statuses, or a function of the response, that mean that the proxy is not wanted; see `banned`.
        patience: Seconds for which requests wait when no proxy works; after that they fail at once.

    Raises: ValueError for no proxy, a URL that is none, an unknown `order` or `sticky`, `doubts` < 1, `patience` < 0;
        TypeError for what is no function, no status, or no number.
    """
    chosen = tuple(dict.fromkeys(urls))
    if isinstance(urls, str) or not chosen:
        raise ValueError("rotation(): it takes several URLs of proxies")
    for url in chosen:
        proxy_address(url)
    if order not in get_args(Order):
        raise ValueError(f"rotation(order={order!r}): one of {', '.join(get_args(Order))}")
    if not (sticky is None or callable(sticky) or sticky in _STICKY):
        raise ValueError(f"rotation(sticky={sticky!r}): 'host', 'cookiejar', a function of the request, or None")
    if doubts < 1:
        raise ValueError(f"rotation(doubts={doubts!r}): 1 or more")
    if not patience >= 0:
        raise ValueError(f"rotation(patience={patience!r}): 0 seconds or more")
    test = ban if ban is None or callable(ban) else _ban_test(frozenset(ban)) if ban else None
    session = _STICKY[sticky] if isinstance(sticky, str) else sticky
    return Rotation(chosen, order, session, rest, doubts, test, patience)


_STICKY: dict[str, Sticky] = {
    "host": lambda request: host_of(request.url),
    "cookiejar": lambda request: request.cookiejar,
}


class Verdict(Enum):
    """What an outcome says of the proxy that it came through."""

    WORKS = "works"
    NOTHING = "nothing"
    DOUBT = "doubt"
    """It may as well be the server's fault."""
    FAULT = "fault"


_OURS = (AddressRefused, BodyTooLarge, DecodeError, UnsupportedScheme)


def verdict(outcome: Outcome, ban: Ban | None) -> Verdict:
    """What an outcome says of the proxy that it came through."""
    if isinstance(outcome, Response):
        # RFC 9110 §15.5.8: only a proxy asks for Proxy-Authorization.
        wrong = outcome.status == 407 or (ban is not None and ban(outcome))
        return Verdict.FAULT if wrong else Verdict.WORKS
    if not isinstance(outcome, Failed):
        return Verdict.NOTHING
    error = outcome.error
    if isinstance(error, ProxyError):
        return Verdict.DOUBT if error.beyond else Verdict.FAULT
    if isinstance(error, _OURS) or type(error) in (FetchError, StreamcrawlError):
        return Verdict.NOTHING
    return Verdict.DOUBT


class Member:
    """A proxy of a pool, and how it is."""

    __slots__ = ("doubts", "failures", "name", "under_way", "until", "url", "uses")

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = proxy_address(url).url
        self.uses = 0
        self.under_way = 0
        self.doubts = 0
        self.failures = 0
        """In a row; while there are any, one request at a time tries it out."""
        self.until = 0.0
        """Not to be used before, on the run's monotonic clock."""

    def free(self, now: float) -> bool:
        return self.until <= now and not (self.failures and self.under_way)

    def __repr__(self) -> str:
        return f"<proxy {self.name}: {self.under_way} under way, {self.uses} uses, {self.failures} failures in a row>"


class Change(NamedTuple):
    """What an outcome changed: the proxy rests for some seconds, or (0) it works again."""

    seconds: float


class Pool:
    """A rotation in one run. Every `take` is followed by a `landed`."""

    def __init__(self, rotation: Rotation, random: Random, encoding: str = "utf-8") -> None:
        self._rotation = rotation
        self._random = random
        urls = dict.fromkeys(in_encoding(url, encoding) for url in rotation.urls)
        self.members = {url: Member(url) for url in urls}
        self._order = list(self.members.values())
        self._next = 0
        self._sessions: OrderedDict[str, Member] = OrderedDict()
        self._tried: OrderedDict[str, tuple[Member, ...]] = OrderedDict()
        """The proxies through which a URL failed; what is sent again takes others."""
        self._none_since: float | None = None
        """Since when no proxy works."""

    def take(self, request: Request, now: float) -> Member | None:
        """The proxy for a request; None: none of them is to be used now."""
        sticky = self._rotation.sticky
        session = None if sticky is None else sticky(request)
        member = None if session is None else self._sessions.get(session)
        if member is None or not member.free(now):
            avoid = self._tried.get(request.url, ()) if request.attempt else ()
            member = self._choose(now, avoid)
            if member is None:
                if self._none_since is None:
                    self._none_since = now
                return None
        if session is not None:
            _remember(self._sessions, session, member)
        member.uses += 1
        member.under_way += 1
        return member

    def join(self, url: str) -> None:
        """Say that a request goes through the proxy of this URL, if it is one of the pool, without asking."""
        member = self.members.get(url)
        if member is not None:
            member.uses += 1
            member.under_way += 1

    def landed(self, member: Member, outcome: Outcome, judged: Verdict, now: float) -> Change | None:
        """Say what came of a request that went through `member`; gives what changed by it."""
        member.under_way = max(0, member.under_way - 1)
        if judged is Verdict.NOTHING:
            return None
        url = outcome.request.url
        if judged is not Verdict.WORKS or (isinstance(outcome, Response) and outcome.status >= 400):
            _remember(self._tried, url, (*self._tried.get(url, ())[1 - MOST_TRIED :], member))
        elif self._tried:
            self._tried.pop(url, None)
        return self._restored(member) if judged is Verdict.WORKS else self._blamed(member, judged, now)

    def _restored(self, member: Member) -> Change | None:
        self._none_since = None
        member.doubts = 0
        if not member.failures:
            return None
        member.failures, member.until = 0, 0.0
        return Change(0.0)

    def _blamed(self, member: Member, judged: Verdict, now: float) -> Change | None:
        member.doubts += 1
        if member.until > now:
            return None  # it was sent before the others failed
        # One that is being tried out gets no benefit of the doubt.
        if judged is Verdict.DOUBT and member.doubts < self._rotation.doubts and not member.failures:
            return None
        member.failures += 1
        member.doubts = 0
        seconds = waited(self._rotation.rest, member.failures, self._random)
        member.until = now + seconds
        return Change(seconds)

    def wait(self, now: float) -> float | None:
        """Seconds after which one that found no proxy may ask again; None: it has been too long."""
        if self._none_since is None or now - self._none_since > self._rotation.patience:
            return None
        soonest = min(member.until if member.until > now else now + PROBE_SECONDS for member in self._order)
        # Not all at once: a proxy that comes back is tried out by one of them.
        return soonest - now + PROBE_SECONDS * self._random.random()

    def _choose(self, now: float, avoid: tuple[Member, ...]) -> Member | None:
        found = self._ordered(now, avoid)
        if found is None and avoid:
            found = self._ordered(now, avoid[-1:]) or self._ordered(now, ())
        return found

    def _ordered(self, now: float, avoid: tuple[Member, ...]) -> Member | None:
        """Whose turn it is, of those that may be used and are not to be avoided."""
        order = self._order
        if self._rotation.order == "round robin":
            for place in range(self._next, self._next + len(order)):
                member = order[place % len(order)]
                if member.free(now) and member not in avoid:
                    self._next = (place + 1) % len(order)
                    return member
            return None
        if self._rotation.order == "random":
            for _ in range(GUESSES):
                member = order[int(self._random.random() * len(order))]
                if member.free(now) and member not in avoid:
                    return member
        fit = [member for member in order if member.free(now) and member not in avoid]
        if not fit:
            return None
        if self._rotation.order == "random":
            return fit[int(self._random.random() * len(fit))]
        return min(fit, key=lambda member: (member.under_way, member.uses))

    def __len__(self) -> int:
        return len(self._order)

    def __repr__(self) -> str:
        failing = [member.name for member in islice(self._order, 1000) if member.failures]
        return f"<Pool of {len(self._order)} proxies, {len(failing)} of them failing>"


def sent_through(request: Request, proxy: str) -> Request:
    """The request with this proxy. A Proxy-Authorization of its own was not meant for it: the request named none."""
    return request.replace(proxy=proxy, headers=request.headers.without("Proxy-Authorization"))


class Rotating:
    """A rotation in one run: what the layer does with requests and outcomes."""

    def __init__(self, run: Run, chosen: Rotation, bypass: Callable[[str], bool], encoding: str) -> None:
        self._run = run
        self._bypass = bypass
        self._encoding = encoding
        self._ban = chosen.ban
        self._pool = Pool(chosen, run.random, encoding)

    def down(self, request: Request) -> Request | Outcome:
        if request.proxy is not None:
            own = in_encoding(request.proxy, self._encoding)
            self._pool.join(own)
            return request if own == request.proxy else request.replace(proxy=own)
        if not request.url.startswith("http") or self._bypass(request.url):
            return request
        member = self._pool.take(request, self._run.monotonic())
        if member is None:
            return self._waiting(request)
        self._count("request_count")
        self._count(f"request_count/{member.name}")
        return sent_through(request, member.url)

    def _waiting(self, request: Request) -> Outcome:
        """Back to the frontier, where it holds nothing, until a proxy may work again."""
        seconds = self._pool.wait(self._run.monotonic())
        if seconds is None:
            self._count("none_works")
            return Failed(request, ProxyError(f"none of {len(self._pool)} proxies works, and none has for long"))
        self._count("waits")
        later = request.origin.replace(not_before=self._run.now() + seconds, answer=None)
        return Again(request, later, "no proxy works")

    def up(self, outcome: Outcome) -> Outcome | Awaitable[Outcome]:
        request = outcome.request
        member = self._pool.members.get(request.proxy or "")
        if member is None or request.answer is not None:
            return outcome
        judged = Verdict.NOTHING
        try:
            judged = verdict(outcome, self._ban)
        finally:
            change = self._pool.landed(member, outcome, judged, self._run.monotonic())
        if change is not None:
            self._tell(member, change, outcome)
        if judged is not Verdict.FAULT or not isinstance(outcome, Response):
            return outcome
        self._count("bans")
        text = f"{shown(outcome.url)}: {outcome.status} says that the proxy {member.name} is not wanted"
        error = ProxyError(text, proxy=member.name, status=outcome.status, response=outcome)
        failed = Failed(request, error)
        return failed if outcome.stream is None else _closed(outcome.stream, failed)

    def _tell(self, member: Member, change: Change, outcome: Outcome) -> None:
        events, rests = self._run.events, change.seconds > 0
        self._count("rests" if rests else "restored")
        if rests and events.wants(ProxyRested):
            reason = str(outcome.error) if isinstance(outcome, Failed) else f"a ban: {outcome!r}"
            events.emit(ProxyRested(proxy=member.name, seconds=change.seconds, reason=reason))
        elif not rests and events.wants(ProxyRestored):
            events.emit(ProxyRestored(proxy=member.name))

    def _count(self, name: str) -> None:
        stats = self._run.stats
        count(stats, f"proxy/{name}")


async def _closed(stream: BodyStream, failed: Failed) -> Failed:
    await stream.aclose()  # nobody will read it, and it holds a connection
    return failed


def _remember(table: OrderedDict[str, _V], key: str, value: _V) -> None:
    """Keep it, and forget what was not used for longest."""
    table[key] = value
    table.move_to_end(key)
    if len(table) > MOST_KEPT:
        table.popitem(last=False)
