"""Politeness: which host may be asked now, and how often (DESIGN laws 5 and 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from random import Random
from time import time
from typing import Any

from streamcrawl.core import Lease, Request

Waiting = tuple[int, int, "Request | None"]
"""(minus priority, order of arrival, request); None: it is on disk"""

Later = tuple[float, int, Request]
"""(monotonic seconds, order of arrival, request)"""

RATES = 100_000
"""Hosts without work whose rate is remembered, if no job keeps them all."""


STALE = 1024
"""Entries in a heap, beside four for each host, above which the old ones are thrown away."""

LINGER = 1.0
"""Seconds for which a host that ran out of work still counts among those that share the places."""


@dataclass(frozen=True, slots=True)
class Slot:
    """How a host, or a slot of your own, is to be treated.

    Args:
        concurrency: Requests at once; 1 or more; None: as the crawl has it.
        delay: Seconds between two requests; 0 or more; None: as the crawl has it.
        jitter: The delay varies by this share of itself, 0 to 1; None: as the crawl has it.
    """

    concurrency: int | None = None
    delay: float | None = None
    jitter: float | None = None

    def __post_init__(self) -> None:
        if self.concurrency is not None and self.concurrency < 1:
            raise ValueError(f"concurrency is {self.concurrency}; it must be 1 or more")
        if self.delay is not None and self.delay < 0:
            raise ValueError(f"delay is {self.delay}; it must be 0 or more seconds")
        if self.jitter is not None and not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter is {self.jitter}; it must be between 0 and 1")


@dataclass(slots=True, eq=False)
class Host:
    """One host's queue, places and clock."""

    name: str
    limit: int
    delay: float
    jitter: float
    queue: list[Waiting] = field(default_factory=list[Waiting])
    later: list[Later] = field(default_factory=list[Later])
    row: int = 0
    """Its number on disk; 0: it has none yet."""
    stored: int = 0
    """Requests that wait on disk only."""
    best: tuple[int, int] | None = None
    """No request on disk only comes before this (minus priority, order of arrival); None: there is none."""
    active: int = 0
    demand: int = 0
    next_at: float = 0.0
    rest_until: float = 0.0
    """A layer asked for rest until then; a turn that is given back does not shorten it."""
    closed: bool = False
    turn: int = 0
    stamp: int = 0
    """Which of its entries in the heaps is the valid one."""
    capped: bool = False
    counted: bool = False
    """Among the hosts with work, or was so a moment ago."""

    def __repr__(self) -> str:
        return f"<Host {self.name}: {self.waiting} waiting, {self.active} in flight>"

    @property
    def waiting(self) -> int:
        return len(self.queue) + len(self.later) + self.stored


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
        self._per_host = per_host
        self._delay = delay
        self._jitter = jitter
        self._slots = slots
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
        self._began = monotonic(), now()
        self.refill: Callable[[Host], None] = lambda host: None
        """Called when a host is to be asked whose requests are all on disk: brings some into its queue."""
        self.time_has_come: Callable[[Host, int, int, Request], bool] = _goes_in
        """Called for a request whose time has come; False: it does not go into its host's queue."""
        self._resumed: float | None = None
        self.kept: MutableMapping[str, Any] = {}
        """What layers said of hosts that have no work now: [delay, concurrency, date until which they rest, date]."""
        self.opened: Callable[[], None] = lambda: None
        """Called when a layer lets a host's requests go: the crawl looks again."""
        self.now = monotonic()

    def host(self, name: str) -> Host:
        found = self.hosts.get(name)
        if found is None:
            slot = self._slots.get(name, Slot())
            found = Host(
                name,
                self._per_host if slot.concurrency is None else slot.concurrency,
                self._delay if slot.delay is None else slot.delay,
                self._jitter if slot.jitter is None else slot.jitter,
            )
            self.hosts[name] = found
            if self.kept:
                self._recall(found)
            if self._resumed is not None:
                # It may have been asked a moment before the job was stopped.
                found.next_at = max(found.next_at, self._resumed + found.delay)
        return found

    def _recall(self, host: Host) -> None:
        kept = self.kept.get(host.name)
        if kept is not None:
            host.delay, host.limit, rest, said = kept
            began, date = self._began
            if said > date + self.monotonic() - began:  # the clock was set back since, between two runs of a job
                date = said
            host.next_at = host.rest_until = began + max(0.0, rest - date)

    def _keep(self, host: Host) -> None:
        """Remember what a layer said of a host."""
        began, date = self._began
        said = date + self.monotonic() - began
        self.kept[host.name] = [host.delay, host.limit, date + host.rest_until - began, said]
        if isinstance(self.kept, dict) and len(self.kept) > RATES:
            del self.kept[next(iter(self.kept))]

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
        self._keep(state)
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
        self.now = self.monotonic()
        if delay is not None:
            slot = self._slots.get(host)
            delay = max(delay, self._delay if slot is None or slot.delay is None else slot.delay)
            # What was sent before the rate was known counts too; without a delay nobody noted when that was.
            booked = state.next_at if state.delay else self.now
            state.next_at = max(state.next_at, booked + delay - state.delay)
            state.delay = delay
        if concurrency is not None:
            state.limit = max(1, concurrency)
        self._keep(state)
        self.refresh(state)

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
        while self._lingering and self._lingering[0][0] <= now:
            _, _, host = heappop(self._lingering)
            if not host.demand and host.counted:
                host.counted = False
                self._with_work -= 1
                self.refresh(host)
            self._uncap()
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
        if host.delay:
            factor = 1 + self._random.uniform(-host.jitter, host.jitter) if host.jitter else 1.0
            host.next_at = max(self.now, before) + host.delay * factor
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
        if not lease.charged and host.next_at == after:
            host.next_at = max(before, host.rest_until)
        self.refresh(host)
        if self._capped and self._demand <= self.places:
            self._uncap()

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
