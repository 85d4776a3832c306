"""An operator whose failure ends the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from reactivex import Observable

from streamcrawl.streams.declared import declared

A = TypeVar("A")
B = TypeVar("B")


def strict(operator: Callable[[Observable[A]], Observable[B]]) -> Callable[[Observable[A]], Observable[B]]:
    """`operator`, but its first failure stops the run in good order.

    Otherwise one element on which an operator raises is that element's failure, and the operator is subscribed anew,
    which empties its state. Say `strict` where lost state would be worse than a stopped run.

    Args:
        operator: A reactivex operator, on any edge of the pipe.

    Emits: what `operator` emits.
    """
    return replace(declared(operator), strict=True)
