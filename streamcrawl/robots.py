"""robots.txt (RFC 9309): the rules and their parser, what an answer means, and the gate that waits for it."""

from __future__ import annotations

import asyncio
import codecs
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

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

HOSTS = 10_000
"""Hosts that one run remembers. The least recently used is forgotten, and asked again when it is needed."""


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

    if len(body) > PARSED:
        # A rule that is cut off in the middle would forbid more than it says.
        body = body[: max(body.rfind(b"\n", 0, PARSED), body.rfind(b"\r", 0, PARSED)) + 1]
    return ProtegoRules(Protego.parse(_text(body)))


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


class Gate:
    """What one run knows of its hosts' rules, and the requests that wait for it (DESIGN law 6)."""

    def __init__(self, run: Run, policy: Policy) -> None:
        self._run = run
        self._policy = policy
        self._hosts: OrderedDict[str, _Known] = OrderedDict()
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
        known = self._known(request, host, await self._run.fetch(wanted, parent=request))
        self._hosts[host] = known
        self._hosts.move_to_end(host)
        if len(self._hosts) > HOSTS:
            self._hosts.popitem(last=False)
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
                self._apply(request, host, outcome.url, rules)
                return _Known(now + policy.ttl, rules)
            except Exception as error:  # a parser of the user's: the page is not to blame, and not to be risked
                problem = f"{type(error).__name__}: {error}"
        elif found is Standing.OPEN:
            return _Known(now + policy.ttl)
        lost = outcome.error if isinstance(outcome, Failed) and isinstance(outcome.error, FetchError) else None
        return self._unreachable(host, now, problem, lost)

    def _apply(self, request: Request, host: str, url: str, rules: RobotsRules) -> None:
        if self._policy.max_delay:
            delay = rules.crawl_delay(self._agent(request))
            if delay:
                self._run.hosts.set_rate(_queue(request, host), delay=min(delay, self._policy.max_delay))
        if self._run.events.wants(RobotsParsed):
            self._run.events.emit(RobotsParsed(host=host, url=url, rules=rules))

    def _unreachable(self, host: str, now: float, problem: str, lost: Exception | None) -> _Known:
        until = now + self._policy.unreachable_ttl
        old = self._hosts.get(host)
        kept = old is not None and not old.unreachable
        if (kept or lost is None) and self._run.events.wants(Notice):  # else the requests' failures tell it
            then = "the last one holds" if kept else "nothing of the host is fetched"
            text = f"no robots.txt from {host} ({problem}): {then} for {self._policy.unreachable_ttl:g} s"
            self._run.events.emit(Notice(text=text, level="warning"))
        # RFC 9309 §2.4: a copy may be used for longer than a day if the file is unreachable.
        return old._replace(until=until) if old is not None and kept else _Known(until, unreachable=True, error=lost)

    def _count(self, key: str) -> None:
        key = f"robotstxt/{key}"
        self._run.stats[key] = self._run.stats.get(key, 0) + 1


def _queue(request: Request, host: str) -> str:
    """What the frontier keeps the request's kind under: its host, or a slot of the user's."""
    return host if request.lease is None else request.lease.host
