"""The contract checker for layers: proves the laws of docs/laws.md for any layer, yours included."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any, TypeAlias, cast
from urllib.parse import urlsplit

from streamcrawl.core import Dropped, Failed, Fetch, Layer, Outcome, Request
from streamcrawl.response import Response
from streamcrawl.streams.layer import NamedLayer
from streamcrawl.testing.fake_fetch import FakeFetch
from streamcrawl.testing.laws import ANSWERED, CHANCE, STATE, VALUES, ContractBroken, Report
from streamcrawl.testing.probe import Plan, Probe
from streamcrawl.testing.scenarios import answered_requests, default_requests, default_site
from streamcrawl.testing.trace import describe
from streamcrawl.testing.virtual_time import run_virtual
from streamcrawl.testing.wire import TIMINGS

MakeLayer: TypeAlias = "Callable[[], Layer] | Layer"
WAITING = ("/never", "/slow")
"""Pages of the default site that do not answer at once."""


def check_layer(
    make_layer: MakeLayer,
    *,
    requests: Iterable[Request | str] | None = None,
    fetch: Fetch | None = None,
    seeds: Iterable[int] = range(8),
) -> Report:
    """Prove the laws for a layer, in virtual time: with answers at once, late, out of order and backwards.

    Args:
        make_layer: The layer, or (better) a function that makes it, such as `lambda: retry(times=3)`.
        requests: What is offered to it; some eighty requests over several hosts if left out.
        fetch: Answers at the bottom, always alike; a site with all that a layer may meet if left out.
        seeds: One scenario each.

    Raises: ContractBroken, which names the law, the layer and the element.
    """
    check = _LayerCheck(make_layer, requests, fetch)
    for seed in seeds:
        plan = check.plan(seed)
        trace = check.alone(check.make(), plan)
        check.again(plan, trace)
        check.disposal(plan)
    if requests is None:
        check.answers()
    return check.report


class _LayerCheck:
    def __init__(self, make_layer: MakeLayer, requests: Iterable[Request | str] | None, fetch: Fetch | None) -> None:
        self.fresh = not _is_layer(make_layer)
        self.make = cast("Callable[[], Layer]", make_layer) if self.fresh else lambda: cast(Layer, make_layer)
        self.name = _name(self.make(), make_layer)
        self.report = Report(self.name)
        self._requests = None if requests is None else tuple(map(_as_request, requests))
        self._fetch = fetch

    def plan(self, seed: int) -> Plan:
        chance = Random(seed)  # noqa: S311 - an order
        requests = list(self._requests) if self._requests is not None else default_requests(chance)
        chance.shuffle(requests)
        early = seed // len(TIMINGS) % 2 == 1 and self.report.nested == 0
        marks = seed // 2 % 2 == 1
        return Plan(seed, tuple(requests), TIMINGS[seed % len(TIMINGS)], early=early, marks=marks)

    def probe(self, layer: Layer, plan: Plan, fetch: Fetch | None = None) -> Probe:
        """To be called within the loop."""
        if fetch is not None:
            return Probe(self.name, layer, plan, fetch, lambda request: False)
        if self._fetch is not None:
            return Probe(self.name, layer, plan, self._fetch, lambda request: True)
        return Probe(self.name, layer, plan, FakeFetch(default_site()), _waits)

    def run(self, work: Callable[[], Any], plan: Plan) -> Any:
        try:
            return run_virtual(work)
        except ContractBroken:
            raise
        except Exception as error:
            what = f"raised {type(error).__name__}: {error}"
            raise ContractBroken(VALUES, self.name, what, scenario=str(plan)) from error

    def alone(self, layer: Layer, plan: Plan) -> list[str]:
        """One run with nothing beside it; gives its trace."""

        async def work() -> Probe:
            probe = self.probe(layer, plan)
            await probe.observe()
            probe.check_left({cast("asyncio.Task[Any]", asyncio.current_task())})
            return probe

        probe: Probe = self.run(work, plan)
        self._count(probe)
        return [] if probe.abandoned else probe.trace()

    def _count(self, probe: Probe) -> None:
        self.report.scenarios += 1
        self.report.offered += len(probe.offers)
        self.report.nested += probe.run.nested
        self.report.came.update(type(offer.outcome).__name__ for offer in probe.offers.values() if offer.outcome)

    def again(self, plan: Plan, trace: list[str]) -> None:
        """The same layer object twice, one after the other and both at once: it must go as it did."""
        if self.fresh:
            self._same(plan, trace, self.alone(self.make(), plan), CHANCE, "went otherwise the second time, made anew")
        layer = self.make()
        first, second = self.alone(layer, plan), self.alone(layer, plan)
        what = "went otherwise in the second run of one layer object"
        self._same(plan, first, second, STATE, what)
        for probe in self._both(layer, plan):
            if not probe.abandoned:
                self._same(plan, first, probe.trace(), STATE, "went otherwise when one object served two runs at once")

    def _both(self, layer: Layer, plan: Plan) -> list[Probe]:
        async def work() -> list[Probe]:
            probes = [self.probe(layer, plan) for _ in range(2)]
            async with asyncio.TaskGroup() as group:
                for probe in probes:
                    group.create_task(probe.observe())
            return probes

        async def unwrapped() -> list[Probe]:
            try:
                return await work()
            except BaseExceptionGroup as group:
                raise group.exceptions[0] from None

        probes: list[Probe] = self.run(unwrapped, plan)
        return probes

    def _same(self, plan: Plan, expected: list[str], got: list[str], law: str, what: str) -> None:
        if expected and got and expected != got:
            before = next((line for line in expected if line not in got), expected[-1])
            after = next((line for line in got if line not in expected), got[-1])
            raise ContractBroken(law, self.name, f"{what}: {after!r} instead of {before!r}", scenario=str(plan))

    def disposal(self, plan: Plan) -> None:
        """Dispose in the middle: nothing may be left."""

        async def work() -> None:
            before = {cast("asyncio.Task[Any]", asyncio.current_task())}
            probe = self.probe(self.make(), plan)
            subscription = probe.subscribe()
            offering = asyncio.create_task(probe.offer_all())
            await asyncio.sleep(Random(plan.seed).choice((0.0, 0.3, 3.0, 30.0)))  # noqa: S311 - a delay
            offering.cancel()
            await probe.dispose(subscription)
            await asyncio.wait([offering])
            probe.check_left(before)

        self.run(work, plan)

    def answers(self) -> None:
        """A request that is answered must come to the same as one whose fetch brings that answer."""
        for request in answered_requests():
            if isinstance(request.answer, Dropped):
                continue
            with_answer = self._one(request)
            fetched = self._one(request.replace(answer=None), _bringing(request))
            if fetched is None or with_answer is None or with_answer == fetched:
                continue
            what = f"made {with_answer!r} of an answer, and {fetched!r} of the same one when it was fetched"
            raise ContractBroken(ANSWERED, self.name, what, element=request)

    def _one(self, request: Request, fetch: Fetch | None = None) -> str | None:
        """What becomes of one request; None if the layer answers it without the wire."""
        plan = Plan(0, (request,), follow=False)

        async def work() -> Probe:
            probe = self.probe(self.make(), plan, fetch)
            await probe.observe()
            return probe

        probe: Probe = self.run(work, plan)
        offer = next(each for each in probe.offers.values() if each.lease.reply is None)
        untouched = bool(offer.below) and offer.below[0].answer is request.answer
        return describe(offer.outcome, offer.body, timed=False) if untouched else None


def _bringing(request: Request) -> Fetch:
    """A fetch that brings the request's answer, and for nested fetches what the default site has."""
    answer: Outcome | None = request.answer
    site = FakeFetch(default_site())

    async def fetch(asked: Request) -> Response:
        if asked.url != request.url or answer is None:
            return await site(asked)
        if isinstance(answer, Failed):
            raise answer.error
        return cast(Response, answer).replace(request=asked)

    return fetch


def _waits(request: Request) -> bool:
    return urlsplit(request.url).path in WAITING


def _as_request(request: Request | str) -> Request:
    return request if isinstance(request, Request) else Request(request)


def _is_layer(made: Any) -> bool:
    """Whether it is a layer, and not a function that makes one: a layer has to be given a stage."""
    if isinstance(made, NamedLayer):
        return True
    parameters: Sequence[inspect.Parameter] = list(inspect.signature(made).parameters.values())
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(each.kind in positional and each.default is inspect.Parameter.empty for each in parameters)


def _name(layer: Any, made_by: Any) -> str:
    name = getattr(layer, "name", None)
    if isinstance(name, str):
        return f"layer {name}"
    return f"layer {getattr(layer, '__qualname__', None) or getattr(made_by, '__qualname__', None) or repr(layer)}"
