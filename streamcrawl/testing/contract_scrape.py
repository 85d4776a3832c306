"""The contract checker for scrape layers: the laws of what stands around a callback, proved for any layer."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, TypeAlias, cast

from reactivex.subject import Subject

from streamcrawl.core import (
    RUN,
    Done,
    Dropped,
    Extent,
    Failed,
    Lease,
    Outcome,
    Progress,
    Request,
    ScrapeInput,
    ScrapeLayer,
    Start,
)
from streamcrawl.items import is_item
from streamcrawl.streams.local import LocalRun
from streamcrawl.streams.scrape_layer import NamedScrapeLayer
from streamcrawl.streams.scraper import calling
from streamcrawl.testing.fake_fetch import page
from streamcrawl.testing.laws import CHANCE, COMPLETION, LEFT, STATE, VALUES, ContractBroken, Report
from streamcrawl.testing.scenarios_scrape import SITE, Callbacks, page_at, pages
from streamcrawl.testing.trace import describe_request
from streamcrawl.testing.virtual_time import run_virtual
from streamcrawl.urls import host_of

MakeScrapeLayer: TypeAlias = "Callable[[], ScrapeLayer] | ScrapeLayer"

ONE_DONE = "law 1: one input in, one Done out, after its last output"
DEMAND = "law 5: while a queue is full, callbacks are asked for nothing more"
EXTENT = "law 7: an output is emitted within the extent of its page"
COPIES = "law 8: a Request is changed by replace() only"
RESUMED = "§7: a page that comes again gives the same items by the same ordinals"


def check_scrape_layer(make_layer: MakeScrapeLayer, *, seeds: Iterable[int] = range(4)) -> Report:
    """Prove the laws for a scrape layer, in virtual time: around callbacks of all kinds, some of which break off.

    Args:
        make_layer: The layer, or (better) a function that makes it, such as `lambda: depth(limit=3)`.
        seeds: One scenario each.

    Raises: ContractBroken, which names the law, the layer and the element.
    """
    check = _Check(make_layer)
    for seed in seeds:
        check.scenario(seed)
    return check.report


class _Check:
    def __init__(self, make_layer: MakeScrapeLayer) -> None:
        self.fresh = not isinstance(make_layer, NamedScrapeLayer) and _takes_nothing(make_layer)
        self.make = cast("Callable[[], ScrapeLayer]", make_layer if self.fresh else lambda: make_layer)
        made: Any = self.make()
        named = getattr(made, "name", None) or getattr(made, "__qualname__", repr(made))
        self.name = f"scrape layer {named}"
        self.report = Report(self.name)

    def scenario(self, seed: int) -> None:
        first = self._alone(self.make(), seed)
        self.report.scenarios += 1
        self.report.offered += len(first.traces)
        for output in first.outputs:
            self.report.came[type(output).__name__] += 1
        if self.fresh:
            self._same(seed, first, self._alone(self.make(), seed), CHANCE, "went otherwise the second time, made anew")
        layer = self.make()
        again = [self._alone(layer, seed), self._alone(layer, seed)]
        self._same(seed, again[0], again[1], STATE, "went otherwise in the second run of one layer object")
        for probe in self._both(layer, seed):
            self._same(seed, again[0], probe, STATE, "went otherwise when one object served two runs at once")
        self._resumed(seed, first)
        self._run(lambda: _Probe(self.name, self.make(), seed).held_up(), seed)
        self._run(lambda: _Probe(self.name, self.make(), seed).disposed(), seed)

    def _run(self, work: Callable[[], Any], seed: int) -> Any:
        try:
            return run_virtual(work)
        except ContractBroken:
            raise
        except Exception as error:
            what = f"raised {type(error).__name__}: {error}"
            raise ContractBroken(VALUES, self.name, what, scenario=f"seed {seed}") from error

    def _alone(self, layer: ScrapeLayer, seed: int, safe: int = 0) -> _Probe:
        async def work() -> _Probe:
            return await _Probe(self.name, layer, seed, safe).observe()

        return cast(_Probe, self._run(work, seed))

    def _both(self, layer: ScrapeLayer, seed: int) -> list[_Probe]:
        async def work() -> list[_Probe]:
            probes = [_Probe(self.name, layer, seed) for _ in range(2)]
            return list(await asyncio.gather(*(probe.observe(alone=False) for probe in probes)))

        return cast("list[_Probe]", self._run(work, seed))

    def _same(self, seed: int, expected: _Probe, got: _Probe, law: str, what: str) -> None:
        for n, trace in expected.traces.items():
            if trace != got.traces[n]:
                before, after = _differing(trace, got.traces[n])
                text = f"{what}: {after!r} instead of {before!r}"
                raise ContractBroken(law, self.name, text, element=expected.inputs[n], scenario=f"seed {seed}")

    def _resumed(self, seed: int, whole: _Probe) -> None:
        """With the first items of each page safe already, the others have to come as they did."""
        for safe in (1, 2):
            part = self._alone(self.make(), seed, safe)
            for n, items in whole.items.items():
                rest = {ordinal: item for ordinal, item in items.items() if ordinal >= safe}
                if rest != part.items[n]:
                    what = (
                        f"gave {part.items[n]} of a page whose first {safe} items were safe, and of a new one {items}"
                    )
                    raise ContractBroken(RESUMED, self.name, what, element=whole.inputs[n], scenario=f"seed {seed}")


def _differing(before: list[str], after: list[str]) -> tuple[str, str]:
    for one, other in zip([*before, "nothing"], [*after, "nothing"], strict=False):
        if one != other:
            return one, other
    return before[-1], after[-1]


def _takes_nothing(make: Any) -> bool:
    return not [each for each in inspect.signature(make).parameters.values() if each.default is each.empty]


class _Run(LocalRun):
    """A run with leases: it notes what is refused, knows one link, and fetches from nowhere."""

    def __init__(self, seed: int) -> None:
        super().__init__(asyncio.get_running_loop(), seed=seed)
        self.refusals: list[Failed | Dropped] = []

    def known(self, request: Request) -> bool:
        return request.url.endswith("/known")

    def refused(self, outcome: Failed | Dropped) -> None:
        self.refusals.append(outcome)

    async def fetch(self, request: Request, parent: Request | None = None) -> Outcome:
        await asyncio.sleep(0.25)
        return page("fetched").replace(url=request.url, request=request)


class _Probe:
    """One subscription of the layer around a callback, with everything that it emits."""

    def __init__(self, name: str, layer: ScrapeLayer, seed: int, safe: int = 0) -> None:
        self.inputs: list[ScrapeInput] = pages(Random(seed))  # noqa: S311 - an order
        self._callbacks = Callbacks()
        self.outputs: list[Any] = []
        self.traces: dict[int, list[str]] = {n: [] for n in range(-1, len(self.inputs))}
        """By input: what came, in words; -1: of the start."""
        self.items: dict[int, dict[int, str]] = {n: {} for n in range(len(self.inputs))}
        self._name, self._layer, self._seed, self._safe = name, layer, seed, safe
        self._leases: dict[int, int] = {}
        self._kept: list[Lease] = []
        """So that no other object gets the id of one of them."""
        self._done: set[int] = set()
        self._pause: Callable[[], None] | None = None
        self._starting = False
        self._completed = asyncio.Event()
        self._verdict: ContractBroken | None = None

    def _broken(self, law: str, what: str, element: object = None) -> None:
        if self._verdict is None:
            scenario = f"seed {self._seed}"
            self._verdict = ContractBroken(law, self._name, what, element=element, scenario=scenario)

    # -- what is done -----------------------------------------------------------------------------------------------

    def _subscribe(self) -> None:
        self.run = _Run(self._seed)
        self.source: Subject[Any] = Subject()
        token = RUN.set(self.run)
        scraper = self._layer(calling(self._callbacks.callback, self._callbacks.errback))
        self.subscription = scraper(self.source).subscribe(self._on_next, self._on_error, self._on_completed)
        RUN.reset(token)

    def _offer(self, n: int) -> None:
        lease = Lease(n + 1, self.inputs[n].request, host_of(SITE), lambda lease: None)
        if self._safe:
            lease.progress = Progress(self._safe)
        self._leases[id(lease)] = n
        self._kept.append(lease)
        self.run.extent = Extent((lease,))
        try:
            self.source.on_next(self.inputs[n])
        except Exception as error:
            self._broken(VALUES, f"raised {type(error).__name__}: {error}", self.inputs[n])
        self.run.extent = None

    def _start(self) -> None:
        assert self.run.starting is not None, "the scraper takes no start"
        for element in (Request(f"{SITE}/start", meta={"user": 1}), {"of": "start"}, Request("data:text/html,x")):
            if isinstance(element, Request):
                self._callbacks.keep(element)
            self._starting = True
            try:
                self.run.starting(element)
            finally:
                self._starting = False

    async def observe(self, *, alone: bool = True) -> _Probe:
        """Offer everything, and wait for the end."""
        before = asyncio.all_tasks()
        self._subscribe()
        chance = Random(self._seed + 1)  # noqa: S311 - delays
        context_run = RUN.set(self.run)
        self._start()
        for n in range(len(self.inputs)):
            self._offer(n)
            if chance.random() < 0.5:
                await asyncio.sleep(chance.choice((0.0, 0.3, 2.0)))
        self.source.on_completed()
        RUN.reset(context_run)
        try:
            await asyncio.wait_for(self._completed.wait(), 86400.0)
        except TimeoutError:
            self._broken(COMPLETION, "never completed", self._waiting())
        await asyncio.sleep(0.0)
        if self.run.error is not None:
            self._broken(VALUES, f"stopped the run: {self.run.error}")
        self._check_left(before if alone else asyncio.all_tasks())
        for link, meta in self._callbacks.links:
            if link.meta != meta:
                self._broken(COPIES, f"changed the meta of a link to {link.meta}", link)
        if self._verdict is not None:
            raise self._verdict
        return self

    def _waiting(self) -> ScrapeInput | None:
        return next((page for n, page in enumerate(self.inputs) if n not in self._done), None)

    def _check_left(self, before: set[asyncio.Task[Any]]) -> None:
        left = [task for task in asyncio.all_tasks() - before if not task.done()]
        if left:
            self._broken(LEFT, f"left {len(left)} tasks behind", left[0])

    async def held_up(self) -> None:
        """A sink falls behind in the midst of a page."""
        self._subscribe()
        self.inputs = [page_at("/many"), page_at("/many/later")]
        self.traces = {n: [] for n in range(-1, 2)}
        self.items = {n: {} for n in range(2)}
        seen = 0

        def pause() -> None:
            nonlocal seen
            seen += 1
            if seen == 10:
                self.run.congest(1)

        self._pause = pause
        for n in range(2):
            self._offer(n)
        await asyncio.sleep(10.0)
        before, emitted = self._callbacks.pulled, len(self.outputs)
        if self.run.congestion:
            await asyncio.sleep(1000.0)
            if self._callbacks.pulled - before > 2 or len(self.outputs) - emitted > 2:
                self._broken(DEMAND, f"asked for {self._callbacks.pulled - before} more outputs in the meantime")
            if before > 2 * (10 + emitted):
                self._broken(DEMAND, f"had asked for {before} outputs when {emitted} had been taken")
            self.run.congest(-1)
        self.source.on_completed()
        try:
            await asyncio.wait_for(self._completed.wait(), 86400.0)
        except TimeoutError:
            self._broken(COMPLETION, "does not go on when there is room again")
        if self._verdict is not None:
            raise self._verdict

    async def disposed(self) -> None:
        """Dispose in the midst of it all: nothing may be left, and nothing comes any more."""
        before = asyncio.all_tasks()
        self._subscribe()
        for n in range(len(self.inputs)):
            self._offer(n)
        await asyncio.sleep(Random(self._seed).choice((0.0, 0.3, 3.0)))  # noqa: S311 - a delay
        for task in tuple(self.run.tasks):
            task.cancel()
        self.subscription.dispose()
        for _ in range(3):
            await asyncio.sleep(0.0)
        await asyncio.sleep(1.0)
        self._check_left(before)
        if self._verdict is not None:
            raise self._verdict

    # -- what comes -------------------------------------------------------------------------------------------------

    def _on_next(self, output: Any) -> None:
        self.outputs.append(output)
        page = self.run.page
        if isinstance(page, Start) or self._starting:
            if not self._starting or isinstance(output, Done):
                self._broken(EXTENT, "emitted an element of the start later than within its on_next", output)
            self.traces[-1].append(_describe(output))
            return
        extent = self.run.extent
        n = self._leases.get(id(extent.leases[0]), -2) if extent is not None and extent.leases else -2
        if n == -2 or extent is None:
            self._broken(EXTENT, "emitted with no page in hand", output)
            return
        self.traces[n].append(_describe(output))
        if n in self._done:
            self._broken(ONE_DONE, "emitted after the Done of its input", output)
        elif isinstance(output, Done):
            self._done.add(n)
            if output.input.request is not self.inputs[n].request:
                self._broken(ONE_DONE, f"gave the Done of {output.input!r} for another input", self.inputs[n])
        elif isinstance(output, Request):
            if page is None:
                self._broken(EXTENT, "emitted a Request while run.page is not set", output)
            if output.lease is not None:
                self._broken(EXTENT, "emitted a Request that has a lease already", output)
        elif is_item(output):
            self._item(n, extent, output)
        else:
            self._broken(VALUES, f"emitted {output!r}, which is no item, no Request and no Done")

    def _item(self, n: int, extent: Extent, item: Any) -> None:
        if extent.ordinal < 0:
            self._broken(EXTENT, "emitted an item that has no ordinal", item)
        elif extent.ordinal in self.items[n]:
            self._broken(EXTENT, f"emitted two items of ordinal {extent.ordinal}", item)
        self.items[n][extent.ordinal] = repr(item)
        if self._pause is not None:
            self._pause()

    def _on_error(self, error: Exception) -> None:
        self._broken(VALUES, f"ended with {type(error).__name__}: {error}")
        self._completed.set()

    def _on_completed(self) -> None:
        missing = self._waiting()
        if missing is not None:
            self._broken(ONE_DONE, "completed without a Done for every input", missing)
        self._completed.set()


def _describe(output: Any) -> str:
    if isinstance(output, Done):
        error = "" if output.error is None else f" {type(output.error).__name__}: {output.error}"
        return f"Done{error}"
    if isinstance(output, Request):
        more = f"depth {output.depth} referrer {output.referrer} {output.referrer_policy} start {output.start}"
        return f"{describe_request(output)} {more} meta {output.meta}"
    return repr(output)
