"""How fast a host is asked, by what it answers: the mechanism of `throttle`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, MutableMapping
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol, runtime_checkable

from streamcrawl.arguments import telling
from streamcrawl.backoff import retry_after
from streamcrawl.core import Outcome, Run
from streamcrawl.events import Event
from streamcrawl.frontier.rates import NO_RATE, Rule, rate_of
from streamcrawl.frontier.rates import Rate as Rate
from streamcrawl.mistakes import shortened
from streamcrawl.rate_patterns import Patterns as Patterns
from streamcrawl.rate_patterns import checked_host, checked_rate
from streamcrawl.response import Response
from streamcrawl.streams.counting import count
from streamcrawl.urls import host_of

SLOWED = 10_000
"""Hosts that are slowed down at a time; of more, those that were slowed down first are let go."""
PATTERNS = 10_000
"""Patterns that a stream of rates may name."""
REFUSALS = frozenset({429, 503})
"""Statuses whose Retry-After holds for the whole host. RFC 6585 §4, RFC 9110 §15.6.4."""


class RateChanged(Event, frozen=True):
    """A host is asked faster or slower than before.

    Args:
        host: The Host, or the name of the slot.
        delay: Seconds between two requests, as `by` has it now; 0: `by` has no say any more.
        before: The same, before.
        by: "autothrottle", or "throttle" after a refusal and while the host recovers.
        status: Of the answer that led to it; 0: there was none.
        latency: Of that answer, in seconds.
    """

    host: str
    delay: float
    before: float
    by: str
    status: int = 0
    latency: float = 0.0


@telling
@dataclass(frozen=True, slots=True)
class Pushback:
    """How a host that refuses requests is slowed down, and how it recovers.

    A refusal multiplies the delay that is in force by `factor`. Each good answer (a status below 400) after it adds to
    the rate: after `recovery` of them it is twice what it was right after the refusal. Whatever was on its way when
    the host was slowed down counts for neither. When others' delays are longer, or a tenth of `first` is reached, the
    host is as it was.

    Args:
        first: Seconds between two requests after the first refusal, if they are not more anyway; above 0.
        factor: What a refusal multiplies the delay by; above 1.
        ceiling: Seconds that it makes of the delay at most; `first` or more.
        recovery: Good answers until the rate has doubled; 1 or more.
        statuses: What counts as a refusal.
        errors: Errors that count as one too, such as FetchTimeout.

    Raises: ValueError for an argument out of its bounds, TypeError for one of another kind.
    """

    first: float = 0.25
    factor: float = 2.0
    ceiling: float = 10.0
    recovery: int = 20
    statuses: Collection[int] = REFUSALS
    errors: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.first <= self.ceiling < inf:
            raise ValueError(f"Pushback(first={self.first}, ceiling={self.ceiling}): 0 < first <= ceiling, in seconds")
        if not 1 < self.factor < inf:
            raise ValueError(f"Pushback(factor={self.factor}): above 1")
        if self.recovery < 1:
            raise ValueError(f"Pushback(recovery={self.recovery}): 1 or more answers")
        for status in self.statuses:
            if not 100 <= status <= 599:
                raise ValueError(f"Pushback(statuses=…): {status!r} is none; 100 to 599")
        for error in self.errors:
            if not (isinstance(error, type) and issubclass(error, Exception)):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
                raise TypeError(f"Pushback(errors=…): {shortened(error, 80)} is no class of exceptions")

    def slowed(self, delay: float) -> float:
        """The delay after a refusal while `delay` was in force."""
        return min(self.ceiling, max(self.first, self.factor * delay))

    def recovered(self, slowed: float, good: int) -> float:
        """The delay after so many good answers: their reciprocals, the rates, grow in equal steps."""
        return slowed * self.recovery / (self.recovery + good)


@telling
@dataclass(frozen=True, slots=True)
class AutoThrottle:
    """A delay for each host that follows its latency.

    Args:
        start: Seconds between two requests to a host that has not answered yet; 0 or more.
        ceiling: Seconds that the delay becomes at most; above 0.
        target: Requests that the host should have on its hands at a time, on average; above 0.
        jitter: The delay varies by this share of itself, 0 to 1, and by what the crawl says if that is more.

    Raises: ValueError for an argument out of its bounds, TypeError for one of another kind.
    """

    start: float = 5.0
    ceiling: float = 60.0
    target: float = 1.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.start < inf:
            raise ValueError(f"AutoThrottle(start={self.start}): 0 or more seconds")
        if not 0 < self.ceiling < inf:
            raise ValueError(f"AutoThrottle(ceiling={self.ceiling}): seconds above 0")
        if not 0 < self.target < inf:
            raise ValueError(f"AutoThrottle(target={self.target}): requests at a time, above 0")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"AutoThrottle(jitter={self.jitter}): between 0 and 1")

    def adjusted(self, delay: float, latency: float, status: int) -> float:
        """The delay after an answer.

        Halfway from `delay` to latency / target, but no less than latency / target, and no more than `ceiling`. Errors
        are often quicker than pages: a status other than 200 never makes it shorter. That no delay is shorter than the
        crawl's own is seen to where both hold: with it in the formula, the same would come out.
        """
        target = latency / self.target
        new = min(max(target, (delay + target) / 2), self.ceiling)
        return delay if status != 200 and new <= delay else new

    def of_new(self, host: str) -> Rate | None:
        """The rate of a host that has not answered yet; files have none."""
        return None if host in ("file://", "data://") else rate_of(None, self.start, self.jitter)


@runtime_checkable
class Paced(Protocol):
    """Hosts of which can be told what holds: those of a crawl. A stage used alone has none."""

    def rate(self, host: str, *, but: str | None = None) -> Rate: ...

    def said(self, host: str, by: str) -> Rate | None: ...

    def set_rule(self, rule: Rule | None, *, by: str) -> None: ...


def host_name(outcome: Outcome) -> str:
    """What its request counted as for politeness."""
    lease = outcome.request.lease
    return host_of(outcome.request.url) if lease is None else lease.host


def came_over_the_wire(outcome: Outcome) -> bool:
    """Whether the host gave this answer just now."""
    return outcome.request.answer is None and not (isinstance(outcome, Response) and "cached" in outcome.flags)


class Slowing:
    """The hosts of one run that refused requests, and what they recover from."""

    BY = "throttle"

    def __init__(self, run: Run, policy: Pushback) -> None:
        self._run = run
        self.policy = policy
        self._paced = run.hosts if isinstance(run.hosts, Paced) else None
        self.hosts: OrderedDict[str, tuple[float, int, float]] = OrderedDict()
        """Of each: the delay after its last refusal, good answers since, when that was."""
        self._kept: MutableMapping[str, Any] | None = run.state(self.BY) if run.durable else None
        if self._kept is not None:
            for host in [*self._kept][:SLOWED]:
                slowed, good = self._kept[host]
                self.hosts[host] = (slowed, good, -inf)

    def refused(self, outcome: Outcome) -> None:
        """A refusal: the host is slowed down, unless it was since the request was sent."""
        run, host = self._run, host_name(outcome)
        state = self.hosts.get(host)
        if state is not None:
            self.hosts.move_to_end(host)  # the last to be let go
            if self._sent(outcome, state[0]) < state[2]:
                return
        before = self._in_force(host)
        slowed = self.policy.slowed(before)
        self._set(host, (slowed, 0, run.monotonic()), slowed, before, outcome)
        count(run.stats, "throttle/slowed_count")
        if len(self.hosts) > SLOWED:
            self._let_go(next(iter(self.hosts)))

    def went_well(self, outcome: Outcome) -> None:
        """A good answer: a step back to what was."""
        host = host_name(outcome)
        state = self.hosts.get(host)
        if state is None:
            return
        slowed, good, since = state
        if self._sent(outcome, slowed) < since or not came_over_the_wire(outcome):
            return
        before = self.policy.recovered(slowed, good)
        delay = self.policy.recovered(slowed, good + 1)
        if delay > max(self._in_force(host, but=self.BY), self.policy.first / 10):
            self._set(host, (slowed, good + 1, since), delay, before, outcome)
            return
        self._let_go(host)
        run = self._run
        count(run.stats, "throttle/recovered_count")
        self._tell(host, 0.0, before, outcome)

    def _sent(self, outcome: Outcome, delay: float) -> float:
        """When the request was sent; where nobody measured that, the last moment at which it was from before."""
        latency = outcome.latency if isinstance(outcome, Response) else 0.0
        return self._run.monotonic() - (latency or delay)

    def _in_force(self, host: str, but: str | None = None) -> float:
        return 0.0 if self._paced is None else self._paced.rate(host, but=but).delay or 0.0

    def _set(self, host: str, state: tuple[float, int, float], delay: float, before: float, outcome: Outcome) -> None:
        self.hosts[host] = state
        if self._kept is not None:
            self._kept[host] = [*state[:2]]
        self._run.hosts.set_rate(host, delay=delay, by=self.BY)
        self._tell(host, delay, before, outcome)

    def _let_go(self, host: str) -> None:
        del self.hosts[host]
        if self._kept is not None:
            self._kept.pop(host, None)
        self._run.hosts.set_rate(host, by=self.BY)

    def _tell(self, host: str, delay: float, before: float, outcome: Outcome) -> None:
        tell(self._run, host, delay, before, self.BY, outcome)


def tell(run: Run, host: str, delay: float, before: float, by: str, outcome: Outcome) -> None:
    """Emit RateChanged, if anybody wants to know."""
    if run.events.wants(RateChanged):
        status, latency = (outcome.status, outcome.latency) if isinstance(outcome, Response) else (0, 0.0)
        run.events.emit(RateChanged(host=host, delay=delay, before=before, by=by, status=status, latency=latency))


class Tuning:
    """AutoThrottle in one run. Its state is what it said of each host, which the frontier remembers."""

    BY = "autothrottle"

    def __init__(self, run: Run, hosts: Paced, policy: AutoThrottle) -> None:
        self._run = run
        self._hosts = hosts
        self._policy = policy
        hosts.set_rule(policy.of_new, by=self.BY)

    def answered(self, response: Response) -> None:
        """Adjust the host's delay."""
        policy, host = self._policy, host_name(response)
        said = self._hosts.said(host, self.BY)
        if said is None or response.latency <= 0 or not came_over_the_wire(response):
            return
        before = said.delay or 0.0
        delay = policy.adjusted(before, response.latency, response.status)
        if delay != before:
            self._run.hosts.set_rate(host, delay=delay, jitter=policy.jitter, by=self.BY)
        tell(self._run, host, delay, before, self.BY, response)


