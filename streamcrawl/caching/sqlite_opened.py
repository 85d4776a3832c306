"""How the file of `sqlite_store` is opened, and what is said of its errors."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from streamcrawl.caching.stored import CacheStoreError, make_folder, why

T = TypeVar("T")

APPLICATION = 0x73634843
"""In the file's header, so that it is not taken for something else: "scHC"."""
VERSION = 1
"""Of the tables."""
WAIT = 10.0
"""Seconds to wait for another process that is writing."""
PAUSE = 0.02
"""Seconds between two tries where SQLite does not wait by itself."""
WAL_LEFT = 16 * 1024 * 1024
"""Bytes that the write-ahead log keeps between two transactions."""

_TABLES = """
CREATE TABLE entries(id INTEGER PRIMARY KEY, key BLOB, variant BLOB, stored REAL, used REAL, size INTEGER);
CREATE INDEX entries_by_key ON entries(key);
CREATE INDEX entries_by_use ON entries(used);
CREATE TABLE bodies(id INTEGER PRIMARY KEY, head BLOB, body BLOB);
"""


@contextmanager
def transaction(db: sqlite3.Connection) -> Generator[None]:
    """All of the block, or nothing; from its beginning nobody else writes."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a disk that is full has taken it back already
            db.execute("ROLLBACK")
        raise


@contextmanager
def told(path: Path) -> Generator[None]:
    """Errors of the block as CacheStoreErrors that name the file."""
    try:
        yield
    except (sqlite3.Error, OSError, MemoryError, TypeError, ValueError) as error:
        reason = "another process does not stop writing to it" if is_busy(error) else why(error)
        advice = "; delete it if it is a damaged cache, else give another path" if is_damage(error) else ""
        raise CacheStoreError(f"cache {path}: {reason}{advice}") from error


def is_busy(error: BaseException | None) -> bool:
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_damage(error: BaseException | None) -> bool:
    """Whether the file is not as SQLite and `sqlite_store` write it."""
    # Damaged values are of other types than were put, damaged names no UTF-8, and damaged tables no tables of ours.
    kinds = (TypeError, ValueError)
    return isinstance(error, kinds) or _code(error) in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_ERROR,
    )


def _code(error: BaseException | None) -> int:
    """SQLite's number of an error; 0 if it is none of SQLite's."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF if isinstance(error, sqlite3.Error) else 0


def be_patient(db: sqlite3.Connection, patient: bool) -> None:
    """Whether to wait for others who write."""
    db.execute(f"PRAGMA busy_timeout = {int((WAIT if patient else PAUSE) * 1000)}").fetchall()


def connected(path: Path) -> sqlite3.Connection:
    """A connection to the file, which is made if it is not there."""
    make_folder(path.parent)
    path.open("ab").close()  # it says more clearly than SQLite why a file cannot be opened
    db = sqlite3.connect(path.absolute(), timeout=WAIT, isolation_level=None)
    try:
        _prepare(db, path)
        db.execute("PRAGMA synchronous = NORMAL")  # after a power cut the last writes may be missing, and nothing else
        db.execute("PRAGMA secure_delete = OFF")  # on in some builds: what was removed would be overwritten with zeros
        db.execute(f"PRAGMA journal_size_limit = {WAL_LEFT}").fetchall()
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    """See that it is ours, or make it so."""
    if _patiently(lambda: _looked_at(db, path)):
        return
    db.execute("PRAGMA synchronous = OFF")  # nothing is in it yet that a power cut could take; each sync takes 10 ms
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of effect before the first table only
    _patiently(lambda: db.execute("PRAGMA journal_mode = WAL").fetchall())
    with transaction(db):
        if not _is_ours(db, path):  # another process may have been faster
            for statement in _TABLES.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {VERSION}")


def _looked_at(db: sqlite3.Connection, path: Path) -> bool:
    db.execute("BEGIN")  # another process may be making the tables: all of them are seen, or none
    try:
        return _is_ours(db, path)
    finally:
        db.execute("ROLLBACK")


def _is_ours(db: sqlite3.Connection, path: Path) -> bool:
    """False for an empty file. Raises: CacheStoreError for somebody else's."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == APPLICATION:
        if version != VERSION:
            raise CacheStoreError(
                f"cache {path}: its tables are of version {version}, and this release knows version {VERSION}; "
                "give another path, or delete it"
            )
        return True
    if tables or application:
        raise CacheStoreError(f"cache {path}: a database of something else; give another path")
    return False


def _patiently(ask: Callable[[], T]) -> T:
    """For what SQLite does not wait by itself: a switch to write-ahead logging by several processes at once."""
    begin = time.monotonic()
    while True:
        try:
            return ask()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() - begin > WAIT:
                raise
        time.sleep(PAUSE)
