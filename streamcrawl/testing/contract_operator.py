"""The contract checker for plain operators on the edges of requests and outcomes (DESIGN law 3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import count
from random import Random
from typing import Any, Literal, TypeAlias, cast, get_args

from reactivex import Observable
from reactivex.subject import Subject

from streamcrawl.core import OUTCOMES, RUN, Again, Dropped, Failed, Lease, Outcome, Request
from streamcrawl.errors import ConnectError
from streamcrawl.response import Response
from streamcrawl.streams.local import LocalRun
from streamcrawl.streams.naming import name_of
from streamcrawl.testing.fake_fetch import page
from streamcrawl.testing.laws import COMPLETION, LEFT, ONE_TO_ONE, STATE, VALUES, ContractBroken, Report
from streamcrawl.testing.scenarios import default_requests
from streamcrawl.testing.trace import describe, describe_request
from streamcrawl.testing.virtual_time import run_virtual
from streamcrawl.urls import host_of

Operator: TypeAlias = Callable[[Observable[Any]], Observable[Any]]
Edge: TypeAlias = Literal["request", "response", "outcome"]
PATIENCE = 86400.0


def check_operator(
    operator: Operator,
    *,
    edge: Edge = "request",
    elements: Iterable[Any] | None = None,
    swallows: bool = False,
    waits: bool = False,
    seeds: Iterable[int] = range(4),
) -> Report:
    """Prove that an operator may stand on an edge of requests or outcomes: one comes out for one that goes in.

    Args:
        operator: What you would write after `ops.download()` (responses), or give to `ops.down` or `ops.up`.
        edge: What flows there: requests, responses, or outcomes of all kinds.
        elements: What is offered; requests over several hosts, or outcomes of them, if left out.
        swallows: It may swallow elements, as a filter does; a crawl makes `Dropped` of them.
        waits: It may emit later, as `ops.map_async` does.
        seeds: One scenario each.

    Raises: ContractBroken, which names the law, the operator and the element; ValueError for an unknown edge.
    """
    if edge not in get_args(Edge):
        raise ValueError(f"edge is {edge!r}: it must be one of {', '.join(get_args(Edge))}")
    offered = None if elements is None else tuple(elements)
    name = f"operator {name_of(operator)}"
    report = Report(name)
    for seed in seeds:
        chance = Random(seed)  # noqa: S311 - an order
        chosen = list(offered) if offered is not None else _elements(edge, chance)
        traces: list[list[str]] = []
        for _ in range(2):
            watch = _Watch(name, operator, swallows, waits, seed)
            run_virtual(watch.observe(chosen))
            traces.append([_describe(each) for each in watch.outputs])
            report.scenarios += 1
            report.offered += len(chosen)
            report.came.update(type(each).__name__ for each in watch.outputs)
        if traces[0] != traces[1]:
            raise ContractBroken(STATE, name, "went otherwise when it was subscribed again", scenario=f"seed {seed}")
    return report


class _Watch:
    """One subscription of the operator."""

    def __init__(self, name: str, operator: Operator, swallows: bool, waits: bool, seed: int) -> None:
        self.outputs: list[Any] = []
        self._name = name
        self._operator = operator
        self._swallows = swallows
        self._waits = waits
        self._seed = seed
        self._inside: Lease | None = None
        self._counts: dict[Lease, int] = {}
        self._source_completed = False
        self._completed = asyncio.Event()
        self._verdict: ContractBroken | None = None

    def _broken(self, law: str, what: str, element: object = None, error: BaseException | None = None) -> None:
        if self._verdict is None:
            self._verdict = ContractBroken(law, self._name, what, element=element, scenario=f"seed {self._seed}")
            self._verdict.__cause__ = error
        self._completed.set()

    def _output(self, element: Any) -> None:
        self.outputs.append(element)
        lease = _lease(element)
        if lease is None or lease not in self._counts:
            self._broken(ONE_TO_ONE, "emitted what descends from no element that went in", element)
            return
        self._counts[lease] += 1
        if self._counts[lease] > 1:
            self._broken(ONE_TO_ONE, "emitted a second time for one element", element)
        elif not self._waits and lease is not self._inside:
            self._broken(
                ONE_TO_ONE, "emitted later than within the on_next of its element (ops.map_async waits)", element
            )

    def _end(self) -> None:
        if not self._source_completed:
            self._broken(COMPLETION, "completed before its source, which ends the run")
        self._completed.set()

    async def observe(self, elements: list[Any]) -> None:
        """Offer the elements, one after the other. Raises: ContractBroken."""
        run = LocalRun(asyncio.get_running_loop(), seed=self._seed)
        RUN.set(run)
        before = asyncio.all_tasks()
        source: Subject[Any] = Subject()
        chance = Random(self._seed)  # noqa: S311 - delays
        subscription = self._operator(source).subscribe(self._output, self._error, self._end, scheduler=run.scheduler)
        for number, element in enumerate(elements):
            await self._offer(source, _leased(element, number))
            await asyncio.sleep(chance.choice((0.0, 1.0)) * chance.random())
        self._source_completed = True
        source.on_completed()
        try:
            await asyncio.wait_for(self._completed.wait(), PATIENCE)
        except TimeoutError:
            self._broken(COMPLETION, "never completed, although its source did")
        self._check_all(elements)
        subscription.dispose()
        for _ in range(5):
            await asyncio.sleep(0)
        if self._verdict is None and (left := asyncio.all_tasks() - before):
            self._broken(LEFT, f"left {len(left)} tasks behind")
        if self._verdict is not None:
            raise self._verdict

    async def _offer(self, source: Subject[Any], element: Any) -> None:
        if self._verdict is not None:
            return
        self._inside = lease = cast(Lease, _lease(element))
        self._counts[lease] = 0
        try:
            source.on_next(element)
        except Exception as error:
            self._broken(VALUES, f"raised {type(error).__name__}: {error}", element, error)
        self._inside = None
        if not self._counts[lease] and not self._swallows and not self._waits:
            self._broken(ONE_TO_ONE, "emitted nothing for (say swallows=True if that is meant)", element)

    def _error(self, error: Exception) -> None:
        self._broken(VALUES, f"emitted on_error({type(error).__name__}: {error})", error=error)

    def _check_all(self, elements: list[Any]) -> None:
        for lease, outputs in self._counts.items():
            if not outputs and not self._swallows:
                self._broken(ONE_TO_ONE, "emitted nothing for", lease.request)


def _lease(element: Any) -> Lease | None:
    if isinstance(element, Request):
        return element.lease
    return element.request.lease if isinstance(element, OUTCOMES) else None


def _leased(element: Any, number: int) -> Any:
    """A copy of the element that carries a lease, as everything does within a run."""
    request = element if isinstance(element, Request) else element.request
    origin = request.replace(lease=None, answer=None)
    leased = origin.replace(lease=Lease(number, origin, host_of(origin.url), lambda lease: None))
    if isinstance(element, Request):
        return leased
    return element.replace(request=leased) if isinstance(element, Response) else _with(element, leased)


def _with(outcome: Any, request: Request) -> Outcome:
    if isinstance(outcome, Failed):
        return Failed(request, outcome.error)
    if isinstance(outcome, Dropped):
        return Dropped(request, outcome.reason)
    return Again(request, outcome.next, outcome.reason, outcome.hop)


def _elements(edge: Edge, chance: Random) -> list[Any]:
    requests = [request for request in default_requests(chance) if request.answer is None and not request.stream]
    if edge == "request":
        return list(requests)
    kinds = count()
    return [_outcome_of(request, next(kinds) if edge == "outcome" else 0) for request in requests]


def _outcome_of(request: Request, nth: int) -> Outcome:
    if nth % 5 == 1:
        return Failed(request, ConnectError("refused"))
    if nth % 5 == 2:
        return Dropped(request, "robots.txt")
    if nth % 5 == 3:
        return Again(request, request.replace(attempt=request.attempt + 1), "503")
    statuses = (200, 200, 404, 503)
    return page(request.url, status=statuses[len(request.url) % 4]).replace(url=request.url, request=request)


def _describe(element: Any) -> str:
    return describe_request(element) if isinstance(element, Request) else describe(element)
