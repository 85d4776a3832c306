"""The gate in front of each host: its robots.txt comes first, its other requests wait for it (DESIGN law 6)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from streamcrawl.backoff import NOT_CACHED
from streamcrawl.core import Dropped, Failed, Outcome, Request, Run
from streamcrawl.errors import AddressRefused, BodyTooLarge, FetchError, FetchTimeout
from streamcrawl.events import Notice
from streamcrawl.headers import NO_HEADERS, Headers
from streamcrawl.response import BodyStream, Response
from streamcrawl.robots import (
    DEFAULT_AGENT,
    NOT_REACHED,
    PARSED,
    RobotsParsed,
    RobotsParser,
    RobotsRules,
    Standing,
    beginning,
    delay_asked,
    freshness,
    target_of,
)
from streamcrawl.robots_kept import Answers, Kept, Known, bare, with_file, without_answer
from streamcrawl.streams.counting import count
from streamcrawl.transport.reach import AGENTS
from streamcrawl.urls import host_of

PRIORITY = 1_000
HOPS = 5
"""Redirects that are followed, whatever the layer `redirect` was told. Source: RFC 9309 §2.3.1.2."""
SHARED = 100
"""Hosts of one slot whose delays are remembered, the longest of them."""
SLOTS = 10_000
"""Slots of which that is remembered, the last of them."""
READING = 60.0
"""Seconds that the first 500 KiB of an overlong file may take."""
ANY_SIZE = 1 << 50
SKIPPED = ("robots_txt", "ajax_crawl", "meta_refresh", "scope")
"""The gate itself; RFC 9309 §2.3.1.2 knows redirects of HTTP alone, not those that a page asks for, to any host."""


class Policy(NamedTuple):
    """The arguments of `ops.robots_txt`, and what an outcome means."""

    user_agent: str | None
    ttl: float
    min_ttl: float
    unreachable_ttl: float
    max_delay: float
    parser: RobotsParser
    standing: Callable[[Outcome], Standing]
    hop: Callable[[Response], str | None]
    """Where a redirect leads that no layer has followed."""


class Gate:
    """What one run knows of its hosts' rules, and the requests that wait for it."""

    def __init__(self, run: Run, policy: Policy) -> None:
        self._run = run
        self._policy = policy
        self._answers = Answers(run)
        self._begun = run.now()
        self._hosts = self._answers.known
        self._asking: dict[str, asyncio.Future[Known | None]] = {}
        self._closed: Counter[str] = Counter()
        """How many of the hosts that share a queue of the frontier are being asked."""
        self._default: str | None = None
        self._slots: dict[str, dict[str, float]] = {}
        """The delays that hosts ask for which share a slot."""

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
            return request if _is_question(request) else self._asked(request, host)
        self._hosts.move_to_end(host)
        if known.rules is None and not known.unreachable:
            return request
        return self._judged(request, known)

    def _judged(self, request: Request, known: Known) -> Request | Dropped | Failed:
        if known.rules is None:
            if known.error is not None and not _is_question(request):
                return Failed(request, known.error)
            allowed, reason = not known.unreachable, NOT_REACHED
        else:
            allowed, reason = known.rules.allowed(request.url, self._agent(request)), "robots.txt"
        if allowed or _is_question(request):
            return request
        self._count("forbidden")
        return Dropped(request, reason)

    def _agent(self, request: Request) -> str:
        if self._policy.user_agent is not None:
            return self._policy.user_agent
        headers = request.headers
        return (None if headers is NO_HEADERS else headers.get("user-agent")) or self._of_fetch()

    def _of_fetch(self) -> str:
        """The name that `fetch` gives, below all layers, where a request has none."""
        if self._default is None:
            self._default = AGENTS.get(self._run) or DEFAULT_AGENT
        return self._default

    # -- asking ------------------------------------------------------------------------------------

    def _asked(self, request: Request, host: str) -> Awaitable[Request | Dropped | Failed]:
        if host not in self._asking:
            return self._wait(request, host, self._ask(request, host))
        # Somebody else asks, who may need a place for that: what waits for him holds none.
        self._run.landed(request)
        queue = _queue(request, host)
        if queue in self._closed:
            return self._wait(request, host, self._asking[host])
        self._close(queue)
        return self._wait(request, host, self._asking[host], queue)

    async def _wait(
        self, request: Request, host: str, answer: asyncio.Future[Known | None], closed: str | None = None
    ) -> Request | Dropped | Failed:
        try:
            # Shielded: one that stops waiting must not take the answer from the others.
            while (known := await asyncio.shield(answer)) is None or known.asker not in (None, request):
                answer = self._ask(request, host)
        finally:
            if closed is not None:
                self._open(closed)
        return self._judged(request, known)

    def _ask(self, request: Request, host: str) -> asyncio.Future[Known | None]:
        """The answer on its way; None comes if the asking was cancelled. Whoever is first sends for it."""
        answer = self._asking.get(host)
        if answer is not None:
            return answer
        answer = self._asking[host] = asyncio.get_running_loop().create_future()
        queue = _queue(request, host)
        self._close(queue)

        def ended(task: asyncio.Task[None]) -> None:
            del self._asking[host]
            self._open(queue)
            if not answer.done():
                answer.set_result(None)

        # A callback of the task, because it also comes when the task is cancelled before its first step.
        self._run.spawn(self._learn(request, host, answer)).add_done_callback(ended)
        return answer

    def _close(self, queue: str) -> None:
        self._closed[queue] += 1
        self._run.hosts.close(queue)

    def _open(self, queue: str) -> None:
        self._closed[queue] -= 1
        if not self._closed[queue]:
            del self._closed[queue]
            self._run.hosts.open(queue)

    async def _learn(self, request: Request, host: str, answer: asyncio.Future[Known | None]) -> None:
        self._count("request_count")
        outcome = await self._fetched(request, host)
        refused = outcome.error if isinstance(outcome, Failed) else None
        if isinstance(refused, AddressRefused) and host_of(outcome.request.url) == host:
            # That says nothing of the host, only who may not go there.
            answer.set_result(Known(0.0, unreachable=True, error=refused, asker=request))
            return
        known = self._hosts[host] = self._understood(request, host, outcome)
        answer.set_result(known)

    async def _fetched(self, request: Request, host: str) -> Outcome:
        """What comes of asking for the file; of one that is too long, its beginning."""
        question = _question(request, host)
        outcome = await self._run.fetch(question, parent=request)
        for _ in range(HOPS):
            if isinstance(outcome, Failed) and isinstance(outcome.error, BodyTooLarge) and not question.stream:
                # Only now: a body that is streamed is not asked for again by `retry` when it breaks off.
                question = question.replace(stream=True, max_size=ANY_SIZE)
            else:
                target = self._policy.hop(outcome) if isinstance(outcome, Response) else None
                if target is None:
                    break
                question = question.replace(url=target, via=(*question.via, question.url))
            if isinstance(outcome, Response) and outcome.stream is not None:
                await outcome.stream.aclose()
            outcome = await self._run.fetch(question, parent=request)
        return await _read(outcome) if isinstance(outcome, Response) else outcome

    # -- understanding -----------------------------------------------------------------------------

    def _understood(self, request: Request, host: str, outcome: Outcome) -> Known:
        """What the outcome means for the host; it is kept, and its rate passed on."""
        if isinstance(outcome, Dropped) and outcome.reason == NOT_CACHED:
            # The cache is all there is to crawl: there is no host to be polite to, and nothing to be learnt of it.
            return Known(self._run.monotonic() + self._policy.unreachable_ttl)
        if isinstance(outcome, Response):
            self._count("response_count")
            self._count(f"response_status_count/{outcome.status}")
            problem = f"status {outcome.status}"
        else:
            error = outcome.error if isinstance(outcome, Failed) else outcome
            problem = f"{type(error).__name__}: {error}"
            self._count(f"exception_count/{type(error).__name__}")
        found = self._policy.standing(outcome)
        if found is Standing.RULES and isinstance(outcome, Response):
            try:
                return self._ruled(request, host, outcome)
            except Exception as error:  # a parser of the user's: the page is not to blame, and not to be risked
                problem = f"{type(error).__name__}: {error}"
        elif found is Standing.OPEN:
            ttl = self._lifetime(outcome)
            self._paced(request, host, 0.0)
            self._answers.keep(host, Kept(self._run.now() + ttl, found.name))
            return Known(self._run.monotonic() + ttl)
        lost = outcome.error if isinstance(outcome, Failed) and isinstance(outcome.error, FetchError) else None
        return self._unreachable(request, host, problem, lost)

    def _ruled(self, request: Request, host: str, response: Response) -> Known:
        rules = self._policy.parser(response.body, response.url)
        delay = self._delay(request, rules)
        self._paced(request, host, delay)
        if self._run.events.wants(RobotsParsed):
            self._run.events.emit(RobotsParsed(host=host, url=response.url, rules=rules))
        ttl, file = self._lifetime(response), beginning(response.body)
        self._answers.keep(host, with_file(self._run.now() + ttl, file, response.url, delay))
        return Known(self._run.monotonic() + ttl, rules, size=len(file), delay=delay)

    def _lifetime(self, outcome: Outcome) -> float:
        """Seconds for which the answer holds. Source: RFC 9309 §2.4."""
        ttl = self._policy.ttl
        fresh = freshness(outcome.headers, self._run.now()) if isinstance(outcome, Response) else None
        return ttl if fresh is None else min(ttl, max(self._policy.min_ttl, fresh))

    def _delay(self, request: Request, rules: RobotsRules) -> float:
        most = self._policy.max_delay
        return min(most, delay_asked(rules, self._agent(request))) if most else 0.0

    def _paced(self, request: Request, host: str, delay: float) -> None:
        """Pass on to the frontier what the host asks for now, and take back what it asked for before."""
        if not delay:
            before = self._hosts.get(host) or self._answers.kept(host)
            if before is None or not before.delay:
                return
        queue = _queue(request, host)
        if queue != host:
            delay = self._slowest(queue, host, delay)
        self._run.hosts.set_rate(queue, delay=delay or None, by="robots_txt")

    def _slowest(self, slot: str, host: str, delay: float) -> float:
        """The longest delay that any host asks for of those that share a slot of the user's."""
        asked = self._slots.pop(slot, {})
        asked.pop(host, None)
        if delay:
            asked[host] = delay
            if len(asked) > SHARED:
                del asked[min(asked, key=asked.__getitem__)]
        if asked:
            self._slots[slot] = asked
            if len(self._slots) > SLOTS:
                del self._slots[next(iter(self._slots))]
        return max(asked.values(), default=0.0)

    def _unreachable(self, request: Request, host: str, problem: str, lost: FetchError | None) -> Known:
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
            kept = self._answers.kept(host)
            if kept is not None:
                self._answers.keep(host, kept._replace(until=until))
            return old._replace(until=self._run.monotonic() + rest)
        self._answers.keep(host, without_answer(until, lost))
        return Known(self._run.monotonic() + rest, unreachable=True, error=lost and bare(lost))

    def _recalled(self, request: Request, host: str, *, stale: bool = False) -> Known | None:
        """What was kept of the host's answer, if it still holds, or in any case."""
        kept, policy = self._answers.kept(host), self._policy
        if kept is None:
            return None
        # The clock may have been set back since, and another time been asked for.
        rest = min(kept.until - self._run.now(), policy.unreachable_ttl if kept.unreachable else policy.ttl)
        # Whoever lets a job go on has reason to think that its hosts can be reached.
        earlier = kept.unreachable and kept.until < self._begun + policy.unreachable_ttl
        if (rest <= 0 or earlier) and not stale:
            return None
        known = Known(self._run.monotonic() + rest, unreachable=kept.unreachable, error=kept.lost)
        if kept.standing == Standing.RULES.name:
            try:
                file = kept.body
                rules = policy.parser(file, kept.url)
                delay = self._delay(request, rules)
            except Exception:  # a parser of the user's, another one than before: it is told when the host has answered
                return None
            self._paced(request, host, delay)
            if delay != kept.delay:
                self._answers.keep(host, kept._replace(delay=delay))
            known = known._replace(rules=rules, size=len(file), delay=delay)
        self._hosts[host] = known
        return known

    def _count(self, key: str) -> None:
        key = f"robotstxt/{key}"
        count(self._run.stats, key)


