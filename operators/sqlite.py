"""Items into a table of a SQLite database."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from streamcrawl.core import Run
from streamcrawl.feeds.sqlite import Mode, OpenTable, open_table
from streamcrawl.feeds.sqlite_journal import NAME
from streamcrawl.feeds.sqlite_table import folded, why_no_name
from streamcrawl.storage.paths import local_path
from streamcrawl.streams.sink import SinkOperator


@dataclass(frozen=True, slots=True)
class Sqlite(SinkOperator):
    """A table's description: where, and how. `sqlite()` makes it."""

    path: str
    table: str
    key: tuple[str, ...]
    fields: tuple[str, ...] | None
    mode: Mode
    durable: bool

    @property
    def name(self) -> str:
        """What messages and graphs call it."""
        return f"sqlite({self.path}, {self.table})"

    @property
    def target(self) -> str:
        """The same for two sinks that would write to one table."""
        return f"{os.path.realpath(_path_of(self.path))}, table {folded(self.table)}"

    def open(self, run: Run, token: Any = None) -> OpenTable:
        """Open it for one run. Raises: SinkError naming the file and the reason."""
        return open_table(
            f"sqlite {self.path}, table {self.table!r}",
            _path_of(self.path),
            self.table,
            run,
            key=self.key,
            fields=self.fields,
            mode=self.mode,
            durable=self.durable,
            token=token,
        )


def sqlite(
    path: str | os.PathLike[str],
    table: str = "items",
    *,
    key: str | Iterable[str] | None = None,
    fields: str | Iterable[str] | None = None,
    mode: Mode = "overwrite",
    durable: bool = False,
) -> Sqlite:
    """Write every item as a row of a SQLite table, and pass it on.

    Args:
        path: The database file, as path or `file:` URI. It and missing folders are made.
        table: The table's name. It is made with the first item, and gets a column for each new field.
        key: The field, or fields, by which an item finds the row that it changes; None: every item is a new row.
        fields: Which fields are written, and in this order; None: all.
        mode: "overwrite" (the rows of earlier runs go) or "append".
        durable: Whether a flush waits for the disk, so that even a power cut loses nothing that is safe.

    Others may read while rows are written (write-ahead log), and several sinks and runs may write to one file. A
    list, as `batch` makes it, is taken as several items. In a job every item is in the table exactly once, whenever the
    process is killed: rows that the job did not get to note are taken back when it goes on; with `key` they are
    written again, which changes nothing.

    Emits: Each item, once the sink has taken it.
    Raises: ValueError for names that SQLite does not have, or an unknown mode, when built. SinkError if it cannot
        be opened, before the first request.
    Source: https://www.sqlite.org/lang_upsert.html, https://www.sqlite.org/wal.html
    """
    name = os.fspath(path)
    _path_of(name)
    _check_name("table", table)
    if folded(table).startswith(("sqlite_", NAME)):
        raise ValueError(f"table={table!r}: names that begin with sqlite_ or {NAME} are taken")
    if mode not in get_args(Mode):
        raise ValueError(f"mode={mode!r}: one of {', '.join(get_args(Mode))}")
    columns = None if fields is None else _names("fields", fields)
    keys = () if key is None else _names("key", key)
    if columns is not None and (missing := {folded(each) for each in keys} - {folded(each) for each in columns}):
        raise ValueError(f"key={key!r}: {', '.join(sorted(missing))} is not among the fields that are written")
    return Sqlite(name, table, keys, columns, mode, durable)


def _path_of(path: str) -> Path:
    found = None if path == ":memory:" else local_path(path)
    if found is None:
        raise ValueError(f"sqlite {path!r}: a database is a file: give a path or a file: URI")
    return found


def _names(argument: str, given: str | Iterable[str]) -> tuple[str, ...]:
    names: tuple[Any, ...] = (given,) if isinstance(given, str) else tuple(given)
    for name in names:
        _check_name(argument, name)
    if not names or len({folded(name) for name in names}) < len(names):
        raise ValueError(f"{argument}={given!r}: distinct names, at least one; in SQLite case makes no difference")
    return names


def _check_name(argument: str, name: Any) -> None:
    if wrong := why_no_name(name):
        raise ValueError(f"{argument}={name!r}: {wrong}")
