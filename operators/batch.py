"""Items in lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable

from streamcrawl.core import RUN, Extent, Run
from streamcrawl.streams.local import by_itself, running

A = TypeVar("A")


class Gathering:
    """One subscription of `batch`: what it has gathered, and for which leases."""

    __slots__ = ("_count", "_items", "_lower", "_run", "_seconds", "_timer", "_whose")

    def __init__(self, count: int, seconds: float | None, run: Run, lower: abc.ObserverBase[Any]) -> None:
        self._count = count
        self._seconds = seconds
        self._run = run
        self._lower = lower
        self._items: list[Any] = []
        self._whose: list[Extent] = []
        self._timer: abc.DisposableBase = Disposable()

    def on_next(self, item: Any) -> None:
        if not self._items and self._seconds is not None:
            self._timer = self._run.scheduler.schedule_relative(self._seconds, self._due)
        self._items.append(item)
        extent = self._run.extent
        if extent is None:
            self._run.outside("batch")
        else:
            extent.hold()
            self._whose.append(extent)
        if len(self._items) >= self._count:
            self.flush()

    def _due(self, scheduler: abc.SchedulerBase, state: object = None) -> None:
        self.flush()

    def flush(self) -> None:
        """Emit what there is."""
        self._timer.dispose()
        if not self._items:
            return
        items, self._items = self._items, []
        whose, self._whose = self._whose, []
        before, extent = self._run.extent, None
        if whose:
            leases = tuple(lease for each in whose for lease in each.leases)
            extent = Extent(leases, whose[0].ordinal, tuple(whose), items)
            extent.hold()
        self._run.extent = extent
        try:
            self._lower.on_next(items)
        finally:
            self._run.extent = before
            if extent is not None:
                extent.release()

    def drop(self) -> None:
        """Nobody listens any more: let the leases go."""
        self._timer.dispose()
        self._items = []
        whose, self._whose = self._whose, []
        for extent in whose:
            extent.release()

    def on_completed(self) -> None:
        self.flush()
        self._lower.on_completed()


@dataclass(frozen=True, slots=True)
class Batch:
    """What `batch` returns: an operator that the run can flush."""

    carries_leases: ClassVar[bool] = True
    takes_items: ClassVar[bool] = True
    count: int
    seconds: float | None

    @property
    def name(self) -> str:
        return f"batch({self.count})"

    def __call__(self, source: Observable[Any]) -> Observable[list[Any]]:
        def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            if RUN.get(None) is None:
                return by_itself(self, source, lower)
            run = running()
            made = Gathering(self.count, self.seconds, run, lower)
            upstream = source.subscribe(made.on_next, lower.on_error, made.on_completed, scheduler=scheduler)
            return CompositeDisposable(upstream, run.gather(made.flush), Disposable(made.drop))

        return Observable(subscribe)


def batch(count: int, seconds: float | None = None) -> Callable[[Observable[A]], Observable[list[A]]]:
    """Items in lists of `count`, or of what came within `seconds`.

    The leases of gathered items stay open. When nothing else in the run can move, it is flushed before its time, so
    that no size can deadlock a crawl; at the end it emits what is left.

    Args:
        count: Items in a full list; 1 or more.
        seconds: How long the first item of a list waits at most; None: until the list is full.

    Emits: non-empty lists, in order.
    Raises: ValueError if `count` < 1 or `seconds` <= 0, when built.
    """
    if count < 1:
        raise ValueError(f"batch({count}): the count must be 1 or more")
    if seconds is not None and seconds <= 0:
        raise ValueError(f"batch(seconds={seconds}): it must be more than 0")
    return Batch(count, seconds)
