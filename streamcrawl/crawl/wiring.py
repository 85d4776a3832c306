"""A description becomes a pipe: the operators of a crawl, sorted onto their edges and subscribed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Protocol, cast

from reactivex import Observable, abc
from reactivex import operators as rx
from reactivex.disposable import CompositeDisposable

from streamcrawl.core import Done, Dropped, Extent, Failed, Outcome, Request, Run, ScrapeInput, Scraper
from streamcrawl.errors import FlowError, LawBroken
from streamcrawl.operators.default_layers import where_it_goes
from streamcrawl.operators.download import Download
from streamcrawl.operators.scrape import Scrape
from streamcrawl.response import Response
from streamcrawl.streams.declared import Operator, carries_leases, takes_items
from streamcrawl.streams.edges import Items, OneToOne
from streamcrawl.streams.guard import Edge, beside, guard
from streamcrawl.streams.inlet import Inlet
from streamcrawl.streams.layer import NamedLayer
from streamcrawl.streams.local import running
from streamcrawl.streams.naming import name_of
from streamcrawl.streams.scrape_layer import NamedScrapeLayer


@dataclass(frozen=True, slots=True)
class Pipe:
    """The operators of a crawl by the edge on which they stand."""

    requests: tuple[Operator, ...]
    download: Download | None
    outcomes: tuple[Operator, ...]
    scrape: Scrape | None
    items: tuple[Operator, ...]


def _checked(operator: Any) -> None:
    """Raises: TypeError for an operand of `pipe` that is no operator."""
    if isinstance(operator, FunctionType) and operator.__module__ == f"streamcrawl.operators.{operator.__name__}":
        raise TypeError(f"pipe() takes operators: write ops.{operator.__name__}(…), with its arguments")
    if isinstance(operator, NamedLayer) and not carries_leases(operator):
        raise TypeError(where_it_goes(operator.name))
    if isinstance(operator, NamedScrapeLayer):
        raise TypeError(f"{operator.name} is a scrape layer: write ops.scrape(callback, ops.{operator.name}(…))")
    if hasattr(operator, "process_item"):
        raise TypeError(f"pipe() takes operators, and {operator!r} is an item pipeline: write ops.pipeline(…) with it")
    if not callable(operator):
        raise TypeError(f"pipe() takes operators, and {operator!r} is none")


def _no_items_yet(operators: list[Operator]) -> None:
    """Raises: FlowError if one of these is for items, and stands before the scrape that gives them."""
    for operator in operators:
        if takes_items(operator):
            raise FlowError(f"{name_of(operator)} takes items: put it after ops.scrape(…) in the pipe")


def sort_out(operators: tuple[Any, ...]) -> Pipe:
    """Put operators on their edges.

    Raises: FlowError for an order that makes no sense, TypeError for what is no operator.
    """
    edges: list[list[Operator]] = [[], [], []]
    download: Download | None = None
    scrape: Scrape | None = None
    for operator in operators:
        _checked(operator)
        if isinstance(operator, Download):
            if download is not None or scrape is not None:
                raise FlowError("a crawl has one download(), before scrape()")
            download = operator
            _no_items_yet(edges[0])
        elif isinstance(operator, Scrape):
            if scrape is not None:
                raise FlowError("a crawl has one scrape(); give requests a callback of their own to branch")
            if download is None:
                raise FlowError("scrape() comes after download() in the pipe")
            scrape = operator
            _no_items_yet(edges[1])
        else:
            edges[2 if scrape is not None else 1 if download is not None else 0].append(cast(Operator, operator))
    targets = [target for operator in edges[2] or edges[1] if (target := getattr(operator, "target", None)) is not None]
    for target in targets:
        if targets.count(target) > 1:
            raise FlowError(f"two sinks write to {target}")
    if scrape is None and download is not None:
        # With no scrape, the responses are the items.
        return Pipe(tuple(edges[0]), download, (), None, tuple(edges[1]))
    return Pipe(tuple(edges[0]), download, tuple(edges[1]), scrape, tuple(edges[2]))


class Ends(Protocol):
    """What the run does at the joints of the pipe."""

    def outcome(self, outcome: Outcome) -> None: ...
    def output(self, output: Any) -> None: ...
    def item(self, item: Any) -> None: ...
    def fail(self, error: Exception) -> None: ...
    def broken(self, error: Exception) -> None: ...
    def drained(self) -> None: ...


@dataclass(slots=True)
class Wires:
    """The subscribed pipe: where to put in requests, outcomes and items."""

    requests: Inlet[Request]
    """`stage` itself, if no operator stands before it."""
    stage: Inlet[Request]
    inputs: Inlet[ScrapeInput]
    items: Inlet[Any]
    subscription: CompositeDisposable


def responses_as_items(inputs: Observable[ScrapeInput]) -> Observable[Any]:
    """The Scraper of a crawl that has no scrape(): each Response is an item."""

    def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        run = running()

        def on_next(input: ScrapeInput) -> None:
            page = run.extent
            if isinstance(input, Response):
                lease = page.leases[0] if page is not None and page.leases else None
                if lease is None:
                    lower.on_next(input)
                elif lease.progress is None or not lease.progress.has(0):
                    lease.scraped = True
                    extent = run.extent = Extent((lease,), 0)
                    extent.hold()
                    lower.on_next(input)
                    run.extent = page
                    extent.release()
            lower.on_next(Done(input))

        return inputs.subscribe(on_next, lower.on_error, lower.on_completed, scheduler=scheduler)

    return Observable(subscribe)


def subscribe(pipe: Pipe, run: Run, ends: Ends, end: Callable[[Observable[Any]], Observable[Any]] | None) -> Wires:
    """Subscribe every edge, the last first, so that sinks are open before the first request.

    Raises: SinkError if a sink cannot be opened; FlowError if there is no download().
    """
    if pipe.download is None:
        raise FlowError("the pipe has no download(): put ops.download() before ops.scrape(...)")
    stage: Inlet[Request] = Inlet()
    wires = Wires(Inlet() if pipe.requests else stage, stage, Inlet(), Inlet(), CompositeDisposable())
    items = _through(pipe.items, wires.items, Items(run), run, len(pipe.requests) + len(pipe.outcomes) + 2)
    if end is not None:
        items = end(items)
    scraper: Scraper = pipe.scrape.scraper() if pipe.scrape is not None else responses_as_items
    edge = OneToOne(run)
    inputs = _through(pipe.outcomes, wires.inputs, edge, run, len(pipe.requests) + 1)
    requests = _through(pipe.requests, wires.requests, edge, run, 0)
    add, scheduler = wires.subscription.add, run.scheduler
    add(items.subscribe(ends.item, ends.broken, ends.drained, scheduler=scheduler))
    inputs = _only((Response, Failed, Dropped), inputs, run, pipe.outcomes)
    add(scraper(inputs).subscribe(ends.output, ends.fail, scheduler=scheduler))
    add(pipe.download.stage()(stage).subscribe(ends.outcome, ends.fail, scheduler=scheduler))
    if pipe.requests:
        requests = _only((Request,), requests, run, pipe.requests)
        add(requests.subscribe(stage.on_next, ends.fail, scheduler=scheduler))
    return wires


def _only(
    kinds: tuple[type, ...], source: Observable[Any], run: Run, operators: tuple[Operator, ...]
) -> Observable[Any]:
    """What comes out at the end of an edge is what the next stage takes."""
    if not operators:
        return source
    last = name_of(operators[-1])

    def check(element: Any) -> Any:
        if not isinstance(element, kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            kind = type(element).__name__
            run.fail(
                LawBroken(f"operator {last} emitted {element!r}, a {kind}, where the pipe goes on with a {wanted}")
            )
            return False
        return True

    return source.pipe(rx.filter(check))


def _through(
    operators: tuple[Operator, ...], source: Observable[Any], edge: Edge, run: Run, before: int
) -> Observable[Any]:
    for n, operator in enumerate(operators, before + 1):
        if carries_leases(operator):
            source = beside(operator, edge)(source) if edge.one_to_one else operator(source)
        else:
            source = guard(operator, f"{name_of(operator)}, number {n} in the pipe", edge, run)(source)
    return source
