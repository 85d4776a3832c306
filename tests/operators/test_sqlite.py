"""sqlite: items into rows, exactly once in a job."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import reactivex as rx
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcrawl import Crawl, Response
from streamcrawl import operators as ops
from streamcrawl.core import Run
from streamcrawl.crawl.summary import Summary
from streamcrawl.errors import FlowError, ItemRefused, SinkError
from streamcrawl.events import ItemFailed, Notice
from streamcrawl.feeds import sqlite as feeds_sqlite
from streamcrawl.feeds.sqlite import BYTES, FULL, ROWS, OpenTable
from streamcrawl.feeds.sqlite_journal import KEEP
from streamcrawl.operators.sqlite import Sqlite, sqlite
from streamcrawl.streams.local import LocalRun
from streamcrawl.testing import FakeFetch, check_sink, links_to, run_virtual

ID = (0, 0, 0)


def in_run(work: Callable[[LocalRun], Coroutine[Any, Any, None]], *, job: bool = False) -> list[str]:
    """Do `work` with a run; gives the notices told."""
    told: list[str] = []

    async def main() -> None:
        run = LocalRun(asyncio.get_running_loop())
        run.durable = job
        run.events.on(Notice, lambda notice: told.append(notice.text))
        await work(run)

    asyncio.run(main())
    return told


def write(sink: Sqlite, *items: Any, job: bool = False, token: Any = None) -> list[str]:
    """Open, take the items, close."""

    async def work(run: LocalRun) -> None:
        opened = sink.open(run, token)
        try:
            for item in items:
                opened.accept(item, ID)
        finally:
            await opened.close()

    return in_run(work, job=job)


def rows(path: Path, query: str = "SELECT * FROM items") -> list[tuple[Any, ...]]:
    """What another process reads there."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def columns(path: Path, table: str = "items") -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [row[0] for row in db.execute("SELECT name FROM pragma_table_info(?)", (table,))]


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def kill(opened: OpenTable) -> None:
    """What is left when the process dies: what was committed."""
    db = opened._db  # pyright: ignore[reportPrivateUsage] # a process that is killed asks nobody
    assert db is not None
    db.close()
    opened._db = None  # pyright: ignore[reportPrivateUsage] # likewise


# -- rows and columns ---------------------------------------------------------------------------------------------


def test_items_become_rows_overwritten_or_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "made" / "here" / "shop.db"
    write(sqlite(path), {"a": 1, "b": "é"}, {"b": "x", "a": 2}, [{"a": 3}, {"b": "y"}])
    assert rows(path) == [(1, "é"), (2, "x"), (3, None), (None, "y")]
    write(sqlite(path, mode="append"), {"a": 5, "b": "z"})
    assert rows(path)[-1] == (5, "z")
    write(sqlite(path), {"c": 4})
    assert (columns(path), rows(path)) == (["c"], [(4,)])
    assert [each.name for each in path.parent.iterdir()] == ["shop.db"], "closed, it is one file"
    assert rows(path, "SELECT name FROM sqlite_master") == [("items",)], "without a job nothing else is in it"


