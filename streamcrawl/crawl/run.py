"""One execution of a crawl: the loop that feeds the pipe as fast as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, MutableMapping
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reactivex import Observable

from streamcrawl import core
from streamcrawl.core import (
    LEASE,
    RUN,
    Again,
    Done,
    Dropped,
    Extent,
    Failed,
    Lease,
    Outcome,
    Request,
)
from streamcrawl.crawl.advice import Advice
from streamcrawl.crawl.budget import GATHERED, PAGE, TREE, Budget
from streamcrawl.crawl.door import Door
from streamcrawl.crawl.durable import Durable
from streamcrawl.crawl.ending import Ending
from streamcrawl.crawl.nested import Nested
from streamcrawl.crawl.noting import note
from streamcrawl.crawl.pump import Pump
from streamcrawl.crawl.refusing import Refusing
from streamcrawl.crawl.settling import Settling
from streamcrawl.crawl.start import Start
from streamcrawl.crawl.summary import Counts, Summary
from streamcrawl.crawl.wiring import Wires, subscribe
from streamcrawl.errors import FlowError, LawBroken
from streamcrawl.events import (
    CallbackFailed,
    Events,
    ItemScraped,
    Leased,
    Responded,
    RunFinished,
    RunPaused,
    RunResumed,
    RunStarted,
    RunStopping,
    SentAgain,
)
from streamcrawl.frontier.frontier import Frontier
from streamcrawl.frontier.hosts import HostTable
from streamcrawl.frontier.message import Messages
from streamcrawl.mistakes import plural
from streamcrawl.response import Response
from streamcrawl.scoping import scope_test
from streamcrawl.streams.context import RunContext
from streamcrawl.streams.edges import closed
from streamcrawl.streams.local import settled
from streamcrawl.streams.scraper import ERRBACK

if TYPE_CHECKING:
    from streamcrawl.crawl.crawl import Crawl


class Run(RunContext):
    """One execution of a Crawl. `await run` gives the Summary.

    `events` is an Observable, `stats` a dict of counters, `counts` the sum as it stands.
    """

    def __init__(
        self,
        crawl: Crawl[Any],
        loop: asyncio.AbstractEventLoop,
        end: Callable[[Observable[Any]], Observable[Any]] | None = None,
        on_item: Callable[[Any], None] | None = None,
    ) -> None:
        options = crawl.options
        super().__init__(loop, seed=options.seed)
        self.crawl = crawl
        self.events = Events(self.id, crawl.events)
        self.counts = Counts()
        self.budget = Budget(options.memory)
        self.hosts = HostTable(
            options.concurrency,
            options.per_host,
            options.delay,
            options.jitter,
            options.slots,
            self.random,
            loop.time,
            self.now,
        )
        scrape = crawl.pipes.scrape
        self.spider = None if scrape is None else getattr(scrape.callback, "__self__", None)
        messages = Messages(scrape.callback, scrape.errback) if scrape is not None else Messages(None, None)
        self.frontier = Frontier(self.hosts, self.now, memory=options.memory // 4, messages=messages)
        self.durable = options.job is not None
        self.job = None if options.job is None else Durable(self, options.job, options.recrawl)
        self.refusing = Refusing(self)
        self.advice = Advice(self)
        self.door = Door(
            self.frontier,
            self.counts,
            self.events,
            scope_test(options.scope),
            self.refusing,
            self.lost,
            self.advice,
        )
        self.begin = Start(crawl.start_source, self, self._take_start, self.moved)
        self.nested = Nested(self)
        self.settling = Settling(self)
        self.hosts.opened = self.moved
        self.hosts.slot = options.slot
        self.live: dict[int, Lease] = {}
        """Leases that are not accepted yet."""
        self.flying = 0
        """Leases whose outcome is not there yet."""
        self.working = 0
        """Pages whose callback has not finished."""
        self.reason = "finished"
        self._end = end
        self._on_item = on_item
        self.paused = False
        self.over = asyncio.Event()
        """Nothing more will come out of the frontier."""
        self._wires: Wires | None = None
        self.context = copy_context()
        """In which the run's callbacks and tasks run, whoever set them off."""
        self.context.run(RUN.set, self)
        self.pump = Pump(self)
        self.ending = Ending(self)
        self._task = loop.create_task(self._execute(), context=self.context)
        self.summary: Summary | None = None

    def __await__(self) -> Generator[Any, None, Summary]:
        return asyncio.shield(self._task).__await__()

    # -- what users do ----------------------------------------------------------------------------------------------

    def stop(self, reason: str = "stopped", *, now: bool = False) -> None:
        """End the run: no new requests; what is under way is finished and flushed.

        Args:
            reason: Why; the summary tells it.
            now: Do not finish what is on the wire or in a callback; what is accepted is still flushed.
        """
        if not self.stopping:
            self.stopping = True
            self.reason = reason
            if self.events.wants(RunStopping):
                self.events.emit(RunStopping(reason=reason))
        if now:
            self.ending.now.set()
            self._end_feeding()
        self.moved()

    def _end_feeding(self) -> None:
        self.enough = True
        self.over.set()

    def pause(self) -> None:
        """No new requests until `resume()`; what is under way goes on."""
        if not self.paused:
            self.paused = True
            self.events.emit(RunPaused())

    def resume(self) -> None:
        """Go on after `pause()`."""
        if self.paused:
            self.paused = False
            self.events.emit(RunResumed())
            self.moved()

    # -- what operators do ------------------------------------------------------------------------------------------

    async def fetch(self, request: Request, parent: Request | None = None) -> Outcome:
        return await self.nested.fetch(request, parent.lease if parent is not None else LEASE.get(None))

    async def wire(self, request: Request) -> None:
        lease = request.lease
        if lease is not None and lease.place and not lease.charged:
            lease.charged = True
            if self.hosts.host(lease.host).rest_until > self.monotonic():
                await self.nested.turn(lease.host, 0.0)  # it rests since the request was handed out
            return
        await self.nested.wire(request)

    def landed(self, request: Request) -> None:
        if request.lease is not None:
            self.budget.read(request.lease)
            self.hosts.free(request.lease)
            self.moved()

    async def reserve(self, request: Request, size: int) -> None:
        if request.lease is not None:
            await self.budget.reserve(request.lease, size)

    def end(self, reason: str) -> None:
        self.stop(reason)

    def fail(self, error: Exception) -> None:
        if self.error is None:
            self.error = error
            self.stop("failed")
            self._end_feeding()
            self.ending.failed()

    def known(self, request: Request) -> bool:
        return self.door.known(request)

    def outside(self, place: str) -> None:
        self.stats["outside_extent"] += 1
        if self.durable:
            self.fail(
                FlowError(
                    f"{place} emitted an item with no page in hand: a job could lose it. "
                    "Declare that with ops.at_most_once(...), or do it with ops.map_async or ops.batch; "
                    "and start over (--reset)"
                )
            )

    def state(self, name: str) -> MutableMapping[str, Any]:
        return self.frontier.state(name) if self.durable else super().state(name)

    def token(self, sink: str) -> Any:
        return None if self.job is None else self.job.token(sink)

    def spool(self, name: str) -> Path | None:
        return None if self.job is None else self.job.spool(name)

    def lost(self, error: Exception, lease: Lease | None) -> None:
        """The frontier could not take a request in: the page that it came from is not settled."""
        if lease is not None:
            lease.cut = True
        self.fail(error)

    def gave_none(self, function: Callable[..., Any]) -> None:
        self.advice.gave_none(function)

    def _take_start(self, element: Any) -> None:
        if self.starting is not None:
            self.starting(element)
        elif isinstance(element, Request):
            self.door.start(element)
        else:
            self._scraped(element)

    def refused(self, outcome: Failed | Dropped) -> None:
        if isinstance(self.page, core.Start):
            self.counts.offered.start += 1
        else:
            self.counts.offered.links += 1
        if isinstance(outcome, Failed):
            self.door.failed(outcome)
        else:
            if isinstance(self.page, core.Start):
                self.advice.start_dropped(outcome.request, outcome.reason)
            self.door.dropped(outcome.reason, outcome.request)
            if outcome.request.errback is not None:
                self.refusing.by_layer(outcome)

    def into_stage(self, request: Request) -> None:
        """Send a leased request into the layers, past the operators on requests."""
        assert self._wires is not None
        self._wires.stage.on_next(request)

    def moved(self) -> None:
        self.pump.moved()

    @property
    def subscribed(self) -> bool:
        """Whether the pipe is there."""
        return self._wires is not None

    def send(self, lease: Lease) -> None:
        """Put a request that the frontier handed out into the pipe."""
        assert self._wires is not None
        self.live[lease.id] = lease
        self.flying += 1
        self.budget.charge(lease, PAGE)
        if self.events.wants(Leased):
            self.events.emit(Leased(request=lease.request))
        self.extent = Extent((lease,))
        self._wires.requests.on_next(lease.request.replace(lease=lease))
        self.extent = None

    def complete_items(self) -> None:
        """No item will be put into the pipe any more."""
        assert self._wires is not None
        self._wires.items.on_completed()

    def unsubscribe(self) -> None:
        """Let the pipe go."""
        if self._wires is not None:
            self._wires.subscription.dispose()

    def flush_gatherers(self) -> None:
        """Make whatever gathers items emit what it has."""
        for flush in tuple(self.gatherers):
            flush()

    # -- what comes up ----------------------------------------------------------------------------------------------

    def outcome(self, outcome: Outcome) -> None:
        lease = outcome.request.lease
        if lease is None:
            self.fail(LawBroken(f"a layer emitted {outcome!r}, whose request is not one that it was given"))
            return
        if lease.reply is not None:
            self.nested.answered(lease, outcome)
            return
        if lease.answered:
            self.fail(LawBroken(f"a layer emitted a second outcome for one request: {outcome!r}"))
            return
        lease.answered = True
        self.flying -= 1
        if lease.place and not (isinstance(outcome, Response) and outcome.stream is not None and lease.bodies):
            self.hosts.free(lease)
        if isinstance(outcome, Again):
            self.counts.again += 1
            lease.verdict = "moved" if outcome.hop else "retried"
            if self.events.wants(SentAgain):
                # Of the origin, as everywhere that users look: no credential is told by accident.
                again = Again(outcome.request.origin, outcome.next, outcome.reason, outcome.hop)
                self.events.emit(SentAgain(again=again))
            self.door.again(outcome)
            lease.release()
            self.moved()
            return
        self.working += 1
        outcome = settled(outcome)
        if isinstance(outcome, Response):
            self.budget.charge(lease, PAGE + TREE * outcome.size)
        if self.durable:
            note(self, lease, outcome)
        self.into_scraper(lease, outcome)

    def into_scraper(self, lease: Lease, outcome: Response | Failed | Dropped) -> None:
        """Call its callback or errback."""
        assert self._wires is not None
        before, self.extent = self.extent, Extent((lease,))
        self._wires.inputs.on_next(outcome)
        self.extent = before

    def output(self, output: Any) -> None:
        if isinstance(output, Done):
            self._done(output)
        elif isinstance(output, Request):
            page = self.page
            if isinstance(page, core.Start):
                self.door.start(output)
                return
            lease = self.extent.leases[0] if self.extent is not None else None
            base = 0 if isinstance(page, Response) else ERRBACK
            self.door.link(output, page.request if page is not None else output, lease, base)
            self.moved()
        else:
            self._scraped(output)

    def _scraped(self, item: Any) -> None:
        if self.enough:
            if self.durable and self.extent is not None:
                self.extent.spoil()  # it comes again when the job goes on
            return
        self.counts.scraped += 1
        if self.durable:
            self.settling.stir()
        if self.page is not None and self.events.wants(ItemScraped):
            self.events.emit(ItemScraped(item=item, request=self.page.request))
        assert self._wires is not None
        self._wires.items.on_next(item)

    def _done(self, done: Done) -> None:
        extent = self.extent
        assert extent is not None
        lease = extent.leases[0]
        if lease.id > 0:
            self.working -= 1
        else:
            self.refusing.telling -= 1
        input = done.input
        if isinstance(input, Response):
            self.counts.pages += 1
            if self.events.wants(Responded):
                self.events.emit(Responded(response=input))
        elif lease.id < 0:
            pass  # refused at the door, and counted there
        elif isinstance(input, Failed):
            lease.verdict, lease.reason = "failed", f"{type(input.error).__name__}: {input.error}"
            self.door.failed(input)
        elif isinstance(input, Dropped):
            if input.request.start:
                self.advice.start_dropped(input.request, input.reason)
            self.door.dropped(input.reason, input.request)
        if done.error is not None:
            self.callback_failed(lease.request, lease, done.error)
        if lease.holds > 1:
            self.budget.charge(lease, GATHERED)
        lease.release()
        self.moved()

    def callback_failed(self, request: Request, lease: Lease | None, error: Exception) -> None:
        """Count and tell what is wrong in a callback for `request`'s response."""
        from streamcrawl.errors import Drop

        if isinstance(error, Drop):
            self.stats[f"callback_dropped/{error.reason}"] += 1
            return
        if lease is not None:
            lease.verdict, lease.reason = "failed", str(error)
        self.counts.callback_errors += 1
        if self.events.wants(CallbackFailed):
            self.events.emit(CallbackFailed(request=request, error=error))

    def accepted(self, lease: Lease) -> None:
        """Nobody works for the lease any more: its items are with every sink."""
        self.live.pop(lease.id, None)
        for body in lease.bodies:
            self.spawn(closed(body))
        if lease.place:  # a layer read one body and gave another
            self.hosts.free(lease)
            self.moved()
        self.budget.charge(lease, 0)
        self.settling.accepted(lease)

    def item(self, item: Any) -> None:
        self.counts.items += 1
        if self._on_item is not None:
            try:
                self._on_item(item)
            except Exception as error:  # of whoever takes the items: no failure of the callback that yielded this one
                self.fail(error)
        limit = self.crawl.options.limit_items
        if limit is not None and self.counts.items >= limit and not self.enough:
            self.enough = True
            self.stop(f"limit of {limit} {plural(limit, 'item')}")

    def broken(self, error: Exception) -> None:
        """The pipe of items has ended with an error: nothing will come out of it any more."""
        self.fail(error)
        self.ending.drained.set()

    def drained(self) -> None:
        self.ending.drained.set()

    # -- from start to end ------------------------------------------------------------------------------------------

    async def _execute(self) -> Summary:
        started = self.monotonic()
        try:
            if self.job is None or self.job.open():
                await self._crawl()
            else:
                self.reason = "already finished"
        except asyncio.CancelledError:
            self.reason = "cancelled"
            raise
        except Exception as error:
            self.error = self.error or error
        finally:
            await self.ending.close()
            self.advice.at_the_end()
            self.summary = self._summary(self.monotonic() - started)
            self.events.emit(RunFinished(reason=self.reason, error=self.error))
            self.events.complete()
        return self.summary

    async def _crawl(self) -> None:
        if self.durable:
            self.begin.load()
        self.counts.offered.resumed = self.frontier.waiting
        self._wires = subscribe(self.crawl.pipes, self, self, self._end)
        if self.job is not None and self.error is None:
            self.job.begun()
            await self.settling.begin()
        self.events.emit(RunStarted())
        self.begin.open()
        self.pump.start()
        await self.over.wait()
        await self.ending.drain()

    def _summary(self, seconds: float) -> Summary:
        if self.error is not None:
            self.reason = "failed"
        left = sum(1 for lease in self.live.values() if not lease.answered) + self.working + self.nested.abandoned
        return Summary(self.reason, self.error, seconds, self.counts, self.frontier.waiting + left, dict(self.stats))

    def __repr__(self) -> str:
        state = self.reason if self.summary else "under way"
        counts = f"{self.counts.pages} pages, {self.counts.items} items"
        return f"<Run {self.id} {state}: {counts}, {self.flying} in flight, {self.frontier.waiting} waiting>"
