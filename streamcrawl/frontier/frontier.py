"""The frontier: the scheduler as a backpressured source, with a window of it in memory (DESIGN laws 5 to 7, §7).

Requests wait in memory, by host, as long as there is room; the rest waits on disk. With a job all of them are on disk,
written as they come and committed before they are handed out; without one only what finds no room is, in a temporary
file. Within a host, what is in memory comes before what is only on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heapify, heappop
from pathlib import Path
from typing import Any

import msgspec

from streamcrawl.core import Lease, Progress, Request, Visit
from streamcrawl.errors import FlowError, JobError, NotStorable
from streamcrawl.frontier.hosts import Host, HostTable
from streamcrawl.frontier.kept import Kept
from streamcrawl.frontier.message import Messages
from streamcrawl.frontier.opening import moved_back, opened_seen
from streamcrawl.frontier.progress import read_progress
from streamcrawl.frontier.seen import Seen
from streamcrawl.frontier.store import LATER, STATES, WAITING, Store

MEMORY = 128 * 1024 * 1024
"""Bytes for waiting requests and fingerprints, if nothing else is said: a quarter of the default ceiling."""

REQUEST = 1024
"""Bytes that a waiting request takes in memory, about."""

FINGERPRINT = 128
"""Bytes that a fingerprint takes in the set in memory, about."""

WINDOW = 64
"""Requests of a host that are brought into memory at once, at most."""

TICK = 1e-6
"""Seconds: dates are that exact. What is stored with a time is late by one or two, never early."""

DUE = 1000
"""Requests whose time has come that are woken at once."""


def _fresh(request: Request) -> bool:
    """Whether it came from the crawl's start and was not sent before."""
    return request.start and not request.attempt and not request.via


