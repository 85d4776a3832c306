"""The frontier in memory: the scheduler as a backpressured source.

The seam for other frontiers is the public side of this class: `known`, `add`, `lease`, `settle`, `give_back`,
`next_time` and the counts.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop
from itertools import count

from streamcrawl.core import Lease, Request
from streamcrawl.frontier.hosts import HostTable
from streamcrawl.urls import host_of


def _fresh(request: Request) -> bool:
    """Whether it came from the crawl's start and was not sent before."""
    return request.start and not request.attempt and not request.via


class Frontier:
    """Requests that wait, by host; what was seen; who holds what."""

    def __init__(self, hosts: HostTable, now: Callable[[], float]) -> None:
        self.hosts = hosts
        self._now = now
        self._seen: set[bytes] = set()
        self._rows = count(1)
        self.waiting = 0
        self.waiting_starts = 0
        """Requests of the crawl's start among those waiting."""
        self.leased = 0

    def known(self, key: bytes) -> bool:
        """Whether a request with this fingerprint was added before."""
        return key in self._seen

    def add(self, request: Request, key: bytes | None) -> None:
        """Take a request in. `key`: its fingerprint, remembered from now on; None: it does not count as seen."""
        if key is not None:
            self._seen.add(key)
        order = next(self._rows)
        wait = request.not_before - self._now() if request.not_before else 0.0
        self.waiting += 1
        self.waiting_starts += _fresh(request)
        self.hosts.enqueue(self.hosts.host(request.slot or host_of(request.url)), order, request, wait)

    def lease(self, accepted: Callable[[Lease], None]) -> Lease | None:
        """Hand out the next request with a place on the wire; None if none may go now."""
        hosts = self.hosts
        hosts.tick()
        host = hosts.pick()
        if host is None:
            return None
        _, row, request = heappop(host.queue)
        lease = Lease(row, request, host.name, accepted)
        self.waiting -= 1
        self.waiting_starts -= _fresh(request)
        self.leased += 1
        hosts.take(host, lease)
        return lease

    def settle(self, lease: Lease) -> None:
        """Everything that came of the lease is safe."""
        if lease.id > 0:
            self.leased -= 1

    def give_back(self, lease: Lease) -> None:
        """The lease's request was not worked off: it waits again."""
        self.leased -= 1
        self.add(lease.request, None)

    def next_time(self) -> float | None:
        """When a request that may not go now may go, in monotonic seconds."""
        return self.hosts.next_time()

    def __repr__(self) -> str:
        return f"<Frontier {self.waiting} waiting, {self.leased} in flight, {len(self._seen)} seen>"
