"""A table of SQLite: how items become its rows, and how it gets the columns that they need."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, cast

import msgspec

from streamcrawl.errors import ItemRefused, SinkError
from streamcrawl.feeds.values import plain

Cell: TypeAlias = str | int | float | bytes | None

PLANS = 256
"""Statements that are kept at once; items of one kind need one or two."""

_LEAST, _MOST = -(2**63), 2**63 - 1
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def folded(name: str) -> str:
    """The name as SQLite compares it: letters of ASCII without their case, others with it."""
    return name.translate(_LOWER)


def quoted(name: str) -> str:
    """The name as it stands in a statement."""
    return '"' + name.replace('"', '""') + '"'


def why_no_name(name: object) -> str:
    """What is wrong with the name of a table or column; "" if nothing is."""
    if not isinstance(name, str):
        return f"a name is a str, not {type(name).__name__}"
    if not name:
        return "it is empty"
    if "\0" in name:
        return "SQLite has no names with a null character"
    return "" if _is_text(name) else "half a surrogate pair in it"


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def cells(record: Mapping[str, Any]) -> tuple[list[Cell], int]:
    """The values of a row, and about how many bytes of them vary. Raises: ItemRefused naming the field."""
    row: list[Cell] = []
    size = 0
    for name, value in record.items():
        cls = value.__class__
        if cls is str:
            if not value.isascii():
                value = _text(value)
            size += len(value)
        elif value is not None and cls is not float and not (cls is int and _LEAST <= value <= _MOST):
            value = cell(name, value)
            if isinstance(value, (str, bytes)):
                size += len(value)
        row.append(value)
    return row, size


def cell(name: str, value: Any) -> Cell:
    """The value as SQLite keeps it.

    Text, numbers, bytes and None as they are, booleans as 0 and 1; an int beyond 64 bits, decimals, dates and times as
    text (ISO 8601), lists, dicts and objects as JSON.

    Raises: ItemRefused naming the field.
    """
    try:
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(cast("bytes", value))
        built = msgspec.to_builtins(value, str_keys=True, enc_hook=plain)
        if isinstance(built, str):
            return _text(str(built))
        if isinstance(built, int):
            return int(built) if _LEAST <= built <= _MOST else str(built)
        return built if built is None or isinstance(built, float) else _json(built)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ItemRefused(f"field {name!r} cannot be written: {error}") from None


def _text(text: str) -> str:
    """Half a surrogate pair, as pages do have, is no text that SQLite keeps."""
    return text if _is_text(text) else text.encode("utf-8", "replace").decode()


def _json(built: Any) -> str:
    try:
        return msgspec.json.encode(built).decode()
    except UnicodeEncodeError:
        return json.dumps(built, allow_nan=False)


class Plan:
    """How items with the same fields are written: one statement for all of them."""

    __slots__ = ("columns", "key", "sql")

    def __init__(self, columns: tuple[str, ...], key: tuple[int, ...], sql: str) -> None:
        self.columns = columns
        self.key = key
        """Where the fields of the key stand."""
        self.sql = sql


class Table:
    """The table as it is, and as it is going to be with the next write.

    Args:
        key: The fields by which an item finds the row that it replaces; none: every item is a new row.
        limit: Columns that a table may have.
    """

    __slots__ = ("_key", "_limit", "_plans", "columns", "made", "name")

    def __init__(self, name: str, key: tuple[str, ...], limit: int) -> None:
        self.name = quoted(name)
        self.columns: dict[str, str] = {}
        """As they are written, by what SQLite takes for the same name."""
        self.made = 0
        """How many of the columns the database has."""
        self._key = key
        self._limit = limit
        self._plans: dict[tuple[Any, ...], Plan] = {}

    @property
    def rowid(self) -> str:
        """The name of the number that SQLite gives to each row, if no column hides it. Raises: SinkError."""
        for name in ("_rowid_", "rowid", "oid"):
            if name not in self.columns:
                return name
        raise SinkError("its columns _rowid_, rowid and oid hide the rows' numbers; give key=… or rename one")

    def read(self, db: sqlite3.Connection) -> None:
        """Know the columns that are there. Raises: SinkError if the name belongs to something else."""
        self.columns = {folded(name): name for name in self._there(db)}
        self.made = len(self.columns)

    def _there(self, db: sqlite3.Connection) -> list[str]:
        return [row[1] for row in db.execute(f"PRAGMA table_xinfo({self.name})")]

    def plan(self, names: tuple[Any, ...]) -> Plan:
        """The statement for items with these fields. Raises: ItemRefused naming the field."""
        found = self._plans.get(names)
        if found is None:
            if len(self._plans) >= PLANS:
                self._plans.clear()
            found = self._plans[names] = self._planned(names)
        return found

    def _planned(self, names: tuple[Any, ...]) -> Plan:
        if not names:
            raise ItemRefused("an item without fields makes no row")
        by_column: dict[str, str] = {}
        for name in names:
            if wrong := why_no_name(name):
                raise ItemRefused(f"field {name!r} cannot be the name of a column: {wrong}")
            if (other := by_column.setdefault(folded(name), name)) is not name:
                raise ItemRefused(
                    f"the fields {other!r} and {name!r} are one column: in SQLite case makes no difference"
                )
        missing = [name for name in self._key if folded(name) not in by_column]
        if missing:
            raise ItemRefused(f"the key needs the field {missing[0]!r}, which the item does not have")
        self.want(names)
        order = list(by_column)
        key = tuple(order.index(folded(name)) for name in self._key)
        columns = tuple(self.columns[each] for each in order)
        return Plan(columns, key, self._insert(columns, key))

    def want(self, names: Iterable[str]) -> None:
        """Have these columns with the next write. Raises: ItemRefused if they are too many."""
        new = {column: name for name in names if (column := folded(name)) not in self.columns}
        if len(self.columns) + len(new) > self._limit:
            number = len(self.columns)
            raise ItemRefused(f"{len(new)} new fields: a table has {self._limit} columns at most, and it has {number}")
        self.columns.update(new)

    def _insert(self, columns: tuple[str, ...], key: tuple[int, ...]) -> str:
        names = ", ".join(map(quoted, columns))
        sql = f"INSERT INTO {self.name} ({names}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - quoted
        if not key:
            return sql
        changed = [quoted(column) for n, column in enumerate(columns) if n not in key]
        then = "UPDATE SET " + ", ".join(f"{column} = excluded.{column}" for column in changed)
        found = ", ".join(quoted(columns[n]) for n in key)
        return f"{sql} ON CONFLICT ({found}) DO {then if changed else 'NOTHING'}"

    def make(self, db: sqlite3.Connection) -> list[str]:
        """Have the wanted columns in the database, and the index of the key; gives those that an existing table got.

        `made` stays for the caller to set, once the transaction is through.
        """
        if self.made == len(self.columns):
            return []
        there = {folded(name) for name in self._there(db)}
        new = [name for column, name in self.columns.items() if column not in there]
        if not there:
            db.execute(f"CREATE TABLE {self.name} ({', '.join(map(quoted, new))})")
        else:
            for name in new:
                db.execute(f"ALTER TABLE {self.name} ADD COLUMN {quoted(name)}")
        self.index(db)
        return new if there else []

    def index(self, db: sqlite3.Connection) -> None:
        """Have an index by which rows of a key are found, unless the table has one. Raises: SinkError."""
        if not self._key:
            return
        names = ", ".join(quoted(self.columns[folded(name)]) for name in self._key)
        nothing = ", ".join(["NULL"] * len(self._key))
        try:
            db.execute(
                f"EXPLAIN INSERT INTO {self.name} ({names}) VALUES ({nothing}) "  # noqa: S608 - quoted
                f"ON CONFLICT ({names}) DO NOTHING"
            )
        except sqlite3.OperationalError:
            pass  # there is none yet
        else:
            return
        own = quoted(f"_streamcrawl_key of {self.name} by {names}")
        try:
            db.execute(f"CREATE UNIQUE INDEX {own} ON {self.name} ({names})")
        except sqlite3.IntegrityError:
            raise SinkError(f"it has rows already with the same {names}: that cannot be its key") from None
