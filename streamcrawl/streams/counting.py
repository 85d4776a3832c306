"""Counters whose names come from data, and whose number is bounded all the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

KEYS = 1_000
"""Names that one family of counters may have."""
FAMILIES = 100
"""Families, those of one name each included."""
LONGEST = 500
"""Characters of a name."""
OTHER = "(other)"

_set: Callable[[dict[str, Any], str, Any], None] = dict[str, Any].__setitem__


def count(counts: dict[str, Any], name: str, more: int = 1) -> None:
    """`counts[name] += more`, an absent one being 0. This runs for every link of every page."""
    if name in counts:
        _set(counts, name, counts[name] + more)
    else:
        counts[name] = more


class Counters(dict[str, Any]):
    """Counters by name; one that is absent counts 0.

    A name's family is what stands before its first slash ("items_dropped" of "items_dropped/no price"); names without
    a slash are a family of their own. After 1,000 names of a family further ones are added up under "FAMILY/(other)",
    of names without a slash, and of more than 100 families, under "(other)". So are names of more than 500 characters.
    Names that are there already go on to count by themselves, and the sum over a family stays right.
    """

    __slots__ = ("_families",)

    def __init__(self, counts: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._families: dict[str, int] = {}
        if counts is not None:
            self.update(counts)

    def __missing__(self, name: str) -> int:
        return 0

    def __setitem__(self, name: str, value: Any) -> None:
        # First what happens some ten times a request; the rest once a name.
        if name in self:
            _set(self, name, value)
        else:
            self._first(name, value)

    def _first(self, name: str, value: Any) -> None:
        family, slash, _ = name.partition("/")
        if not slash:
            family = ""
        families = self._families
        known = families.get(family, 0)
        if known < KEYS and (known or len(families) < FAMILIES) and len(name) <= LONGEST:
            families[family] = known + 1
            _set(self, name, value)
            return
        other = f"{family}/{OTHER}" if slash and known else OTHER
        # It was absent, so it counted 0 until now: its value is what is to be added.
        _set(self, other, self[other] + (value if isinstance(value, (int, float)) else 1))

    def setdefault(self, name: str, default: Any = 0) -> Any:
        if name not in self:
            self[name] = default
        return self.get(name, default)

    def update(self, *counts: Any, **more: Any) -> None:
        for name, value in dict[str, Any](*counts, **more).items():
            self[name] = value

    def __ior__(self, counts: Mapping[str, Any]) -> Counters:  # type: ignore[override,misc]
        self.update(counts)
        return self

    def __reduce__(self) -> tuple[type[Counters], tuple[dict[str, Any]]]:
        return Counters, (dict(self),)
