"""One item of several that belong together, from whichever pages they come."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, get_args

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable

from streamcrawl.core import RUN
from streamcrawl.items import as_dict, is_item
from streamcrawl.streams.local import by_itself, running
from streamcrawl.streams.zipping import Incomplete, Parts, Zipping, merged

Key: TypeAlias = "str | Callable[[Any], Hashable]"
Part: TypeAlias = "str | Callable[[Any], bool]"


@dataclass(frozen=True, slots=True)
class ZipBy:
    """What `zip_by` returns: an operator that carries leases, and that the run can flush."""

    carries_leases: ClassVar[bool] = True
    takes_items: ClassVar[bool] = True
    parts: Parts

    @property
    def name(self) -> str:
        return self.parts.operator

    def __call__(self, source: Observable[Any]) -> Observable[Any]:
        def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            if RUN.get(None) is None:
                return by_itself(self, source, lower)
            run = running()
            made = Zipping(self.parts, run, lower)
            upstream = source.subscribe(made.on_next, lower.on_error, made.on_completed, scheduler=scheduler)
            return CompositeDisposable(upstream, run.gather(made.flush), Disposable(made.drop))

        return Observable(subscribe)


def zip_by(key: Key, *parts: Part, combine: Callable[..., Any] = merged, incomplete: Incomplete = "drop") -> ZipBy:
    """One item of one of each of `parts` that have the same key; other items go on as they are.

    The leases of parts stay open until the whole is safe: when a job goes on after a crash, the pages of parts that
    wait come again, and a whole is written once. With no room for more pages, the older half of what waits is let go.

    Args:
        key: What belongs together: a field, or a function of an item.
        parts: What there has to be: for each a field that it has, or a function that says whether an item is one.
        combine: Makes the whole of the parts, in the order of `parts`; by default a dict of all fields.
        incomplete: What becomes of parts whose others do not come: "drop", counted and told; or "emit": `combine` gets
            those that there are.

    Emits: a whole item when its last part comes.
    Raises: ValueError for fewer than two parts, TypeError for what is none, when built.
    """
    if len(parts) < 2:
        raise ValueError(f"zip_by(): {len(parts)} parts, and it takes two or more")
    if incomplete not in get_args(Incomplete):
        raise ValueError(f"zip_by(incomplete={incomplete!r}): one of {', '.join(get_args(Incomplete))}")
    names = tuple(part if isinstance(part, str) else getattr(part, "__name__", repr(part)) for part in parts)
    tests = tuple(_having(part) if isinstance(part, str) else part for part in parts)
    if not all(callable(each) for each in (*tests, combine)):
        raise TypeError(f"zip_by{parts!r}: fields or functions")
    return ZipBy(Parts(_field(key) if isinstance(key, str) else key, names, tests, combine, incomplete))


def _having(name: str) -> Callable[[Any], bool]:
    return lambda item: is_item(item) and name in as_dict(item)


def _field(name: str) -> Callable[[Any], Hashable]:
    return lambda item: as_dict(item)[name]
