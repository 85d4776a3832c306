"""Only what is new, or differs from what it was the last time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from reactivex import Observable, abc

from streamcrawl.core import OUTCOMES, RUN, Dropped, Request, Run
from streamcrawl.errors import Drop, FlowError, OperatorError
from streamcrawl.frontier.fingerprint import fingerprint
from streamcrawl.operators.map_async import failed_element
from streamcrawl.response import Response, body_digest
from streamcrawl.streams.concurrent import NOTHING
from streamcrawl.streams.edges import closed, item_failed
from streamcrawl.streams.remembering import Part, Remembering, checked, digest_of, named, reading

A = TypeVar("A")

UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Changed:
    """What `changed` returns: an operator that keeps the laws by itself."""

    carries_leases: ClassVar[bool] = True
    key: Part | None
    of: Part | None
    memory: str

    @property
    def name(self) -> str:
        return f"changed({named(self.key)})"

    def __call__(self, source: Observable[Any]) -> Observable[Any]:
        def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            passing = _Passing(self, RUN.get(None), lower)
            return source.subscribe(passing.on_next, lower.on_error, lower.on_completed, scheduler=scheduler)

        return Observable(subscribe)


class _Passing:
    """One subscription."""

    __slots__ = ("_key", "_lower", "_memory", "_name", "_of", "_run")

    def __init__(self, changed: Changed, run: Run | None, lower: abc.ObserverBase[Any]) -> None:
        name = "changed" if changed.memory == "changed" else f"changed/{changed.memory}"
        if run is not None and run.sink_key(name) != name:
            raise FlowError(f"two operators changed(name={changed.memory!r}) in one pipe: each needs a name of its own")
        self._name = changed.name
        self._key = reading(changed.key)
        self._of = reading(changed.of)
        self._memory = Remembering(name, run)
        self._run = run
        self._lower = lower

    def on_next(self, element: Any) -> None:
        if isinstance(element, OUTCOMES) and not isinstance(element, Response):
            self._lower.on_next(element)
            return
        try:
            differs = self._differs(element)
        except Exception as error:
            self._failed(element, error)
            return
        if differs:
            self._lower.on_next(element)
        else:
            self._unchanged(element)

    def _differs(self, element: Any) -> bool:
        key, of = self._key, self._of
        if not isinstance(element, Response):
            if key is None or isinstance(element, Request):
                raise _misplaced(element)
            return self._memory.differs(digest_of(key(element)), digest_of(element if of is None else of(element)))
        if not 200 <= element.status < 300 or (of is None and element.stream is not None):
            return True
        name = fingerprint(element.request.origin) if key is None else digest_of(key(element))
        return self._memory.differs(name, body_digest(element.body) if of is None else digest_of(of(element)))

    def _unchanged(self, element: Any) -> None:
        if isinstance(element, Response) and not self._among_items():
            if element.stream is not None and self._run is not None:
                self._run.spawn(closed(element.stream))
            self._lower.on_next(Dropped(element.request, UNCHANGED))
        elif self._run is not None:
            item_failed(self._run, element, Drop(UNCHANGED))

    def _among_items(self) -> bool:
        """Whether what passes are a page's outputs, and not the pages."""
        extent = None if self._run is None else self._run.extent
        return extent is not None and extent.ordinal >= 0

    def _failed(self, element: Any, error: Exception) -> None:
        run = self._run
        if run is None:
            self._lower.on_error(error)
            return
        if isinstance(error, Misplaced):
            if run.extent is not None:
                run.extent.spoil()
            run.fail(OperatorError(self._name, error))
        if isinstance(element, Response) and self._among_items():
            item_failed(run, element, OperatorError(self._name, error))
            return
        instead = failed_element(run, self._name, element, error)
        if instead is not NOTHING:
            self._lower.on_next(instead)


class Misplaced(TypeError):
    """`changed()` stands where it cannot tell what is the same thing: no element would pass, so the run stops."""


def _misplaced(element: Any) -> Misplaced:
    kind = type(element).__name__
    if isinstance(element, Request):
        return Misplaced(f"it takes responses or items, and got a {kind}: put it behind download()")
    return Misplaced(f"among items it needs a key, such as changed('url'): what tells one {kind} from another")


def changed(
    key: Part | None = None, of: Part | None = None, *, name: str = "changed"
) -> Callable[[Observable[A]], Observable[A]]:
    """Let through only what is new, or differs from what it was the last time that the job ran.

    Between `download` and `scrape` it compares pages: those outside 200-299, and streamed ones if there is no `of`,
    always pass. Among items it compares these, and needs a key. Without a job it compares within the run, with at
    least the last 500,000 keys.

    What it saw of an element is remembered when the element's page is settled, and not at all if the page failed:
    after a crash nothing counts as known that may be missing.

    Args:
        key: What tells one thing from another: a field, a tuple of fields, or a function of the element. Pages: the
            request's method, canonical URL, body and `fingerprint_headers`, if left out.
        of: What is compared, in the same way; the page's whole body or the whole item, if left out.
        name: Under which it is remembered; two of them in one pipe need two names.

    Emits: what passes. The rest is `Dropped` among pages, dropped among items, in both with the reason "unchanged".
    Raises: TypeError, ValueError for a key, part or name that is none, when built. Among items with no key the run
        stops at the first; FlowError if two have one name.
    """
    checked("key", key)
    checked("of", of)
    if not name:
        raise ValueError(f"changed({name=}): it must name something")
    return Changed(key, of, name)
