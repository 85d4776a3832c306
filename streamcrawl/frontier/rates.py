"""How fast a host may be asked, when several have a say in it: the crawl, robots.txt, a throttle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import Any, NamedTuple, TypeAlias

from streamcrawl.arguments import telling

SPEAKERS = 16
"""Who may have a say in the rate of one host, at most."""

KEPT = 100_000
"""Hosts whose rate is remembered at most, if no job keeps them all."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a host, or a slot of your own, is to be asked. What is None is left to others.

    Args:
        concurrency: Requests at once; 1 or more.
        delay: Seconds between two requests; 0 or more.
        jitter: The delay varies by this share of itself, 0 to 1.

    Raises: ValueError for an argument out of its bounds, TypeError for one that is no number.
    """

    concurrency: int | None = None
    delay: float | None = None
    jitter: float | None = None

    def __post_init__(self) -> None:
        if self.concurrency is not None and self.concurrency < 1:
            raise ValueError(f"concurrency is {self.concurrency}; it must be 1 or more")
        if self.delay is not None and not 0 <= self.delay < inf:
            raise ValueError(f"delay is {self.delay}; it must be 0 or more seconds")
        if self.jitter is not None and not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter is {self.jitter}; it must be between 0 and 1")


NO_RATE = Rate()
_init = Rate.__init__
telling(Rate)


def rate_of(concurrency: int | None, delay: float | None, jitter: float | None) -> Rate:
    """The Rate of numbers that are some: with each page, that is not asked. Raises: ValueError as Rate does."""
    made = object.__new__(Rate)
    _init(made, concurrency, delay, jitter)
    return made


Rule: TypeAlias = Callable[[str], "Rate | None"]
"""(a Host, or the name of a slot) -> what is said of it from the first request on."""


class Pace(NamedTuple):
    """What holds for a host, all in all."""

    limit: int
    """Requests at once."""
    delay: float
    jitter: float
    least: float
    """Seconds that no wait falls short of: nobody's delay less nobody else's jitter than its own."""


def paced(pace: Pace, rates: Iterable[Rate]) -> Pace:
    """The longest delay, the fewest requests at once, the largest jitter, and no wait shorter than each of them allows.

    A delay that was said without a jitter is kept whole, such as a Crawl-delay: the jitter of others only adds to it.
    """
    limit, delay, jitter, least = pace
    for rate in rates:
        if rate.concurrency is not None and rate.concurrency < limit:
            limit = rate.concurrency
        if rate.delay:
            delay = max(delay, rate.delay)
            least = max(least, rate.delay * (1 - (rate.jitter or 0.0)))
        if rate.jitter is not None and rate.jitter > jitter:
            jitter = rate.jitter
    return Pace(limit, delay, jitter, least)


def own_pace(pace: Pace, slot: Rate) -> Pace:
    """The crawl's pace as one of its slots has it: slower or faster."""
    delay = pace.delay if slot.delay is None else slot.delay
    jitter = pace.jitter if slot.jitter is None else slot.jitter
    return Pace(pace.limit if slot.concurrency is None else slot.concurrency, delay, jitter, delay * (1 - jitter))


def to_plain(said: Mapping[str, Rate] | None, rest: float, date: float) -> list[Any]:
    """What is remembered of a host, as plain data: short, because there may be many.

    Args:
        said: By whom, what was said of it.
        rest: The date until which it rests; 0: it does not.
        date: When that was said.
    """
    plain: list[Any] = [rest, date]
    for by, rate in (said or {}).items():
        plain += (by, rate.delay, rate.concurrency, rate.jitter)
    return plain


def from_plain(plain: list[Any]) -> tuple[dict[str, Rate] | None, float, float]:
    """What `to_plain` was given."""
    said = {plain[at]: rate_of(plain[at + 2], plain[at + 1], plain[at + 3]) for at in range(2, len(plain), 4)}
    return said or None, plain[0], plain[1]


class Rates:
    """What the crawl, layers and their rules say of hosts.

    Args:
        crawl: What the crawl was told of all hosts.
        slots: What it was told of some.
        monotonic: Seconds, for waiting.
        now: Seconds since the epoch.
    """

    def __init__(
        self, crawl: Pace, slots: Mapping[str, Rate], monotonic: Callable[[], float], now: Callable[[], float]
    ) -> None:
        self._crawl = crawl
        self._slots = slots
        self._monotonic = monotonic
        self._began = monotonic(), now()
        self.rules: dict[str, Rule] = {}
        """By who says it."""
        self.kept: MutableMapping[str, Any] = {}
        """What was set for hosts, as `to_plain` has it; a job keeps it."""

    def own(self, name: str) -> Pace:
        """What the crawl was told of the host or slot."""
        slot = self._slots.get(name)
        return self._crawl if slot is None else own_pace(self._crawl, slot)

    def of(self, name: str, said: Mapping[str, Rate] | None, but: str | None = None) -> Pace:
        """What holds, or would hold without what `but` says. Who has set a rate, his rule does not count."""
        pace = self.own(name)
        if not said and not self.rules:
            return pace
        said = said or {}
        rates = [rate for by, rate in said.items() if by != but]
        for by, rule in self.rules.items():
            if by not in said and by != but and (rate := rule(name)) is not None:
                rates.append(rate)
        return paced(pace, rates)

    def recall(self, name: str) -> tuple[dict[str, Rate] | None, float]:
        """What was set for the host, and until when it rests, in monotonic seconds."""
        kept = self.kept.get(name)
        if kept is None:
            return None, 0.0
        said, rest, told = from_plain(kept)
        if not rest:
            return said, 0.0
        began, date = self._began
        if told > date + self._monotonic() - began:  # the clock was set back since, between two runs of a job
            date = told
        return said, began + max(0.0, rest - date)

    def keep(self, name: str, said: Mapping[str, Rate] | None, rest_until: float) -> None:
        """Remember what was set for the host, and its rest."""
        began, date = self._began
        now = self._monotonic()
        if rest_until > now:
            self.kept[name] = to_plain(said, date + rest_until - began, date + now - began)
        elif said:
            self.kept[name] = to_plain(said, 0.0, 0.0)
        else:
            self.kept.pop(name, None)
        if isinstance(self.kept, dict) and len(self.kept) > KEPT:
            for oldest in tuple(islice(self.kept, KEPT // 16)):  # many at a time: to find one is dear
                del self.kept[oldest]