class Frontier:
    """Requests that wait, by host; what was seen; who holds what.

    Args:
        hosts: Politeness.
        now: The date, in seconds since the epoch.
        memory: Bytes for what waits in memory and for fingerprints.
        messages: How requests are stored.
    """

    def __init__(
        self, hosts: HostTable, now: Callable[[], float], *, memory: int = MEMORY, messages: Messages | None = None
    ) -> None:
        self.hosts = hosts
        self._now = now
        self._began = now() - hosts.monotonic()
        """What turns monotonic seconds into steady dates: the clock may be set while the crawl runs."""
        self._messages = messages or Messages(None, None)
        self._cache = memory // 2
        self._room = memory // 2 // REQUEST
        self._seen = Seen(None, memory=memory // 2 // FINGERPRINT)
        self._store: Store | None = None
        self._durable = False
        self._directory = Path()
        self._next = 1
        self._first = 1
        self._committed = 0
        self._marked = 0
        """The highest row whose fingerprint is in the files."""
        self._keys = 0
        """How many are in them."""
        self._loaded = False
        self._held = 0
        """Requests in memory."""
        self._out: set[int] = set()
        """Handed out, and not settled in the tables."""
        self._settled: list[int] = []
        self._unfinished: dict[int, bytes] = {}
        """Pages that were under way when the job was stopped."""
        self._later = 0
        """Requests on disk that wait for their time."""
        self._due: float | None = None
        """When the first of them may go, as a steady date."""
        self._timed: set[int] = set()
        """Requests in memory that wait for their time."""
        self._woken: list[int] = []
        """Those whose time has come, which the tables do not know."""
        self._states: dict[str, Kept] = {}
        self.clock_was_set = 0.0
        """Seconds by which the clock is behind the job's last commit, if it is."""
        self.waiting = 0
        self.waiting_starts = 0
        """Requests of the crawl's start among those waiting."""
        self.leased = 0
        self._still_there: Callable[[], None] = lambda: None
        self._noted = 0
        self.taken = 0
        """How much of the crawl's start was taken."""
        hosts.refill = self._refill
        hosts.time_has_come = self._time_has_come

    # -- the job ------------------------------------------------------------------------------------------------------

    def open(self, directory: Path, still_there: Callable[[], None] = lambda: None) -> Store:
        """Open the job in this directory, or make it; `load` takes over what is in it.

        Args:
            still_there: Raises JobError if the directory has been removed; asked before each commit.

        Raises: JobError.
        """
        self._still_there = still_there
        store = self._store = Store(directory / "frontier.sqlite", self._cache)
        self._durable = True
        self._directory = directory
        return store

    def load(self) -> None:
        """Take over what the job has. Raises: JobError."""
        store = self._store
        assert store is not None
        self._committed = store.last()
        self._next = self._first = self._committed + 1
        self._seen = opened_seen(self._directory, store)
        self.taken = self._noted = store.meta("begun", 0)
        self.clock_was_set = -moved_back(store, self._now())
        self._unfinished = store.progress()
        self.hosts.kept = self.state("hosts")
        if self._committed:
            self.hosts.resume()
        for row, name, low, many in store.by_host():
            host = self.hosts.host(name)
            host.row = row
            host.stored, host.best = many, (low, 0)
            self.waiting += many
            self.hosts.refresh(host)
        self._marked, self._keys = self._committed, len(self._seen)
        self._loaded = True
        self._later, self._due = store.next_due()
        self.waiting += self._later

    def state(self, name: str) -> Kept:
        """What the job keeps under this name."""
        assert self._store is not None
        if name not in self._states:
            self._states[name] = Kept(self._store, name)
        return self._states[name]

    def commit(self) -> None:
        """What was added, settled and noted is what a crash leaves. Raises: JobError."""
        store = self._store
        if store is None or not self._durable:
            return
        self._still_there()
        for kept in self._states.values():
            kept.write()
        self._write()
        if self.taken != self._noted:
            store.note("begun", self.taken)
        store.note("seen", self._marked)
        store.note("keys", self._keys)
        store.commit()
        self._noted = self.taken
        self._committed = self._next - 1
        try:
            self._seen.write()
            self._marked, self._keys = self._committed, len(self._seen)
        except (OSError, ValueError) as error:
            raise JobError(f"job {self._directory}: its file of fingerprints cannot be written: {error}") from error

    def tell(self) -> None:
        """Note for who looks at the job what is under way, and the date."""
        if self._store is not None and self._durable:
            self._store.note("told", self._now())
            self._store.note("leased", sorted(self._out.difference(self._settled)))

    def _write(self) -> None:
        assert self._store is not None
        self._store.write()
        if self._woken:
            self._store.wake(self._woken)
            self._woken.clear()
        if self._settled:
            self._out.difference_update(self._settled)
            self._settled.clear()

    def close(self) -> None:
        """Let go of the files. What was not committed is lost."""
        if self._store is None:
            return
        store, whole = self._store, self._loaded and self._store.broken is None
        try:
            self._seen.close(sync=whole)
            if whole:
                store.roll_back()
                store.note("seen", self._marked)
                store.note("keys", self._keys)
                store.note("closed", True)
                store.commit()
        finally:
            store.close()

    # -- in -----------------------------------------------------------------------------------------------------------

    def known(self, key: bytes) -> bool:
        """Whether a request with this fingerprint was added before. Raises: JobError."""
        try:
            return key in self._seen
        except (OSError, ValueError) as error:
            raise JobError(f"job {self._directory}: its file of fingerprints cannot be read: {error}") from error

    def repeated(self, parent: Lease, nth: int) -> bool:
        """Whether the page gave the nth of its links that are counted already, before the job was stopped."""
        return self._durable and self._store is not None and self._store.repeated(parent.page.id, nth)

    def repeat(self, parent: Lease, nth: int) -> None:
        """The page has given it, and it was taken in."""
        if self._durable and self._store is not None:
            self._store.repeat(parent.page.id, nth)

    def add(self, request: Request, key: bytes | None, *, seen: bool = False) -> None:
        """Take a request in.

        Args:
            key: Its fingerprint, remembered from now on; None: it does not count as seen.
            seen: Whether that is known already, as of a retry.

        Raises: NotStorable, JobError, with a job; then it was not taken in.
        """
        message = self._messages.encode(request) if self._durable else b""
        if key is not None and not seen:
            self._seen.add(key)
        id = self._next
        self._next = id + 1
        wait = request.not_before - self._now() if request.not_before else 0.0
        self.waiting += 1
        self.waiting_starts += _fresh(request)
        host = self.hosts.host(self.hosts.name_of(request))
        if self._store is None and self._held < self._room:
            self._held += 1
            self.hosts.enqueue(host, id, request, wait)
            return
        due = self._date() + wait + 2 * TICK if wait > 0 else None
        if self._durable:
            self._insert(host, id, -request.priority, due, key, message)
        self._place(host, id, request, wait, due)

    def _date(self) -> float:
        """Now, whatever somebody does to the clock."""
        return self._began + self.hosts.monotonic()

    def _insert(self, host: Host, id: int, rank: int, due: float | None, key: bytes | None, message: bytes) -> None:
        store = self._store
        if store is None:
            store = self._store = Store(None, self._cache // 2)
        if not host.row:
            host.row = store.host(host.name)
        store.insert((id, host.row, rank, WAITING if due is None else LATER, due, key, message))

    def _spilled(self, host: Host, id: int, request: Request, due: float | None = None) -> bool:
        """Whether a request is on disk now; without a job one that cannot be stored stays in memory."""
        if self._durable:
            return True
        try:
            message = self._messages.encode(request)
        except NotStorable:
            return False
        self._insert(host, id, -request.priority, due, None, message)
        return True

    def _place(self, host: Host, id: int, request: Request, wait: float, due: float | None) -> None:
        """Where a new request waits: in memory, or only on disk."""
        free = self._held < self._room
        key = (-request.priority, id)
        if due is not None:
            if not free and self._spilled(host, id, request, due):
                self._later += 1
                self._due = due if self._due is None else min(self._due, due)
                return
            self._timed.add(id)
        else:
            if host.best is not None:
                behind = key > host.best
            else:
                behind = not free and (not host.queue or key > max(host.queue)[:2])
            if behind and self._spilled(host, id, request):
                self.hosts.stored(host, key)
                return
        self._held += 1
        self.hosts.enqueue(host, id, request, wait)
        if not free and due is None:
            self._evict(host)

    def _evict(self, host: Host) -> None:
        """There is no room, and the host has much in memory: the last of it stays on disk only."""
        most = max(8, self._room // max(1, len(self.hosts.hosts)))
        if len(host.queue) <= most:
            return
        host.queue.sort()
        kept, evicted = host.queue[: most // 2], host.queue[most // 2 :]
        for rank, id, request in evicted:
            if request is not None:
                if not self._spilled(host, id, request):
                    kept.append((rank, id, request))
                    continue
                self._held -= 1
            host.stored += 1
            host.best = (rank, id) if host.best is None else min(host.best, (rank, id))
        host.queue[:] = kept
        heapify(host.queue)
        self.hosts.refresh(host)

    def _time_has_come(self, host: Host, rank: int, id: int, request: Request | None) -> bool:
        """For a request in memory that waited for its time. False: it waits on disk from now on."""
        self._timed.discard(id)
        if self._durable:
            self._woken.append(id)
        if host.best is None or (rank, id) < host.best:
            return True
        if request is not None:
            if not self._spilled(host, id, request):
                return True
            self._held -= 1
        host.stored += 1
        return False

    # -- out ----------------------------------------------------------------------------------------------------------

    def lease(self, accepted: Callable[[Lease], None]) -> Lease | None:
        """Hand out the next request with a place on the wire; None if none may go now.

        Raises: JobError; FlowError for a stored request that the flow has no callback for any more.
        """
        hosts = self.hosts
        hosts.tick()
        if self._due is not None and self._due <= self._date() + TICK:
            self._wake()
        host = hosts.pick()
        if host is None:
            return None
        _, row, request = host.queue[0]
        if self._durable and row > self._committed:
            self.commit()  # so that its id stands for it, whatever happens
        visit: bytes | None = None
        if request is None:
            request, visit = self._load(row)
        else:
            self._held -= 1
        heappop(host.queue)
        lease = Lease(row, request, host.name, accepted)
        self.waiting -= 1
        if row >= self._first:
            self.waiting_starts -= _fresh(request)
        self.leased += 1
        if self._durable:
            self._out.add(row)
            unfinished = self._unfinished.pop(row, None)
            lease.progress = Progress() if unfinished is None else read_progress(unfinished)
            if visit is not None:
                lease.visit = msgspec.msgpack.decode(visit, type=Visit)
        hosts.take(host, lease)
        return lease

    def _load(self, row: int) -> tuple[Request, bytes | None]:
        store = self._store
        assert store is not None
        self._write()
        message, visit = store.message(row)
        try:
            request = self._messages.decode(message)
        except JobError as error:
            raise JobError(f"job {self._directory}: request {row}: {error}") from error
        except FlowError as error:
            raise FlowError(f"{error}; bring it back, or start over with --reset") from error
        if not self._durable:
            store.delete(row)
        return request, visit

    def _refill(self, host: Host) -> None:
        """Bring the next requests of a host into memory that has none there."""
        store = self._store
        assert store is not None
        assert host.best is not None
        self._write()
        wanted = max(1, min(WINDOW, self._room // max(1, len(self.hosts.hosts))))
        since = host.best
        while True:
            rows = store.waiting(host.row, since, wanted + 1)
            for key in rows:
                if key[1] in self._out:
                    continue
                if len(host.queue) >= wanted:
                    host.best = key
                    host.stored = max(1, host.stored - wanted)
                    return
                host.queue.append((*key, None))
            if len(rows) <= wanted:
                host.stored, host.best = 0, None
                return
            since = (rows[-1][0], rows[-1][1] + 1)

    def _wake(self) -> None:
        """Requests on disk whose time has come wait for a place now."""
        store = self._store
        assert store is not None
        self._write()
        due = [each for each in store.due(self._date() + TICK, DUE + len(self._timed)) if each[0] not in self._timed]
        store.wake([id for id, _, _ in due])
        for id, row, rank in due:
            host = self.hosts.host(store.host_name(row))
            host.row = row
            if host.queue and (host.best is None or (rank, id) < host.best):
                self.hosts.push(host, rank, id)  # it may come before what is in memory
            else:
                self.hosts.stored(host, (rank, id))
        self._later -= len(due)
        self._write()
        self._due = store.next_due_but(self._timed)

    def settle(self, lease: Lease) -> None:
        """Everything that came of the lease is safe; in a job, from the next commit on."""
        if lease.id <= 0:
            return
        self.leased -= 1
        if not self._durable:
            return
        assert self._store is not None
        # What failed has no visit that it could be compared with: when it is asked for again, all of it is wanted.
        visit = None if lease.found is None or lease.verdict != "done" else msgspec.msgpack.encode(lease.found)
        self._store.settle(lease.id, STATES[lease.verdict], lease.reason, visit)
        self._settled.append(lease.id)
        if lease.verdict == "done":
            for name, key, value in lease.notes or ():
                self.state(name)[key] = value

    def keep(self, tokens: Iterable[tuple[str, Any]], progress: Iterable[tuple[int, bytes]]) -> None:
        """What sinks hold, and what of the pages under way is safe with it; part of the next commit."""
        store = self._store
        assert store is not None
        self._write()
        store.keep_tokens(tokens)
        store.keep_progress(progress)

    def next_time(self) -> float | None:
        """When a request that may not go now may go, in monotonic seconds."""
        due = self.hosts.next_time()
        if self._due is None:
            return due
        stored = self._due - self._began
        return stored if due is None else min(due, stored)

    def __repr__(self) -> str:
        return f"<Frontier {self.waiting} waiting, {self.leased} in flight, {len(self._seen)} seen>"
