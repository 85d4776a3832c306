"""Item pipelines: what is done with each item, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from reactivex import Observable, abc

from streamcrawl.core import RUN
from streamcrawl.operators.map_async import failed_element
from streamcrawl.pipelines import OpenPipeline, Step, step_name, steps_of
from streamcrawl.streams.concurrent import concurrent
from streamcrawl.streams.local import by_itself


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What `pipeline` returns."""

    carries_leases: ClassVar[bool] = True
    takes_items: ClassVar[bool] = True
    steps: tuple[Step, ...]
    limit: int

    @property
    def name(self) -> str:
        return f"pipeline({', '.join(map(step_name, self.steps))})"

    def __call__(self, source: Observable[Any]) -> Observable[Any]:
        def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            run = RUN.get(None)
            if run is None:
                return by_itself(self, source, lower)
            opened = OpenPipeline(self.name, self.steps, run)

            def failed(item: Any, error: Exception) -> Any:
                if error is opened.error and run.extent is not None:
                    run.extent.spoil()  # it was not the item's fault: it comes again when the job goes on
                return failed_element(run, self.name, item, error)

            stream = concurrent(source, run, opened.work, failed, self.limit, self.name)
            return stream.subscribe(lower, scheduler=scheduler)

        return Observable(subscribe)


def pipeline(*steps: Step, limit: int = 100) -> Callable[[Observable[Any]], Observable[Any]]:
    """Take each item through these steps, in their order.

    A step is a function, plain or async, or has a method `process_item(item)` or `process_item(item, spider)`, plain or
    async; of a class, each run makes an object, with the arguments of a `functools.partial`. `from_run(run)` makes it
    where the class has that, or `from_crawler(crawler)`. `open_spider` and `close_spider`, with the spider or without,
    are called before its first item and after its last. What a step returns goes to the next one; None leaves the item
    as it is.

    A step that makes several items of one, or one of several, is an operator of its own: `rx.flat_map`, `ops.batch`.

    Args:
        steps: At least one: functions, objects, classes, import paths of these; or dicts of them to numbers, whose
            steps are taken in the order of the numbers, without those whose number is None.
        limit: Items at once whose steps are awaited; 1 keeps the order.

    Emits: each item, as the last step leaves it. `Drop(reason)` from a step drops the item, counted with its reason;
        any other error is that item's failure, told with the item and the pipeline's name, and loses no other.
    Raises: TypeError for a step that is none, or that lacks arguments; ValueError if `limit` < 1, there is no step, or
        one cannot be imported, when built. FlowError from the run if an object cannot be made, or `open_spider` fails.
    """
    found = steps_of(steps)
    if not found:
        raise ValueError("pipeline() needs a step: a function, or a class with process_item(item)")
    if limit < 1:
        raise ValueError(f"pipeline(limit={limit}): 1 or more")
    return Pipeline(found, limit)
