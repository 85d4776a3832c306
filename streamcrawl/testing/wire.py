"""The stage at the bottom of a layer under test: answers at once, soon, late and out of order, or backwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, get_args

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable

from streamcrawl.core import Again, Dropped, Failed, Fetch, Outcome, Request, Stage
from streamcrawl.response import Response

Timing = Literal["at once", "soon", "at random", "backwards"]
TIMINGS: tuple[Timing, ...] = get_args(Timing)
BELOW = "X-Added-Below"


@dataclass(frozen=True, slots=True)
class Watch:
    """What a wire tells, and asks."""

    arrived: Callable[[Any], None]
    """Is told each request first."""
    raised: Callable[[Exception], None]
    """Is told what the stages above raised when they were given an outcome."""
    waits: Callable[[Request], bool]
    """Whether the fetch of this request may wait, so that it cannot be answered at once."""


def wire(timing: Timing, seed: int, fetch: Fetch, watch: Watch, *, marks: bool = False) -> Stage:
    """A stage over `fetch`.

    Args:
        timing: When the answers come.
        seed: Of the delays.
        fetch: Brings the response or raises.
        watch: Is told what happens.
        marks: Outcomes carry requests to which layers below have added something.
    """

    def stage(requests: Observable[Request]) -> Observable[Outcome]:
        def subscribe(
            observer: abc.ObserverBase[Outcome], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            made = _Wire(timing, seed, fetch, watch, marks, observer)
            source = requests.subscribe(made.receive, observer.on_error, made.complete, scheduler=scheduler)
            return CompositeDisposable(source, Disposable(made.cancel))

        return Observable(subscribe)

    return stage


class _Wire:
    def __init__(
        self, timing: Timing, seed: int, fetch: Fetch, watch: Watch, marks: bool, observer: abc.ObserverBase[Outcome]
    ) -> None:
        self._timing = timing
        self._seed = seed
        self._fetch = fetch
        self._watch = watch
        self._marks = marks
        self._observer = observer
        self._tasks: set[asyncio.Task[None]] = set()
        self._sent = 0
        self._completed = False

    def receive(self, request: Request) -> None:
        self._watch.arrived(request)
        if request.answer is not None:
            self._observer.on_next(self._marked(answered(request)))
            return
        self._sent += 1
        if self._timing == "at once" and not self._watch.waits(request):
            self._observer.on_next(self._marked(_now(self._outcome(request))))
            return
        task = asyncio.get_running_loop().create_task(self._work(request, self._sent), name="wire")
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def _work(self, request: Request, nth: int) -> None:
        if self._timing == "at random":
            # By request, so that it does not depend on what else goes on.
            chance = Random(f"{self._seed} {request.method} {request.url} {nth}")  # noqa: S311 - a delay
            await asyncio.sleep(chance.choice((0.0, 1.0, 20.0)) * chance.random())
        elif self._timing == "backwards":
            await asyncio.sleep(1.0 / nth)
        outcome = self._marked(await self._outcome(request))
        try:
            self._observer.on_next(outcome)
        except Exception as error:
            self._watch.raised(error)

    async def _outcome(self, request: Request) -> Outcome:
        try:
            return await self._fetch(request)
        except Exception as error:
            return Failed(request, error)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._end()

    def complete(self) -> None:
        self._completed = True
        self._end()

    def _end(self) -> None:
        if self._completed and not self._tasks:
            self._observer.on_completed()

    def cancel(self) -> None:
        self._completed = False
        for task in self._tasks:
            task.cancel()

    def _marked(self, outcome: Outcome) -> Outcome:
        if not self._marks:
            return outcome
        request = outcome.request
        return with_request(outcome, request.replace(headers=request.headers.add(BELOW, "1").add("Cookie", "below=1")))


def _now(work: Coroutine[Any, Any, Outcome]) -> Outcome:
    """What a coroutine gives that waits for nothing: stepped by hand, within the caller's on_next."""
    try:
        work.send(None)
    except StopIteration as ended:
        outcome: Outcome = ended.value
        return outcome
    raise RuntimeError("a fetch that was said to answer at once waits for something")


def answered(request: Request) -> Outcome:
    """The answer that the request carries, as an outcome of this request."""
    assert request.answer is not None
    return with_request(request.answer, request)


def with_request(outcome: Outcome, request: Request) -> Outcome:
    """A copy of the outcome that belongs to `request`."""
    if isinstance(outcome, Response):
        return outcome.replace(request=request)
    if isinstance(outcome, Failed):
        return Failed(request, outcome.error)
    if isinstance(outcome, Dropped):
        return Dropped(request, outcome.reason)
    return Again(request, outcome.next, outcome.reason, outcome.hop)
