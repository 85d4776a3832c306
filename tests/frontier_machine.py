"""The frontier as a state machine: whatever happens in whatever order, nothing is lost, and politeness is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from streamcrawl import Request, Slot
from streamcrawl.core import Lease
from streamcrawl.frontier.fingerprint import fingerprint
from streamcrawl.frontier.frontier import Frontier
from streamcrawl.frontier.hosts import HostTable
from streamcrawl.frontier.rates import Rate

EPOCH = 1_900_000_000.0
SLACK = 1e-5
"""Seconds by which what is stored with a time may be late: dates are not exact."""
HOSTS = ("http://a.test", "http://b.test", "slot")
"""The last one is a slot, with a pace of its own."""
SLOTS = {"slot": Slot(concurrency=2, delay=7.0, jitter=0.5)}


RATES = st.builds(
    Rate,
    st.none() | st.integers(1, 4),
    st.sampled_from((None, 0.0, 1.0, 4.0)),
    st.sampled_from((None, None, 0.0, 0.5)),
)
SPEAKERS = ("robots_txt", "throttle")
"""Who says how fast hosts may be asked. The last one has a rule, too."""


@dataclass
class Known:
    """What the model knows of a host."""

    own: Rate
    """What the crawl was told."""
    said: dict[str, Rate] = field(default_factory=dict[str, Rate])
    """What was set, by whom."""
    ruled: Rate | None = None
    """What the rule says."""
    closed: bool = False
    not_until: float = 0.0
    """Nothing may be handed out before."""
    active: set[int] = field(default_factory=set[int])
    turns: dict[int, float] = field(default_factory=dict[int, float])
    """When a request that went over the wire, or may still, was handed out; by lease."""

    def rates(self) -> list[Rate]:
        """All that hold."""
        ruled = [] if self.ruled is None or SPEAKERS[-1] in self.said else [self.ruled]
        return [self.own, *self.said.values(), *ruled]

    @property
    def limit(self) -> int:
        return min(rate.concurrency for rate in self.rates() if rate.concurrency is not None)

    def free_at(self) -> float:
        # A delay that was said without a jitter is kept whole.
        shortest = max((rate.delay or 0.0) * (1 - (rate.jitter or 0.0)) for rate in self.rates())
        return max([self.not_until, *(at + shortest for at in self.turns.values())])


@dataclass(order=True)
class Entry:
    """A waiting request, as the frontier should order it within its host."""

    rank: tuple[int, int]
    due: float
    url: str = field(compare=False)
    added: float = field(compare=False)


class FrontierMachine(RuleBasedStateMachine):
    leases: Bundle[Lease] = Bundle("leases")

    @initialize(
        places=st.integers(1, 6),
        per_host=st.integers(1, 3),
        delay=st.sampled_from((0.0, 0.0, 2.0)),
        jitter=st.sampled_from((0.0, 0.5)),
        seed=st.integers(0, 9),
        memory=st.sampled_from((0, 8192, 1 << 20)),
    )
    def build(self, places: int, per_host: int, delay: float, jitter: float, seed: int, memory: int) -> None:
        self.clock = 0.0
        self.per_host, self.delay, self.jitter, self.places = per_host, delay, jitter, places
        self.seed, self.memory = seed, memory
        self.rule: dict[str, Rate] = {}
        self.table, self.frontier = self.made()
        self.hosts = {name: self.fresh(name) for name in HOSTS}
        self.waiting: dict[str, list[Entry]] = {name: [] for name in HOSTS}
        self.entries: dict[str, tuple[str, Entry]] = {}
        self.out: dict[int, tuple[str, Lease]] = {}
        self.added = 0

    def made(self) -> tuple[HostTable, Frontier]:
        arguments = (self.places, self.per_host, self.delay, self.jitter, SLOTS, Random(self.seed))
        table = HostTable(*arguments, lambda: self.clock, lambda: EPOCH + self.clock)
        table.set_rule(lambda name: self.rule.get(name), by=SPEAKERS[-1])
        return table, Frontier(table, lambda: EPOCH + self.clock, memory=self.memory)

    def fresh(self, name: str) -> Known:
        slot = SLOTS.get(name, Slot())
        delay = self.delay if slot.delay is None else slot.delay
        return Known(Rate(slot.concurrency or self.per_host, delay, slot.jitter or self.jitter))

    # -- what a crawl does --------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(HOSTS), priority=st.integers(-1, 1), wait=st.sampled_from((0.0, 0.0, 0.0, 1.0, 5.0)))
    def add(self, name: str, priority: int, wait: float) -> None:
        self.added += 1
        url = f"{name if '://' in name else 'http://d.test'}/{self.added}"
        request = Request(
            url,
            priority=priority,
            slot=None if "://" in name else name,
            not_before=EPOCH + self.clock + wait if wait else 0.0,
        )
        self.frontier.add(request, fingerprint(request))
        self.entries[url] = name, Entry((-priority, self.added), self.clock + wait if wait else 0.0, url, self.clock)
        self.waiting[name].append(self.entries[url][1])

    @rule(target=leases)
    def lease(self) -> Any:
        lease = self.frontier.lease(lambda lease: None)
        if lease is None:
            self.check_idle()
            return multiple()  # pyright: ignore[reportUnknownVariableType]  # hypothesis leaves it open of what
        self.check_handed_out(lease)
        return lease

    def check_handed_out(self, lease: Lease) -> None:
        name, entry = self.entries[lease.request.url]
        host = self.hosts[name]
        assert lease.host == name
        assert lease.place
        assert entry in self.waiting[name], "it was handed out twice, or never put in"
        assert entry.due <= self.clock, "before its time"
        assert not host.closed, "of a closed host"
        assert len(self.out) < self.places, "more requests than places"
        assert len(host.active) < host.limit, "more requests than the host allows"
        assert host.free_at() <= self.clock, "before the host's delay was over"
        ready = [each for each in self.waiting[name] if each.due <= self.clock - SLACK or each is entry]
        assert entry == min(ready), "not the first of its host"
        self.waiting[name].remove(entry)
        host.active.add(lease.id)
        host.turns[lease.id] = self.clock
        self.out[lease.id] = name, lease

    def check_idle(self) -> None:
        """Nothing was handed out: that has a reason, and it passes by itself or when a place is freed."""
        ready = [name for name in HOSTS if self.could_go(name)]
        if not ready:
            return
        assert self.frontier.next_time() is not None or self.out
        if len(self.out) < self.places:
            for name in ready:
                host, real = self.hosts[name], self.table.hosts[name]
                share = max(1, self.places // len(HOSTS))
                assert real.next_at > self.clock or len(host.active) >= share, f"{name} has a right to go"

    def could_go(self, name: str) -> bool:
        host = self.hosts[name]
        due = any(entry.due <= self.clock - SLACK for entry in self.waiting[name])
        return due and not host.closed and len(host.active) < host.limit and host.free_at() <= self.clock

    @rule(lease=consumes(leases), charged=st.booleans())
    def finish(self, lease: Lease, charged: bool) -> None:
        """The outcome is there."""
        if lease.id not in self.out or self.out[lease.id][1] is not lease:
            return  # of before a crash
        lease.charged = charged
        self.table.free(lease)
        self.table.free(lease)  # a place is given back once, however often it is said
        name, _ = self.out.pop(lease.id)
        host = self.hosts[name]
        host.active.discard(lease.id)
        if not charged:
            del host.turns[lease.id]
        self.settle(lease, name)

    def settle(self, lease: Lease, name: str) -> None:
        self.frontier.settle(lease)

    @rule(seconds=st.sampled_from((0.0, 0.5, 1.0, 3.0, 10.0)))
    def pass_time(self, seconds: float) -> None:
        self.clock += seconds

    @rule()
    def sleep_until_the_next_may_go(self) -> None:
        due = self.frontier.next_time()
        if due is not None:
            self.clock = max(self.clock, due)

    # -- what layers do -----------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(HOSTS))
    def close(self, name: str) -> None:
        self.table.close(name)
        self.hosts[name].closed = True

    @rule(name=st.sampled_from(HOSTS))
    def open(self, name: str) -> None:
        self.table.open(name)
        self.hosts[name].closed = False

    @rule(name=st.sampled_from(HOSTS), by=st.sampled_from(SPEAKERS), rate=RATES)
    def set_rate(self, name: str, by: str, rate: Rate) -> None:
        self.table.set_rate(name, delay=rate.delay, concurrency=rate.concurrency, jitter=rate.jitter, by=by)
        said = self.hosts[name].said
        said.pop(by, None)
        if rate != Rate():
            said[by] = rate
        assert self.table.said(name, by) == (said.get(by) or (self.rule.get(name) if by == SPEAKERS[-1] else None))

    @rule(name=st.sampled_from(HOSTS), rate=RATES)
    def set_rule(self, name: str, rate: Rate) -> None:
        self.rule[name] = self.hosts[name].ruled = rate
        self.table.set_rule(lambda name: self.rule.get(name), by=SPEAKERS[-1])

    @rule(name=st.sampled_from(HOSTS), seconds=st.sampled_from((0.5, 1.0, 6.0)))
    def slow_down(self, name: str, seconds: float) -> None:
        self.table.slow_down(name, seconds)
        self.hosts[name].not_until = max(self.hosts[name].not_until, self.clock + seconds)

    @rule(more=st.booleans())
    def expect(self, more: bool) -> None:
        self.table.expect(more)

    # -- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def the_counts_agree(self) -> None:
        if not hasattr(self, "table"):
            return
        assert self.frontier.waiting == sum(map(len, self.waiting.values()))
        assert self.frontier.leased == len(self.out)
        assert self.table.used == len(self.out) <= self.places

    def teardown(self) -> None:
        """Everything that was put in comes out, if time passes and places are given back."""
        if not hasattr(self, "table"):
            return
        self.table.expect(False)
        for name in HOSTS:
            self.open(name)
        held = [lease for _, lease in self.out.values()]
        for _ in range(10_000):
            lease = self.frontier.lease(lambda lease: None)
            if lease is not None:
                self.check_handed_out(lease)
                held.append(lease)
            elif held:
                lease = held.pop(0)
                lease.charged = True
                self.table.free(lease)
                self.frontier.settle(lease)
                self.hosts[self.out.pop(lease.id)[0]].active.discard(lease.id)
            elif self.frontier.waiting:
                due = self.frontier.next_time()
                assert due is not None, "requests wait, and nobody says for what"
                assert due > self.clock
                self.clock = due
            else:
                break
        assert self.frontier.waiting == self.frontier.leased == self.table.used == 0