def _question(request: Request, host: str) -> Request:
    """The request for a host's robots.txt: it goes the way of the request that it is made for."""
    origin, agent = request.origin, request.headers.get("user-agent")
    return Request(
        host + "/robots.txt",
        headers=Headers({"User-Agent": agent}) if agent else NO_HEADERS,
        priority=PRIORITY,
        slot=request.slot,
        dont_filter=True,
        max_size=PARSED,
        site=request.site,
        cookiejar=origin.cookiejar,
        proxy=origin.proxy,
        reach=origin.reach,
        max_redirects=HOPS,
        skip=(*SKIPPED, *origin.skip),
    )


def _is_question(request: Request) -> bool:
    """Whether it asks for a robots.txt, which is always allowed. Source: RFC 9309 §2.2.2."""
    # By its origin: a layer above may have changed the URL.
    target = target_of(request.origin.url)
    return target.startswith("/robots.txt") and target[11:12] in ("", "?", "#")


def _queue(request: Request, host: str) -> str:
    """What the frontier keeps the request's kind under: its host, or a slot of the user's."""
    return host if request.lease is None else request.lease.host


async def _read(response: Response) -> Outcome:
    """The response with as much of its body as counts; a streamed one is closed."""
    stream = response.stream
    if stream is None:
        return response
    body = b""
    try:
        async with asyncio.timeout(READING):
            if 200 <= response.status < 300:
                body = await _part(stream)
            else:
                await stream.aclose()
    except TimeoutError:
        return Failed(response.request, FetchTimeout(f"{response.url}: {PARSED} bytes took over {READING:g} s"))
    except Exception as error:
        return Failed(response.request, error)
    return response.replace(body=body, stream=None)


async def _part(stream: BodyStream) -> bytes:
    parts: list[bytes] = []
    size = 0
    chunks = aiter(stream)
    try:
        async for chunk in chunks:
            parts.append(chunk)
            size += len(chunk)
            if size > PARSED:
                break
    finally:
        await stream.aclose()
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
    return b"".join(parts)
