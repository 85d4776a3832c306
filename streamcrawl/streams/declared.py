"""What a flow's author declares about a plain operator, for the guard around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from reactivex import Observable

from streamcrawl.streams.naming import name_of

Operator: TypeAlias = Callable[[Observable[Any]], Observable[Any]]


@dataclass(frozen=True, slots=True)
class Declared:
    """A plain operator with a promise: `strict` or `at_most_once`."""

    operator: Operator
    strict: bool = False
    at_most_once: bool = False

    @property
    def name(self) -> str:
        return name_of(self.operator)

    def __call__(self, source: Observable[Any]) -> Observable[Any]:
        return self.operator(source)


def carries_leases(operator: object) -> bool:
    """Whether the operator is one of the project's that keep the laws by themselves, and needs no guard."""
    return bool(getattr(operator, "carries_leases", False))


def takes_items(operator: object) -> bool:
    """Whether the operator is one for items alone: requests and outcomes must not be kept, or come in lists."""
    return bool(getattr(operator, "takes_items", False))


def declared(operator: Operator) -> Declared:
    """The operator with its declarations, which may be none."""
    return operator if isinstance(operator, Declared) else Declared(operator)
