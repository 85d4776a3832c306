"""Nested fetches: on their parent's lease, and on its place where it has one (DESIGN law 6)."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import count
from typing import TYPE_CHECKING

from streamcrawl.core import Again, Dropped, Failed, Lease, Outcome, Request
from streamcrawl.errors import InvalidURL
from streamcrawl.response import Response
from streamcrawl.streams.local import settled
from streamcrawl.urls import host_of, normalize

if TYPE_CHECKING:
    from streamcrawl.crawl.run import Run


class Nested:
    """The fetches inside of others: robots.txt, `await fetch`, an item's pictures."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._ids = count(-1, -1)
        self._line: deque[tuple[asyncio.Future[None], Lease]] = deque()
        self.active = 0
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
                run.counts.offered.nested += 1
                outcome = await self._exchange(request, parent)
                if not isinstance(outcome, Again):
                    return self._counted(outcome, parent)
                run.counts.again += 1
                request = outcome.next
                wait = request.not_before - run.now()
                if wait > 0:
                    await asyncio.sleep(wait)
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
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
        try:
            request = request.replace(url=normalize(request.url), lease=None, callback=None, errback=None)
        except InvalidURL as error:
            return Failed(request, error)
        lease = Lease(self.next_id(), request, request.slot or host_of(request.url), lambda lease: None)
        lease.parent = parent
        lease.reply = run.loop.create_future()
        run.into_stage(request.replace(lease=lease))
        return await lease.reply

    def answered(self, lease: Lease, outcome: Outcome) -> None:
        """The stage has brought the outcome of a nested request."""
        if not (isinstance(outcome, Response) and outcome.stream is not None):
            self._run.hosts.free(lease)
            self._run.moved()
        assert lease.reply is not None
        if not lease.reply.done():
            lease.reply.set_result(outcome)

    def _counted(self, outcome: Response | Failed | Dropped, parent: Lease | None) -> Outcome:
        run = self._run
        outcome = settled(outcome)
        if isinstance(outcome, Response):
            run.counts.nested += 1
            if parent is not None and parent.weight:
                run.budget.charge(parent, parent.weight + outcome.size)
        elif isinstance(outcome, Failed):
            run.door.failed(outcome)
        else:
            run.door.dropped(outcome.reason, outcome.request)
        return outcome

    async def wire(self, request: Request) -> None:
        """Wait for a place, unless the parent lends its own, and for the host's turn."""
        lease = request.lease
        if lease is None:
            return
        run, hosts, parent = self._run, self._run.hosts, lease.parent
        lent = lease.place or (parent is not None and parent.place)
        if lent and parent is not None and parent.place and not parent.charged and parent.host == lease.host:
            parent.charged = True  # it goes in the turn that was booked for its parent
            return
        if not lent:
            turn: asyncio.Future[None] = run.loop.create_future()
            self._line.append((turn, lease))
            self.serve()
            await turn
            lease.charged = True
            after = lease.turn[0]
        else:
            after = hosts.reserve(hosts.host(lease.host))[0]
        wait = after - run.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)

    def serve(self) -> None:
        """Give free places to those who wait for one; they come before the frontier."""
        hosts = self._run.hosts
        for _ in range(len(self._line)):
            turn, lease = self._line.popleft()
            if turn.done():
                continue
            host = hosts.host(lease.host)
            if hosts.used >= hosts.places or host.active >= host.limit:
                self._line.append((turn, lease))
                continue
            hosts.take(host, lease)
            turn.set_result(None)
