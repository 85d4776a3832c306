"""A table of SQLite in one run: rows gather and go in, a transaction at a time; in a job they can be taken back."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from streamcrawl.core import Item, ItemId, Run
from streamcrawl.errors import ItemRefused, SinkError
from streamcrawl.events import Notice
from streamcrawl.feeds.sqlite_journal import Journal, forget
from streamcrawl.feeds.sqlite_table import PLANS, Cell, Plan, Table, cells, quoted
from streamcrawl.feeds.values import values_of
from streamcrawl.streams.edges import item_failed

Mode: TypeAlias = Literal["overwrite", "append"]

ROWS = 1000
BYTES = 1024 * 1024
"""Rows, and bytes in them, that gather before they are written."""
FULL = 8
"""How many times as much waits at most while writing fails."""
WAIT = 5.0
"""Seconds that a write waits for another process to be done with its own."""


class OpenTable:
    """Takes items for a table, and holds at most `ROWS` of them until the next write or `flush`."""

    __slots__ = (
        "_bytes",
        "_db",
        "_failing",
        "_fields",
        "_gathered",
        "_journal",
        "_label",
        "_rows",
        "_run",
        "_table",
    )

    def __init__(
        self,
        label: str,
        run: Run,
        db: sqlite3.Connection,
        table: Table,
        *,
        fields: tuple[str, ...] | None = None,
        journal: Journal | None = None,
    ) -> None:
        self._label = label
        self._run = run
        self._db: sqlite3.Connection | None = db
        self._table = table
        self._fields = fields
        self._journal = journal
        self._gathered: list[tuple[Plan, list[list[Cell]]]] = []
        self._rows = 0
        self._bytes = 0
        self._failing = False

    def accept(self, item: Item, item_id: ItemId) -> None:
        """Take an item, or a list of them.

        Raises: ItemRefused naming the field that makes no column or value (of a list, the other items are taken);
            SinkError if nothing can be written any more.
        """
        if self._db is None:
            raise SinkError(f"{self._label}: closed")
        try:
            if isinstance(item, (list, tuple)):
                self._take_all(cast(Sequence[Item], item))
            else:
                self._take(item)
        except ItemRefused as error:
            raise ItemRefused(f"{self._label}: {error}") from None

    def _take_all(self, items: Sequence[Item]) -> None:
        wrong: list[str] = []
        for nth, item in enumerate(items, 1):
            try:
                self._take(item)
            except ItemRefused as error:
                wrong.append(f"item {nth} of {len(items)}: {error}")
        if wrong:
            raise ItemRefused("; ".join(wrong))

    def _take(self, item: Item) -> None:
        if self._rows >= FULL * ROWS or self._bytes >= FULL * BYTES:
            raise SinkError(f"{self._label}: it cannot be written to, and {self._rows} rows wait already")
        record = values_of(item, None)
        if self._fields is not None:
            record = {name: record[name] for name in self._fields if name in record}
        row, size = cells(record)
        plan = self._table.plan(tuple(record))
        for place in plan.key:
            if row[place] is None or row[place] != row[place]:
                raise ItemRefused(f"the key needs a value in the field {plan.columns[place]!r}, and it has none")
        if self._gathered and self._gathered[-1][0] is plan:
            self._gathered[-1][1].append(row)
        else:
            self._gathered.append((plan, [row]))
        self._rows += 1
        self._bytes += size
        if (self._rows >= ROWS or self._bytes >= BYTES) and not self._failing:
            self._relieve()

    def _relieve(self) -> None:
        try:
            self._write()
        except SinkError as error:
            # The rows wait on for the next flush; the run ends in good order.
            self._failing = True
            self._run.fail(error)

    def _write(self) -> None:
        """Everything that gathered goes in, or nothing. Raises: SinkError."""
        db = self._db
        if db is None:
            raise SinkError(f"{self._label}: closed")
        if not self._gathered:
            return
        table = self._table
        with told(self._label), transaction(db):
            new = table.make(db)
            before = self._journal.before(db) if self._journal else 0
            refused = self._insert(db)
            if self._journal:
                self._journal.written(db, before, self._rows - len(refused))
        table.made = len(table.columns)
        if self._journal:
            self._journal.committed()
        self._gathered.clear()
        self._rows = self._bytes = 0
        self.tell(new)
        for record, error in refused:
            item_failed(self._run, record, ItemRefused(f"{self._label}: {error}"))

    def _insert(self, db: sqlite3.Connection) -> list[tuple[dict[str, Cell], sqlite3.Error]]:
        """Write the rows; gives those that the constraints of the table do not allow."""
        db.execute("SAVEPOINT gathered")
        try:
            for plan, rows in self._gathered:
                db.executemany(plan.sql, rows)
        except (sqlite3.IntegrityError, sqlite3.DataError):
            db.execute("ROLLBACK TO gathered")
        else:
            return []
        refused: list[tuple[dict[str, Cell], sqlite3.Error]] = []
        for plan, rows in self._gathered:
            for row in rows:
                try:
                    db.execute(plan.sql, row)
                except (sqlite3.IntegrityError, sqlite3.DataError) as error:
                    refused.append((dict(zip(plan.columns, row, strict=True)), error))
        return refused

    def tell(self, columns: list[str]) -> None:
        """Say that the table got these columns."""
        if columns and self._run.events.wants(Notice):
            names = ", ".join(map(repr, columns))
            self._run.events.emit(Notice(text=f"{self._label}: the table has a new column for {names}"))

    async def flush(self) -> list[Any] | None:
        """Commit every row that was taken.

        Gives, in a job, the number of the flush, to which `open` goes back. Raises: SinkError; the rows wait on.
        """
        self._failing = False
        self._write()
        return self._journal.token() if self._journal else None

    async def close(self) -> None:
        """Commit what is left, and leave one whole file. Raises: SinkError."""
        if self._db is None:
            return
        try:
            self._write()
        finally:
            db, self._db = self._db, None
            with told(self._label):
                db.close()

    def __repr__(self) -> str:
        state = "closed" if self._db is None else f"{self._rows} rows waiting"
        return f"<OpenTable {self._label}: {state}>"


@contextmanager
def transaction(db: sqlite3.Connection) -> Generator[None]:
    """All of the block, or nothing; from its beginning nobody else writes.

    It ends before anything else in the process goes on, so that two sinks of one file never meet.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a disk that is full has taken it back already
            db.execute("ROLLBACK")
        raise


