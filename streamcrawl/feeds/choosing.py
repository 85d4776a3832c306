"""Which items a feed takes, and what of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from importlib import import_module
from typing import Any, TypeAlias, cast

from streamcrawl.core import Item, ItemId, OpenSink
from streamcrawl.feeds.values import Fields, fields_of

Test: TypeAlias = Callable[[Item], bool]
ItemClasses: TypeAlias = "type[Any] | str | Iterable[type[Any] | str]"


def loaded(path: str, argument: str) -> Any:
    """What an import path names: "package.module.Name". Raises: ValueError."""
    module, _, name = path.rpartition(".")
    try:
        found: Any = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{argument}={path!r}: cannot be imported: {error}") from error
    return found


def chosen(classes: ItemClasses | None, filter: Any) -> Test | None:
    """The test that an item has to pass; None: there is none.

    Args:
        classes: Classes, or their import paths; an object of a subclass is taken too.
        filter: A function of an item, a class whose objects have `accepts(item)`, or the import path of one.

    Raises: ValueError, TypeError.
    """
    if isinstance(filter, str):
        filter = loaded(filter, "item_filter")
    if isinstance(filter, type):
        filter = _accepts(cast("type[Any]", filter), classes)
    elif hasattr(filter, "accepts"):
        filter = filter.accepts
    if filter is not None and not callable(filter):
        raise TypeError(f"item_filter={filter!r}: a function of an item, or its import path")
    if classes is None:
        return cast("Test | None", filter)
    kinds = _classes(classes)
    if filter is None:
        return lambda item: isinstance(item, kinds)
    return lambda item: isinstance(item, kinds) and bool(filter(item))


def _accepts(cls: type[Any], classes: ItemClasses | None) -> Any:
    """As Scrapy makes a filter: with the feed's options, of which those for filters are here."""
    try:
        made = cls({"item_classes": [] if classes is None else list(_classes(classes))})
    except TypeError:
        made = cls()
    accepts = getattr(made, "accepts", None)
    if accepts is None:
        raise TypeError(f"item_filter={cls!r}: its objects have no accepts(item)")
    return accepts


def _classes(classes: ItemClasses) -> tuple[type[Any], ...]:
    given = (classes,) if isinstance(classes, (str, type)) else tuple(classes)
    kinds = tuple(loaded(each, "item_classes") if isinstance(each, str) else each for each in given)
    if not kinds or not all(isinstance(each, type) for each in kinds):
        raise ValueError(f"item_classes={classes!r}: classes of items, at least one")
    return kinds


class Chosen:
    """A sink that is given some of the items only.

    Args:
        wanted: Which; None: all.
        fields: Which of their fields, and under which names; None: the items as they are.
        began: Kept in the job with the sink's token: when the job began; None: nobody asks for that.
    """

    __slots__ = ("_began", "_fields", "_opened", "_wanted")

    def __init__(self, opened: OpenSink, wanted: Test | None, fields: Fields | None, began: float | None) -> None:
        self._opened = opened
        self._wanted = wanted
        self._fields = fields
        self._began = began

    def accept(self, item: Item, item_id: ItemId) -> Awaitable[Item | None] | Item | None:
        wanted = self._wanted
        if isinstance(item, (list, tuple)):
            items: list[Item] = [each for each in cast("Sequence[Item]", item) if wanted is None or wanted(each)]
            if not items:
                return None
            return self._opened.accept(items if self._fields is None else list(map(self._renamed, items)), item_id)
        if wanted is not None and not wanted(item):
            return None
        return self._opened.accept(item if self._fields is None else self._renamed(item), item_id)

    def _renamed(self, item: Item) -> Item:
        return fields_of(item, self._fields)

    async def flush(self) -> Any:
        token = await self._opened.flush()
        return token if self._began is None else {"began": self._began, "feed": token}

    async def close(self) -> None:
        await self._opened.close()

    def __repr__(self) -> str:
        return f"<Chosen of {self._opened!r}>"
