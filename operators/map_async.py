"""Asynchronous work on each element, so many at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, overload

from reactivex import Observable, abc

from streamcrawl.core import OUTCOMES, RUN, Extent, Failed, Outcome, Request, Run
from streamcrawl.errors import OperatorError
from streamcrawl.response import Response
from streamcrawl.streams.concurrent import NOTHING, concurrent
from streamcrawl.streams.edges import closed, item_failed
from streamcrawl.streams.layer import failure
from streamcrawl.streams.local import by_itself, running
from streamcrawl.streams.naming import name_of

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class MapAsync:
    """What `map_async` returns: an operator that knows how to carry leases."""

    carries_leases: ClassVar[bool] = True
    function: Callable[[Any], Awaitable[Any] | Any]
    limit: int

    @property
    def name(self) -> str:
        return f"map_async({name_of(self.function)})"

    def __call__(self, source: Observable[Any]) -> Observable[Any]:
        def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            if RUN.get(None) is None:
                return by_itself(self, source, lower)
            run = running()

            def failed(element: Any, error: Exception) -> Any:
                return failed_element(run, self.name, element, error)

            def work(element: Any, extent: Extent) -> Awaitable[Any] | Any:
                if isinstance(element, Request) and element.answer is not None:
                    return element
                return self.function(element)

            stream = concurrent(source, run, work, failed, self.limit, self.name)
            return stream.subscribe(lower, scheduler=scheduler)

        return Observable(subscribe)


def failed_element(run: Run, name: str, element: Any, error: Exception) -> Any:
    """What stands in for an element on which the operator `name` raised: on its edge, one in is one out."""
    if isinstance(element, Request):
        return element.replace(answer=failure(name, element, error))
    if isinstance(element, OUTCOMES):
        outcome: Outcome = element
        if isinstance(outcome, Response) and outcome.stream is not None:
            run.spawn(closed(outcome.stream))
        return outcome if isinstance(outcome, Failed) else failure(name, outcome.request, error)
    wrapped = OperatorError(name, error)
    wrapped.__cause__ = error
    item_failed(run, element, wrapped)
    return NOTHING


@overload
def map_async(function: Callable[[A], Awaitable[B]], limit: int = 16) -> Callable[[Observable[A]], Observable[B]]: ...
@overload
def map_async(function: Callable[[A], B], limit: int = 16) -> Callable[[Observable[A]], Observable[B]]: ...
def map_async(function: Callable[[Any], Any], limit: int = 16) -> Callable[[Observable[Any]], Observable[Any]]:
    """Each element becomes what `function` gives or awaits for it.

    It may stand on any edge of the pipe: requests, outcomes, items. The element's lease is carried across, so that the
    page counts as unfinished while the work is under way, and callbacks pause when more than 16 elements wait for it.

    Args:
        function: Takes an element; gives the next one, or an awaitable of it.
        limit: How many awaitables at once; 1 keeps the order.

    Emits: one element for each, in the order in which they are ready. What `function` raises is that element's failure.
    Raises: ValueError if `limit` < 1, when built.
    """
    if limit < 1:
        raise ValueError(f"map_async(limit={limit}): the limit must be 1 or more")
    return MapAsync(function, limit)
