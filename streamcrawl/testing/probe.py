"""One subscription of a layer with everything watched: what is offered, what reaches the wire, what comes up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, cast

from reactivex import Observable, abc

from streamcrawl.core import OUTCOMES, RUN, Again, Fetch, Layer, Lease, Outcome, Request
from streamcrawl.errors import InvalidURL
from streamcrawl.response import Response
from streamcrawl.streams.local import LocalRun
from streamcrawl.testing.laws import ANSWERED, COMPLETION, LEFT, LOOP, ONE_OUTCOME, ORIGIN, VALUES, ContractBroken
from streamcrawl.testing.trace import changed_fields, cookies_of, describe, describe_request
from streamcrawl.testing.wire import BELOW, Timing, Watch, wire
from streamcrawl.urls import host_of, hostname_of, normalize

ABOVE = "X-Added-Above"
CREDENTIALS = ("Authorization", "Cookie", "Proxy-Authorization")
PATIENCE = 7 * 86400.0
"""Virtual seconds after which what has not come does not come."""
GENERATIONS = 100
"""More hops and repeats than this, of one request, never end."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One scenario: what is offered, and how it is answered."""

    seed: int
    requests: tuple[Request, ...]
    timing: Timing = "at once"
    early: bool = False
    """Whether the source completes right after the last request, with requests still in hand."""
    marks: bool = False
    """Whether the requests carry what other layers would have added, credentials among it."""
    follow: bool = True
    """Whether an Again is offered again."""

    def __str__(self) -> str:
        source = ", source completes early" if self.early else ""
        return f"seed {self.seed}, answers {self.timing}{source}"


@dataclass(slots=True, eq=False)
class Offer:
    """A request in the layer's hands."""

    request: Request
    lease: Lease
    meta: dict[str, Any]
    generation: int = 0
    below: list[Request] = field(default_factory=list[Request])
    outcome: Outcome | None = None
    body: bytes | Exception | None = None
    """What reading a streamed body came to."""


class ProbeRun(LocalRun):
    """A LocalRun that tells the probe what the layer does with it."""

    def __init__(self, probe: Probe, seed: int) -> None:
        super().__init__(asyncio.get_running_loop(), seed=seed)
        self.probe = probe
        self.nested = 0
        self.ended = False

    async def fetch(self, request: Request, parent: Request | None = None) -> Outcome:
        self.nested += 1
        self.probe.moved()
        return await super().fetch(request, parent)

    def fail(self, error: Exception) -> None:
        self.probe.broken(VALUES, f"stopped the run with {type(error).__name__}: {error}", error)

    def end(self, reason: str) -> None:
        self.ended = True

    def moved(self) -> None:
        self.probe.moved()


