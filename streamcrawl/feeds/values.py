"""What of an item is written, and the form of its values in JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any, TypeAlias, cast

import msgspec

from streamcrawl.core import Item
from streamcrawl.errors import ItemRefused
from streamcrawl.items import as_dict, kind_of, serializers_of

Fields: TypeAlias = Mapping[str, str]
"""Fields of an item, in order, each with the name that it is written under."""

Encode: TypeAlias = Callable[[Any], bytes]


def named(fields: Mapping[str, str] | Iterable[str] | str | None) -> Fields | None:
    """The fields to write, as users give them. Raises: ValueError."""
    if fields is None:
        return None
    given: tuple[Any, ...]
    if isinstance(fields, Mapping):
        given = tuple(cast("Mapping[Any, Any]", fields).items())
    else:
        given = tuple((name, name) for name in ((fields,) if isinstance(fields, str) else fields))
    names: dict[Any, Any] = dict(given)
    written = list(names.values())
    if (
        not names
        or len(set(written)) < len(given)
        or not all(isinstance(name, str) and name for name in (*names, *written))
    ):
        raise ValueError(f"fields={fields!r}: distinct names of fields, at least one")
    return names


def plain(value: Any) -> Any:
    """What stands in JSON for a value that msgspec does not know.

    Raises: TypeError naming its class.
    """
    cls: type[Any] = value.__class__
    kind = kind_of(cls)
    if kind == "pydantic":
        return value.model_dump(mode="json")
    if kind:
        return as_dict(value)
    if isinstance(value, PurePath):
        return str(value)
    for basic in (str, int, float):
        if isinstance(value, basic):
            return basic(value)
    raise TypeError(f"a value of the class {cls.__name__} has no JSON form")


def builtins(value: Any) -> Any:
    """The value as JSON has it, in Python's own types. Raises: TypeError and others."""
    return msgspec.to_builtins(value, str_keys=True, enc_hook=plain)


def encoder(*, sort_keys: bool = False, default: Callable[[Any], Any] | None = None) -> Encode:
    """How an object becomes JSON, UTF-8.

    Dates as ISO 8601, decimals as text, bytes as base64, sets as arrays, NaN and infinities as null.

    Args:
        sort_keys: Fields in the order of their names.
        default: What stands for a value that is not known here; it raises TypeError for what it does not know either.

    Source: RFC 8259.
    """
    hook = plain if default is None else _either(default)
    write: Encode = msgspec.json.Encoder(enc_hook=hook, order="sorted" if sort_keys else None).encode

    def encode(record: Any) -> bytes:
        """Raises: ItemRefused naming the field."""
        try:
            return write(record)
        except UnicodeEncodeError:
            # Half a surrogate pair, as pages do have: escaped, it goes through JSON unharmed.
            try:
                built = msgspec.to_builtins(record, str_keys=True, enc_hook=hook)
                return json.dumps(built, allow_nan=False, sort_keys=sort_keys).encode()
            except (TypeError, ValueError, RecursionError):
                raise _blame(record, hook) from None
        except (TypeError, ValueError, OverflowError, RecursionError):
            raise _blame(record, hook) from None

    return encode


def _either(default: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def hook(value: Any) -> Any:
        try:
            return plain(value)
        except TypeError:
            return default(value)

    return hook


encode: Encode = encoder()


def _blame(record: Any, hook: Callable[[Any], Any]) -> ItemRefused:
    return blame(
        record,
        lambda value: json.dumps(msgspec.to_builtins(value, str_keys=True, enc_hook=hook), allow_nan=False),
    )


def blame(record: dict[Any, Any], write: Callable[[Any], object]) -> ItemRefused:
    """The error that names the field which `write` does not take."""
    for name, value in record.items():
        if not isinstance(name, str):
            return ItemRefused(f"field {name!r}: the name of a field is a str, not {type(name).__name__}")
        try:
            write(value)
        except Exception as error:
            return ItemRefused(f"field {name!r} cannot be written: {error}")
    return ItemRefused(f"the item with the fields {', '.join(map(repr, record))} cannot be written")


def fields_of(item: Item, fields: Fields | None) -> dict[Any, Any]:
    """The item's fields, as JSON has those of a pydantic object; those of `fields` under their names, if given.

    Raises: ItemRefused if it is no item.
    """
    try:
        record: dict[Any, Any] = plain(item) if kind_of(item.__class__) == "pydantic" else as_dict(item)
    except TypeError as error:
        raise ItemRefused(str(error)) from None
    if record is not item:
        _serialize(item, record)
    return record if fields is None else {fields[name]: record[name] for name in fields if name in record}


def values_of(item: Item, fields: Fields | None) -> dict[Any, Any]:
    """The same, with the values as they are. Raises: ItemRefused if it is no item."""
    try:
        record = as_dict(item)
    except TypeError as error:
        raise ItemRefused(str(error)) from None
    if record is not item:
        _serialize(item, record)
    return record if fields is None else {fields[name]: record[name] for name in fields if name in record}


def _serialize(item: Item, record: dict[Any, Any]) -> None:
    """Put into `record` what the item's class says is written of its fields. Raises: ItemRefused naming the field."""
    for name, serializer in serializers_of(item.__class__).items():
        if name in record:
            try:
                record[name] = serializer(record[name])
            except Exception as error:
                raise ItemRefused(f"field {name!r}: its serializer raised {type(error).__name__}: {error}") from error