def test_tables_of_one_file(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"

    async def work(run: LocalRun) -> None:
        pages, prices = sqlite(path, "pages").open(run), sqlite(path, "prices", key="n").open(run)
        for n in range(3 * ROWS):
            pages.accept({"n": n}, ID)
            prices.accept({"n": n % 10, "price": n}, ID)
            if n % 700 == 0:
                await pages.flush()
                await prices.flush()
        await pages.close()
        await prices.close()

    for job in (False, True):
        in_run(work, job=job)
        assert rows(path, "SELECT count(*), sum(n) FROM pages") == [(3 * ROWS, sum(range(3 * ROWS)))]
        assert rows(path, "SELECT n, price FROM prices") == [(n, 3 * ROWS - 10 + n) for n in range(10)]


def test_fields_are_chosen_and_ordered(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    write(sqlite(path, fields=["b", "a"]))
    assert (columns(path), rows(path)) == (["b", "a"], []), "an empty run leaves an empty table"
    told = write(sqlite(path, fields=("b", "a")), {"a": 1, "c": 2}, {"b": 3, "a": 4})
    assert (columns(path), rows(path), told) == (["b", "a"], [(None, 1), (3, 4)], [])
    with pytest.raises(ItemRefused, match="an item without fields makes no row"):
        write(sqlite(path, fields=["b", "a"]), {"c": 2})


def test_new_fields_are_new_columns_and_told_once(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    told = write(sqlite(path), {"a": 1}, {"a": 2, "b": 2}, {"c": 3, "b": 4}, {"a": 5, "b": 5})
    assert told == [], "all before the first write: the table was made with them"
    assert rows(path) == [(1, None, None), (2, 2, None), (None, 4, 3), (5, 5, None)]
    sink = sqlite(path, mode="append")
    told = write(sink, {"d": 1, "e": 1}, {"D": 2, "e": 2})
    assert told == [f"sqlite {path}, table 'items': the table has a new column for 'd', 'e'"]
    assert columns(path) == ["a", "b", "c", "d", "e"]
    assert rows(path, "SELECT d, e FROM items WHERE e") == [(1, 1), (2, 2)]
    assert write(sink, {"d": 3}) == []
    (said,) = write(sqlite(path, fields=["a", "f"], mode="append"))
    assert said.endswith("new column for 'f'")


NAMES = [
    "select",
    'quo"ted',
    "two words",
    "a.b",
    "x'y",
    "[z]",
    "`w`",
    "%s ?1 :n @m $o",
    "日本語",
    "0",
    ";--",
    "_rowid_",
]


def test_odd_names(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    item = {name: n for n, name in enumerate(NAMES)}
    for table in [*NAMES, "order by"]:
        write(sqlite(path, table, key=[NAMES[1], NAMES[3]]), item, item)
        write(sqlite(path, table, mode="append", key=[NAMES[1], NAMES[3]]), item | {"Ä": 0}, item | {"ä": 1})
        quoted = '"' + table.replace('"', '""') + '"'
        assert columns(path, table) == [*NAMES, "Ä", "ä"], "SQLite folds ASCII only"
        assert rows(path, f"SELECT * FROM {quoted}") == [(*range(len(NAMES)), 0, 1)]


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"a": 1, "A": 2}, "the fields 'a' and 'A' are one column"),
        ({1: 1}, "field 1 cannot be the name of a column: a name is a str, not int"),
        ({"": 1}, "field '' cannot be the name of a column: it is empty"),
        ({"a\0b": 1}, "no names with a null character"),
        ({"\ud800": 1}, "half a surrogate pair"),
        ({"ok": 1, "b": object()}, "field 'b' cannot be written: .*object"),
        ({}, "an item without fields"),
        ("text", "no item: str"),
        ({str(n): n for n in range(2001)}, "2001 new fields: a table has 2000 columns at most, and it has 1"),
    ],
)
def test_an_item_that_makes_no_row_is_named_and_the_others_stay(tmp_path: Path, item: Any, said: str) -> None:
    path = tmp_path / "shop.db"

    async def work(run: LocalRun) -> None:
        opened = sqlite(path).open(run)
        opened.accept({"ok": 0}, ID)
        with pytest.raises(ItemRefused, match=rf"sqlite .*shop.db, table 'items': .*{said}"):
            opened.accept(item, ID)
        with pytest.raises(ItemRefused, match=f"item 2 of 3: .*{said}"):
            opened.accept([{"ok": 1}, item, {"ok": 2}], ID)
        await opened.close()

    in_run(work)
    assert columns(path) == ["ok"]
    assert rows(path) == [(0,), (1,), (2,)]


class Colour(enum.Enum):
    RED = "red"


class Text(str):
    __slots__ = ()


class Size(enum.IntEnum):
    BIG = 3


@dataclass
class Point:
    x: int
    y: Any


class Struct(msgspec.Struct):
    a: int
    when: dt.date