class Probe:
    """Offers the requests of a plan to a layer around a wire, and watches. `verdict`: the first law broken."""

    def __init__(self, name: str, layer: Layer, plan: Plan, fetch: Fetch, waits: Callable[[Request], bool]) -> None:
        self.name = name
        self.plan = plan
        self.offers: dict[Lease, Offer] = {}
        self.verdict: ContractBroken | None = None
        self.run = ProbeRun(self, plan.seed)
        self._layer = layer
        self._fetch = fetch
        self._waits = waits
        self._generation = 0
        self._ids = count(1_000_000)
        self._open = 0
        self._scheduled = 0
        """Follow-ups that wait for their time, and bodies that are being read."""
        self._all_offered = False
        self._source_completed = False
        self._completed = False
        self._wake = asyncio.Event()
        self._readers: set[asyncio.Task[None]] = set()

    # What the probe is told.

    def broken(self, law: str, what: str, error: BaseException | None = None, element: object = None) -> None:
        """Note the verdict, if it is the first, and stop waiting."""
        if self.verdict is None:
            self.verdict = ContractBroken(law, self.name, what, element=element, scenario=str(self.plan))
            self.verdict.__cause__ = error
        self._wake.set()

    def moved(self) -> None:
        """Something may have come to its end."""
        self._wake.set()

    def arrived(self, request: Any) -> None:
        """A request reached the wire."""
        if not isinstance(request, Request):
            self.broken(ONE_OUTCOME, "sent down what is no Request", element=request)
            return
        offer = self.offers.get(request.lease) if request.lease is not None else None
        if offer is None:
            what = "sent down a request that descends from none in hand (replace() keeps the lease; run.fetch() others)"
            self.broken(ONE_OUTCOME, what, element=request)
            return
        offer.below.append(request)
        if len(offer.below) > 1:
            self.broken(LOOP, "sent the same request down twice", element=request)
        answer = offer.request.answer
        if answer is not None and (changed := changed_fields(offer.request, request)):
            self.broken(ANSWERED, f"changed {changed} of an answered request on its way down", element=request)

    def came(self, outcome: Any) -> None:
        """The layer emitted something."""
        if not isinstance(outcome, OUTCOMES):
            self.broken(ONE_OUTCOME, "emitted what is no Outcome", element=outcome)
            return
        lease = outcome.request.lease
        offer = self.offers.get(lease) if lease is not None else None
        if offer is None:
            what = "emitted an outcome with no request in hand (its request must descend from the offered one)"
            self.broken(ONE_OUTCOME, what, element=outcome)
            return
        if offer.outcome is not None:
            self.broken(ONE_OUTCOME, f"emitted a second outcome, after {offer.outcome!r}", element=outcome)
            return
        offer.outcome = outcome
        self._open -= 1
        if isinstance(outcome, Again):
            self._check_follow_up(offer, outcome)
        if offer.lease.reply is not None:
            if not offer.lease.reply.done():
                offer.lease.reply.set_result(outcome)
        elif isinstance(outcome, Again):
            self._follow(offer, outcome)
        elif isinstance(outcome, Response) and outcome.stream is not None:
            self._read(offer, outcome)
        self.moved()

    def _check_follow_up(self, offer: Offer, again: Again) -> None:
        follow_up, origin = again.next, offer.request.origin
        wrong = ""
        if follow_up.lease is not None or follow_up.answer is not None:
            wrong = "carries a lease" if follow_up.lease is not None else "carries an answer"
        for name in (ABOVE, BELOW, *CREDENTIALS):
            if not set(follow_up.headers.getall(name)) <= set(origin.headers.getall(name)):
                wrong = f"carries {name}, which the origin has not"
        own = cookies_of(origin)
        if any(each not in own for each in cookies_of(follow_up)):
            wrong = "carries cookies that the origin has not"
        private = "Authorization" in follow_up.headers or bool(follow_up.cookies)
        if private and hostname_of(follow_up.url) != hostname_of(origin.url):
            wrong = "carries the origin's credentials to another host"
        if wrong:
            self.broken(ORIGIN, f"emitted an Again whose next request {wrong}", element=again)

    def _follow(self, offer: Offer, again: Again) -> None:
        if not self.plan.follow or self._source_completed or self.run.ended:
            return
        if offer.generation >= GENERATIONS:
            self.broken(LOOP, f"emitted Again {GENERATIONS} times for one request, without an end", element=again)
            return
        try:
            follow_up = again.next.replace(url=normalize(again.next.url))
        except InvalidURL:
            return  # the frontier counts it as dropped
        self._scheduled += 1

        def go() -> None:
            self._scheduled -= 1
            self._offer(follow_up, offer.generation + 1)
            self.moved()

        self.run.loop.call_later(max(0.0, follow_up.not_before - self.run.now()), go)

    def _read(self, offer: Offer, response: Response) -> None:
        self._scheduled += 1

        async def read() -> None:
            try:
                offer.body = await response.read()
            except Exception as error:
                offer.body = error
            self._scheduled -= 1
            self.moved()

        task = self.run.loop.create_task(read(), name="reader of the body")
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)

    def _failed(self, error: Exception) -> None:
        self.broken(VALUES, f"emitted on_error({type(error).__name__}: {error})", error)

    def _ended(self) -> None:
        self._completed = True
        hands = [offer for offer in self.offers.values() if offer.outcome is None]
        if hands:
            what = f"completed with {len(hands)} requests in hand, the first of them"
            self.broken(COMPLETION, what, element=hands[0].request)
        elif not self._source_completed and not self.run.ended:
            self.broken(COMPLETION, "completed before its source")
        self.moved()

    # What the probe does.

    def _offer(self, request: Request, generation: int = 0) -> None:
        origin = request.replace(answer=None)
        lease = Lease(next(self._ids), origin, host_of(origin.url), lambda lease: None)
        self._generation = generation
        offered = origin.replace(lease=lease, answer=request.answer)
        if self.plan.marks:
            added = [(ABOVE, "1"), *((name, "added-above") for name in CREDENTIALS if name not in origin.headers)]
            offered = offered.replace(headers=offered.headers.defaults(added))
        self._emit(lambda: self.run.requests.on_next(offered), offered)

    def _emit(self, emit: Callable[[], None], element: object = None) -> None:
        try:
            emit()
        except Exception as error:
            self._raised(error, element)

    def _raised(self, error: Exception, element: object = None) -> None:
        self.broken(VALUES, f"raised {type(error).__name__}: {error}", error, element)

    def _offered(self, request: Request) -> None:
        lease = cast(Lease, request.lease)
        self.offers[lease] = Offer(request, lease, dict(request.meta), self._generation)
        self._generation = 0
        self._open += 1

    def subscribe(self) -> abc.DisposableBase:
        """Subscribe the layer; to be called in the task whose context shall have the run."""
        RUN.set(self.run)
        self.run.requests.subscribe(self._offered)
        watch = Watch(self.arrived, self._raised, self._waits)
        below = wire(self.plan.timing, self.plan.seed, self._fetch, watch, marks=self.plan.marks)
        outcomes: Observable[Outcome] = self._layer(below)(self.run.requests)
        return outcomes.subscribe(self.came, self._failed, self._ended, scheduler=self.run.scheduler)

    async def offer_all(self) -> None:
        """Offer the plan's requests, all at once or a few at a time."""
        chance = Random(self.plan.seed)  # noqa: S311 - an order, no secrets
        pause = chance.choice((0.0, 0.0, 0.7, 3.0))
        for request in self.plan.requests:
            if self.verdict is not None or self.run.ended:
                break
            self._offer(request)
            if pause and chance.random() < 0.3:
                await asyncio.sleep(pause * chance.random())
        self._all_offered = True
        if self.plan.early:
            self._complete()

    def _complete(self) -> None:
        self._source_completed = True
        self._emit(self.run.requests.on_completed)

    async def observe(self) -> None:
        """Run the plan to its end. Raises: ContractBroken."""
        subscription = self.subscribe()
        await self.offer_all()
        await self._until(lambda: not self._open and not self._scheduled, self._missing)
        await self._until(lambda: not self.run.tasks, self._endless)
        if not self.plan.early:
            self._complete()
        await self._until(
            lambda: self._completed, lambda: self.broken(COMPLETION, "never completed, although its source did")
        )
        await self.dispose(subscription)
        if not self.abandoned:
            self._check_offers()
        self.judge()

    async def _until(self, there: Callable[[], bool], late: Callable[[], None]) -> None:
        """Wait, in virtual time, until it is `there` or cannot be any more. A law broken meanwhile ends it."""
        loop = self.run.loop
        deadline = loop.time() + PATIENCE
        while self.verdict is None and not there():
            if self.abandoned:
                break
            if loop.time() >= deadline:
                late()
                break
            self._wake.clear()
            timer = loop.call_at(deadline, self._wake.set)
            await self._wake.wait()
            timer.cancel()
        self.judge()

    @property
    def abandoned(self) -> bool:
        """A nested fetch after the source has completed: no run does that, so it proves nothing."""
        return self.plan.early and self.run.nested > 0

    def judge(self) -> None:
        """Raise the verdict, if there is one."""
        if self.verdict is not None:
            raise self.verdict

    def _missing(self) -> None:
        hands = [offer for offer in self.offers.values() if offer.outcome is None]
        if hands:
            self.broken(ONE_OUTCOME, "never emitted an outcome for", element=hands[0].request)
        else:
            self.broken(VALUES, "emitted a streamed body that never ends")

    def _endless(self) -> None:
        what = f"goes on working after the last outcome, so that no run can end: {_names(self.run.tasks)}"
        self.broken(LEFT, what)

    async def dispose(self, subscription: abc.DisposableBase) -> None:
        """End the subscription and the run's tasks, and give them some turns to end."""
        subscription.dispose()
        await asyncio.sleep(0)  # what a task that never began was to await would be left without an awaiter
        for task in (*self.run.tasks, *self._readers):
            task.cancel()
        for _ in range(10):
            await asyncio.sleep(0)

    def check_left(self, before: set[asyncio.Task[Any]]) -> None:
        """Nothing may be left but the tasks that were there before. Raises: ContractBroken."""
        left = asyncio.all_tasks() - before
        if left:
            self.broken(LEFT, f"left {len(left)} tasks behind (give them to run.spawn): {_names(left)}")
        elif self.run.scheduler.pending:
            self.broken(LEFT, f"left {self.run.scheduler.pending} timers behind")
        self.judge()

    def _check_offers(self) -> None:
        for offer in self.offers.values():
            if offer.request.answer is not None and not offer.below:
                self.broken(ANSWERED, "did not send an answered request down", element=offer.request)
            if offer.lease.request.meta != offer.meta:
                self.broken(ORIGIN, "changed the user's meta", element=offer.request)

    def trace(self) -> list[str]:
        """What became of each request, in an order that does not depend on time."""
        return sorted(_line(each) for each in self.offers.values())


def _names(tasks: set[asyncio.Task[Any]]) -> str:
    return ", ".join(sorted(cast(Any, task.get_coro()).__qualname__ for task in tasks))


def _line(offer: Offer) -> str:
    sent = [describe_request(request) for request in (offer.request, *offer.below)]
    return " | ".join((*sent, describe(offer.outcome, offer.body)))
