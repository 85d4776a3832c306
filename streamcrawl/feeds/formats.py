"""Feed formats: how an item becomes the bytes of one whole record.

A format object belongs to one feed in one run. `record` gives what is appended to the feed, `end` what closes it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import PurePath
from typing import Any, Literal, Protocol, TypeAlias, get_args

import msgspec

from streamcrawl.core import Item
from streamcrawl.errors import ItemRefused
from streamcrawl.items import as_dict, kind_of

FormatName: TypeAlias = Literal["jsonl", "json", "csv"]
FORMATS: tuple[FormatName, ...] = get_args(FormatName)
EXTENSIONS: Mapping[str, FormatName] = {
    ".jsonl": "jsonl",
    ".jl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
}


class Format(Protocol):
    """How items are written, one record after the other."""

    def record(self, item: Item) -> bytes:
        """The bytes to append. Raises: ItemRefused naming the field that cannot be written."""
        ...

    def end(self) -> bytes:
        """The bytes after the last record."""
        ...


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


_encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=plain).encode


def encode(record: dict[Any, Any]) -> bytes:
    """One object in JSON, UTF-8.

    Dates as ISO 8601, decimals as text, bytes as base64, sets as arrays, NaN and infinities as null.

    Raises: ItemRefused naming the field.
    Source: RFC 8259.
    """
    try:
        return _encode(record)
    except UnicodeEncodeError:
        # Half a surrogate pair, as pages do have: escaped, it goes through JSON unharmed.
        try:
            return json.dumps(msgspec.to_builtins(record, str_keys=True, enc_hook=plain), allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError):
            raise _blame(record) from None
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise _blame(record) from None


def _blame(record: dict[Any, Any]) -> ItemRefused:
    for name, value in record.items():
        if not isinstance(name, str):
            return ItemRefused(f"field {name!r}: the name of a field is a str, not {type(name).__name__}")
        try:
            json.dumps(msgspec.to_builtins(value, str_keys=True, enc_hook=plain), allow_nan=False)
        except Exception as error:
            return ItemRefused(f"field {name!r} cannot be written: {error}")
    return ItemRefused(f"the item with the fields {', '.join(map(repr, record))} cannot be written")


def fields_of(item: Item, names: tuple[str, ...] | None) -> dict[Any, Any]:
    """The item's fields; those of `names` and in their order, if given.

    Raises: ItemRefused if it is no item.
    """
    try:
        record: dict[Any, Any] = plain(item) if kind_of(item.__class__) == "pydantic" else as_dict(item)
    except TypeError as error:
        raise ItemRefused(str(error)) from None
    return record if names is None else {name: record[name] for name in names if name in record}


class JsonLines:
    """One JSON object a line.

    Source: https://jsonlines.org
    """

    __slots__ = ("fields",)

    def __init__(self, fields: tuple[str, ...] | None = None) -> None:
        self.fields = fields

    def record(self, item: Item) -> bytes:
        return encode(fields_of(item, self.fields)) + b"\n"

    def end(self) -> bytes:
        return b""


class JsonArray:
    """One JSON array, an object a line; valid only with its end.

    Args:
        begun: Whether records were written before, by a run that is resumed.
    """

    __slots__ = ("begun", "fields")

    def __init__(self, fields: tuple[str, ...] | None = None, *, begun: bool = False) -> None:
        self.fields = fields
        self.begun = begun

    def record(self, item: Item) -> bytes:
        written = encode(fields_of(item, self.fields))
        before = b",\n" if self.begun else b"[\n"
        self.begun = True
        return before + written

    def end(self) -> bytes:
        return b"\n]\n" if self.begun else b"[]\n"


class Csv:
    """Comma-separated values with a row of column names first.

    Args:
        fields: The columns; None: those of the first item.
        begun: Whether the row of names is written already.
        notice: Told once, about the first item with fields outside the columns.

    Lists, dicts and objects stand in their cell as JSON, None as an empty cell.
    Source: RFC 4180 §2 (CRLF, quotes doubled).
    """

    __slots__ = ("_notice", "_row", "_rows", "begun", "fields")

    def __init__(
        self,
        fields: tuple[str, ...] | None = None,
        *,
        begun: bool = False,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        self.fields = fields
        self.begun = begun
        self._notice = notice
        self._rows = _Rows()
        self._row = csv.writer(self._rows).writerow

    def record(self, item: Item) -> bytes:
        record = fields_of(item, None)
        columns = self.fields
        if columns is None:
            columns = tuple(map(str, record))
        cells = [_cell(name, record.get(name)) for name in columns]
        if self._notice is not None and not record.keys() <= set(columns):
            self._tell(record, columns)
        self.fields = columns
        if not self.begun:
            self._row(columns)
            self.begun = True
        self._row(cells)
        return self._rows.take()

    def _tell(self, record: dict[Any, Any], columns: tuple[str, ...]) -> None:
        extra = ", ".join(repr(name) for name in record if name not in columns)
        if self._notice is not None:
            self._notice(
                f"left out of the CSV, whose columns are {', '.join(columns)}: {extra} (give fields=… to have it)"
            )
        self._notice = None

    def end(self) -> bytes:
        if self.begun or self.fields is None:
            return b""
        self.begun = True
        self._row(self.fields)
        return self._rows.take()


class _Rows:
    """What csv.writer writes to."""

    __slots__ = ("_texts",)

    def __init__(self) -> None:
        self._texts: list[str] = []

    def write(self, text: str) -> None:
        self._texts.append(text)

    def take(self) -> bytes:
        text = "".join(self._texts)
        self._texts.clear()
        return text.encode("utf-8", "replace")


def _cell(name: str, value: Any) -> Any:
    cls: type[Any] = value.__class__
    if cls is str or cls is int:
        return value
    if value is None:
        return ""
    if cls is float:
        return value if isfinite(value) else ""
    try:
        built = msgspec.to_builtins(value, str_keys=True, enc_hook=plain)
        return built if type(built) in (str, int, float) else _encode(built).decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ItemRefused(f"field {name!r} cannot be written: {error}") from None


def format_of(uri: str, suffix: str) -> FormatName:
    """The format that the extension `suffix` stands for. Raises: ValueError."""
    found = EXTENSIONS.get(suffix.lower())
    if found is None:
        known = ", ".join(EXTENSIONS)
        raise ValueError(f"feed {uri!r}: no format for the extension {suffix!r} (known: {known}); give format=")
    return found
