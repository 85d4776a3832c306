"""What `itemadapter` has to know to read and write items of the library's own kinds: `Item` and msgspec's Structs."""

from __future__ import annotations

from collections.abc import Iterator, KeysView
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from itemadapter import ItemAdapter
from itemadapter.adapter import AdapterInterface
from msgspec.inspect import type_info

from streamcrawl.items import Item, field_names, kind_of


class FieldsAdapter(AdapterInterface):
    """Items that declare their fields."""

    @classmethod
    def is_item_class(cls, item_class: type) -> bool:
        return issubclass(item_class, Item)

    @classmethod
    def get_field_meta_from_class(cls, item_class: type, field_name: str) -> MappingProxyType[str, Any]:
        fields: dict[str, Any] = getattr(item_class, "fields", {})
        if field_name not in fields:
            raise KeyError(f"{item_class.__name__} has no field {field_name!r}")
        return MappingProxyType(fields[field_name])

    @classmethod
    def get_field_names_from_class(cls, item_class: type) -> list[str]:
        return list(field_names(item_class))

    def field_names(self) -> KeysView[str]:
        return dict.fromkeys(field_names(self.item.__class__)).keys()

    def __getitem__(self, name: str) -> Any:
        return self.item[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.item[name] = value

    def __delitem__(self, name: str) -> None:
        del self.item[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.item)

    def __len__(self) -> int:
        return len(self.item)


class StructAdapter(AdapterInterface):
    """msgspec's Structs. A field's metadata is what `msgspec.Meta(extra=…)` has."""

    @classmethod
    def is_item_class(cls, item_class: type) -> bool:
        return kind_of(item_class) == "struct"

    @classmethod
    def get_field_meta_from_class(cls, item_class: type, field_name: str) -> MappingProxyType[str, Any]:
        if field_name not in field_names(item_class):
            raise KeyError(f"{item_class.__name__} has no field {field_name!r}")
        return _metadata(item_class).get(field_name, _NOTHING)

    @classmethod
    def get_field_names_from_class(cls, item_class: type) -> list[str]:
        return list(field_names(item_class))

    def field_names(self) -> KeysView[str]:
        return dict.fromkeys(field_names(self.item.__class__)).keys()

    def __getitem__(self, name: str) -> Any:
        return getattr(self.item, self._known(name))

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self.item, self._known(name), value)

    def __delitem__(self, name: str) -> None:
        raise KeyError(f"{name!r} cannot be deleted: a Struct has all of its fields")

    def __iter__(self) -> Iterator[str]:
        return iter(field_names(self.item.__class__))

    def __len__(self) -> int:
        return len(field_names(self.item.__class__))

    def _known(self, name: str) -> str:
        if name not in field_names(self.item.__class__):
            raise KeyError(f"{self.item.__class__.__name__} has no field {name!r}")
        return name


_NOTHING: MappingProxyType[str, Any] = MappingProxyType({})


@lru_cache(maxsize=512)
def _metadata(struct: type) -> dict[str, MappingProxyType[str, Any]]:
    try:
        info: Any = type_info(struct)
    except (NameError, TypeError):  # types that msgspec does not find, or does not know
        return {}
    return {field.name: MappingProxyType(dict(getattr(field.type, "extra", None) or {})) for field in info.fields}


def register() -> None:
    """Make the adapters known to itemadapter, once."""
    known: Any = ItemAdapter.ADAPTER_CLASSES
    for adapter in (FieldsAdapter, StructAdapter):
        if adapter not in known:
            known.append(adapter)
