"""Comma-separated values."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, BinaryIO

from streamcrawl.core import Item
from streamcrawl.errors import ItemRefused, SinkError
from streamcrawl.feeds.charsets import known, writer
from streamcrawl.feeds.format import FeedFormat, Notice, Settings, allow
from streamcrawl.feeds.tails import Tail, csv_columns, csv_tail
from streamcrawl.feeds.values import builtins, encode, fields_of, named

DIALECT = ("delimiter", "doublequote", "escapechar", "lineterminator", "quotechar", "quoting", "skipinitialspace")
OPTIONS = (*DIALECT, "errors", "include_headers_line", "join_multivalued")


_PLAIN = frozenset({str, int, type(None)})


class Csv:
    """Comma-separated values with a row of column names first.

    Args:
        fields: The columns; None: those of the first item.
        columns: Of a feed that goes on: those that it has.
        notice: Told once, about the first item with fields outside the columns.
        errors: What becomes of characters that the encoding has not, as in `str.encode`.
        include_headers_line: Whether the row of names is written.
        join_multivalued: Stands between the texts and numbers of a list; None: a list is written as JSON.
        dialect: What `csv.writer` takes.

    Lists, dicts and objects stand in their cell as JSON, None as an empty cell.
    Source: RFC 4180 §2 (CRLF, quotes doubled).
    """

    __slots__ = ("_fields", "_header", "_join", "_line", "_notice", "_text", "columns")

    def __init__(
        self,
        fields: Mapping[str, str] | Iterable[str] | None = None,
        *,
        columns: tuple[str, ...] = (),
        notice: Notice | None = None,
        encoding: str = "utf-8",
        errors: str = "replace",
        include_headers_line: bool = True,
        join_multivalued: str | None = None,
        **dialect: Any,
    ) -> None:
        self._fields = named(fields)
        self.columns = columns
        self._header = include_headers_line and not columns
        self._join = join_multivalued
        self._notice = notice
        self._text = writer(known(encoding), errors, begun=bool(columns))
        self._line = _line_by(dialect) if dialect else line

    @property
    def state(self) -> list[str] | None:
        return list(self.columns) or None

    def record(self, item: Item) -> bytes:
        record = fields_of(item, self._fields)
        columns = self.columns or self._named(record)
        cells: list[Any] = []
        for name in columns:
            value = record.get(name)
            # Most are of these: csv.writer knows them, and a call would take longer than the look.
            cells.append(value if value.__class__ in _PLAIN else self._cell(name, value))
        if self._notice is not None and self._fields is None and not set(columns).issuperset(record):
            self._tell(record, columns)
        row = self._line(cells)
        if self._header or not self.columns:
            row = self._begin(columns) + row
        return self._text(row)

    def _named(self, record: dict[Any, Any]) -> tuple[str, ...]:
        return tuple(map(str, record if self._fields is None else self._fields.values()))

    def _begin(self, columns: tuple[str, ...]) -> str:
        header = self._line(columns) if self._header else ""
        self.columns = columns
        self._header = False
        return header

    def _tell(self, record: dict[Any, Any], columns: tuple[str, ...]) -> None:
        extra = ", ".join(repr(name) for name in record if name not in columns)
        if self._notice is not None:
            self._notice(
                f"left out of the CSV, whose columns are {', '.join(columns)}: {extra} (give fields=… to have it)"
            )
        self._notice = None

    def _cell(self, name: str, value: Any) -> Any:
        if value.__class__ is float:
            return value if isfinite(value) else ""
        try:
            built = builtins(value)
            if type(built) in (str, int, float):
                return built
            if self._join is not None and isinstance(built, list):
                several: list[Any] = built  # pyright: ignore[reportUnknownVariableType] # of JSON's values
                if not any(isinstance(each, (list, dict)) for each in several):
                    return self._join.join("" if each is None else str(each) for each in several)
            return encode(built).decode()
        except (TypeError, ValueError, OverflowError, RecursionError, ItemRefused) as error:
            raise ItemRefused(f"field {name!r} cannot be written: {error}") from None

    def end(self) -> bytes:
        if self.columns or self._fields is None or not self._header:
            return b""
        return self._text(self._begin(tuple(self._fields.values())))


def line(cells: Sequence[Any]) -> str:
    """A row as `csv.writer` has it of texts, numbers and None, if it is told nothing else; it takes twice as long."""
    texts: list[str] = []
    for cell in cells:
        if cell.__class__ is not str:
            texts.append("" if cell is None else repr(cell))
        elif '"' in cell:
            texts.append('"' + cell.replace('"', '""') + '"')
        elif "," in cell or "\n" in cell or "\r" in cell:
            texts.append(f'"{cell}"')
        else:
            texts.append(cell)
    if texts == [""]:
        return '""\r\n'  # else it would be no row
    return f"{','.join(texts)}\r\n"


def _line_by(dialect: dict[str, Any]) -> Callable[[Sequence[Any]], str]:
    written: list[str] = []
    write = csv.writer(_Rows(written), **dialect).writerow

    def line_of(cells: Sequence[Any]) -> str:
        written.clear()
        write(cells)
        return "".join(written)

    return line_of


class _Rows:
    """What csv.writer writes to."""

    __slots__ = ("write",)

    def __init__(self, rows: list[str]) -> None:
        self.write = rows.append


def _make(settings: Settings, state: Any, notice: Notice) -> Csv:
    columns = tuple(state or ())
    wanted = None if settings.fields is None else tuple(settings.fields.values())
    if columns and wanted is not None and columns != wanted:
        raise SinkError(f"cannot append: the file has the columns {', '.join(columns)}; wanted: {', '.join(wanted)}")
    return Csv(settings.fields, columns=columns, notice=notice, encoding=settings.encoding, **settings.options)


def _tail(file: BinaryIO, settings: Settings) -> tuple[Tail, tuple[str, ...]]:
    options = settings.options
    quote = str(options.get("quotechar") or '"')
    delimiter = str(options.get("delimiter", ","))
    tail = csv_tail(file, quote=quote, delimiter=delimiter)
    if not tail.end:
        return tail, ()
    if not options.get("include_headers_line", True):
        return tail, tuple((settings.fields or {}).values())
    return tail, csv_columns(file, encoding=settings.encoding, quote=quote, delimiter=delimiter)


def _check(settings: Settings) -> None:
    allow(settings, "CSV", *OPTIONS, encoding=True)
    options = dict(settings.options)
    join = options.pop("join_multivalued", None)
    if join is not None and not isinstance(join, str):
        raise ValueError(f"join_multivalued={join!r}: text, or None")
    try:
        Csv(encoding=settings.encoding, **options)
        "".encode(settings.encoding, options.get("errors", "replace"))
    except (TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"format_options={options!r}: {error}") from None


CSV = FeedFormat("csv", (".csv",), _make, tail=_tail, check=_check)
