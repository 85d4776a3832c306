"""robots.txt (RFC 9309): the rules and their parser, what an answer means, and the gate that waits for it."""

from __future__ import annotations

import asyncio
import codecs
import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from copy import copy
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar

from streamcrawl import errors
from streamcrawl.core import Dropped, Failed, Outcome, Request, Run
from streamcrawl.errors import FetchError
from streamcrawl.events import Event, Notice
from streamcrawl.headers import NO_HEADERS, Headers
from streamcrawl.response import Response
from streamcrawl.urls import host_of

if TYPE_CHECKING:
    from protego import Protego

DEFAULT_AGENT = "streamcrawl"
PRIORITY = 1_000

PARSED = 500 * 1024
"""Bytes of a robots.txt that count. Source: RFC 9309 §2.5, which asks for no fewer."""

MEMORY = 24 * 1024 * 1024
"""Bytes that one run gives to rules that are read: some 2,500 files of 250 bytes, or 50,000 hosts that have none."""
KEPT = 16 * 1024 * 1024
"""Bytes that one run without a job gives to files that can be read again. Beyond them a host is asked again."""
PACKED = 256
"""Bytes of a file above which it is kept compressed."""
LONGEST = 1_000
"""Characters of an error that are kept."""


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


RobotsParser: TypeAlias = Callable[[bytes, str], RobotsRules]
"""(the file, its URL) -> its rules."""


class RobotsParsed(Event, frozen=True):
    """The robots.txt of `host` was read; `url` is where it was found, after redirects."""

    host: str
    url: str
    rules: RobotsRules


class ProtegoRules:
    """Rules as Protego reads them: the longest match wins, `*` and `$` are understood."""

    __slots__ = ("_parsed",)

    def __init__(self, parsed: Protego) -> None:
        self._parsed = parsed

    @property
    def sitemaps(self) -> tuple[str, ...]:
        return tuple(self._parsed.sitemaps)

    def allowed(self, url: str, agent: str) -> bool:
        return self._parsed.can_fetch(url, agent)

    def crawl_delay(self, agent: str) -> float | None:
        return self._parsed.crawl_delay(agent)

    def __repr__(self) -> str:
        return f"<ProtegoRules, {len(self.sitemaps)} sitemaps>"


def protego_parser(body: bytes, url: str) -> ProtegoRules:
    """The rules in a robots.txt, of which the first 500 KiB count.

    Source: RFC 9309 §2.2 (grammar), §2.3 (UTF-8), §2.5 (limit). Lines that are not UTF-8 are taken for Latin-1.
    """
    from protego import Protego

    return ProtegoRules(Protego.parse(_text(_beginning(body))))


def _beginning(body: bytes) -> bytes:
    if len(body) <= PARSED:
        return body
    # A rule that is cut off in the middle would forbid more than it says.
    return body[: max(body.rfind(b"\n", 0, PARSED), body.rfind(b"\r", 0, PARSED)) + 1]


def _text(body: bytes) -> str:
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16", "replace")
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        return body.decode()
    except UnicodeDecodeError:
        # Leaving out what is wrong would shorten a rule, and so forbid more than it says.
        return "\n".join(map(_line, body.splitlines()))


