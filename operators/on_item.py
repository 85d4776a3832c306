"""A function on each item."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reactivex import Observable
from reactivex import operators as rx


def on_item(function: Callable[[Any], Any]) -> Callable[[Observable[Any]], Observable[Any]]:
    """Call `function` with each item; what it returns goes on instead of the item, None leaves the item as it is.

    Args:
        function: May raise `Drop(reason)`: the item is dropped, and counted with its reason.

    Emits: one item for each, except those dropped.
    """

    def changed(item: Any) -> Any:
        result = function(item)
        return item if result is None else result

    changed.__name__ = f"on_item({getattr(function, '__name__', 'function')})"
    return rx.map(changed)
