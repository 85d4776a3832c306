"""Politeness: which host may be asked now, and how often (DESIGN laws 5 and 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from heapq import heapify, heappop, heappush
from random import Random
from time import time
from typing import Any

from streamcrawl.core import Lease, Request
from streamcrawl.frontier.host import Host as Host
from streamcrawl.frontier.rates import NO_RATE, SPEAKERS, Pace, Rate, Rates, Rule, rate_of
from streamcrawl.urls import host_of

STALE = 1024
"""Entries in a heap, beside four for each host, above which the old ones are thrown away."""

LINGER = 1.0
"""Seconds for which a host that ran out of work still counts among those that share the places."""


Slot = Rate
"""A Rate is called so in `Crawl(slots=…)`, where it may also be faster than the crawl's own."""


def _goes_in(host: Host, rank: int, order: int, request: Request) -> bool:
    return True


class HostTable:
    """All hosts with work, those that are ready first; implements `core.Hosts`.

    Picking is O(log n) in the hosts. A host is in the heap `ready` (it may be asked now), in the heap `timers` (it may
    be asked later), or in neither (no work, no free place, closed); an entry whose stamp is old is thrown away when it
    comes up.
    """

    def __init__(
        self,
        places: int,
        per_host: int,
        delay: float,
        jitter: float,
        slots: Mapping[str, Slot],
        random: Random,
        monotonic: Callable[[], float],
        now: Callable[[], float] = time,
    ) -> None:
        self.places = places
        self.used = 0
        self._slots = slots
        self._rates = Rates(Pace(per_host, delay, jitter, delay * (1 - jitter)), slots, monotonic, now)
        self.slot: Callable[[Request], str | None] | None = None
        """Names the slot of a request that has none; None: its host counts."""
        self._random = random
        self.hosts: dict[str, Host] = {}
        self._ready: list[tuple[int, int, int, Host]] = []
        self._timers: list[tuple[float, int, Host]] = []
        self._capped: set[Host] = set()
        self._lingering: list[tuple[float, int, Host]] = []
        self._more_to_come = False
        self._stamps = 0
        self._turns = 0
        self._demand = 0
        self._with_work = 0
        self.monotonic = monotonic
        self.refill: Callable[[Host], None] = lambda host: None
        """Called when a host is to be asked whose requests are all on disk: brings some into its queue."""
        self.time_has_come: Callable[[Host, int, int, Request], bool] = _goes_in
        """Called for a request whose time has come; False: it does not go into its host's queue."""
        self._resumed: float | None = None
        self.opened: Callable[[], None] = lambda: None
        """Called when a layer lets a host's requests go: the crawl looks again."""
        self.now = monotonic()

    def name_of(self, request: Request) -> str:
        """What the request counts as: its slot, the one that `slot` names, or its host."""
        if request.slot:
            return request.slot
        return (self.slot is not None and self.slot(request)) or host_of(request.url)

    def host(self, name: str) -> Host:
        found = self.hosts.get(name)
        if found is None:
            rates = self._rates
            said, rest = rates.recall(name) if rates.kept else (None, 0.0)
            found = self.hosts[name] = Host(name, *rates.of(name, said))
            found.said, found.rest_until = said, rest
            if self._resumed is not None:
                # It may have been asked a moment before the job was stopped.
                found.began = self._resumed
            found.next_at = max(rest, found.began + found.wait)
        return found

    @property
    def kept(self) -> MutableMapping[str, Any]:
        """What layers said of hosts, as plain data; set it before there are hosts."""
        return self._rates.kept

    @kept.setter
    def kept(self, kept: MutableMapping[str, Any]) -> None:
        self._rates.kept = kept

    def resume(self) -> None:
        """A job goes on: every host waits for its delay before it is asked again."""
        self._resumed = self.monotonic()

    def stored(self, host: Host, key: tuple[int, int]) -> None:
        """One more request for the host, on disk only."""
        host.stored += 1
        if host.best is None or key < host.best:
            host.best = key
            if not host.queue:
                self.refresh(host)
                return
        self._account(host)

    # -- what layers may do ------------------------------------------------------------------------

    def slow_down(self, host: str, seconds: float) -> None:
        state = self.host(host)
        self.now = self.monotonic()
        state.rest_until = max(state.rest_until, self.now + seconds)
        state.next_at = max(state.next_at, state.rest_until)
        self._rates.keep(host, state.said, state.rest_until)
        self.refresh(state)

    def set_rate(
        self,
        host: str,
        *,
        delay: float | None = None,
        concurrency: int | None = None,
        jitter: float | None = None,
        by: str = "",
    ) -> None:
        state = self.host(host)
        rate = rate_of(
            None if concurrency is None else max(1, concurrency),
            None if delay is None else max(0.0, delay),
            None if jitter is None else min(1.0, max(0.0, jitter)),
        )
        said: dict[str, Rate] = dict(state.said or {})
        if rate == NO_RATE:
            said.pop(by, None)
        elif by not in said and len(said) >= SPEAKERS:
            raise ValueError(f"set_rate(by={by!r}): {SPEAKERS} others have a say in {host} already")
        else:
            said[by] = rate
        self.now = self.monotonic()
        if said != (state.said or {}):
            state.said = said or None
            self._rates.keep(host, state.said, state.rest_until)
            self._changed(state)
        self.refresh(state)

    def set_rule(self, rule: Rule | None, *, by: str) -> None:
        """What `by` says of every host that it has set no rate for, from the host's first request on.

        Args:
            rule: Asked when a host gets work, and whenever something is said of it; None: `by` has no rule any more.
        """
        if rule is None:
            self._rates.rules.pop(by, None)
        else:
            self._rates.rules[by] = rule
        self.now = self.monotonic()
        for state in tuple(self.hosts.values()):
            self._changed(state)
            self.refresh(state)

    def _changed(self, host: Host) -> None:
        """Something else may hold for the host; also for the turn after the one that it had last."""
        before = (host.limit, host.delay, host.jitter, host.least)
        pace = self._rates.of(host.name, host.said)
        if pace == before:
            return
        host.limit, host.delay, host.jitter, host.least = pace
        next_at, host.booked = host.next_at, -1.0
        host.next_at = max(host.rest_until, host.began + host.wait)
        if host.next_at < next_at or pace.limit > before[0]:
            self.opened()

    def rate(self, host: str, *, but: str | None = None) -> Rate:
        """What holds for the host, or would hold without what `but` says."""
        pace = self._rates.of(host, self._known(host).said, but)
        return rate_of(pace.limit, pace.delay, pace.jitter)

    def said(self, host: str, by: str) -> Rate | None:
        """What `by` has set for the host, or its rule says of it."""
        said = self._known(host).said
        if said and by in said:
            return said[by]
        rule = self._rates.rules.get(by)
        return None if rule is None else rule(host)

    def _known(self, name: str) -> Host:
        """A host that is only looked at."""
        found = self.hosts.get(name)
        if found is None:
            found = self.host(name)
            self.refresh(found)
        return found

    def close(self, host: str) -> None:
        state = self.host(host)
        state.closed = True
        self.refresh(state)

    def open(self, host: str) -> None:
        state = self.host(host)
        state.closed = False
        self.refresh(state)
        self.opened()

    # -- what the frontier does --------------------------------------------------------------------

    def refresh(self, host: Host) -> None:
        """Put the host where it belongs after any change to it."""
        self._stamps += 1
        self._account(host)
        host.stamp = self._stamps
        if host.capped:
            host.capped = False
            self._capped.discard(host)
        most = STALE + 4 * len(self.hosts)
        if len(self._ready) > most:
            self._ready = [entry for entry in self._ready if entry[2] == entry[3].stamp]
            heapify(self._ready)
        if len(self._timers) > most:
            self._timers = [entry for entry in self._timers if entry[1] == entry[2].stamp]
            heapify(self._timers)
        if host.closed or host.active >= host.limit:
            return
        while host.later and host.later[0][0] <= self.now:
            _, order, request = heappop(host.later)
            if self.time_has_come(host, -request.priority, order, request):
                heappush(host.queue, (-request.priority, order, request))
        if host.queue or host.best is not None:
            if host.next_at > self.now:
                heappush(self._timers, (host.next_at, host.stamp, host))
            else:
                heappush(self._ready, (self._rank(host), host.turn, host.stamp, host))
        elif host.later:
            heappush(self._timers, (max(host.next_at, host.later[0][0]), host.stamp, host))
        elif not host.active and not host.counted and host.next_at <= self.now and host.name not in self._slots:
            self.hosts.pop(host.name, None)

    @staticmethod
    def _rank(host: Host) -> int:
        if host.queue:
            return host.queue[0][0]
        return host.best[0] if host.best is not None else 0

    def _account(self, host: Host) -> None:
        # One that may not be asked now wants no place; it comes back when its time does.
        waiting = 0 if host.closed or host.next_at > self.now else len(host.queue) + host.stored
        demand = min(host.limit, host.active + waiting)
        if demand != host.demand:
            had, host.demand = host.demand, demand
            self._demand += demand - had
            if not demand:
                heappush(self._lingering, (max(self.now + LINGER, host.next_at), self._stamps, host))
            elif not host.counted:
                host.counted = True
                self._with_work += 1

    def _uncap(self) -> None:
        """Let those go on whose share has grown."""
        for host in tuple(self._capped):
            if host.active < self._cap(host):
                self.refresh(host)

    def expect(self, more: bool) -> None:
        """Whether hosts that have no work now may get some: the crawl's start is not exhausted."""
        if more != self._more_to_come:
            self._more_to_come = more
            self._uncap()

    def _cap(self, host: Host) -> int:
        """The places that the host may hold: its share while places are short, and what the others leave over."""
        share = self.places // max(1, self._with_work)
        if self._more_to_come or (self._lingering and self._lingering[0][0] <= self.now + LINGER):
            return max(1, share)
        if self._demand <= self.places:
            return host.limit
        return max(1, share, self.places - (self._demand - host.demand))

    def enqueue(self, host: Host, order: int, request: Request, wait: float) -> None:
        """One more request for the host, to be sent in `wait` seconds at the earliest."""
        if wait > 0:
            heappush(host.later, (self.monotonic() + wait, order, request))
            if not host.queue:
                self.refresh(host)
            return
        top = host.queue[0] if host.queue else None
        heappush(host.queue, (-request.priority, order, request))
        if host.queue[0] is top:
            self._account(host)  # it stands behind others: the host's place in the heaps is the same
        else:
            self.refresh(host)

    def push(self, host: Host, rank: int, order: int) -> None:
        """One more request that is on disk goes with those in memory."""
        heappush(host.queue, (rank, order, None))
        self.refresh(host)

    def tick(self) -> None:
        """Time has passed: hosts whose wait is over become ready."""
        now = self.now = self.monotonic()
        lingered = len(self._lingering)
        while self._lingering and self._lingering[0][0] <= now:
            _, _, host = heappop(self._lingering)
            if not host.demand and host.counted:
                host.counted = False
                self._with_work -= 1
                self.refresh(host)
        if len(self._lingering) < lingered:
            self._uncap()  # once, however many hosts have run out of work
        while self._timers and self._timers[0][0] <= now:
            _, stamp, host = heappop(self._timers)
            if host.stamp == stamp:
                self.refresh(host)

    def next_time(self) -> float | None:
        """When the next host becomes ready, in monotonic seconds; None: not by waiting."""
        timers = self._timers
        while timers and timers[0][2].stamp != timers[0][1]:
            heappop(timers)
        due = [timers[0][0]] if timers else []
        if self._capped and self._lingering:
            due.append(self._lingering[0][0])
        return min(due, default=None)

    def pick(self) -> Host | None:
        """The host to ask next: the highest priority first, then the one that waited longest."""
        if self.used >= self.places:
            return None
        if not self._ready:
            self._uncap()
        while self._ready:
            _, _, stamp, host = self._ready[0]
            if host.stamp != stamp:
                heappop(self._ready)
            elif host.later and host.later[0][0] <= self.now:
                self.refresh(host)  # one that waited for its time may come before those at hand
            elif host.active >= self._cap(host):
                heappop(self._ready)
                host.capped = True
                self._capped.add(host)
            elif host.queue:
                return host
            else:
                self.refill(host)
                if not host.queue or host.queue[0][0] != self._ready[0][0]:
                    self.refresh(host)  # another host may come before it
        return None

    def take(self, host: Host, lease: Lease) -> None:
        """Reserve a place and the host's next turn for the lease."""
        self.now = self.monotonic()
        self.used += 1
        host.active += 1
        lease.place = True
        self._turns += 1
        host.turn = self._turns
        lease.turn = self.reserve(host)
        self.refresh(host)

    def reserve(self, host: Host) -> tuple[float, float]:
        """Book the host's next turn. Gives (when it was free before, when it is free after)."""
        self.now = self.monotonic()
        before = host.next_at
        host.began = max(self.now, before)
        if host.delay:
            host.luck = self._random.uniform(-1.0, 1.0) if host.jitter else 0.0
            host.next_at = host.began + host.wait
        host.booked = host.next_at
        return before, host.next_at

    def free(self, lease: Lease) -> None:
        """Give the lease's place back; its turn too, if nothing went over the wire."""
        if not lease.place:
            return
        lease.place = False
        self.used -= 1
        host = self.host(lease.host)
        host.active -= 1
        before, after = lease.turn
        if not lease.charged and host.booked == after:
            host.booked = -1.0
            host.next_at = max(before, host.rest_until)
            if host.delay:
                host.began = before - host.least  # the turn before that one was then, or earlier
        self.refresh(host)
        if self._capped and self._demand <= self.places:
            self._uncap()

    def holds_back(self) -> bool:
        """Whether a host that has requests may not be asked: it rests, has a delay, is closed, or all are for later."""
        return any(host.waiting and host.held_back(self.now) for host in self.hosts.values())

    def holders(self) -> list[str]:
        """Who holds places, or is kept from asking: for a run that does not move."""
        return [
            f"{host.name}: {host.active} in flight, {host.waiting} waiting"
            + (", closed (robots.txt)" if host.closed else "")
            for host in self.hosts.values()
            if host.active or host.closed or host.queue or host.stored
        ]

    def __repr__(self) -> str:
        return f"<HostTable {len(self.hosts)} hosts, {self.used} of {self.places} places>"
