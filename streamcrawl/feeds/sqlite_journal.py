"""Which rows went into a table with which flush: kept beside the table, so that a job can take back the last ones."""

from __future__ import annotations

import sqlite3
from typing import Any

from streamcrawl.errors import SinkError
from streamcrawl.feeds.sqlite_table import Table, folded

NAME = "_streamcrawl_writes"

KEEP = 16
"""Flushes that can be taken back. A job commits after each; more go by only while it fails to."""
JOBS = 16
"""Jobs whose writes to one table are known at once; that of an older one cannot go on."""

_MAKE = """
CREATE TABLE IF NOT EXISTS _streamcrawl_writes(
    sink TEXT, job TEXT, flush INTEGER, after INTEGER, last INTEGER, rows INTEGER)"""
_FORGET_OLD = """
DELETE FROM _streamcrawl_writes WHERE sink = :sink AND job NOT IN (
    SELECT job FROM _streamcrawl_writes WHERE sink = :sink GROUP BY job ORDER BY max(rowid) DESC LIMIT :jobs)"""
_CHANGED = "it was changed since the job stopped"


def forget(db: sqlite3.Connection, table: str) -> None:
    """No job that wrote to the table goes on: its rows are gone."""
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (NAME,)).fetchone():
        db.execute("DELETE FROM _streamcrawl_writes WHERE sink = ?", (folded(table),))


class Journal:
    """What one job has written to one table.

    A row of the journal stands for one write: the numbers that SQLite gave to its rows lie above `after`, up to `last`.
    Rows of a table with a key are not taken back: written again, they are the same.
    """

    __slots__ = ("_dirty", "_flush", "_job", "_keyed", "_sink", "_table")

    def __init__(self, table: Table, name: str, *, keyed: bool) -> None:
        self._table = table
        self._sink = folded(name)
        self._keyed = keyed
        self._job = ""
        self._flush = 0
        self._dirty = False

    def open(self, db: sqlite3.Connection, token: Any) -> None:
        """Begin, or take back what was written after `token`.

        Raises: SinkError if the token is not one of this table, or rows are there no more.
        """
        db.execute(_MAKE)
        db.execute("CREATE INDEX IF NOT EXISTS _streamcrawl_writes_by_job ON _streamcrawl_writes(job, flush)")
        if self._table.made:
            self.before(db)
        if token is None:
            # Not the run's chance: two databases of runs with the same seed must differ.
            (self._job,) = db.execute("SELECT lower(hex(randomblob(8)))").fetchone()
            db.execute(_FORGET_OLD, {"sink": self._sink, "jobs": JOBS - 1})
        else:
            self._job, self._flush = _parsed(token)
            self._check(db)
            self._take_back(db)
        self._note(db, self._flush, 0, 0, 0)

    def _check(self, db: sqlite3.Connection) -> None:
        first, latest = db.execute(
            "SELECT min(flush), max(flush) FROM _streamcrawl_writes WHERE job = ? AND sink = ?", (self._job, self._sink)
        ).fetchone()
        if latest is None or (self._flush and not self._table.made):
            raise SinkError(f"{_CHANGED}: another file, or the table was overwritten")
        if self._flush > latest:
            raise SinkError(f"{_CHANGED}: it has the rows of {latest} flushes, and {self._flush} were made")
        if self._flush < first:
            raise SinkError(f"{_CHANGED}: rows since flush {self._flush} of {latest} cannot be taken back any more")

    def _take_back(self, db: sqlite3.Connection) -> None:
        writes = db.execute(
            "SELECT after, last, rows FROM _streamcrawl_writes WHERE job = ? AND flush > ? AND rows > 0",
            (self._job, self._flush),
        ).fetchall()
        for after, last, rows in writes:
            number = self._table.rowid
            delete = f"DELETE FROM {self._table.name} WHERE {number} > ? AND {number} <= ?"  # noqa: S608 - quoted
            there = db.execute(delete, (after, last)).rowcount
            if there != rows:
                raise SinkError(f"{_CHANGED}: of {rows} rows that are to be taken back, {there} are there")
        db.execute("DELETE FROM _streamcrawl_writes WHERE job = ?", (self._job,))

    def before(self, db: sqlite3.Connection) -> int:
        """The highest number of a row. Raises: SinkError if the table's rows have none."""
        if self._keyed:
            return 0
        try:
            query = f"SELECT coalesce(max({self._table.rowid}), 0) FROM {self._table.name}"  # noqa: S608 - quoted
            return int(db.execute(query).fetchone()[0])
        except sqlite3.OperationalError as error:
            if "no such column" not in str(error):
                raise
            raise SinkError("a table WITHOUT ROWID, whose rows a job cannot take back: give key=…") from None

    def written(self, db: sqlite3.Connection, after: int, rows: int) -> None:
        """Note a write, in its own transaction. Raises: SinkError if the table is somebody else's by now."""
        if not db.execute("SELECT 1 FROM _streamcrawl_writes WHERE job = ?", (self._job,)).fetchone():
            raise SinkError("another crawl has overwritten it meanwhile")
        last = there = 0
        if not self._keyed:
            query = (
                f"SELECT coalesce(max({self._table.rowid}), 0), count(*) FROM {self._table.name} "  # noqa: S608 - quoted
                f"WHERE {self._table.rowid} > ?"
            )
            last, there = db.execute(query, (after,)).fetchone()
            if there < rows:
                raise SinkError("items number its rows, so that a job cannot take them back: give key=…")
        number = self._flush + 1
        self._note(db, number, after, last, there)
        db.execute("DELETE FROM _streamcrawl_writes WHERE job = ? AND flush < ?", (self._job, number - KEEP))

    def _note(self, db: sqlite3.Connection, *values: int) -> None:
        db.execute("INSERT INTO _streamcrawl_writes VALUES (?, ?, ?, ?, ?, ?)", (self._sink, self._job, *values))

    def committed(self) -> None:
        """What was noted is in the database."""
        self._dirty = True

    def token(self) -> list[Any]:
        """To where `open` goes back: everything that was written so far is in it."""
        if self._dirty:
            self._dirty = False
            self._flush += 1
        return [self._job, self._flush]


def _parsed(token: Any) -> tuple[str, int]:
    match token:
        case [str(job), int(flush)]:
            return job, flush
        case _:
            raise SinkError(f"the job has {token!r} as its token, which is none of a table's")