VALUES: list[tuple[Any, Any]] = [
    (None, None),
    (True, 1),
    (-(2**63), -(2**63)),
    (2**63, str(2**63)),
    (-(10**30), str(-(10**30))),
    (1.5, 1.5),
    (float("inf"), float("inf")),
    (float("nan"), None),
    ("é\0 🌍", "é\0 🌍"),
    ("007", "007"),
    ("half \ud83d a pair", "half ? a pair"),
    (b"\0\xff", b"\0\xff"),
    (bytearray(b"ab"), b"ab"),
    (memoryview(b"ab"), b"ab"),
    (Decimal("1.10"), "1.10"),
    (dt.datetime(2025, 1, 2, 3, 4, 5, 6, dt.UTC), "2025-01-02T03:04:05.000006Z"),
    (dt.date(2025, 1, 2), "2025-01-02"),
    (dt.time(3, 4), "03:04:00"),
    (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    (Path("a/b"), "a/b"),
    (Colour.RED, "red"),
    (Size.BIG, 3),
    (Text("ö"), "ö"),
    ([1, {"a": (2, None)}], '[1,{"a":[2,null]}]'),
    (Point(1, [dt.date(2025, 1, 2)]), '{"x":1,"y":["2025-01-02"]}'),
    (["\ud83d"], '["\\ud83d"]'),
    ({}, "{}"),
]


def test_values_are_those_of_sqlite_and_the_rest_is_text(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    write(sqlite(path), *({"n": n, "value": value} for n, (value, _) in enumerate(VALUES)))
    assert [value for (value,) in rows(path, "SELECT value FROM items ORDER BY n")] == [kept for _, kept in VALUES]


def test_items_of_every_class(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    write(sqlite(path), Point(1, "p"), Struct(2, dt.date(2025, 1, 2)), {"x": 3})
    assert columns(path) == ["x", "y", "a", "when"]
    assert rows(path) == [(1, "p", None, None), (None, None, 2, "2025-01-02"), (3, None, None, None)]


# -- a key --------------------------------------------------------------------------------------------------------


def test_with_a_key_an_item_changes_its_row(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    sink = sqlite(path, key="url")
    write(sink, {"url": "a", "price": 1, "stock": 1}, {"url": "b", "price": 2}, {"url": "a", "price": 3})
    assert rows(path) == [("a", 3, 1), ("b", 2, None)], "what an item does not say stays"
    write(sqlite(path, key="url", mode="append"), {"URL": "b", "stock": 5}, {"url": "c"}, {"url": "c"})
    assert rows(path) == [("a", 3, 1), ("b", 2, 5), ("c", None, None)]
    write(sink, {"url": "z", "price": 0})
    assert rows(path) == [("z", 0)]
    path.unlink()
    pair = sqlite(path, key=("shop", "name"))
    write(pair, {"shop": 1, "name": "x", "p": 1}, {"shop": 2, "name": "x", "p": 2}, {"shop": 1, "name": "x", "p": 3})
    assert rows(path) == [(1, "x", 3), (2, "x", 2)]


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"price": 1}, "the key needs the field 'url', which the item does not have"),
        ({"url": None}, "the key needs a value in the field 'url', and it has none"),
        ({"url": float("nan")}, "the key needs a value in the field 'url'"),
    ],
)
def test_an_item_without_its_key_is_refused(tmp_path: Path, item: Any, said: str) -> None:
    path = tmp_path / "shop.db"
    with pytest.raises(ItemRefused, match=said):
        write(sqlite(path, key="url"), {"url": 1}, item)
    assert rows(path) == [(1,)]


