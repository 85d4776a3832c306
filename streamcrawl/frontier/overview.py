"""What stands in a job's directory, read beside a run that may be writing there."""

# ruff: noqa: S608 - what is put into SQL are numbers of ours; a partial index is not used for a parameter

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from streamcrawl.errors import JobError
from streamcrawl.frontier.job import STORE, JobLock, held_by, is_job
from streamcrawl.frontier.message import untried, url_of
from streamcrawl.frontier.store import DONE, DROPPED, FAILED, LATER, MOVED, RETRIED, SCHEMA, WAITING
from streamcrawl.robots import NOT_REACHED

T = TypeVar("T")

TURN = 1000
"""Rows that are changed between two looks for more."""

_LOST = f"(state = {FAILED} OR (state = {DROPPED} AND reason = '{NOT_REACHED}'))"


class HostCounts(msgspec.Struct, frozen=True):
    """One host's requests. `waiting` without those in flight."""

    name: str
    waiting: int
    in_flight: int
    later: int
    done: int
    failed: int
    dropped: int


class FailedRequest(msgspec.Struct, frozen=True):
    """A request that failed for good, and why."""

    id: int
    url: str
    reason: str


class Overview(msgspec.Struct, frozen=True):
    """A job as of its last commit.

    Args:
        directory: Of the job.
        finished: Whether the crawl came to its end.
        used_by: The process that has the job now, or None.
        waiting: Requests that may go as soon as their host may be asked.
        in_flight: Requests that were handed out; after a crash they are asked again.
        later: Requests whose time has not come.
        next_due: When the first of these may go, seconds since the epoch; None if there are none.
        done: Requests that were answered and worked off.
        failed: Requests that failed for good.
        dropped: Requests that something refused after they were taken in, by reason.
        retried: Tries that another one followed.
        moved: Requests that were redirected.
        hosts: Those with the most to do, first.
        host_count: How many hosts there are in all.
        start_taken: Elements of the crawl's start that were taken.
        sessions: How often the job was run.
        last_commit: Seconds since the epoch; None if there was none.
    """

    directory: str
    finished: bool
    used_by: str | None
    waiting: int
    in_flight: int
    later: int
    next_due: float | None
    done: int
    failed: int
    dropped: dict[str, int]
    retried: int
    moved: int
    hosts: tuple[HostCounts, ...]
    host_count: int
    start_taken: int
    sessions: int
    last_commit: float | None


def overview(directory: str | os.PathLike[str], hosts: int = 10) -> Overview:
    """Count what is in a job; it changes nothing, and takes some seconds for ten million requests.

    Args:
        directory: Of the job.
        hosts: How many hosts are told of.

    Raises: JobError if no job is there, or it cannot be read.
    """
    path = Path(directory)
    with _reading(path) as sql:
        used_by = held_by(path)
        states = _states(sql)
        flying = _in_flight(sql)
        many = sum(flying.values())
        later, next_due = sql.execute(f"SELECT COUNT(*), MIN(due) FROM requests WHERE state = {LATER}").fetchone()
        return Overview(
            directory=str(path),
            finished=bool(_meta(sql, "finished", default=False)),
            used_by=used_by,
            waiting=states[WAITING] - many,
            in_flight=many,
            later=later,
            next_due=next_due,
            done=states[DONE],
            failed=states[FAILED],
            dropped=_dropped(sql) if states[DROPPED] else {},
            retried=states[RETRIED],
            moved=states[MOVED],
            hosts=_by_host(sql, flying, hosts),
            host_count=sql.execute("SELECT COUNT(*) FROM hosts").fetchone()[0],
            start_taken=_meta(sql, "begun", default=0),
            sessions=_meta(sql, "sessions", default=0),
            last_commit=_meta(sql, "told", default=None),
        )


def failures(directory: str | os.PathLike[str]) -> Iterator[FailedRequest]:
    """The requests of a job that failed for good, in the order in which they were found.

    Also those that were dropped because their host gave no robots.txt: nobody has said that they may not be asked for.

    Raises: JobError if no job is there, or it cannot be read.
    """
    path = Path(directory)
    with _reading(path) as sql:
        rows = sql.execute(f"SELECT id, message, reason FROM requests WHERE {_LOST} ORDER BY id")
        for id, message, reason in rows:
            yield FailedRequest(id, _made(url_of, path, id, message), reason or "")


def retry_failed(directory: str | os.PathLike[str]) -> int:
    """Let the requests that `failures` gives wait again, as if they had not been tried. Gives how many.

    They keep their ids, so that what was safe of them is not given twice. The job is not finished any more.

    Raises: JobError if no job is there, somebody has it, or it cannot be written to.
    """
    path = Path(directory)
    check_job(path)
    with JobLock(path), _telling(path), closing(sqlite3.connect(path / STORE, isolation_level=None)) as sql:
        _check_version(path, sql)
        sql.execute("BEGIN IMMEDIATE")
        many = sum(map(len, _retried(path, sql)))
        if many:
            sql.execute("INSERT OR REPLACE INTO meta VALUES ('finished', ?)", (msgspec.msgpack.encode(False),))
        sql.execute("COMMIT")
    return many


