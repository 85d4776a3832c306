"""An operator that may lose items in a crash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from reactivex import Observable

from streamcrawl.streams.declared import declared

A = TypeVar("A")
B = TypeVar("B")


def at_most_once(operator: Callable[[Observable[A]], Observable[B]]) -> Callable[[Observable[A]], Observable[B]]:
    """`operator`, declared to emit when no item is in hand, as `delay` and `debounce` do.

    Such an item has no lease: in a crash it could be lost. Without this declaration that is told as an `OutsideExtent`
    event; with it, it is accepted in silence.

    Args:
        operator: A reactivex operator, on the edge of items.

    Emits: what `operator` emits.
    """
    return replace(declared(operator), at_most_once=True)