def rest(run: Run, response: Response, longest: float) -> None:
    """Give the host the rest that its Retry-After asks for, if it is not too long.

    It may be told by others too, as `retry` does: the longest rest holds, they do not add up.
    """
    values = response.headers.getall("retry-after")
    if not values:
        return
    asked = retry_after(values[0], run.now())
    if 0 < asked <= longest:
        run.hosts.slow_down(host_name(response), asked)
        count(run.stats, "throttle/retry_after_count")


class Driven:
    """What a stream of rates says, in one run."""

    BY = "throttle rates"

    def __init__(self, run: Run) -> None:
        self._run = run
        self._patterns = Patterns({})

    def set(self, name: str, rate: Rate | None) -> None:
        """Raises: ValueError, TypeError, for a name or rate that is none."""
        hosts = self._run.hosts
        if isinstance(name, str) and "://" in name:  # pyright: ignore[reportUnnecessaryIsInstance] - users err
            new = NO_RATE if rate is None else checked_rate(name, rate)
            hosts.set_rate(
                checked_host(name), delay=new.delay, concurrency=new.concurrency, jitter=new.jitter, by=self.BY
            )
            return
        self._patterns.set(name, rate)
        if len(self._patterns) > PATTERNS:
            raise ValueError(f"a stream of rates has named more than {PATTERNS:,} patterns; name Hosts instead")
        if isinstance(hosts, Paced):
            hosts.set_rule(self._patterns, by=self.BY)
