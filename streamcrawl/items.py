"""Items: what counts as one, and their fields, whatever class they are of."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pprint import pformat
from typing import Any, ClassVar, Literal, Self, TypeAlias

import msgspec

from streamcrawl.core import Again, Done, Dropped, Failed, Request, Start

Kind: TypeAlias = Literal["mapping", "fields", "struct", "dataclass", "attrs", "pydantic", ""]


class Field(dict[str, Any]):
    """A field of an Item: a dict of what is to be said of it, for whoever reads it, such as an ItemLoader."""


class Item(MutableMapping[str, Any]):
    """An item as a class of its own, with a dict's interface, and with no fields but those that it declares.

        class Product(Item):
            name = Field()
            price = Field(output_processor=TakeFirst())

    A subclass has the fields of its bases too. Fields that were not set are not there; `fields` has them all.

    Raises: KeyError for a field that it does not declare.
    """

    fields: ClassVar[dict[str, Field]] = {}
    """The declared fields by name, those of the bases first."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = dict(cls.__dict__.get("fields", {}))
        own |= {name: value for name, value in cls.__dict__.items() if isinstance(value, Field)}
        for name in own.keys() & cls.__dict__.keys():
            delattr(cls, name)
        inherited = {name: field for base in reversed(cls.__mro__[1:]) for name, field in _fields_of(base).items()}
        # A subclass that sets a field's name to anything else has the field no longer.
        cls.fields = {name: field for name, field in inherited.items() if name not in cls.__dict__} | own
        from streamcrawl.adapters import register  # it brings in itemadapter, which not every crawl needs

        register()

    def __init__(self, *args: Any, **values: Any) -> None:
        self._values: dict[str, Any] = {}
        for name, value in dict(*args, **values).items():
            self[name] = value

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if name not in self.fields:
            known = ", ".join(self.fields) or "none"
            raise KeyError(f"{type(self).__name__} has no field {name!r}; its fields: {known}")
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __getattr__(self, name: str) -> Any:
        if name in type(self).fields:
            raise AttributeError(f"{type(self).__name__}.{name} is a field: use item[{name!r}]")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            raise AttributeError(f"{type(self).__name__}.{name}: use item[{name!r}] = {value!r} to set a field")
        super().__setattr__(name, value)

    def copy(self) -> Self:
        """A shallow copy."""
        return copy.copy(self)

    def __copy__(self) -> Self:
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__, _values=self._values.copy())
        return made

    def deepcopy(self) -> Self:
        """A copy whose values are copies too."""
        return copy.deepcopy(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({pformat(self._values, sort_dicts=False)})"


def _fields_of(cls: type[Any]) -> dict[str, Field]:
    found: dict[str, Field] = cls.__dict__.get("fields", {}) if issubclass(cls, Item) else {}
    return found


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
    if issubclass(cls, Item):
        return "fields"
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
    """Whether `obj` is a mapping (an `Item` too), or a dataclass, attrs, pydantic or msgspec object.

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
    if kind == "fields":
        return tuple(cls.fields)
    return ()


_names: dict[type[Any], tuple[str, ...]] = {}


def as_dict(item: Any) -> dict[Any, Any]:
    """The item's fields by name, in order; nested objects as they are. A dict is given back itself.

    Raises: TypeError if it is no item.
    """
    cls: type[Any] = item.__class__
    if cls is dict:
        return item  # type: ignore[no-any-return] # Item is Any, and this one is a dict
    kind = kind_of(cls)
    if kind in ("mapping", "fields"):
        return dict(item)
    if kind == "pydantic":
        return dict(item)  # its fields, then what else it was given; not dumped, so values keep their types
    if kind == "":
        raise TypeError(f"no item: {cls.__name__}; items are dicts and dataclass, attrs, pydantic or msgspec objects")
    names = _names.get(cls)
    if names is None:
        names = _names[cls] = field_names(cls)
    return {name: getattr(item, name) for name in names}


_serializers: dict[type[Any], dict[str, Callable[[Any], Any]]] = {}


def serializers_of(cls: type[Any]) -> dict[str, Callable[[Any], Any]]:
    """What feeds write in place of a field's value: the `serializer` of its Field, or of its metadata, by field."""
    found = _serializers.get(cls)
    if found is None:
        found = _serializers[cls] = {
            name: metadata["serializer"] for name, metadata in _metadata_of(cls) if callable(metadata.get("serializer"))
        }
    return found


def _metadata_of(cls: type[Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    kind = kind_of(cls)
    if kind == "fields":
        yield from cls.fields.items()
    elif kind == "dataclass":
        yield from ((field.name, field.metadata) for field in dataclasses.fields(cls))
    elif kind == "attrs":
        yield from ((field.name, field.metadata) for field in cls.__attrs_attrs__)


def with_field(item: Any, name: str, value: Any) -> Any:
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


def _set(item: Any, name: str, value: Any) -> Any:
    """Also for frozen classes: the copy is ours until it is handed on."""
    changed = copy.copy(item)
    object.__setattr__(changed, name, value)
    return changed


def _put(item: Any, name: str, value: Any) -> Any:
    changed = copy.copy(item)
    changed[name] = value
    return changed


_replacers: dict[str, Callable[[Any, str, Any], Any]] = {
    "fields": _put,
    "struct": lambda item, name, value: msgspec.structs.replace(item, **{name: value}),
    "pydantic": lambda item, name, value: item.model_copy(update={name: value}),
}
