"""Where a run puts elements into a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable

T = TypeVar("T")


class Inlet(Observable[T], abc.ObserverBase[T]):
    """A Subject for one thread, the loop's: without the lock that every element would take four times on its way."""

    def __init__(self) -> None:
        super().__init__()
        self._observers: tuple[abc.ObserverBase[T], ...] = ()
        self._end: Callable[[abc.ObserverBase[T]], None] | None = None
        """What whoever comes later is told."""

    def _subscribe_core(
        self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        if self._end is not None:
            self._end(observer)
            return Disposable()
        self._observers = (*self._observers, observer)
        return Disposable(lambda: self._leave(observer))

    def _leave(self, observer: abc.ObserverBase[T]) -> None:
        self._observers = tuple(each for each in self._observers if each is not observer)

    def on_next(self, value: T) -> None:
        for observer in self._observers:
            observer.on_next(value)

    def on_error(self, error: Exception) -> None:
        self._tell(lambda observer: observer.on_error(error))

    def on_completed(self) -> None:
        self._tell(lambda observer: observer.on_completed())

    def _tell(self, end: Callable[[abc.ObserverBase[T]], None]) -> None:
        if self._end is None:
            self._end = end
            observers, self._observers = self._observers, ()
            for observer in observers:
                end(observer)
