"""A stage used alone: the small local loop around it (DESIGN law 4)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable
from reactivex.subject import Subject

from streamcrawl.core import LEASE, RUN, Again, Dropped, Failed, Lease, Outcome, Request, Run, Stage
from streamcrawl.errors import FlowError, InvalidURL
from streamcrawl.response import Response
from streamcrawl.streams.blocking import waited_for
from streamcrawl.streams.context import RunContext
from streamcrawl.urls import host_of, normalize


class LocalHosts:
    """Politeness of a stage used alone: waiting, without a frontier."""

    places = 0

    def __init__(self, run: RunContext) -> None:
        self._run = run
        self.not_before: dict[str, float] = {}
        self.closed: set[str] = set()

    def slow_down(self, host: str, seconds: float) -> None:
        self.not_before[host] = max(self.not_before.get(host, 0.0), self._run.monotonic() + seconds)

    def set_rate(
        self,
        host: str,
        *,
        delay: float | None = None,
        concurrency: int | None = None,
        jitter: float | None = None,
        by: str = "",
    ) -> None:
        """Kept for what it says only: a stage used alone has one bound, its concurrency."""

    def close(self, host: str) -> None:
        self.closed.add(host)

    def open(self, host: str) -> None:
        self.closed.discard(host)


class LocalRun(RunContext):
    """The Run of a stage that has no crawl around it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, concurrency: int = 16, seed: int | None = None) -> None:
        super().__init__(loop, seed=seed)
        self.hosts = LocalHosts(self)
        self.concurrency = concurrency
        self.requests: Subject[Request] = Subject()
        self.waiting: deque[Request] = deque()
        self.active = 0
        self.offered_all = False
        self.idle = asyncio.Event()
        self._ids = count(1)

    async def fetch(self, request: Request, parent: Request | None = None) -> Outcome:
        if not self.requests.observers:
            return Failed(
                request,
                FlowError(
                    f"{request.url}: there is no download() here to fetch it with; put the operator into a crawl"
                ),
            )
        while True:
            lease = self._lease(request)
            lease.reply = self.loop.create_future()
            lease.parent = parent.lease if parent is not None else LEASE.get(None)
            self.requests.on_next(lease.request.replace(lease=lease))
            outcome = await lease.reply
            if not isinstance(outcome, Again):
                return outcome
            request = outcome.next
            await asyncio.sleep(max(0.0, request.not_before - self.now()))

    async def wire(self, request: Request) -> None:
        wait = self.hosts.not_before.get(host_of(request.url), 0.0) - self.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)

    def _lease(self, request: Request) -> Lease:
        return Lease(next(self._ids), request, host_of(request.url), lambda lease: None)

    def offer(self, request: Request | str, upper: abc.ObserverBase[Outcome]) -> None:
        """Take a request from the source, or an `Again` back."""
        if isinstance(request, str):
            request = Request(request)
        try:
            request = request.replace(url=normalize(request.url))
        except InvalidURL as error:
            upper.on_next(Failed(request, error))
            return
        self.waiting.append(request)
        self.pump()

    def end(self, reason: str) -> None:
        self.offered_all = True
        self.waiting.clear()
        self.moved()

    def pump(self) -> None:
        while self.waiting and self.active < self.concurrency:
            request = self.waiting.popleft()
            self.active += 1
            self.requests.on_next(request.replace(lease=self._lease(request)))
        self.moved()

    def moved(self) -> None:
        if self.error is not None or (self.offered_all and not self.active and not self.waiting and not self.tasks):
            self.idle.set()


def alone(stage: Stage, requests: Observable[Any], upper: abc.ObserverBase[Outcome]) -> abc.DisposableBase:
    """Subscribe `stage` with no crawl around it; `Again` is sent again, everything else goes to `upper`.

    With no asyncio loop running, the subscription blocks until the last outcome, as synchronous sources do.
    """
    return _begun(lambda: _exchange_all(stage, requests, upper))


