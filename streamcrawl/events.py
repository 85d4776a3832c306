"""What is told about a run while it goes on, and the hub that tells it.

Every event names its run. An event that nobody subscribed to is never made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from reactivex import Observable, abc
from reactivex.disposable import Disposable

from streamcrawl.core import Again, Dropped, Failed, Item, Request
from streamcrawl.response import Response

E = TypeVar("E", bound="Event")


class Event(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """The root of all events."""

    run: str = ""
    """The run's id."""


class RunStarted(Event, frozen=True):
    """Before the first request."""


class RunPaused(Event, frozen=True):
    """No new requests until the run is resumed."""


class RunResumed(Event, frozen=True):
    """Requests go out again."""


class RunStopping(Event, frozen=True):
    """No new requests; what is under way is finished. `reason`: "interrupted", "limit", …"""

    reason: str


class RunFinished(Event, frozen=True):
    """After the last flush. `error`: why it failed, or None."""

    reason: str
    error: Exception | None = None


class Scheduled(Event, frozen=True):
    """A request was accepted by the frontier."""

    request: Request


class Leased(Event, frozen=True):
    """The frontier handed a request out."""

    request: Request


class Responded(Event, frozen=True):
    """A response reached the callback."""

    response: Response


class RequestFailed(Event, frozen=True):
    """A request ended as Failed."""

    failed: Failed


class RequestDropped(Event, frozen=True):
    """A request ended as Dropped: refused by a layer, the scope, the dedupe."""

    dropped: Dropped


class SentAgain(Event, frozen=True):
    """A redirect hop or a retry goes back to the frontier."""

    again: Again


class ItemScraped(Event, frozen=True):
    """A callback yielded an item."""

    item: Item
    request: Request


class ItemDropped(Event, frozen=True):
    """An operator raised Drop for an item."""

    item: Item
    reason: str


class ItemFailed(Event, frozen=True):
    """An operator or a sink raised for an item; the item is lost to what follows."""

    item: Item
    error: Exception


class CallbackFailed(Event, frozen=True):
    """A callback raised, or yielded what is no item; what it yielded before is kept."""

    request: Request
    error: Exception


class OperatorFailed(Event, frozen=True):
    """An operator failed with no element in hand (a timer, for example); it was subscribed anew."""

    operator: str
    error: Exception


class OutsideExtent(Event, frozen=True):
    """An operator emitted with no lease in hand: with a job directory the item could be lost in a crash."""

    operator: str


class PageDiffers(Event, frozen=True):
    """A page that was under way when the job was stopped has another body now; what was safe of it is kept."""

    request: Request


class Stalled(Event, frozen=True):
    """Nothing has moved for a while; `holders` says who holds what."""

    seconds: float
    holders: tuple[str, ...]


class Notice(Event, frozen=True):
    """Something that a layer or a sink wants people to know. `level`: "debug", "info", "warning" or "error"."""

    text: str
    level: str = "info"


class Events(Observable[Event]):
    """The hub of one run: an Observable of its events. `parent`, the hub of the crawl, hears them too."""

    def __init__(self, run: str = "", parent: Events | None = None) -> None:
        super().__init__()
        self._run = run
        self._parent = parent
        self._all: list[abc.ObserverBase[Event]] = []
        self._by_kind: dict[type, list[Callable[[Any], None]]] = {}
        self._completed = False

    def _subscribe_core(
        self, observer: abc.ObserverBase[Event], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        if self._completed:
            observer.on_completed()
            return Disposable()
        self._all.append(observer)
        return Disposable(lambda: self._all.remove(observer) if observer in self._all else None)

    def on(self, kind: type[E], listener: Callable[[E], None]) -> abc.DisposableBase:
        """Call `listener` for each event of one kind; events of other kinds are not made for it."""
        listeners = self._by_kind.setdefault(kind, [])
        listeners.append(listener)
        return Disposable(lambda: listeners.remove(listener) if listener in listeners else None)

    def wants(self, kind: type) -> bool:
        """Whether anybody would hear an event of this kind."""
        # The hot path asks this for every link.
        if self._all or (self._by_kind and self._by_kind.get(kind)):
            return True
        return self._parent is not None and self._parent.wants(kind)

    def emit(self, event: Event) -> None:
        """Tell everybody who subscribed."""
        if not event.run:
            event = msgspec.structs.replace(event, run=self._run)
        for listener in (*self._by_kind.get(type(event), ()), *(observer.on_next for observer in self._all)):
            try:
                listener(event)
            except Exception:  # whoever listens must not break what he listens to
                logging.getLogger("streamcrawl").exception("a listener to %s failed", type(event).__name__)
        if self._parent is not None:
            self._parent.emit(event)

    def complete(self) -> None:
        """After the last event of the run."""
        self._completed = True
        for observer in tuple(self._all):
            observer.on_completed()

    def __repr__(self) -> str:
        return f"<Events of {self._run or 'no run'}, {len(self._all)} subscribers>"