def test_a_key_that_rows_share_already_is_an_error_at_once(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    write(sqlite(path), {"a": 1}, {"a": 1})
    with pytest.raises(SinkError, match="table 'items': it has rows already with the same \"a\": that cannot be its"):
        write(sqlite(path, key="a", mode="append"))
    assert rows(path) == [(1,), (1,)]


# -- tables that somebody made ------------------------------------------------------------------------------------


def test_a_table_that_was_made_for_the_items_keeps_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    execute(
        path,
        "CREATE TABLE items (url TEXT PRIMARY KEY, price INTEGER, seen TEXT DEFAULT 'never')",
        "INSERT INTO items VALUES ('old', 1, 'x')",
    )
    write(sqlite(path, key="url"), {"url": "a", "price": "12"}, {"url": "a", "more": 1})
    assert columns(path) == ["url", "price", "seen", "more"]
    assert rows(path) == [("a", 12, "never", 1)]
    assert rows(path, "SELECT count(*) FROM sqlite_master WHERE name LIKE '%streamcrawl_key%'") == [(0,)]


@pytest.mark.parametrize("job", [False, True])
def test_rows_that_the_table_does_not_allow_are_told_and_the_others_stay(tmp_path: Path, job: bool) -> None:
    path = tmp_path / "shop.db"
    execute(path, "CREATE TABLE items (url TEXT NOT NULL UNIQUE, price INTEGER CHECK (price > 0))")
    failed: list[ItemFailed] = []

    async def work(run: LocalRun) -> None:
        run.events.on(ItemFailed, failed.append)
        opened = sqlite(path).open(run)
        for n in range(10):
            opened.accept({"url": "same" if n in (3, 4) else f"u{n}", "price": n}, ID)
        opened.accept({"price": 5}, ID)
        await opened.flush()
        await opened.close()
        assert run.stats["items_failed"] == 3
        assert run.error is None

    in_run(work, job=job)
    assert [price for (price,) in rows(path, "SELECT price FROM items")] == [1, 2, 3, 5, 6, 7, 8, 9]
    assert [each.item.get("url") for each in failed] == ["u0", "same", None]
    assert "shop.db, table 'items': UNIQUE constraint failed: items.url" in str(failed[1].error)


@pytest.mark.parametrize(
    ("made", "arguments", "said"),
    [
        ("CREATE VIEW items AS SELECT 1 AS a", {}, "'items' is not a table there, but a view"),
        ("CREATE TABLE items (a PRIMARY KEY) WITHOUT ROWID", {"mode": "append"}, "WITHOUT ROWID.*give key="),
        ("CREATE TABLE items (_rowid_, rowid, oid)", {"mode": "append"}, "hide the rows' numbers"),
    ],
)
def test_a_table_that_cannot_be_written_to_is_named_at_once(
    tmp_path: Path, made: str, arguments: dict[str, Any], said: str
) -> None:
    path = tmp_path / "shop.db"
    execute(path, made)
    with pytest.raises(SinkError, match=f"shop.db, table 'items': .*{said}"):
        write(sqlite(path, **arguments), job=True)


def test_a_table_whose_rows_the_items_number_needs_a_key_in_a_job(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    execute(path, "CREATE TABLE items (id INTEGER PRIMARY KEY, a)", "INSERT INTO items VALUES (100, 0)")
    sink = sqlite(path, mode="append")
    with pytest.raises(SinkError, match="items number its rows, so that a job cannot take them back: give key="):
        write(sink, {"id": 5, "a": 1}, job=True)
    assert rows(path) == [(100, 0)]
    write(sink, {"id": 5, "a": 1})
    write(sqlite(path, mode="append", key="id"), {"id": 6, "a": 2}, job=True)
    assert rows(path) == [(5, 1), (6, 2), (100, 0)]


# -- writing ------------------------------------------------------------------------------------------------------


def test_rows_are_there_after_a_flush_and_bounded_before(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"

    async def work(run: LocalRun) -> None:
        opened = sqlite(path).open(run)
        assert await opened.flush() is None
        opened.accept({"n": 0}, ID)
        assert repr(opened) == f"<OpenTable sqlite {path}, table 'items': 1 rows waiting>"
        await opened.flush()
        assert rows(path) == [(0,)]
        for n in range(1, ROWS + 5):
            opened.accept({"n": n}, ID)
        assert rows(path, "SELECT count(*) FROM items") == [(ROWS + 1,)], "many are written without being asked"
        await opened.flush()
        opened.accept({"n": 1, "text": "x" * BYTES}, ID)
        assert rows(path, "SELECT max(length(text)) FROM items") == [(BYTES,)], "so are many bytes"
        await opened.close()
        await opened.close()
        assert repr(opened).endswith(": closed>")
        with pytest.raises(SinkError, match="closed"):
            opened.accept({"n": 1}, ID)
        with pytest.raises(SinkError, match="closed"):
            await opened.flush()

    in_run(work)


def test_others_read_while_it_writes(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    begun, done = threading.Event(), threading.Event()
    seen: list[int] = []

    def follow() -> None:
        with closing(sqlite3.connect(path)) as db:
            while not done.is_set():
                numbers = [n for (n,) in db.execute("SELECT n FROM items")]
                assert numbers == list(range(len(numbers)))
                seen.append(len(numbers))
                begun.set()

    async def work(run: LocalRun) -> None:
        opened = sqlite(path, fields=["n", "text"]).open(run)
        reader.start()
        begun.wait()
        for n in range(20_000):
            opened.accept({"n": n, "text": "x" * (n % 50)}, ID)
            if n % 1500 == 0:
                await opened.flush()
        await opened.close()

    reader = threading.Thread(target=follow)
    try:
        in_run(work)
    finally:
        done.set()
        reader.join()
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert rows(path, "SELECT count(*) FROM items") == [(20_000,)]


@pytest.mark.parametrize(("durable", "level"), [(False, 1), (True, 2)])
def test_durable_waits_for_the_disk(tmp_path: Path, durable: bool, level: int) -> None:
    async def work(run: LocalRun) -> None:
        opened = sqlite(tmp_path / "shop.db", durable=durable).open(run)
        db = opened._db  # pyright: ignore[reportPrivateUsage] # the setting is the connection's
        assert db is not None
        assert db.execute("PRAGMA synchronous").fetchone() == (level,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        await opened.close()

    in_run(work)


def test_another_writer_is_waited_for_and_then_told_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shop.db"
    monkeypatch.setattr(feeds_sqlite, "WAIT", 0.02)

    async def work(run: LocalRun) -> None:
        opened = sqlite(path).open(run)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(SinkError, match=r"cannot be written: another process is writing to it, for 0\.02 s"):
                sqlite(path, "others").open(run)
            opened.accept({"n": 0}, ID)
            with pytest.raises(SinkError, match="another process is writing to it"):
                await opened.flush()
            for n in range(1, FULL * ROWS):
                opened.accept({"n": n}, ID)
            assert "another process is writing to it" in str(run.error)
            with pytest.raises(SinkError, match=f"it cannot be written to, and {FULL * ROWS} rows wait already"):
                opened.accept({"n": -1}, ID)
        await opened.flush()
        opened.accept({"n": FULL * ROWS}, ID)
        await opened.close()

    in_run(work)
    assert [n for (n,) in rows(path)] == list(range(FULL * ROWS + 1))


def test_a_full_disk_stops_the_run_and_what_waits_is_written_later(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"

    async def work(run: LocalRun) -> None:
        opened = sqlite(path).open(run)
        db = opened._db  # pyright: ignore[reportPrivateUsage] # no other way to fill a disk
        assert db is not None
        db.execute("PRAGMA max_page_count = 20")
        for n in range(ROWS + 1):
            opened.accept({"n": n, "text": "x" * 200}, ID)
        assert str(run.error) == f"sqlite {path}, table 'items': cannot be written: database or disk is full"
        assert rows(path, "SELECT count(*) FROM sqlite_master WHERE name = 'items'") == [(0,)]
        with pytest.raises(SinkError, match="database or disk is full"):
            await opened.flush()
        db.execute("PRAGMA max_page_count = 2000")
        token = await opened.flush()
        assert token is not None
        assert token[1] == 1
        await opened.close()

    in_run(work, job=True)
    assert [n for (n,) in rows(path, "SELECT n FROM items")] == list(range(ROWS + 1))


def test_a_path_that_cannot_be_written_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("some text that is no database, but long enough to be taken for one " * 20)
    (tmp_path / "folder.db").mkdir()
    for path, said in (
        (tmp_path / "file" / "shop.db", "Not a directory|File exists"),
        (tmp_path / "folder.db", "Is a directory"),
        (tmp_path / "file", "file is not a database"),
        (Path("/proc/shop.db"), "unable to open database file"),
    ):
        with pytest.raises(SinkError, match=f"^sqlite {path}, table 'items': cannot be written: ({said})"):
            write(sqlite(path))
    assert (tmp_path / "file").read_text().startswith("some text")


def test_a_read_only_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "shop.db"
    write(sqlite(path), {"a": 1})
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def read_only(database: Path, **options: Any) -> sqlite3.Connection:
        # The rights of a file do not stop every user.
        return connect(f"file:{database}?mode=ro", uri=True, **options)

    monkeypatch.setattr(sqlite3, "connect", read_only)
    with pytest.raises(SinkError, match=r"shop\.db.*cannot be written: attempt to write a readonly database"):
        write(sqlite(path), {"a": 2})
    monkeypatch.undo()
    assert rows(path) == [(1,)]


# -- jobs ---------------------------------------------------------------------------------------------------------

Given = list[tuple[Any, tuple[int, int, int]]]


def listed(items: Iterable[Any], *, lists: bool) -> Given:
    """Items with their ids, as a pipe brings them; some of them gathered."""
    gathered: list[Any] = []
    each = list(items)
    while each:
        size = 1 + (len(each) % 4 if lists else 0)
        gathered.append(each[:size] if lists and size > 1 else each[0])
        each = each[size if lists and size > 1 else 1 :]
    return [(item, (number + 1, 0, number << 40)) for number, item in enumerate(gathered)]


class Job:
    """A job with one sink: kills it, goes on with the token that it noted, gives what is not in that."""

    def __init__(self, sink: Callable[[Path], Sqlite], path: Path, items: Given) -> None:
        self._sink = sink
        self._items = items
        self.path = path
        self.token: Any = None
        self.safe = 0

    async def lives(self, steps: str) -> None:
        """One process: "i" an item, "f" a flush that the job notes, "u" one that it does not get to note; killed."""
        run = LocalRun(asyncio.get_running_loop())
        run.durable = True
        opened = self._sink(self.path).open(run, self.token)
        if self.token is None:
            self.token = await opened.flush()
        given = self.safe
        for step in steps:
            if step == "i" and given < len(self._items):
                opened.accept(*self._items[given])
                given += 1
            elif step != "i":
                token = await opened.flush()
                if step == "f":
                    self.token, self.safe = msgspec.msgpack.decode(msgspec.msgpack.encode(token)), given
        copy = self.path.with_name(f"copy of {self.path.name}")
        for ending in ("", "-wal"):  # what a process that is killed leaves behind; its locks go with it
            source = self.path.with_name(self.path.name + ending)
            if source.exists():
                shutil.copy(source, copy.with_name(copy.name + ending))
        kill(opened)
        self.path.unlink()
        for ending in ("", "-wal"):
            if copy.with_name(copy.name + ending).exists():
                copy.with_name(copy.name + ending).replace(self.path.with_name(self.path.name + ending))

    async def ends(self) -> None:
        run = LocalRun(asyncio.get_running_loop())
        run.durable = True
        opened = self._sink(self.path).open(run, self.token)
        for each in self._items[self.safe :]:
            opened.accept(*each)
        await opened.flush()
        await opened.close()


PLAIN = [{"n": n, "text": "x" * n} | ({f"more{n}": n} if n % 9 == 0 else {}) for n in range(40)]
KEYED = [{"n": n % 7, "text": n} | ({"more": n} if n % 3 else {}) for n in range(40)]


@pytest.mark.parametrize("kind", ["overwrite", "append", "key"])
@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("steps", ["iiifiii", "iiifiiiu", "iiifiiuiiu", "iiuiiiu", "ifiu" * 4, "u" * (KEEP + 3)])
def test_killed_and_resumed_every_item_is_in_once(tmp_path: Path, kind: str, lists: bool, steps: str) -> None:
    def sink(path: Path) -> Sqlite:
        return sqlite(path, mode="append" if kind == "append" else "overwrite", key="n" if kind == "key" else None)

    items = listed(KEYED if kind == "key" else PLAIN, lists=lists)
    path, calm = tmp_path / "job.db", tmp_path / "calm.db"
    for each in (path, calm):
        write(sqlite(each), {"n": -1, "text": "before"})

    async def both() -> None:
        await Job(sink, calm, items).ends()
        job = Job(sink, path, items)
        for _ in range(4):
            await job.lives(steps)
        await job.ends()

    asyncio.run(both())
    assert sorted(columns(path)) == sorted(columns(calm))
    query = f"SELECT {', '.join(sorted(columns(calm)))} FROM items"
    assert rows(path, query) == rows(calm, query)
    assert len(rows(path)) == {"overwrite": 40, "append": 41, "key": 7}[kind]


@settings(max_examples=60, deadline=None)
@given(
    lives=st.lists(st.text("iiiifu", max_size=25), max_size=4),
    keyed=st.booleans(),
    lists=st.booleans(),
    chunk=st.integers(1, 6),
)
def test_any_kills_at_any_points(
    tmp_path_factory: pytest.TempPathFactory, lives: list[str], keyed: bool, lists: bool, chunk: int
) -> None:
    folder = tmp_path_factory.mktemp("job")

    def sink(path: Path) -> Sqlite:
        return sqlite(path, key="n" if keyed else None)

    async def job() -> None:
        job = Job(sink, folder / "job.db", listed(KEYED if keyed else PLAIN, lists=lists))
        for steps in lives:
            await job.lives(steps)
        await job.ends()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feeds_sqlite, "ROWS", chunk)  # so that rows are written between flushes too
        asyncio.run(job())
    found = rows(folder / "job.db", "SELECT n, text FROM items ORDER BY rowid")
    if keyed:
        assert sorted(found) == [(n, max(k for k in range(40) if k % 7 == n)) for n in range(7)]
    else:
        assert found == [(n, "x" * n) for n in range(40)]
    shutil.rmtree(folder)


CHILD = """
import asyncio, json, sys
from streamcrawl.operators.sqlite import sqlite
from streamcrawl.streams.local import LocalRun

async def main():
    run = LocalRun(asyncio.get_running_loop())
    run.durable = True
    token, n = json.loads(sys.argv[2])
    opened = sqlite(sys.argv[1]).open(run, token)
    while True:
        print(json.dumps([await opened.flush(), n]), flush=True)
        sys.stdin.readline()
        for n in range(n, n + 700):
            opened.accept({"n": n}, (n + 1, 0, 0))
        n += 1

asyncio.run(main())
"""


def test_processes_killed_at_random_moments(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    noted = "[null, 0]"
    for flushes in (1, 5, 10):
        command = [sys.executable, "-c", CHILD, str(path), noted]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            for _ in range(flushes):
                noted = child.stdout.readline()
                child.stdin.write("noted\n")
                child.stdin.flush()
            child.kill()  # while it takes further items, writes or flushes them
    token, safe = json.loads(noted)
    assert safe == 700 * (0 + 4 + 9)
    assert rows(path, "SELECT count(*) FROM items")[0][0] >= safe
    write(sqlite(path), *({"n": n} for n in range(safe, safe + 100)), token=token, job=True)
    assert [n for (n,) in rows(path)] == list(range(safe + 100))


def test_rows_of_others_stay_when_those_of_a_job_are_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    tokens: list[Any] = []

    async def two_jobs(run: LocalRun) -> None:
        sink = sqlite(path, mode="append", fields=["n"])
        one, two = sink.open(run), sink.open(run)
        for n in range(3):
            one.accept({"n": n}, ID)
            two.accept({"n": 100 + n}, ID)
            tokens[:] = [tokens[1] if tokens else None, await one.flush()]
            await two.flush()
            execute(path, f"INSERT INTO items VALUES ({200 + n})")
        kill(one)
        await two.close()
        again = sink.open(run, tokens[0])
        again.accept({"n": 3}, ID)
        await again.close()

    in_run(two_jobs, job=True)
    assert sorted(n for (n,) in rows(path)) == [0, 1, 3, 100, 101, 102, 200, 201, 202]


def test_the_journal_does_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"

    async def job(run: LocalRun) -> None:
        opened = sqlite(path, mode="append").open(run)
        for n in range(100):
            opened.accept({"n": n}, ID)
            token = await opened.flush()
            assert token == await opened.flush(), "nothing new: nothing to write"
        await opened.close()

    for _ in range(30):
        in_run(job, job=True)
    (number,) = rows(path, "SELECT count(*) FROM _streamcrawl_writes")[0]
    assert number <= 16 * (KEEP + 2)
    in_run(job)
    assert rows(path, "SELECT count(*) FROM _streamcrawl_writes") == [(number,)], "without a job there is none"
    write(sqlite(path), {"n": 1})
    assert rows(path, "SELECT count(*) FROM _streamcrawl_writes") == [(0,)]


def _began(path: Path, flushes: int) -> list[Any]:
    """The tokens of a job that was killed after so many flushes."""
    tokens: list[Any] = []

    async def work(run: LocalRun) -> None:
        opened = sqlite(path).open(run)
        for n in range(flushes):
            tokens.append(await opened.flush())
            opened.accept({"n": n}, ID)
        tokens.append(await opened.flush())
        kill(opened)

    in_run(work, job=True)
    return tokens


def test_a_database_that_was_changed_since_is_an_error_and_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"

    def refused(said: str, token: Any) -> None:
        before = rows(path) if path.exists() else None
        with pytest.raises(SinkError, match=f"sqlite {path}, table 'items': .*{said}"):
            write(sqlite(path), {"n": 9}, token=token, job=True)
        assert before is None or rows(path) == before

    tokens = _began(path, 3)
    refused("changed since the job stopped: it has the rows of 3 flushes, and 7 were made", [tokens[0][0], 7])
    refused("has 12 as its token, which is none of a table's", 12)
    execute(path, "DELETE FROM items WHERE n = 1")
    refused("changed since the job stopped: of 1 rows that are to be taken back, 0 are there", tokens[0])
    execute(path, "DROP TABLE items")
    with pytest.raises(SinkError, match="changed since the job stopped: another file, or the table was overwritten"):
        write(sqlite(path), token=tokens[2], job=True)
    path.unlink()
    refused("the file is gone: it was changed since the job stopped", tokens[0])
    assert not path.exists(), "and no new one is made"
    write(sqlite(path), {"n": 1})
    refused("changed since the job stopped: another file", tokens[1])
    write(sqlite(path), {"n": 1}, job=True)
    refused("changed since the job stopped: another file", tokens[1])
    tokens = _began(path, KEEP + 5)
    refused("rows since flush 1 of 21 cannot be taken back any more", tokens[1])
    write(sqlite(path), token=tokens[-3], job=True)
    assert rows(path) == [(n,) for n in range(KEEP + 3)]


def test_a_table_that_another_crawl_has_overwritten_is_told(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"

    async def work(run: LocalRun) -> None:
        opened = sqlite(path).open(run)
        opened.accept({"n": 1}, ID)
        await opened.flush()
        write_in_thread(sqlite(path), {"n": 2})
        opened.accept({"n": 3}, ID)
        with pytest.raises(SinkError, match="table 'items': another crawl has overwritten it meanwhile"):
            await opened.flush()
        kill(opened)

    in_run(work, job=True)
    assert rows(path) == [(2,)]


def write_in_thread(sink: Sqlite, *items: Any) -> None:
    """As another process does it."""
    thread = threading.Thread(target=lambda: write(sink, *items, job=True))
    thread.start()
    thread.join()


@dataclass(frozen=True)
class InAJob:
    """The sink as a job opens it."""

    sink: Sqlite

    def open(self, run: Run, token: Any = None) -> OpenTable:
        run.durable = True
        return self.sink.open(run, token)


@pytest.mark.parametrize("key", [None, "number"])
def test_it_keeps_the_contract_of_sinks(tmp_path: Path, key: str | None) -> None:
    path = tmp_path / "shop.db"

    def stored() -> list[dict[str, Any]]:
        if not columns(path):
            return []
        return [{"number": number, "text": text} for number, text in rows(path, "SELECT number, text FROM items")]

    for sink in (sqlite(path, key=key), InAJob(sqlite(path, key=key))):
        report = check_sink(sink, stored=stored)
        assert report.came["passed on"] == report.offered > 30
    check_sink(InAJob(sqlite(tmp_path / "two.db", mode="append", key=key)), at_once=True)


# -- as an operator -----------------------------------------------------------------------------------------------


def test_as_an_operator_it_passes_items_on(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    passed: list[Any] = []
    item = {"a": 1}
    rx.of(item, [{"a": 2}]).pipe(sqlite(path), sqlite(path, "others", key="a")).subscribe(passed.append)
    assert passed[0] is item
    assert rows(path) == rows(path, "SELECT * FROM others") == [(1,), (2,)]


def test_in_a_crawl(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    site = {"/": links_to(*(f"/{n}" for n in range(20)))} | {f"/{n}": str(n) for n in range(20)}

    def parse(response: Response) -> Iterable[Any]:
        yield from ({"url": response.url, "part": part} for part in range(3))
        yield from response.follow_all(css="a")

    crawl = Crawl("http://shop.test/").pipe(ops.download(fetch=FakeFetch(site)), ops.scrape(parse))
    with pytest.raises(FlowError, match=r"two sinks write to .*shop\.db, table items"):
        crawl.pipe(ops.sqlite(path), ops.sqlite(path, "Items"))
    full = crawl.pipe(ops.sqlite(path), ops.batch(5), ops.sqlite(path, "pages", key="url"))

    async def main() -> Summary:
        return await full.start()

    assert run_virtual(main).ok
    assert rows(path, "SELECT count(*), count(DISTINCT url) FROM items") == [(63, 21)]
    assert rows(path, "SELECT count(*), min(part) FROM pages") == [(21, 2)]


def test_one_table_has_one_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: list[str | Path] = ["shop.db", "./shop.db", tmp_path / "shop.db", f"file://{tmp_path}/shop.db"]
    assert len({sqlite(name, table).target for name in names for table in ("items", "ITEMS")}) == 1
    assert sqlite("shop.db").target != sqlite("shop.db", "others").target
    assert sqlite("shop.db", "pages").name == "sqlite(shop.db, pages)"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"path": ""}, "a path is needed"),
        ({"path": ":memory:"}, "a database is a file"),
        ({"path": "s3://bucket/x.db"}, "a database is a file"),
        ({"table": ""}, "table='': it is empty"),
        ({"table": "a\0"}, "null character"),
        ({"table": "SQLite_x"}, "names that begin with sqlite_ or _streamcrawl_writes are taken"),
        ({"table": "_streamcrawl_Writes"}, "are taken"),
        ({"mode": "replace"}, "mode='replace': one of overwrite, append"),
        ({"fields": []}, "distinct names, at least one"),
        ({"fields": ["a", "A"]}, "in SQLite case makes no difference"),
        ({"key": ()}, "key=.*: distinct names, at least one"),
        ({"key": ("a", 1)}, "key=1: a name is a str, not int"),
        ({"key": ("a", "b"), "fields": "A"}, "key=.*: b is not among the fields"),
    ],
)
def test_arguments_are_checked_when_built(arguments: dict[str, Any], said: str) -> None:
    every: dict[str, Any] = {"path": "shop.db", **arguments}
    with pytest.raises(ValueError, match=said):
        sqlite(**every)


def test_a_hundred_thousand_items_are_quick(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    items = [{"url": f"https://shop.test/{n}", "name": f"Thing {n}", "price": n / 7, "n": n} for n in range(100_000)]
    taken: list[float] = []

    async def work(run: LocalRun) -> None:
        opened = sqlite(path).open(run)
        begin = time.process_time()
        for n, item in enumerate(items):
            opened.accept(item, (n, 0, 0))
            if n % 5000 == 0:
                await opened.flush()
        await opened.close()
        taken.append((time.process_time() - begin) / len(items))

    in_run(work, job=True)
    assert rows(path, "SELECT count(*), sum(n) FROM items") == [(100_000, sum(range(100_000)))]
    assert taken[0] < 30e-6, "6 µs on a quiet machine; this leaves room for a busy one"
