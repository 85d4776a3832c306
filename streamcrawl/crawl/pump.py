"""The loop that feeds the pipe as fast as it takes, and notices when it is over or stuck (DESIGN law 5)."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

from streamcrawl.events import Stalled
from streamcrawl.mistakes import plural

if TYPE_CHECKING:
    from streamcrawl.crawl.run import Run

TURNS = 16
"""Times that the start is asked in a row, before others get their turn."""

PATIENCE = 5.0
"""Seconds without anything to send, while a host is not to be asked, after which others are looked for in the start."""

STALL = 30.0
"""Seconds without any progress after which it is told who holds what."""


class Pump:
    """Hands requests out while there is room for them, wakes up when there may be again."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._due = False
        """A look is on its way."""
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._moves = 0
        self._idle: float | None = None
        """Since when places are free, the start has more, and nothing that was taken of it can be sent."""

    def start(self) -> None:
        """Begin to hand requests out."""
        self._watch = self._run.loop.call_later(STALL, self._look_for_stall, 0, STALL)
        self.moved()

    def stop(self) -> None:
        """Set no timer again."""
        for handle in (self._timer, self._watch):
            if handle is not None:
                handle.cancel()

    def moved(self) -> None:
        """Something changed: look for work, once, from the loop."""
        self._moves += 1
        if not self._due:
            self._due = True
            # In the run's context, whoever moved it.
            self._run.loop.call_soon(self._pump, context=self._run.context)

    def _pump(self) -> None:
        run = self._run
        self._due = False
        if not run.subscribed:
            return
        try:
            run.nested.serve()  # also at the end: the sinks may still be fetching pictures
            if run.over.is_set():
                return
            if not run.stopping and not run.paused:
                self._feed()
            self._look()
        except Exception as error:  # a bug of ours must not hang the run
            run.fail(error)

    def _feed(self) -> None:
        run = self._run
        run.hosts.expect(not run.begin.exhausted)
        turns = 0
        while self._room():
            lease = run.frontier.lease(run.accepted)
            if lease is not None:
                self._idle = None
                run.send(lease)
                continue
            wanted = run.begin.wanted(run.hosts.places - run.flying, run.frontier.waiting_starts)
            if wanted <= 0 and run.begin.keeps_to_one_host and self._waited_long():
                continue
            if wanted <= 0 or not run.begin.can_pull or not run.begin.pull(wanted):
                return
            turns += 1
            if turns > TURNS:
                self.moved()  # a start of nothing but duplicates must not keep the loop
                return

    def _waited_long(self) -> bool:
        """Whether it is time to ask the start for more than there are places free; if so, it will be."""
        now = self._run.loop.time()
        if self._idle is None:
            self._idle = now
        if now < self._idle + PATIENCE:
            return False
        self._idle = None
        if not self._run.hosts.holds_back():
            return False  # it is slow to answer, and has what it can take
        self._run.begin.look_further()
        return True

    def _room(self) -> bool:
        """Whether one more request may go out: a place, memory, and no limit reached."""
        run = self._run
        if run.stopping or run.budget.full or run.hosts.used >= run.hosts.places or run.settling.full:
            return False
        limit = run.crawl.options.limit_pages
        return limit is None or run.counts.pages + run.flying + run.working < limit

    def _look(self) -> None:
        """Is it over? Is there something to wait for?"""
        run = self._run
        limit = run.crawl.options.limit_pages
        if limit is not None and run.counts.pages >= limit and not run.stopping:
            run.stop(f"limit of {limit} {plural(limit, 'page')}")
        held_up = run.budget.full or run.settling.full
        if run.flying or run.working or run.refusing.telling or run.nested.active:
            self._arm()
            return
        if run.stopping or (not run.frontier.waiting and run.begin.exhausted):
            run.over.set()
            return
        if not (run.tasks or run.item_tasks or run.scheduler.pending or run.paused):
            waits = run.begin.may_move or run.frontier.next_time() is not None
            if held_up or not waits:
                run.flush_gatherers()  # nothing else can move
        self._arm()

    def _arm(self) -> None:
        """Wake up when the next host is ready."""
        run = self._run
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if run.over.is_set() or run.paused or not self._room():
            return
        due = run.frontier.next_time()
        if self._idle is not None and run.begin.keeps_to_one_host:
            due = min(inf if due is None else due, self._idle + PATIENCE)
        if due is not None:
            self._timer = run.loop.call_at(due, self.moved)

    def _look_for_stall(self, moves: int, seconds: float) -> None:
        run = self._run
        if moves == self._moves and not run.paused:
            run.events.emit(Stalled(seconds=seconds, holders=tuple(self.holders())))
            seconds *= 2
        else:
            seconds = STALL
        self._watch = run.loop.call_later(seconds, self._look_for_stall, self._moves, seconds)

    def holders(self) -> list[str]:
        """Who holds what, in words."""
        run = self._run
        return [
            f"{run.flying} requests in layers and on the wire, {run.working} callbacks, {len(run.live)} leases open",
            f"{run.congestion} queues of items full, {len(run.gatherers)} batches",
            f"{len(run.tasks)} tasks on requests and pages, {len(run.item_tasks)} on items",
            repr(run.budget),
            *run.hosts.holders()[:10],
        ]

    def __repr__(self) -> str:
        return f"<Pump of {self._run!r}>"
