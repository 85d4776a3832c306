"""A reactivex operator on the outcomes that come up through a layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reactivex import Observable, abc

from streamcrawl.core import Layer, Outcome, Request, Stage
from streamcrawl.streams.declared import carries_leases
from streamcrawl.streams.edges import Outcomes
from streamcrawl.streams.guard import guard
from streamcrawl.streams.local import running
from streamcrawl.streams.naming import name_of


@dataclass(frozen=True, slots=True)
class Up:
    """What `up` returns: a layer."""

    operator: Callable[[Observable[Any]], Observable[Any]]

    @property
    def name(self) -> str:
        return f"up({name_of(self.operator)})"

    def __call__(self, stage: Stage) -> Stage:
        def staged(requests: Observable[Request]) -> Observable[Outcome]:
            def subscribe(
                upper: abc.ObserverBase[Outcome], scheduler: abc.SchedulerBase | None = None
            ) -> abc.DisposableBase:
                run = running()
                operator = self.operator
                watched = operator if carries_leases(operator) else guard(operator, self.name, Outcomes(run), run)
                return watched(stage(requests)).subscribe(upper, scheduler=scheduler)

            return Observable(subscribe)

        return staged


def up(operator: Callable[[Observable[Outcome]], Observable[Outcome]]) -> Layer:
    """A layer that puts `operator` on the outcomes on their way up: Response, Failed, Dropped and Again alike.

    What the operator swallows becomes `Dropped`, what it raises `Failed`; it has to be synchronous and to give one
    outcome for each (asynchronous work: `ops.map_async`).

    Args:
        operator: For example `rx.map(lambda outcome: outcome)`.
    """
    return Up(operator)
