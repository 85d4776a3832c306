"""Which items a feed takes, and what of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from importlib import import_module
from typing import Any, TypeAlias, cast

from streamcrawl.core import Item, ItemId, OpenSink
from streamcrawl.feeds.values import Fields, fields_of
from streamcrawl.items import as_dict
from streamcrawl.mistakes import nearest

Test: TypeAlias = Callable[[Item], bool]
MOST = 1000
"""Names of fields that are kept, to say which was meant."""

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


class Unseen:
    """Which of the fields that a feed is to have no item has had; told at the end, for they are misspelt, as a rule."""

    __slots__ = ("_had", "_items", "fields")

    def __init__(self, fields: Iterable[str]) -> None:
        self.fields = set(fields)
        """Nothing is looked at any more once there are none left."""
        self._had: set[str] = set()
        self._items = 0

    def look(self, item: Item) -> None:
        try:
            record = as_dict(item)
        except TypeError:  # the feed refuses it
            return
        self._items += 1
        self.fields.difference_update(record)
        if len(self._had) < MOST:
            self._had.update(name for name in record if isinstance(name, str))

    def said(self) -> list[str]:
        """A line for each of them, if there were items at all."""
        lines: list[str] = []
        for name in sorted(self.fields) if self._items else ():
            near = nearest(name, sorted(self._had))
            hint = f"did you mean {near!r}?" if near else f"items had {', '.join(sorted(self._had)[:10])}"
            lines.append(f"fields=…: no item of this run had a field {name!r}; {hint}")
        return lines


class Chosen:
    """A sink that is given some of the items only.

    Args:
        wanted: Which; None: all.
        fields: Which of their fields, and under which names; None: the items as they are.
        began: Kept in the job with the sink's token: when the job began; None: nobody asks for that.
        unseen: Looks for the fields that are wanted; None: all are.
        notice: Told at the end what was not seen.
    """

    __slots__ = ("_began", "_fields", "_notice", "_opened", "_unseen", "_wanted")

    def __init__(
        self,
        opened: OpenSink,
        wanted: Test | None,
        fields: Fields | None,
        began: float | None,
        unseen: Unseen | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        self._opened = opened
        self._wanted = wanted
        self._fields = fields
        self._began = began
        self._unseen = unseen
        self._notice = notice

    def accept(self, item: Item, item_id: ItemId) -> Awaitable[Item | None] | Item | None:
        wanted = self._wanted
        if isinstance(item, (list, tuple)):
            items: list[Item] = [each for each in cast("Sequence[Item]", item) if wanted is None or wanted(each)]
            if not items:
                return None
            if self._unseen is not None and self._unseen.fields:
                for each in items:
                    self._unseen.look(each)
            return self._opened.accept(items if self._fields is None else list(map(self._renamed, items)), item_id)
        if wanted is not None and not wanted(item):
            return None
        if self._unseen is not None and self._unseen.fields:
            self._unseen.look(item)
        return self._opened.accept(item if self._fields is None else self._renamed(item), item_id)

    def _renamed(self, item: Item) -> Item:
        return fields_of(item, self._fields)

    async def flush(self) -> Any:
        token = await self._opened.flush()
        return token if self._began is None else {"began": self._began, "feed": token}

    async def close(self) -> None:
        await self._opened.close()
        if self._unseen is not None and self._notice is not None:
            for line in self._unseen.said():
                self._notice(line)

    def __repr__(self) -> str:
        return f"<Chosen of {self._opened!r}>"
