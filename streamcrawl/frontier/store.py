"""The frontier's rows on disk: one SQLite file, one stream of transactions (DESIGN §7).

What is written between two commits is lost together when the process dies, so that every commit is a state from
which the crawl can go on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from streamcrawl.errors import JobError
from streamcrawl.frontier.message import of_start, untried

SCHEMA = 1

WAITING, LATER, DONE, FAILED, DROPPED, RETRIED, MOVED = range(7)
STATES = {"done": DONE, "failed": FAILED, "dropped": DROPPED, "retried": RETRIED, "moved": MOVED}
"""What became of a settled request, as leases have it."""

TABLES = """
CREATE TABLE requests(
    id INTEGER PRIMARY KEY,
    host INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    state INTEGER NOT NULL,
    due REAL,
    key BLOB,
    message BLOB NOT NULL,
    reason TEXT,
    visit BLOB
);
CREATE INDEX waiting ON requests(host, rank, id) WHERE state = 0;
CREATE INDEX later ON requests(due) WHERE state = 1;
CREATE TABLE hosts(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE progress(id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE repeats(parent INTEGER, nth INTEGER, PRIMARY KEY(parent, nth)) WITHOUT ROWID;
CREATE TABLE tokens(sink TEXT PRIMARY KEY, token BLOB NOT NULL);
CREATE TABLE state(name TEXT, key TEXT, value BLOB NOT NULL, PRIMARY KEY(name, key)) WITHOUT ROWID;
CREATE TABLE meta(name TEXT PRIMARY KEY, value BLOB NOT NULL);
"""

ROWS = 1000
"""Rows that gather before they are written."""

WAL_PAGES = 65_536
"""Pages of the write-ahead log after which SQLite moves it into the file: rows of many hosts touch many pages, again
and again, and a longer log writes each of them once."""

Row = tuple[int, int, int, int, "float | None", "bytes | None", bytes]
"""(id, host, rank, state, due, key, message)"""

Key = tuple[int, int]
"""(rank, id): the order of requests within a host."""

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.decode


class Store:
    """The tables of a frontier.

    Args:
        path: The file; None: a temporary one that is gone with the process, and never committed.
        cache: Bytes of it that are kept in memory, at most.
    """

    def __init__(self, path: Path | None, cache: int = 32 * 1024 * 1024) -> None:
        self.path = path
        self._rows: list[Row] = []
        self._settled: list[tuple[int, str | None, bytes | None, int]] = []
        self._gone: list[tuple[int]] = []
        self._open = False
        self._broken: JobError | None = None
        self._telling = _Telling(self)
        self._cache = cache
        with self._telling:
            self._sql = sqlite3.connect("" if path is None else path, isolation_level=None, check_same_thread=False)
            self._prepare()

    def _prepare(self) -> None:
        execute = self._sql.execute
        execute(f"PRAGMA cache_size = -{max(1024, self._cache // 1024)}")
        if self.path is None:
            execute("PRAGMA journal_mode = OFF")
            execute("PRAGMA synchronous = OFF")
            self._sql.executescript(TABLES)
            execute("BEGIN")
            return
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")
        execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        if not execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
            for statement in TABLES.split(";")[:-1]:
                self._begin()
                execute(statement)
            self.note("version", SCHEMA)
            self.commit()
        version = self.meta("version")
        if version != SCHEMA:
            raise JobError(f"job {self.path.parent}: of format {version}; this version of streamcrawl reads {SCHEMA}")

    # -- requests -----------------------------------------------------------------------------------------------------

    def insert(self, row: Row) -> None:
        """A new request; written with the next `write`."""
        self._rows.append(row)
        if len(self._rows) >= ROWS:
            self.write()

    def settle(self, id: int, state: int, reason: str | None, visit: bytes | None) -> None:
        """What became of a request; written with the next `write`."""
        self._settled.append((state, reason, visit, id))

    def delete(self, id: int) -> None:
        """A request that needs no row any more; written with the next `write`."""
        self._gone.append((id,))

    def write(self) -> None:
        """Put into the tables what has gathered, so that the next question sees it."""
        if not (self._rows or self._settled or self._gone):
            return
        with self._telling:
            self._begin()
            many = self._sql.executemany
            if self._rows:
                many(
                    "INSERT INTO requests(id, host, rank, state, due, key, message) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    self._rows,
                )
                self._rows.clear()
            if self._settled:
                many("UPDATE requests SET state = ?, reason = ?, visit = ? WHERE id = ?", self._settled)
                ids = [(each[3],) for each in self._settled]
                many("DELETE FROM progress WHERE id = ?", ids)
                # What failed may be asked for again, and has given its links then.
                many(
                    "DELETE FROM repeats WHERE parent = ?", [(each[3],) for each in self._settled if each[0] != FAILED]
                )
                self._settled.clear()
            if self._gone:
                many("DELETE FROM requests WHERE id = ?", self._gone)
                self._gone.clear()

    def waiting(self, host: int, since: Key, limit: int) -> list[Key]:
        """The next requests of a host in their order, from `since` on."""
        with self._telling:
            return self._sql.execute(
                "SELECT rank, id FROM requests WHERE host = ? AND state = 0 AND (rank, id) >= (?, ?)"
                " ORDER BY rank, id LIMIT ?",
                (host, *since, limit),
            ).fetchall()

    def message(self, id: int) -> tuple[bytes, bytes | None]:
        """A request, as it was stored, and its last visit."""
        with self._telling:
            found: tuple[bytes, bytes | None] | None
            found = self._sql.execute("SELECT message, visit FROM requests WHERE id = ?", (id,)).fetchone()
            if found is None:
                raise sqlite3.DatabaseError(f"request {id} is not there")
            return found

    def wake(self, ids: Iterable[int]) -> None:
        """Requests that waited for their time wait for a place now."""
        with self._telling:
            self._begin()
            wake = "UPDATE requests SET state = 0, due = NULL WHERE id = ? AND state = 1"
            self._sql.executemany(wake, ((id,) for id in ids))

    def due(self, until: float, limit: int) -> list[tuple[int, int, int]]:
        """(id, host, rank) of requests whose time has come, the earliest first."""
        with self._telling:
            return self._sql.execute(
                "SELECT id, host, rank FROM requests WHERE state = 1 AND due <= ? ORDER BY due LIMIT ?", (until, limit)
            ).fetchall()

    def next_due(self) -> tuple[int, float | None]:
        """How many wait for their time, and the earliest of these."""
        with self._telling:
            many, first = self._sql.execute("SELECT COUNT(*), MIN(due) FROM requests WHERE state = 1").fetchone()
            return int(many), first

    def next_due_but(self, others: Collection[int]) -> float | None:
        """The earliest time of those that wait for it, but for these."""
        with self._telling:
            for id, due in self._sql.execute("SELECT id, due FROM requests WHERE state = 1 ORDER BY due"):
                if id not in others:
                    return float(due)
        return None

    def shift(self, seconds: float) -> None:
        """Move all times by so much: the clock was set."""
        with self._telling:
            self._begin()
            self._sql.execute("UPDATE requests SET due = due + ? WHERE state = 1", (seconds,))

    def last(self) -> int:
        """The highest id."""
        with self._telling:
            return self._sql.execute("SELECT MAX(id) FROM requests").fetchone()[0] or 0

    def keys(self, after: int) -> Iterator[bytes]:
        """The fingerprints of requests with higher ids."""
        with self._telling:
            for (key,) in self._sql.execute("SELECT key FROM requests WHERE id > ? AND key IS NOT NULL", (after,)):
                yield key

    def by_host(self) -> Iterator[tuple[int, str, int, int]]:
        """(host, name, lowest rank, how many) of what waits."""
        with self._telling:
            yield from self._sql.execute(
                "SELECT host, name, low, many FROM (SELECT host, MIN(rank) AS low, COUNT(*) AS many FROM requests"
                " WHERE state = 0 GROUP BY host) JOIN hosts ON hosts.id = host"
            )

    def again(self, before: float) -> int:
        """Ask again for what was visited before a moment, under new ids. Gives how many.

        Failed requests and those that a layer refused are asked again whenever that was.
        """
        with self._telling:
            self._begin()
            high = self.last()
            self._sql.create_function("old", 2, _is_old)
            self._sql.create_function("untried", 1, untried)
            # A link past the dedupe comes again with the page that gave it.
            self._sql.create_function("of_start", 1, of_start)
            self._sql.execute(
                "UPDATE requests SET state = -1 WHERE (key IS NOT NULL OR of_start(message))"
                " AND ((state = ? AND old(visit, ?)) OR state IN (?, ?, ?))",
                (DONE, before, FAILED, DROPPED, MOVED),
            )
            self._sql.execute(
                "INSERT INTO requests(id, host, rank, state, key, message, visit)"
                " SELECT ? + ROW_NUMBER() OVER (ORDER BY id), host, rank, 0, key, untried(message), visit"
                " FROM requests WHERE state = -1",
                (high,),
            )
            many = int(self._sql.execute("SELECT changes()").fetchone()[0])
            self._sql.execute("DELETE FROM requests WHERE state = -1")
            self._sql.execute("DELETE FROM progress")
            self._sql.execute("DELETE FROM repeats")
            self._sql.execute("DELETE FROM tokens")
            return many

    # -- hosts, pages under way, sinks, state -------------------------------------------------------------------------

    def host(self, name: str) -> int:
        """The number of a host."""
        with self._telling:
            self._begin()
            found = self._sql.execute("SELECT id FROM hosts WHERE name = ?", (name,)).fetchone()
            if found is not None:
                return int(found[0])
            return self._sql.execute("INSERT INTO hosts(name) VALUES (?)", (name,)).lastrowid or 0

    def host_name(self, id: int) -> str:
        with self._telling:
            return str(self._sql.execute("SELECT name FROM hosts WHERE id = ?", (id,)).fetchone()[0])

    def repeated(self, parent: int, nth: int) -> bool:
        """Whether the page has given the nth of its links that are counted."""
        with self._telling:
            found = self._sql.execute("SELECT 1 FROM repeats WHERE parent = ? AND nth = ?", (parent, nth)).fetchone()
            return found is not None

    def repeat(self, parent: int, nth: int) -> None:
        """The page has given it."""
        with self._telling:
            self._begin()
            self._sql.execute("INSERT OR IGNORE INTO repeats VALUES (?, ?)", (parent, nth))

    def keep_progress(self, records: Iterable[tuple[int, bytes]]) -> None:
        with self._telling:
            self._begin()
            self._sql.executemany("INSERT OR REPLACE INTO progress VALUES (?, ?)", records)

    def progress(self) -> dict[int, bytes]:
        """What pages under way had done, by row id."""
        with self._telling:
            return dict(
                self._sql.execute("SELECT id, data FROM progress JOIN requests USING (id) WHERE state IN (0, 1)")
            )

    def keep_tokens(self, tokens: Iterable[tuple[str, Any]]) -> None:
        """Raises: TypeError for one that is no plain data."""
        encoded = [(sink, _encode(token)) for sink, token in tokens]
        with self._telling:
            self._begin()
            self._sql.executemany("INSERT OR REPLACE INTO tokens VALUES (?, ?)", encoded)

    def tokens(self) -> dict[str, Any]:
        with self._telling:
            return {sink: _decode(token) for sink, token in self._sql.execute("SELECT sink, token FROM tokens")}

    def state(self, name: str, key: str) -> bytes | None:
        with self._telling:
            found = self._sql.execute("SELECT value FROM state WHERE name = ? AND key = ?", (name, key)).fetchone()
            return None if found is None else found[0]

    def state_keys(self, name: str) -> Iterator[str]:
        with self._telling:
            return (key for (key,) in self._sql.execute("SELECT key FROM state WHERE name = ?", (name,)).fetchall())

    def keep_state(self, changes: Iterable[tuple[str, str, bytes | None]]) -> None:
        """(name, key, value), None for one that is no more."""
        with self._telling:
            self._begin()
            for name, key, value in changes:
                if value is None:
                    self._sql.execute("DELETE FROM state WHERE name = ? AND key = ?", (name, key))
                else:
                    self._sql.execute("INSERT OR REPLACE INTO state VALUES (?, ?, ?)", (name, key, value))

    def meta(self, name: str, default: Any = None) -> Any:
        with self._telling:
            found = self._sql.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
            return default if found is None else _decode(found[0])

    def note(self, name: str, value: Any) -> None:
        """Change what `meta` gives."""
        with self._telling:
            self._begin()
            self._sql.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, _encode(value)))

    # -- transactions -------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if not self._open and self.path is not None:
            self._sql.execute("BEGIN IMMEDIATE")
            self._open = True

    def roll_back(self) -> None:
        """Forget what was written since the last commit."""
        self._rows.clear()
        self._settled.clear()
        self._gone.clear()
        if self._open:
            with self._telling:
                self._sql.execute("ROLLBACK")
                self._open = False

    def commit(self) -> None:
        """What was written is what a crash leaves. Raises: JobError; from then on nothing is written any more."""
        self.write()
        if self._open:
            with self._telling:
                self._sql.execute("COMMIT")
                self._open = False

    def close(self) -> None:
        """Let go of the file; what was not committed is lost."""
        with suppress(sqlite3.Error):
            if self._open:
                self._sql.execute("ROLLBACK")
        with suppress(sqlite3.Error):
            self._sql.close()

    def told(self, error: sqlite3.Error) -> JobError:
        """SQLite's error as ours; the store takes nothing more."""
        if self._broken is None:
            where = self.path.parent if self.path is not None else "a temporary file"
            if "malformed" in str(error) or "not a database" in str(error):
                what = f"frontier.sqlite is damaged ({error}): put it back from a copy, or start over with --reset"
            elif "full" in str(error):
                what = "its disk is full; nothing of what was committed is lost"
            else:
                what = str(error)
            self._broken = JobError(f"job {where}: {what}")
            self._broken.__cause__ = error
        return self._broken

    @property
    def broken(self) -> JobError | None:
        return self._broken

    def __repr__(self) -> str:
        state = "broken" if self._broken else "open"
        return f"<Store {self.path or 'temporary'}: {state}, {len(self._rows) + len(self._settled)} rows not written>"


def _is_old(visit: bytes | None, before: float) -> bool:
    """Whether a request was visited before a moment; one that has no visit was, whenever it was."""
    return visit is None or float(_decode(visit)[0]) <= before


class _Telling:
    """Around each use of SQLite: its errors become ours, once."""

    __slots__ = ("_store",)

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> None:
        if self._store.broken is not None:
            raise self._store.broken

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, sqlite3.Error):
            raise self._store.told(error) from error
