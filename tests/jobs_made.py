"""Job directories, made from the schema."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from streamcrawl.core import Request
from streamcrawl.frontier.job import STORE
from streamcrawl.frontier.message import Messages
from streamcrawl.frontier.store import SCHEMA, TABLES

Row: TypeAlias = tuple[int, int, int, dict[str, Any]]
"""(id, host, state, further columns by name)"""


def message(url: str, **fields: Any) -> bytes:
    """A request as a job stores it."""
    return Messages(None, None).encode(Request(url, **fields))


def made_job(directory: Path, rows: Iterable[Row], hosts: Iterable[str] = (), **meta: Any) -> Path:
    """A job with these requests.

    Args:
        rows: (id, host's number from 1, state, {"url": …, "due": …, "reason": …, "message": …}).
        meta: Beside the version.
    """
    directory.mkdir()
    with closing(sqlite3.connect(directory / STORE)) as sql:
        sql.execute("PRAGMA journal_mode = WAL")
        sql.executescript(TABLES)
        sql.executemany("INSERT INTO hosts(name) VALUES (?)", ((name,) for name in hosts))
        for id, host, state, further in rows:
            more: dict[str, Any] = {
                "due": None,
                "reason": None,
                "message": None,
                "url": f"http://a.test/{id}",
                **further,
            }
            sql.execute(
                "INSERT INTO requests(id, host, rank, state, due, message, reason) VALUES (?, ?, 0, ?, ?, ?, ?)",
                (id, host, state, more["due"], more["message"] or message(more["url"]), more["reason"]),
            )
        for name, value in {"version": SCHEMA, **meta}.items():
            sql.execute("INSERT INTO meta VALUES (?, ?)", (name, msgspec.msgpack.encode(value)))
        sql.commit()
    return directory
