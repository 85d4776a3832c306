"""A function on each item."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reactivex import Observable
from reactivex import operators as rx

from streamcrawl.streams.naming import name_of


@dataclass(frozen=True, slots=True)
class OnItem:
    """What `on_item` returns: a map that keeps the item where its function gives nothing."""

    function: Callable[[Any], Any]

    @property
    def name(self) -> str:
        return f"on_item({name_of(self.function)})"

    def __call__(self, items: Observable[Any]) -> Observable[Any]:
        function = self.function

        def changed(item: Any) -> Any:
            result = function(item)
            return item if result is None else result

        return items.pipe(rx.map(changed))


def on_item(function: Callable[[Any], Any]) -> Callable[[Observable[Any]], Observable[Any]]:
    """Call `function` with each item; what it returns goes on instead of the item, None leaves the item as it is.

    Args:
        function: May raise `Drop(reason)`: the item is dropped, and counted with its reason.

    Emits: one item for each, except those dropped.
    """
    return OnItem(function)
