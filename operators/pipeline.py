"""Item pipelines: what is done with each item, step by step."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from reactivex import Observable, abc

from streamcrawl.core import RUN, Extent, Run
from streamcrawl.errors import FlowError
from streamcrawl.operators.map_async import failed_element
from streamcrawl.streams.concurrent import concurrent
from streamcrawl.streams.kinds import is_awaitable
from streamcrawl.streams.local import by_itself
from streamcrawl.streams.naming import name_of


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What `pipeline` returns."""

    carries_leases: ClassVar[bool] = True
    steps: tuple[Any, ...]
    limit: int

    @property
    def name(self) -> str:
        return f"pipeline({', '.join(map(_name, self.steps))})"

    def __call__(self, source: Observable[Any]) -> Observable[Any]:
        def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            run = RUN.get(None)
            if run is None:
                return by_itself(self, source, lower)
            made = _Opened(self, run)

            def failed(item: Any, error: Exception) -> Any:
                return failed_element(run, self.name, item, error)

            stream = concurrent(source, run, made.work, failed, self.limit, self.name)
            return stream.subscribe(lower, scheduler=scheduler)

        return Observable(subscribe)


class _Opened:
    """A pipeline in one run: the objects of its classes, opened before the first item and closed after the last."""

    def __init__(self, pipeline: Pipeline, run: Run) -> None:
        self._name = pipeline.name
        self._objects = [step() if inspect.isclass(step) else step for step in pipeline.steps]
        self._functions: list[Callable[[Any], Any]] = [
            _function(each, "process_item", run) or cast("Callable[[Any], Any]", each) for each in self._objects
        ]
        self._run = run
        self._opening: asyncio.Task[None] | None = None
        openings = [made for each in self._objects if (made := _function(each, "open_spider", run)) is not None]
        if openings:
            self._opening = run.spawn(self._open(openings), items=True)
        run.closing(self._close)

    async def _open(self, openings: list[Callable[[], Any]]) -> None:
        for opening in openings:
            try:
                result = opening()
                if is_awaitable(result):
                    await result
            except Exception as error:
                made = FlowError(f"{self._name} cannot be opened: {type(error).__name__}: {error}")
                made.__cause__ = error
                self._run.fail(made)
                raise made from error

    async def _close(self) -> None:
        for each in reversed(self._objects):
            closing = _function(each, "close_spider", self._run)
            result = closing() if closing is not None else None
            if is_awaitable(result):
                await result

    def work(self, item: Any, extent: Extent) -> Any:
        """The item as the last step leaves it, or an awaitable of it."""
        if self._opening is not None and not self._opening.done():
            return self._later(0, item, asyncio.shield(self._opening))
        return self._from(0, item)

    def _from(self, first: int, item: Any) -> Any:
        for n in range(first, len(self._functions)):
            result: Any = self._functions[n](item)
            if is_awaitable(result):
                return self._later(n + 1, item, result)
            if result is not None:
                item = result
        return item

    async def _later(self, first: int, item: Any, awaited: Awaitable[Any]) -> Any:
        result = await awaited
        rest = self._from(first, item if result is None else result)
        return await rest if is_awaitable(rest) else rest


def _function(step: Any, method: str, run: Run) -> Callable[..., Any] | None:
    """A method of a step; one that has a parameter for it is given the spider."""
    function: Callable[..., Any] | None = getattr(step, method, None)
    if function is None:
        return None
    if "spider" in inspect.signature(function).parameters:
        spider = run.spider
        return lambda *item: function(*item, spider=spider)
    return function


def _name(step: Any) -> str:
    if inspect.isclass(step):
        return step.__name__
    return type(step).__name__ if hasattr(step, "process_item") else name_of(step).partition(" at ")[0]


def pipeline(*steps: Any, limit: int = 100) -> Callable[[Observable[Any]], Observable[Any]]:
    """Take each item through these steps, in their order.

    A step is a function, plain or async, or has a method `process_item(item)` or `process_item(item, spider)`, plain or
    async; of a class, each run makes an object. `open_spider` and `close_spider`, with the spider or without, are
    called before its first item and after its last. What a step returns goes to the next one; None leaves the item as
    it is.

    A step that makes several items of one, or one of several, is an operator of its own: `rx.flat_map`, `ops.batch`.

    Args:
        steps: At least one.
        limit: Items at once whose steps are awaited; 1 keeps the order.

    Emits: each item, as the last step leaves it. `Drop(reason)` from a step drops the item, counted with its reason;
        any other error is that item's failure, told with the item and the pipeline's name, and loses no other.
    Raises: TypeError for a step that is none, ValueError if `limit` < 1 or there is no step, when built. FlowError from
        the run if `open_spider` fails.
    """
    if not steps:
        raise ValueError("pipeline() needs a step: a function, or a class with process_item(item)")
    if limit < 1:
        raise ValueError(f"pipeline(limit={limit}): 1 or more")
    for step in steps:
        if not callable(getattr(step, "process_item", None)) and (inspect.isclass(step) or not callable(step)):
            raise TypeError(f"pipeline(): {step!r} is neither a function nor has it a method process_item")
    return Pipeline(steps, limit)
