"""Nested fetches: on their parent's lease, and on its place where it has one (DESIGN law 6)."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import count
from typing import TYPE_CHECKING

from streamcrawl.core import Again, Dropped, Failed, Lease, Outcome, Request
from streamcrawl.errors import InvalidURL, StreamcrawlError
from streamcrawl.response import Response
from streamcrawl.streams.edges import closed
from streamcrawl.streams.local import settled
from streamcrawl.urls import normalize

if TYPE_CHECKING:
    from streamcrawl.crawl.run import Run


STOPPED = "the run was stopped"


class Nested:
    """The fetches inside of others: robots.txt, `await fetch`, an item's pictures."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._ids = count(-1, -1)
        self._lines: dict[str, deque[tuple[asyncio.Future[None], Lease]]] = {}
        """Who waits for a place, by host."""
        self.active = 0
        self._open: set[Lease] = set()
        self._given_up = False
        self.abandoned = 0
        """Cancelled under way: they wait, as it were, at the end of the run."""

    async def fetch(self, request: Request, parent: Lease | None) -> Outcome:
        """The request's outcome, after redirects and retries."""
        run = self._run
        if parent is not None:
            parent.hold()
        self.active += 1
        try:
            while True:
                outcome = await self._exchange(request, parent)
                if not isinstance(outcome, Again):
                    return self._counted(outcome, parent)
                run.counts.again += 1
                if run.stopping and not outcome.hop and not (run.durable and not run.cut):
                    return Failed(outcome.request.origin, StreamcrawlError(STOPPED))
                request = outcome.next
                wait = request.not_before - run.now()
                if wait > 0:
                    await asyncio.sleep(wait)
        finally:
            self.active -= 1
            if parent is not None:
                parent.release()
            run.moved()

    def next_id(self) -> int:
        """Ids below zero are not the frontier's."""
        return next(self._ids)

    async def _exchange(self, request: Request, parent: Lease | None) -> Outcome:
        run = self._run
        run.counts.offered.nested += 1
        try:
            request = request.replace(
                url=normalize(request.url),
                site=request.site or ("" if parent is None else parent.request.site),
                lease=None,
                callback=None,
                errback=None,
            )
        except InvalidURL as error:
            return Failed(request, error)
        lease = Lease(self.next_id(), request, run.hosts.name_of(request), lambda lease: None)
        lease.parent = parent
        lease.reply = run.loop.create_future()
        if self._given_up:
            return Failed(request, StreamcrawlError(STOPPED))
        self._open.add(lease)
        run.into_stage(request.replace(lease=lease))
        try:
            return await lease.reply
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        finally:
            self._open.discard(lease)
            run.budget.charge(lease, 0)

    def give_up(self) -> None:
        """The run is cut short: who waits for an answer hears that there is none."""
        self._given_up = True
        for lease in tuple(self._open):
            if lease.reply is not None and not lease.reply.done():
                lease.reply.set_result(Failed(lease.request, StreamcrawlError(STOPPED)))

    def answered(self, lease: Lease, outcome: Outcome) -> None:
        """The stage has brought the outcome of a nested request."""
        assert lease.reply is not None
        streamed = outcome.stream if isinstance(outcome, Response) else None
        if lease.reply.done():  # nobody waits for it any more
            if streamed is not None:
                self._run.spawn(closed(streamed))
        else:
            lease.reply.set_result(outcome)
        if streamed is None:
            self._run.hosts.free(lease)
            self._run.moved()

    def _counted(self, outcome: Response | Failed | Dropped, parent: Lease | None) -> Outcome:
        run = self._run
        outcome = settled(outcome)
        if isinstance(outcome, Response):
            run.counts.nested += 1
            if parent is not None and parent.weight:
                run.budget.charge(parent, parent.weight + outcome.size)
        elif isinstance(outcome, Failed):
            run.counts.failed += 1  # whoever asked for it tells what it means
        else:
            run.door.dropped(outcome.reason, outcome.request)
        return outcome

    async def wire(self, request: Request) -> None:
        """Wait for a place, unless one of those it is fetched for lends its own, and for the host's turn."""
        lease = request.lease
        if lease is None:
            return
        run, hosts, lender = self._run, self._run.hosts, _lender(lease)
        if lender is None:
            turn: asyncio.Future[None] = run.loop.create_future()
            self._lines.setdefault(lease.host, deque()).append((turn, lease))
            self.serve()
            await turn
            lease.charged = True
            after = lease.turn[0]
        elif not lender.charged and lender.host == lease.host:
            lender.charged = True
            after = 0.0  # it goes in the turn that was booked for its parent
        else:
            after = hosts.reserve(hosts.host(lease.host))[0]
        await self.turn(lease.host, after)

    async def turn(self, name: str, at: float) -> None:
        """Wait for the host's turn that was booked; if the host rests by then, for one after that."""
        run, hosts = self._run, self._run.hosts
        while True:
            wait = at - run.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            if hosts.host(name).rest_until <= max(at, run.monotonic()):
                return
            at = hosts.reserve(hosts.host(name))[0]

    def serve(self) -> None:
        """Give free places to those who wait for one; they come before the frontier."""
        hosts = self._run.hosts
        for name in tuple(self._lines):
            line = self._lines[name]
            while line and (line[0][0].done() or self._free(name)):
                turn, lease = line.popleft()
                if not turn.done():
                    hosts.take(hosts.host(name), lease)
                    turn.set_result(None)
            if not line:
                del self._lines[name]

    def _free(self, name: str) -> bool:
        hosts = self._run.hosts
        host = hosts.host(name)
        if hosts.used < hosts.places and host.active < host.limit:
            return True
        if not self._run.congestion:
            return False
        # Streamed pages that wait for the sinks hold all places: then what the sinks fetch goes over the bound.
        held = [lease for lease in self._run.live.values() if lease.place]
        return len(held) == hosts.used and all(lease.answered for lease in held)


def _lender(lease: Lease) -> Lease | None:
    """The lease that holds a place for this one: itself, or the nearest of those it is fetched for."""
    holder: Lease | None = lease
    while holder is not None and not holder.place:
        holder = holder.parent
    return holder