def _line(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


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


class Policy(NamedTuple):
    """The arguments of `ops.robots_txt`, and what an outcome means."""

    user_agent: str | None
    ttl: float
    unreachable_ttl: float
    max_delay: float
    parser: RobotsParser
    standing: Callable[[Outcome], Standing]


class _Known(NamedTuple):
    """What holds for a host until then; no rules: nothing is forbidden, or everything if it was `unreachable`."""

    until: float
    rules: RobotsRules | None = None
    unreachable: bool = False
    error: Exception | None = None
    """Why it was not reached; the host's requests would have failed alike."""
    size: int = 0
    """Bytes of the file."""

    @property
    def weight(self) -> int:
        # As measured: Protego takes 2.5 KiB, and for a byte of the file 14, or 26 where rules have wildcards.
        return 500 if self.rules is None else 3_000 + 26 * self.size


class _Kept(NamedTuple):
    """What is kept of a host's answer, to be read again by a later run: plain data."""

    until: float
    """Seconds since the epoch."""
    standing: str
    """The name of a Standing."""
    file: bytes = b""
    packed: bool = False
    url: str = ""
    """Where the file was found."""
    error: str = ""
    """The name of what kept the host from answering at all, one of `streamcrawl.errors`."""
    text: str = ""

    @property
    def weight(self) -> int:
        return 500 + len(self.file) + len(self.text)


class _Weighed(Protocol):
    @property
    def weight(self) -> int: ...


_W = TypeVar("_W", bound=_Weighed)


class _Recent(OrderedDict[str, _W]):
    """What was set or moved to the end last, as much of it as `most` bytes hold."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._weight = 0

    def __setitem__(self, host: str, value: _W) -> None:
        old = self.pop(host, None)
        super().__setitem__(host, value)
        self._weight += value.weight - (0 if old is None else old.weight)
        while self._weight > self._most and len(self) > 1:
            self._weight -= self.popitem(last=False)[1].weight


class Gate:
    """What one run knows of its hosts' rules, and the requests that wait for it (DESIGN law 6)."""

    def __init__(self, run: Run, policy: Policy) -> None:
        self._run = run
        self._policy = policy
        self._hosts: _Recent[_Known] = _Recent(MEMORY)
        # What a job has goes to its disk and has no bound.
        self._kept: MutableMapping[str, Any] = run.state("robots_txt") if run.durable else _Recent[_Kept](KEPT)
        self._asking: dict[str, asyncio.Future[_Known | None]] = {}

    def __repr__(self) -> str:
        return f"<robots.txt: {len(self._hosts)} hosts known, {len(self._asking)} being asked>"

    def down(self, request: Request) -> Request | Dropped | Failed | Awaitable[Request | Dropped | Failed]:
        """The request, or that it is refused, at once if its host is known."""
        url = request.url
        if not url.startswith(("https://", "http://")):
            return request
        host = host_of(url)
        known = self._hosts.get(host)
        if known is None and host not in self._asking:
            known = self._recalled(request, host)
        if known is None or known.until <= self._run.monotonic():
            return request if self._exempt(request, host) else self._wait(request, host, self._ask(request, host))
        self._hosts.move_to_end(host)
        if known.rules is None and not known.unreachable:
            return request
        return self._judged(request, host, known)

    def _exempt(self, request: Request, host: str) -> bool:
        """Whether it asks for a robots.txt, or for what one that is being asked for redirects to."""
        # By its origin: a layer above may have changed the URL.
        if request.origin.url == host_of(request.origin.url) + "/robots.txt":
            return True
        via = request.via
        return bool(via) and via[0].endswith("/robots.txt") and host_of(via[0]) in self._asking

    def _judged(self, request: Request, host: str, known: _Known) -> Request | Dropped | Failed:
        if known.rules is None:
            if known.error is not None and not self._exempt(request, host):
                return Failed(request, known.error)
            allowed, reason = not known.unreachable, "robots.txt unreachable"
        else:
            allowed, reason = known.rules.allowed(request.url, self._agent(request)), "robots.txt"
        if allowed or self._exempt(request, host):
            return request
        self._count("forbidden")
        return Dropped(request, reason)

    def _agent(self, request: Request) -> str:
        if self._policy.user_agent is not None:
            return self._policy.user_agent
        headers = request.headers
        return DEFAULT_AGENT if headers is NO_HEADERS else headers.get("user-agent") or DEFAULT_AGENT

    async def _wait(
        self, request: Request, host: str, answer: asyncio.Future[_Known | None]
    ) -> Request | Dropped | Failed:
        # Shielded: one that stops waiting must not take the answer from the others.
        while (known := await asyncio.shield(answer)) is None:
            answer = self._ask(request, host)
        return self._judged(request, host, known)

    def _ask(self, request: Request, host: str) -> asyncio.Future[_Known | None]:
        """The answer on its way; None comes if the asking was cancelled. Whoever is first sends for it."""
        answer = self._asking.get(host)
        if answer is not None:
            return answer
        answer = self._asking[host] = asyncio.get_running_loop().create_future()
        queue = _queue(request, host)
        self._run.hosts.close(queue)

        def ended(task: asyncio.Task[None]) -> None:
            del self._asking[host]
            self._run.hosts.open(queue)
            if not answer.done():
                answer.set_result(None)

        # A callback of the task, because it also comes when the task is cancelled before its first step.
        self._run.spawn(self._learn(request, host, answer)).add_done_callback(ended)
        return answer

    async def _learn(self, request: Request, host: str, answer: asyncio.Future[_Known | None]) -> None:
        self._count("request_count")
        agent = request.headers.get("user-agent")
        wanted = Request(
            host + "/robots.txt",
            headers=Headers({"User-Agent": agent}) if agent else NO_HEADERS,
            priority=PRIORITY,
            slot=request.slot,
            dont_filter=True,
            site=request.site,
        )
        known = self._hosts[host] = self._known(request, host, await self._run.fetch(wanted, parent=request))
        answer.set_result(known)

    def _known(self, request: Request, host: str, outcome: Outcome) -> _Known:
        policy, now = self._policy, self._run.monotonic()
        if isinstance(outcome, Response):
            self._count("response_count")
            self._count(f"response_status_count/{outcome.status}")
            problem = f"status {outcome.status}"
        else:
            error = outcome.error if isinstance(outcome, Failed) else outcome
            problem = f"{type(error).__name__}: {error}"
            self._count(f"exception_count/{type(error).__name__}")
        found = policy.standing(outcome)
        if found is Standing.RULES and isinstance(outcome, Response):
            try:
                rules = policy.parser(outcome.body, outcome.url)
                self._apply(request, host, rules)
                if self._run.events.wants(RobotsParsed):
                    self._run.events.emit(RobotsParsed(host=host, url=outcome.url, rules=rules))
            except Exception as error:  # a parser of the user's: the page is not to blame, and not to be risked
                problem = f"{type(error).__name__}: {error}"
            else:
                file = _beginning(outcome.body)
                packed = len(file) > PACKED
                kept = zlib.compress(file) if packed else file
                self._keep(host, _Kept(self._run.now() + policy.ttl, found.name, kept, packed, outcome.url))
                return _Known(now + policy.ttl, rules, size=len(file))
        elif found is Standing.OPEN:
            self._keep(host, _Kept(self._run.now() + policy.ttl, found.name))
            return _Known(now + policy.ttl)
        lost = outcome.error if isinstance(outcome, Failed) and isinstance(outcome.error, FetchError) else None
        return self._unreachable(request, host, problem, lost)

    def _apply(self, request: Request, host: str, rules: RobotsRules) -> None:
        if self._policy.max_delay:
            delay = rules.crawl_delay(self._agent(request))
            if delay:
                self._run.hosts.set_rate(_queue(request, host), delay=min(delay, self._policy.max_delay))

    def _unreachable(self, request: Request, host: str, problem: str, lost: FetchError | None) -> _Known:
        rest = self._policy.unreachable_ttl
        old = self._hosts.get(host) or self._recalled(request, host, stale=True)
        holds = old is not None and not old.unreachable
        if (holds or lost is None) and self._run.events.wants(Notice):  # else the requests' failures tell it
            then = "the last one holds" if holds else "nothing of the host is fetched"
            text = f"no robots.txt from {host} ({problem}): {then} for {rest:g} s"
            self._run.events.emit(Notice(text=text, level="warning"))
        until = self._run.now() + rest
        if old is not None and holds:
            # RFC 9309 §2.4: a copy may be used for longer than a day if the file is unreachable.
            kept = self._kept.get(host)
            if kept is not None:
                self._keep(host, _Kept(*kept)._replace(until=until))
            return old._replace(until=self._run.monotonic() + rest)
        kept = _Kept(until, Standing.UNREACHABLE.name)
        self._keep(host, kept if lost is None else kept._replace(error=type(lost).__name__, text=_plain(str(lost))))
        return _Known(self._run.monotonic() + rest, unreachable=True, error=lost and _bare(lost))

    def _keep(self, host: str, kept: _Kept) -> None:
        self._kept[host] = [*kept] if self._run.durable else kept

    def _recalled(self, request: Request, host: str, *, stale: bool = False) -> _Known | None:
        """What was kept of the host's answer, if it still holds, or in any case."""
        found = self._kept.get(host)
        if found is None:
            return None
        kept, policy = _Kept(*found), self._policy
        unreachable = kept.standing == Standing.UNREACHABLE.name
        # The clock may have been set back since, and another time been asked for.
        rest = min(kept.until - self._run.now(), policy.unreachable_ttl if unreachable else policy.ttl)
        if rest <= 0 and not stale:
            return None
        known = _Known(self._run.monotonic() + rest, unreachable=unreachable, error=_error(kept.error, kept.text))
        if kept.standing == Standing.RULES.name:
            try:
                file = zlib.decompress(kept.file) if kept.packed else kept.file
                rules = policy.parser(file, kept.url)
                self._apply(request, host, rules)
            except Exception:  # a parser of the user's, another one than before: it is told when the host has answered
                return None
            known = known._replace(rules=rules, size=len(file))
        self._hosts[host] = known
        return known

    def _count(self, key: str) -> None:
        key = f"robotstxt/{key}"
        self._run.stats[key] = self._run.stats.get(key, 0) + 1


def _queue(request: Request, host: str) -> str:
    """What the frontier keeps the request's kind under: its host, or a slot of the user's."""
    return host if request.lease is None else request.lease.host


def _plain(text: str) -> str:
    """Text that can be stored, and not too much of it."""
    return text[:LONGEST].encode("utf-8", "replace").decode()


def _bare(error: FetchError) -> FetchError:
    """A copy without its traceback and causes, whose frames would keep much alive for long."""
    try:
        return copy(error)
    except Exception:  # of a class of the user's, with a constructor of its own
        return FetchError(f"{type(error).__name__}: {error}")


def _error(name: str, text: str) -> FetchError | None:
    if not name:
        return None
    kind = getattr(errors, name, None)
    return kind(text) if isinstance(kind, type) and issubclass(kind, FetchError) else FetchError(f"{name}: {text}")
