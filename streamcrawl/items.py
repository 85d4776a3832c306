"""Items: what counts as one, and their fields, whatever class they are of."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Literal, TypeAlias

import msgspec

from streamcrawl.core import Again, Done, Dropped, Failed, Item, Request, Start

Kind: TypeAlias = Literal["mapping", "struct", "dataclass", "attrs", "pydantic", ""]

_MESSAGES = (Request, Failed, Dropped, Again, Start, Done)
_kinds: dict[type[Any], Kind] = {dict: "mapping"}
"""By type, so that asking costs one look-up. Classes are few and live long."""


def kind_of(cls: type[Any]) -> Kind:
    """How the fields of such objects are read; "" if they are no items."""
    kind = _kinds.get(cls)
    if kind is None:
        kind = _kinds[cls] = _classify(cls)
    return kind


def _classify(cls: type[Any]) -> Kind:
    if issubclass(cls, Mapping):
        return "mapping"
    if issubclass(cls, msgspec.Struct):
        return "" if issubclass(cls, _MESSAGES) else "struct"
    if hasattr(cls, "__attrs_attrs__"):
        return "attrs"
    if dataclasses.is_dataclass(cls):
        return "dataclass"
    if hasattr(cls, "model_fields") and hasattr(cls, "model_dump"):
        return "pydantic"
    return ""


def is_item(obj: object) -> bool:
    """Whether `obj` is a mapping, or a dataclass, attrs, pydantic or msgspec object.

    Texts, numbers, lists and None are none, nor are Requests and outcomes.
    """
    return kind_of(type(obj)) != ""


def field_names(cls: type[Any]) -> tuple[str, ...]:
    """The fields of a class of items, in order; empty for mappings, which have them object by object."""
    kind = kind_of(cls)
    if kind == "struct":
        return tuple(cls.__struct_fields__)
    if kind == "dataclass":
        return tuple(field.name for field in dataclasses.fields(cls))
    if kind == "attrs":
        return tuple(attribute.name for attribute in cls.__attrs_attrs__)
    if kind == "pydantic":
        return tuple(cls.model_fields)
    return ()


_names: dict[type[Any], tuple[str, ...]] = {}


def as_dict(item: Item) -> dict[Any, Any]:
    """The item's fields by name, in order; nested objects as they are. A dict is given back itself.

    Raises: TypeError if it is no item.
    """
    cls: type[Any] = item.__class__
    if cls is dict:
        return item  # type: ignore[no-any-return] # Item is Any, and this one is a dict
    kind = kind_of(cls)
    if kind == "mapping":
        return dict(item)
    if kind == "pydantic":
        return dict(item)  # its fields, then what else it was given; not dumped, so values keep their types
    if kind == "":
        raise TypeError(f"no item: {cls.__name__}; items are dicts and dataclass, attrs, pydantic or msgspec objects")
    names = _names.get(cls)
    if names is None:
        names = _names[cls] = field_names(cls)
    return {name: getattr(item, name) for name in names}


def with_field(item: Item, name: str, value: Any) -> Item:
    """A shallow copy of the item with this field set; None if items of its class have no such field."""
    cls: type[Any] = item.__class__
    kind = kind_of(cls)
    if kind == "mapping":
        changed: Any = copy.copy(item) if issubclass(cls, MutableMapping) else dict(item)
        changed[name] = value
        return changed
    if name not in field_names(cls):
        return None
    replace = _replacers.get(kind, _set)
    return replace(item, name, value)


def _set(item: Item, name: str, value: Any) -> Item:
    """Also for frozen classes: the copy is ours until it is handed on."""
    changed = copy.copy(item)
    object.__setattr__(changed, name, value)
    return changed


_replacers: dict[str, Callable[[Item, str, Any], Item]] = {
    "struct": lambda item, name, value: msgspec.structs.replace(item, **{name: value}),
    "pydantic": lambda item, name, value: item.model_copy(update={name: value}),
}