def _retried(path: Path, sql: sqlite3.Connection) -> Iterator[list[tuple[int, bytes]]]:
    """Change the failed rows, so many at a time."""
    last = 0
    while rows := sql.execute(
        f"SELECT id, message FROM requests WHERE {_LOST} AND id > ? ORDER BY id LIMIT {TURN}", (last,)
    ).fetchall():
        sql.executemany(
            f"UPDATE requests SET state = {WAITING}, due = NULL, reason = NULL, message = ? WHERE id = ?",
            ((_made(untried, path, id, message), id) for id, message in rows),
        )
        last = rows[-1][0]
        yield rows


def _made(make: Callable[[bytes], T], directory: Path, id: int, message: bytes) -> T:
    """What `make` makes of a stored request."""
    try:
        return make(message)
    except JobError as error:
        raise JobError(f"job {directory}: request {id}: {error}") from error


def _states(sql: sqlite3.Connection) -> Counter[int]:
    """How many requests are in each state."""
    # One pass without sorting: GROUP BY would take three times as long.
    kinds = (DONE, FAILED, DROPPED, RETRIED, MOVED)
    sums = ", ".join(f"COUNT(*) FILTER (WHERE state = {state})" for state in kinds)
    found = Counter(dict(zip(kinds, sql.execute(f"SELECT {sums} FROM requests").fetchone(), strict=True)))
    found[WAITING] = sql.execute(f"SELECT COUNT(*) FROM requests WHERE state = {WAITING}").fetchone()[0]
    return found


def _dropped(sql: sqlite3.Connection) -> dict[str, int]:
    rows = sql.execute(
        f"SELECT reason, COUNT(*) FROM requests WHERE state = {DROPPED} GROUP BY reason ORDER BY 2 DESC, 1"
    )
    return {reason or "": many for reason, many in rows}


def _in_flight(sql: sqlite3.Connection) -> Counter[int]:
    """How many requests of each host were handed out."""
    found: Counter[int] = Counter()
    for id in _meta(sql, "leased", default=()):
        row = sql.execute(f"SELECT host FROM requests WHERE id = ? AND state = {WAITING}", (id,)).fetchone()
        if row is not None:
            found[row[0]] += 1
    return found


def _by_host(sql: sqlite3.Connection, flying: Counter[int], most: int) -> tuple[HostCounts, ...]:
    """The hosts with the most to do; where fewer have something, also those where the most was done."""
    if most < 1:
        return ()
    busy = sql.execute(
        f"SELECT host FROM requests WHERE state = {WAITING} GROUP BY host ORDER BY COUNT(*) DESC, host LIMIT ?", (most,)
    ).fetchall()
    # These alone are counted in a fifth of the time that a sum over all hosts takes.
    only = f"WHERE host IN ({', '.join(str(host) for (host,) in busy)})" if len(busy) == most else ""
    states = {"waiting": WAITING, "later": LATER, "done": DONE, "failed": FAILED, "dropped": DROPPED}
    sums = ", ".join(f"COUNT(*) FILTER (WHERE state = {state}) AS {name}" for name, state in states.items())
    rows = sql.execute(
        f"SELECT name, host, waiting, later, done, failed, dropped FROM (SELECT host, {sums}, COUNT(*) AS whole"
        f" FROM requests {only} GROUP BY host ORDER BY waiting DESC, whole DESC, host LIMIT ?)"
        " JOIN hosts ON hosts.id = host ORDER BY waiting DESC, whole DESC, host",
        (most,),
    )
    return tuple(
        HostCounts(name, waiting - flying[host], flying[host], later, done, failed, dropped)
        for name, host, waiting, later, done, failed, dropped in rows
    )


def _meta(sql: sqlite3.Connection, name: str, *, default: Any) -> Any:
    found = sql.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return default if found is None else msgspec.msgpack.decode(found[0])


@contextmanager
def _reading(directory: Path) -> Generator[sqlite3.Connection, None, None]:
    """The job's tables as they stand at one moment."""
    check_job(directory)
    uri = f"{(directory / STORE).absolute().as_uri()}?mode=ro"
    with _telling(directory), closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as sql:
        sql.execute("BEGIN")
        _check_version(directory, sql)
        yield sql


@contextmanager
def _telling(directory: Path) -> Generator[None, None, None]:
    """SQLite's errors as ours."""
    try:
        yield
    except (sqlite3.Error, msgspec.MsgspecError) as error:
        raise JobError(f"job {directory}: {STORE} cannot be read: {error}") from error


def check_job(directory: str | os.PathLike[str]) -> None:
    """Raises: JobError if no job is in `directory`."""
    if not is_job(directory):
        path = Path(directory)
        what = f"it has no {STORE}" if path.is_dir() else "not a directory" if path.exists() else "no such directory"
        raise JobError(f"{path}: no job is there ({what})")


def _check_version(directory: Path, sql: sqlite3.Connection) -> None:
    version = _meta(sql, "version", default=None)
    if version != SCHEMA:
        raise JobError(f"job {directory}: it is of format {version}, and this version of streamcrawl reads {SCHEMA}")
