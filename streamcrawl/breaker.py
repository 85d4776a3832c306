"""What keeps a crawl from hammering a host that is out of order: a circuit breaker and a budget of repeats, per host.

A host is `closed` (requests pass), `open` (it rests: the frontier sends it nothing), `half-open` (its rest is over, one
request at a time finds out how it is) or `given up` (its requests fail at once).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from streamcrawl.arguments import telling
from streamcrawl.backoff import Test, Wait, ailing, backoff, is_of_the_past, is_wanted, waited
from streamcrawl.core import Failed, Outcome, Request, Run
from streamcrawl.errors import FetchError
from streamcrawl.events import Notice
from streamcrawl.mistakes import plural
from streamcrawl.response import Response
from streamcrawl.streams.counting import count
from streamcrawl.transport.body import shown
from streamcrawl.urls import host_of

HOSTS = 10_000
"""Hosts that something is remembered of, at most: those that failed last."""

SAYS = "retry"
"""Under which name `hosts.set_rate` and `run.state` hear of it."""


class HostGivenUp(FetchError):
    """The host was out of order for so long that the request was not sent."""


_REST = backoff(30.0, ceiling=600.0, jitter=0.2)


@telling
@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """When a host counts as out of order, and for how long it is left alone.

    Args:
        failures: Of requests that are no repeats, in a row, after which the host rests; 1 or more.
        rest: Seconds of rest n in a row, n from 1.
        rests: In a row without an answer in between, after which the host is given up; 1 or more.
        given_up: Seconds for which the requests for it then fail at once; 0 or more.
        on: True for an outcome that speaks against its host. A status that the request asked for does not.

    Raises: ValueError for a number out of its bounds, when built.
    """

    failures: int = 10
    rest: Wait = _REST
    rests: int = 5
    given_up: float = 3600.0
    on: Test = ailing

    def __post_init__(self) -> None:
        if self.failures < 1 or self.rests < 1:
            raise ValueError(f"CircuitBreaker(failures={self.failures!r}, rests={self.rests!r}): 1 or more")
        if not 0 <= self.given_up < math.inf:
            raise ValueError(f"CircuitBreaker(given_up={self.given_up!r}): seconds, 0 or more")


@telling
@dataclass(frozen=True, slots=True)
class RetryBudget:
    """How many repeats a host may get: of n requests to it, at most n * (1 + ratio) + reserve tries go out.

    Args:
        ratio: Repeats that each request pays for; 0 or more.
        reserve: Repeats that nobody has to pay for; 0 or more. So many are saved up at most, and `ratio` a hundredfold.

    Raises: ValueError for a number out of its bounds, when built.
    Source: the retry budgets of Finagle and tower.
    """

    ratio: float = 1.0
    reserve: float = 20.0

    def __post_init__(self) -> None:
        if not (0 <= self.ratio < math.inf and 0 <= self.reserve < math.inf):
            raise ValueError(f"RetryBudget(ratio={self.ratio!r}, reserve={self.reserve!r}): 0 or more")

    @property
    def most(self) -> float:
        """Repeats that are saved up at most."""
        return self.reserve + 100 * self.ratio


class Standing:
    """What is remembered of a host that has failed."""

    __slots__ = ("failures", "given_up", "rests", "tokens", "until")

    def __init__(self, tokens: float) -> None:
        self.failures = 0
        """In a row."""
        self.rests = 0
        """In a row; above 0 the circuit is not closed."""
        self.until = 0.0
        """When the present rest is over, in monotonic seconds."""
        self.given_up = False
        self.tokens = tokens
        """Repeats that it may still get."""

    def __repr__(self) -> str:
        state = "given up" if self.given_up else f"rest {self.rests}" if self.rests else "closed"
        return f"<Standing {state}, {self.failures} failures, {self.tokens:g} repeats>"


class Standings:
    """The hosts of one run that have failed, as far as they are remembered."""

    def __init__(self, run: Run, breaker: CircuitBreaker | None, budget: RetryBudget | None) -> None:
        self._run = run
        self._breaker = breaker
        self._budget = budget
        self._tokens = 0.0 if budget is None else budget.reserve
        self.hosts: dict[str, Standing] = {}
        """Those that failed last come last."""
        self._kept = run.state(SAYS)
        """The hosts that are not closed: a job that goes on probes them first."""
        for host, rests in [*self._kept.items()] if breaker is not None else ():
            found = self.hosts[host] = Standing(self._tokens)
            found.rests = int(rests)

    def refusal(self, request: Request) -> Failed | None:
        """The outcome of a request whose host is given up."""
        host = host_for(request)
        found = self.hosts.get(host)
        if found is None or not found.given_up or self._run.monotonic() >= found.until:
            return None
        count(self._run.stats, "retry/given_up")
        return Failed(request, HostGivenUp(f"{shown(request.url)}: {host} is out of order, and was given up"))

    def heard(self, outcome: Outcome) -> None:
        """Judge the outcome's host by it. This runs for every outcome, so what is well costs one look."""
        if not self.hosts and isinstance(outcome, Response) and outcome.status < 400:
            return
        request = outcome.request
        if request.answer is not None or not isinstance(outcome, (Response, Failed)):
            return  # it does not come from the host
        if is_of_the_past(outcome):
            return
        host = host_for(request)
        found = self.hosts.get(host)
        if found is not None and self._budget is not None and request.attempt == 0:
            found.tokens = min(self._budget.most, found.tokens + self._budget.ratio)
        if self._breaker is None:
            return
        if self._breaker.on(outcome) and not is_wanted(outcome):
            noted = self._noted(host)
            # Repeats fail more often than others, and come last, one after the other: that says nothing of the host.
            if not request.attempt or noted.rests:
                self._failed(host, noted, self._breaker)
        elif found is not None and isinstance(outcome, Response):
            self._answered(host, found)

    def pay(self, request: Request) -> bool:
        """Whether the budget of the request's host has a repeat left; it is taken off."""
        if self._budget is None:
            return True
        found = self._noted(host_for(request))
        if found.tokens < 1:
            return False
        found.tokens -= 1
        return True

    def _noted(self, host: str) -> Standing:
        """What is remembered of a host that has failed just now."""
        found = self.hosts.pop(host, None)
        if found is None:
            found = Standing(self._tokens)
            if len(self.hosts) >= HOSTS:
                self._forget(next(iter(self.hosts)))
        self.hosts[host] = found
        return found

    def _forget(self, host: str) -> None:
        found = self.hosts.pop(host)
        if found.rests:
            self._close(host, found)

    def _failed(self, host: str, found: Standing, breaker: CircuitBreaker) -> None:
        found.failures += 1
        if found.rests:
            if self._run.monotonic() >= found.until:  # else it was sent before the host went to rest
                self._open(host, found, breaker)
        elif found.failures >= breaker.failures:
            self._open(host, found, breaker)

    def _open(self, host: str, found: Standing, breaker: CircuitBreaker) -> None:
        run = self._run
        found.given_up = found.rests >= breaker.rests
        if found.given_up:
            seconds = breaker.given_up
            count(self._run.stats, "retry/hosts_given_up")
        else:
            found.rests += 1
            seconds = waited(breaker.rest, found.rests, run.random)
            run.hosts.slow_down(host, seconds)
            run.hosts.set_rate(host, concurrency=1, by=SAYS)
            count(self._run.stats, "retry/rests")
        found.until = run.monotonic() + seconds
        self._kept[host] = found.rests
        what = "is given up" if found.given_up else "rests"
        row = f"{found.failures} {plural(found.failures, 'failure')} in a row"
        self._tell(f"retry: {host} {what} for {seconds:.0f} s, after {row}", "warning")

    def _answered(self, host: str, found: Standing) -> None:
        found.failures = 0
        if found.rests and self._run.monotonic() >= found.until:
            self._close(host, found)
            self._tell(f"retry: {host} answers again", "info")

    def _close(self, host: str, found: Standing) -> None:
        found.rests = 0
        found.given_up = False
        self._kept.pop(host, None)
        self._run.hosts.set_rate(host, by=SAYS)

    def _tell(self, text: str, level: str) -> None:
        if self._run.events.wants(Notice):
            self._run.events.emit(Notice(text=text, level=level))

    def __repr__(self) -> str:
        return f"<Standings of {len(self.hosts)} hosts, {len(self._kept)} not closed>"


def host_for(request: Request) -> str:
    """The host or slot that the request counts for."""
    return host_of(request.url) if request.lease is None else request.lease.host