@contextmanager
def told(label: str) -> Generator[None]:
    """Errors of the block as SinkErrors that name the table."""
    try:
        yield
    except sqlite3.Error as error:
        busy = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
        why = f"another process is writing to it, for {WAIT:g} s and more" if busy else str(error)
        raise SinkError(f"{label}: cannot be written: {why}") from error
    except OSError as error:
        raise SinkError(f"{label}: cannot be written: {error.strerror or error}") from error
    except SinkError as error:
        raise SinkError(f"{label}: {error}") from error.__cause__
    except ItemRefused as error:
        raise SinkError(f"{label}: {error}") from None


def open_table(
    label: str,
    path: Path,
    name: str,
    run: Run,
    *,
    key: tuple[str, ...] = (),
    fields: tuple[str, ...] | None = None,
    mode: Mode = "overwrite",
    durable: bool = False,
    token: Any = None,
) -> OpenTable:
    """Open a table for one run.

    Args:
        label: What error messages call it.
        path: The database file; it is made, with its folders, unless there is a token.
        token: What `flush` gave in an earlier run of the same job: later rows are taken back.

    Raises: SinkError naming the file and the reason.
    """
    with told(label):
        db = _connected(path, token, durable=durable)
        try:
            table = Table(name, key, db.getlimit(sqlite3.SQLITE_LIMIT_COLUMN))
            journal = Journal(table, name, keyed=bool(key)) if run.durable or token is not None else None
            with transaction(db):
                if token is None:
                    _begin(db, name, mode)
                table.read(db)
                if journal:
                    journal.open(db, token)
                new = _columns(db, table, fields, key)
            table.made = len(table.columns)
        except BaseException:
            db.close()
            raise
    made = OpenTable(label, run, db, table, fields=fields, journal=journal)
    made.tell(new)
    return made


def _connected(path: Path, token: Any, *, durable: bool) -> sqlite3.Connection:
    if token is not None and not path.exists():
        raise SinkError("the file is gone: it was changed since the job stopped")
    if path.is_dir():
        raise IsADirectoryError(None, "Is a directory")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Used on its own by a pipe of reactivex, items may come from any thread, one after the other.
    db = sqlite3.connect(
        path.absolute(), timeout=WAIT, isolation_level=None, check_same_thread=False, cached_statements=PLANS
    )
    try:
        db.execute("PRAGMA journal_mode = WAL").fetchall()
        db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    except BaseException:
        db.close()
        raise
    return db


def _begin(db: sqlite3.Connection, name: str, mode: Mode) -> None:
    """The table as a run without a past finds it."""
    found = db.execute(
        "SELECT type FROM sqlite_master WHERE name = ? COLLATE NOCASE AND type <> 'trigger'", (name,)
    ).fetchone()
    if found is not None and found[0] != "table":
        raise SinkError(f"{name!r} is not a table there, but a {found[0]}")
    if mode == "append":
        return
    forget(db, name)
    if found is None:
        return
    # Sinks declare nothing: a table with types or constraints was made by somebody for these very items.
    declared = db.execute(
        "SELECT 1 FROM pragma_table_xinfo(?) WHERE type <> '' OR pk OR \"notnull\" OR dflt_value IS NOT NULL", (name,)
    ).fetchone()
    db.execute(f"DELETE FROM {quoted(name)}" if declared else f"DROP TABLE {quoted(name)}")  # noqa: S608 - quoted


def _columns(db: sqlite3.Connection, table: Table, fields: tuple[str, ...] | None, key: tuple[str, ...]) -> list[str]:
    """Have the columns that are known before the first item; gives those that an existing table got."""
    if fields is not None or table.made:
        table.want((*(fields or ()), *key))
    new = table.make(db)
    if table.columns:
        table.index(db)
    return new
