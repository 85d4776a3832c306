"""What two runs left behind, compared."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streamcrawl.cli.compare import Difference, compare, difference, sinks_in

Fill = Callable[[Path], None]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    return one, other


def found(folders: tuple[Path, Path], **options: Any) -> dict[str, tuple[int, ...]]:
    """(undisturbed, after, lost, doubled, foreign) by sink."""
    one, other = folders
    differences = compare(sinks_in(one, **options), sinks_in(other, **options))
    return {each.sink: (each.undisturbed, each.after, each.lost, each.doubled, each.foreign) for each in differences}


def lines(*records: Any) -> str:
    return "".join(f"{json.dumps(record)}\n" for record in records)


def test_lost_doubled_and_foreign_are_told_apart_with_examples() -> None:
    one, other = ["a", "b", "b", "c", "d"], ["b", "a", "b", "b", "b", "c", "x", "x"]
    found = difference("some", lambda: iter(one), lambda: iter(other))
    assert found == Difference("some", 5, 8, 1, 2, 2, (("lost", "d"), ("doubled", "b"), ("foreign", "x")))
    assert not found.same
    assert difference("some", lambda: iter(one), lambda: iter(reversed(one))).same


def test_examples_are_few() -> None:
    def many() -> Iterable[str]:
        return map(str, range(1000))

    found = difference("some", lambda: iter(many()), lambda: iter(()))
    assert found.lost == 1000
    assert found.examples == (("lost", "0"), ("lost", "1"), ("lost", "2"))


def test_json_lines_are_records_whatever_their_order(folders: tuple[Path, Path]) -> None:
    one, other = folders
    (one / "a.jsonl").write_text(lines({"n": 1, "m": 2}, {"n": 2}, {"n": 3}))
    (other / "a.jsonl").write_text(lines({"n": 3}, {"m": 2, "n": 1}, {"n": 3}))
    assert found(folders) == {"a.jsonl": (3, 3, 1, 1, 0)}


def test_a_line_that_was_cut_off_is_lost_and_foreign(folders: tuple[Path, Path]) -> None:
    one, other = folders
    text = lines({"n": 1}, {"n": "é"})
    (one / "a.jsonl").write_text(text, "utf-8")
    (other / "a.jsonl").write_bytes(text.encode()[:-6])
    assert found(folders) == {"a.jsonl": (2, 2, 1, 0, 1)}
    (result,) = compare(sinks_in(one), sinks_in(other))
    assert result.examples[1][1].startswith("broken line: ")


def test_json_arrays(folders: tuple[Path, Path]) -> None:
    one, other = folders
    (one / "a.json").write_text(json.dumps([{"n": 1}, {"n": 2}]))
    (other / "a.json").write_text(json.dumps([{"n": 2}, {"n": 2}, {"n": 1}]))
    (one / "cut.json").write_text("[1, 2]")
    (other / "cut.json").write_text("[1, 2")
    (one / "object.json").write_text('{"a": 1}')
    (other / "object.json").write_text('{"a": 2}')
    assert found(folders) == {
        "a.json": (2, 3, 0, 1, 0),
        "cut.json": (2, 1, 2, 0, 1),
        "object.json": (1, 1, 1, 0, 1),
    }


def test_csv_by_column(folders: tuple[Path, Path]) -> None:
    one, other = folders
    (one / "a.csv").write_text('n,text\r\n1,"two\r\nlines"\r\n2,b\r\n3,c\r\n')
    (other / "a.csv").write_text('text,n\r\n"two\r\nlines",1\r\nc,3\r\nc,3\r\n')
    assert found(folders) == {"a.csv": (3, 3, 1, 1, 0)}


def test_a_second_header_and_a_broken_row_are_foreign(folders: tuple[Path, Path]) -> None:
    one, other = folders
    (one / "a.csv").write_text("n,m\r\n1,2\r\n")
    (other / "a.csv").write_text("n,m\r\n1,2\r\nn,m\r\n3\r\n")
    assert found(folders) == {"a.csv": (1, 3, 0, 0, 2)}


def database(path: Path, rows: Iterable[tuple[Any, ...]], table: str = "items") -> None:
    quoted = '"' + table.replace('"', '""') + '"'
    with closing(sqlite3.connect(path)) as made:
        made.execute(f"CREATE TABLE {quoted} (n INTEGER, text TEXT, data BLOB)")
        made.executemany(f"INSERT INTO {quoted} VALUES (?, ?, ?)", rows)
        made.commit()


def test_databases_table_by_table(folders: tuple[Path, Path]) -> None:
    one, other = folders
    database(one / "a.sqlite", [(1, "x", b"\xff"), (2, None, b""), (3, "z", None)])
    database(other / "a.sqlite", [(3, "z", None), (1, "x", b"\xfe"), (3, "z", None)])
    for folder, rows in ((one, [(1, "a", b"")]), (other, [])):
        database(folder / "a.sqlite", rows, 'odd "name"')
        database(folder / "a.sqlite", rows, "_streamcrawl_journal")
    assert found(folders) == {"a.sqlite: items": (3, 3, 2, 1, 1), 'a.sqlite: odd "name"': (1, 0, 1, 0, 0)}


def test_a_database_that_was_killed_is_read_with_its_log(folders: tuple[Path, Path]) -> None:
    one, other = folders
    database(one / "a.db", [(1, "x", b"")])
    with closing(sqlite3.connect(other / "live.db")) as live:
        live.execute("PRAGMA journal_mode = WAL")
        live.execute("CREATE TABLE items (n INTEGER, text TEXT, data BLOB)")
        live.execute("INSERT INTO items VALUES (1, 'x', x'')")
        live.commit()
        for end in ("", "-wal"):
            (other / f"a.db{end}").write_bytes((other / f"live.db{end}").read_bytes())
    (other / "live.db").unlink()
    assert found(folders) == {"a.db: items": (1, 1, 0, 0, 0)}


def test_a_database_that_is_none_is_told(folders: tuple[Path, Path]) -> None:
    one, other = folders
    database(one / "a.db", [(1, "x", b"")])
    (other / "a.db").write_bytes((one / "a.db").read_bytes()[:100] + b"garbage" * 1000)
    assert found(folders) == {"a.db: items": (1, 0, 1, 0, 0), "a.db": (0, 1, 0, 0, 1)}


def test_other_files_by_name_and_content(folders: tuple[Path, Path]) -> None:
    one, other = folders
    for folder in folders:
        (folder / "pictures" / "full").mkdir(parents=True)
        (folder / "pictures" / "full" / "same.jpg").write_bytes(b"same")
        (folder / "notes.txt").write_text("same")
    (one / "pictures" / "full" / "gone.jpg").write_bytes(b"gone")
    (one / "pictures" / "full" / "cut.jpg").write_bytes(b"whole")
    (other / "pictures" / "full" / "cut.jpg").write_bytes(b"who")
    (other / "pictures" / "full" / "new.jpg").write_bytes(b"new")
    assert found(folders) == {"other files": (1, 1, 0, 0, 0), "pictures/": (3, 3, 2, 0, 2)}


def test_what_does_not_count(folders: tuple[Path, Path]) -> None:
    one, other = folders
    for folder, stamp in ((one, 1), (other, 2)):
        (folder / "a.jsonl").write_text(lines({"n": 1, "at": stamp}, {"n": 2, "at": stamp}))
        (folder / "a.csv").write_text(f"n,at\r\n1,{stamp}\r\n")
        with closing(sqlite3.connect(folder / "a.sqlite")) as made:
            made.execute("CREATE TABLE items (n, at, _streamcrawl_item)")
            made.execute("INSERT INTO items VALUES (1, ?, ?)", (stamp, stamp))
            made.commit()
        (folder / "job").mkdir()
        (folder / "job" / "seen.1").write_text(str(stamp))
        (folder / ".picture.jpg.17.part").write_text(str(stamp))
    assert found(folders, ignore=["at"]) == {
        "a.csv": (1, 1, 0, 0, 0),
        "a.jsonl": (2, 2, 0, 0, 0),
        "a.sqlite: items": (1, 1, 0, 0, 0),
    }
    assert {name: counts[2:] for name, counts in found(folders).items()} == {
        "a.csv": (1, 0, 1),
        "a.jsonl": (2, 0, 2),
        "a.sqlite: items": (1, 0, 1),
    }


def test_a_format_that_the_name_does_not_say(folders: tuple[Path, Path]) -> None:
    one, other = folders
    (one / "items.txt").write_text(lines(1, 2))
    (other / "items.txt").write_text(lines(2, 1))
    assert found(folders) == {"other files": (1, 1, 1, 0, 1)}
    assert found(folders, formats={"items.txt": "jsonl"}) == {"items.txt": (2, 2, 0, 0, 0)}


def test_a_file_that_is_missing_or_too_many(folders: tuple[Path, Path]) -> None:
    one, other = folders
    (one / "a.jsonl").write_text(lines(1, 2))
    (other / "a.json.part").write_text("[1")
    assert found(folders) == {"a.jsonl": (2, 0, 2, 0, 0), "other files": (0, 1, 0, 0, 1)}
