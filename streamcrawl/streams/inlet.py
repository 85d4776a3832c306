"""Where a run puts elements into a stream."""

from __future__ import annotations

from typing import TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable

T = TypeVar("T")


class Inlet(Observable[T], abc.ObserverBase[T]):
    """A Subject for one thread, the loop's: without the lock that every element would take four times on its way."""

    def __init__(self) -> None:
        super().__init__()
        self._observers: tuple[abc.ObserverBase[T], ...] = ()
        self._completed = False

    def _subscribe_core(
        self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        if self._completed:
            observer.on_completed()
            return Disposable()
        self._observers = (*self._observers, observer)
        return Disposable(lambda: self._leave(observer))

    def _leave(self, observer: abc.ObserverBase[T]) -> None:
        self._observers = tuple(each for each in self._observers if each is not observer)

    def on_next(self, value: T) -> None:
        for observer in self._observers:
            observer.on_next(value)

    def on_error(self, error: Exception) -> None:
        observers, self._observers = self._observers, ()
        self._completed = True
        for observer in observers:
            observer.on_error(error)

    def on_completed(self) -> None:
        observers, self._observers = self._observers, ()
        self._completed = True
        for observer in observers:
            observer.on_completed()
