"""A reactivex operator on the requests that go down through a layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reactivex import Observable, abc

from streamcrawl.core import Layer, Outcome, Request, Stage
from streamcrawl.streams.declared import carries_leases
from streamcrawl.streams.edges import Requests
from streamcrawl.streams.guard import guard
from streamcrawl.streams.local import running
from streamcrawl.streams.naming import name_of


@dataclass(frozen=True, slots=True)
class Down:
    """What `down` returns: a layer."""

    operator: Callable[[Observable[Any]], Observable[Any]]

    @property
    def name(self) -> str:
        return f"down({name_of(self.operator)})"

    def __call__(self, stage: Stage) -> Stage:
        def staged(requests: Observable[Request]) -> Observable[Outcome]:
            def subscribe(
                upper: abc.ObserverBase[Outcome], scheduler: abc.SchedulerBase | None = None
            ) -> abc.DisposableBase:
                run = running()
                operator = self.operator
                watched = operator if carries_leases(operator) else guard(operator, self.name, Requests(run), run)
                return stage(watched(requests)).subscribe(upper, scheduler=scheduler)

            return Observable(subscribe)

        return staged


def down(operator: Callable[[Observable[Request]], Observable[Request]]) -> Layer:
    """A layer that puts `operator` on the requests on their way down.

    What the operator swallows becomes `Dropped`, what it raises `Failed`; it has to be synchronous and to give one
    request for each (asynchronous work: `ops.map_async`). Answered requests go by.

    Args:
        operator: For example `rx.filter(lambda request: "/private/" not in request.url)`.
    """
    return Down(operator)