def by_itself(
    operator: Callable[[Observable[Any]], Observable[Any]], source: Observable[Any], lower: abc.ObserverBase[Any]
) -> abc.DisposableBase:
    """Subscribe an operator that needs a run with no crawl around it: the run is its own, and not that of `source`.

    With no asyncio loop running, the subscription blocks until the last output, as synchronous sources do.
    """
    return _begun(lambda: _run_out(operator, source, lower))


def _begun(work: Callable[[], Coroutine[Any, Any, None]]) -> abc.DisposableBase:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        waited_for(work)
        return Disposable()
    task = loop.create_task(work())

    def dispose() -> None:
        if not task.done():
            task.cancel()

    return Disposable(dispose)


async def _run_out(
    operator: Callable[[Observable[Any]], Observable[Any]], source: Observable[Any], lower: abc.ObserverBase[Any]
) -> None:
    run = LocalRun(asyncio.get_running_loop())
    subscription = CompositeDisposable()

    def subscribe_source(
        observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        RUN.reset(token)  # what stands above has a run of its own
        return source.subscribe(observer)

    def on_next(output: Any) -> None:
        try:
            lower.on_next(output)
        except Exception as error:  # of what stands below: not to be taken for a failure of the operator
            run.fail(error)

    def completed() -> None:
        run.offered_all = True
        run.moved()

    try:
        token = RUN.set(run)
        outputs = operator(Observable(subscribe_source))
        subscription.add(outputs.subscribe(on_next, run.fail, completed, scheduler=run.scheduler))
        await run.idle.wait()
    finally:
        for task in (*run.tasks, *run.item_tasks):
            task.cancel()
        subscription.dispose()
        await run.close_all()
    _end(lower, run.error)


async def _exchange_all(stage: Stage, requests: Observable[Any], upper: abc.ObserverBase[Outcome]) -> None:
    run = LocalRun(asyncio.get_running_loop())
    token = RUN.set(run)
    subscription = CompositeDisposable()

    def on_outcome(outcome: Outcome) -> None:
        lease = outcome.request.lease
        if lease is not None and lease.reply is not None:
            if not lease.reply.done():
                lease.reply.set_result(outcome)
            return
        run.active -= 1
        if isinstance(outcome, Again):
            run.spawn(later(outcome.next))
        else:
            upper.on_next(settled(outcome))
        run.pump()

    async def later(request: Request) -> None:
        await asyncio.sleep(max(0.0, request.not_before - run.now()))
        run.offer(request, upper)

    def completed() -> None:
        run.offered_all = True
        run.moved()

    try:
        subscription.add(stage(run.requests).subscribe(on_outcome, run.fail, scheduler=run.scheduler))
        subscription.add(requests.subscribe(lambda request: run.offer(request, upper), run.fail, completed))
        await run.idle.wait()
    finally:
        for task in tuple(run.tasks):
            task.cancel()
        subscription.dispose()
        try:
            await run.close_all()
        finally:
            RUN.reset(token)
    _end(upper, run.error)


def _end(observer: abc.ObserverBase[Any], error: Exception | None) -> None:
    """Told when everything is closed: whoever waits for it may end the loop at once."""
    if error is not None:
        observer.on_error(error)
    else:
        observer.on_completed()


def settled(outcome: Response | Failed | Dropped) -> Response | Failed | Dropped:
    """The outcome as users see it: its request is the origin, without what layers added for the wire."""
    request = outcome.request
    if request.lease is None:
        return outcome
    if isinstance(outcome, Failed):
        return Failed(request.origin, outcome.error)
    if isinstance(outcome, Dropped):
        return Dropped(request.origin, outcome.reason)
    outcome.request = request.origin
    return outcome


def running() -> Run:
    """The run that is being subscribed; outside of any, one of its own on the running event loop.

    Raises: RuntimeError if there is neither.
    """
    run = RUN.get(None)
    return LocalRun(asyncio.get_running_loop()) if run is None else run
