"""Several items that belong together become one, and the leases of all of them go with it (DESIGN law 7)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from reactivex import abc

from streamcrawl.core import Extent, Run
from streamcrawl.errors import Drop, OperatorError
from streamcrawl.items import as_dict
from streamcrawl.streams.counting import count
from streamcrawl.streams.edges import item_failed

Incomplete: TypeAlias = Literal["drop", "emit"]
Waiting: TypeAlias = tuple[Any, Extent]


@dataclass(frozen=True, slots=True)
class Parts:
    """What belongs together, and what becomes of it; see `zip_by`."""

    key: Callable[[Any], Hashable]
    names: tuple[str, ...]
    tests: tuple[Callable[[Any], bool], ...]
    combine: Callable[..., Any]
    incomplete: Incomplete

    @property
    def operator(self) -> str:
        return f"zip_by({', '.join(self.names)})"


class Joined(Extent):
    """The extent of a whole: goes by the identity of its first part, and holds all of them until the item is finished.

    So it is known again when a job goes on, whatever operators make of it: a gathered list is known by its elements.
    """

    __slots__ = ()

    def __init__(self, members: tuple[Extent, ...]) -> None:
        leases = tuple(lease for member in members for lease in member.leases)
        super().__init__(leases, members[0].ordinal, members)
        self.number = members[0].number

    @property
    def of_many(self) -> bool:
        return False

    def further(self, place: int, nth: int) -> Extent:
        made = super().further(place, nth)
        made.__class__ = Joined  # its root is this one, which has members
        return made


def merged(*parts: Any) -> dict[Any, Any]:
    """The fields of all parts; where two have the same, that of the later one holds."""
    return {name: value for part in parts for name, value in as_dict(part).items()}


class Zipping:
    """One subscription of `zip_by`: the parts that wait for others, the oldest key first."""

    def __init__(self, parts: Parts, run: Run, lower: abc.ObserverBase[Any]) -> None:
        self._parts = parts
        self._run = run
        self._lower = lower
        self._waiting: dict[Hashable, tuple[deque[Waiting], ...]] = {}

    def on_next(self, item: Any) -> None:
        parts = self._parts
        try:
            part = next((n for n, test in enumerate(parts.tests) if test(item)), None)
            key = None if part is None else parts.key(item)
            queues = self._waiting.get(key)
        except Exception as error:
            self._failed(item, error)
            return
        if part is None:
            self._lower.on_next(item)
            return
        extent = self._run.extent
        if extent is None:
            self._run.outside(parts.operator)
            extent = Extent(())
        extent.hold()
        if queues is None:
            queues = self._waiting[key] = tuple(deque() for _ in parts.tests)
        queues[part].append((item, extent))
        if all(queues):
            found = [queue.popleft() for queue in queues]
            if not any(queues):
                del self._waiting[key]
            self._emit(found)

    def _emit(self, found: list[Waiting]) -> None:
        members = tuple(extent for _, extent in found)
        joined = Joined(members) if all(each.leases for each in members) else Extent(())
        before, self._run.extent = self._run.extent, joined
        joined.hold()
        try:
            whole = self._parts.combine(*(item for item, _ in found))
        except Exception as error:
            self._failed([item for item, _ in found], error)
        else:
            self._lower.on_next(whole)
        finally:
            self._run.extent = before
            joined.release()
            if not joined.members:
                for each in members:
                    each.release()

    def _failed(self, item: Any, error: Exception) -> None:
        wrapped = OperatorError(self._parts.operator, error)
        wrapped.__cause__ = error
        item_failed(self._run, item, wrapped)

    def flush(self) -> None:
        """Nothing else can move: let the older half go, so that there is room for what may complete the others."""
        for key in list(self._waiting)[: (len(self._waiting) + 1) // 2]:
            self._let_go(self._waiting.pop(key))

    def _let_go(self, queues: tuple[deque[Waiting], ...]) -> None:
        while any(queues):
            missing = [name for name, queue in zip(self._parts.names, queues, strict=True) if not queue]
            found = [queue.popleft() for queue in queues if queue]
            if self._run.durable and self._run.stopping:
                for _, extent in found:  # the job goes on later: then they come again, and what they wait for
                    extent.spoil()
                    extent.release()
                continue
            count(self._run.stats, "items_incomplete")
            if self._parts.incomplete == "emit":
                self._emit(found)
                continue
            for item, extent in found:
                item_failed(self._run, item, Drop(f"incomplete: no {', '.join(missing)}"))
                extent.release()

    def drop(self) -> None:
        """Nobody listens any more: let the leases go."""
        waiting, self._waiting = self._waiting, {}
        for queues in waiting.values():
            for queue in queues:
                for _, extent in queue:
                    extent.release()

    def on_completed(self) -> None:
        while self._waiting:
            self.flush()
        self._lower.on_completed()
