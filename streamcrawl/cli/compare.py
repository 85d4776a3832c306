"""What two runs of a flow left behind, compared: files as multisets of records, databases table by table."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

from streamcrawl.frontier.job import STORE
from streamcrawl.frontier.store import DONE, DROPPED, FAILED

Records: TypeAlias = Callable[[], Iterator[str]]
"""Reads a sink from its beginning: each record as text, the same text for equal records."""

EXAMPLES = 3
FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv"}
PAGES = {DONE: "pages", FAILED: "pages failed", DROPPED: "pages dropped"}


class Difference(NamedTuple):
    """What became of a sink's records.

    Args:
        undisturbed: Records that the undisturbed run left.
        after: Records that the other left.
        lost: Records that it lacks.
        doubled: Records that it has more often than the undisturbed run.
        foreign: Records that the undisturbed run does not have at all.
        examples: Some of them, with what they are: ("lost", record).
    """

    sink: str
    undisturbed: int
    after: int
    lost: int = 0
    doubled: int = 0
    foreign: int = 0
    examples: tuple[tuple[str, str], ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing was lost, doubled or foreign."""
        return not (self.lost or self.doubled or self.foreign)


def compare(undisturbed: Mapping[str, Records], after: Mapping[str, Records]) -> list[Difference]:
    """Sink by sink, those of the undisturbed run first."""
    names = dict.fromkeys((*undisturbed, *after))
    return [difference(name, undisturbed.get(name, _nothing), after.get(name, _nothing)) for name in names]


def difference(sink: str, undisturbed: Records, after: Records) -> Difference:
    """Two multisets of records. Only digests are held, whatever the size of the sinks."""
    one, other = _digests(undisturbed()), _digests(after())
    lost, more = one - other, other - one
    doubled = Counter({digest: count for digest, count in more.items() if digest in one})
    foreign = more - doubled
    examples = [
        (kind, record)
        for kind, digests, records in (
            ("lost", lost, undisturbed),
            ("doubled", doubled, after),
            ("foreign", foreign, after),
        )
        if digests
        for record in islice(_among(digests, records()), EXAMPLES)
    ]
    return Difference(sink, one.total(), other.total(), lost.total(), doubled.total(), foreign.total(), tuple(examples))


def sinks_in(
    folder: Path, *, ignore: Collection[str] = (), formats: Mapping[str, str] | None = None, job: str = "job"
) -> dict[str, Records]:
    """Every file in `folder` that a flow wrote, in the order of their names.

    Args:
        ignore: Names of fields and columns that do not count.
        formats: Of files whose name does not say it, by path within the folder: "jsonl", "json" or "csv".
        job: The job's directory in there, which is not looked into. Nor are files whose name begins with a dot.
    """
    found: dict[str, Records] = {}
    others: dict[str, list[Path]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        if name.parts[0] == job or any(part.startswith(".") for part in name.parts) or "__pycache__" in name.parts:
            continue
        kind = (formats or {}).get(name.as_posix()) or FORMATS.get(path.suffix.lower())
        if kind is not None:
            found[name.as_posix()] = partial(_READERS[kind], path, frozenset(ignore))
        elif _is_sqlite(path):
            found |= _tables(path, name.as_posix(), frozenset(ignore))
        elif not _is_beside_sqlite(path):
            where = f"{name.parts[0]}/" if len(name.parts) > 1 else "other files"
            others.setdefault(where, []).append(path)
    return found | {where: partial(_contents, folder, paths) for where, paths in others.items()}


def pages_in(job: Path) -> dict[str, Records]:
    """What became of the requests of a job: (method, URL) by outcome. Duplicates that were dropped do not count.

    Which of two ways to a page came first, and so which of them is the duplicate, is chance in any run.
    """
    if not (job / STORE).exists():
        return {}
    return {name: partial(_pages, job, state) for state, name in PAGES.items()}


def _nothing() -> Iterator[str]:
    return iter(())


def _digest(record: str) -> bytes:
    return blake2b(record.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _digests(records: Iterable[str]) -> Counter[bytes]:
    return Counter(_digest(record) for record in records)


def _among(digests: Counter[bytes], records: Iterable[str]) -> Iterator[str]:
    """The records, each once, whose digests these are."""
    left = set(digests)
    for record in records:
        digest = _digest(record)
        if digest in left:
            left.remove(digest)
            yield record
            if not left:
                return


def _record(value: Any, ignore: frozenset[str]) -> str:
    if ignore and isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        value = {name: field for name, field in fields.items() if name not in ignore}
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=_plain)


def _plain(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)


def _json_lines(path: Path, ignore: frozenset[str]) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
        for line in lines:
            try:
                yield _record(json.loads(line), ignore)
            except ValueError:
                yield f"broken line: {line!r}"


def _json_array(path: Path, ignore: frozenset[str]) -> Iterator[str]:
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    try:
        value: Any = json.loads(text)
    except ValueError as error:
        yield f"broken JSON of {len(text)} characters: {error}"
        return
    if not isinstance(value, list):
        value = [value]
    for each in cast("list[Any]", value):
        yield _record(each, ignore)


def _csv_rows(path: Path, ignore: frozenset[str]) -> Iterator[str]:
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield from _csv_rows_of(path, ignore)
    finally:
        csv.field_size_limit(before)


def _csv_rows_of(path: Path, ignore: frozenset[str]) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
        rows = csv.reader(lines)
        try:
            columns = next(rows, list[str]())
            for row in rows:
                if len(row) == len(columns):
                    yield _record(dict(zip(columns, row, strict=True)), ignore)
                else:
                    yield f"broken row: {row!r}"
        except csv.Error as error:
            yield f"broken CSV: {error}"


_READERS: Mapping[str, Callable[[Path, frozenset[str]], Iterator[str]]] = {
    "jsonl": _json_lines,
    "json": _json_array,
    "csv": _csv_rows,
}


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _is_beside_sqlite(path: Path) -> bool:
    """Whether it is the log of a database that stands beside it."""
    base, dash, end = path.name.rpartition("-")
    return bool(dash) and end in ("wal", "shm", "journal") and path.with_name(base).exists()


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _tables(path: Path, name: str, ignore: frozenset[str]) -> dict[str, Records]:
    try:
        with closing(_opened(path)) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    except sqlite3.DatabaseError as error:
        broken = f"broken database: {error}"
        return {name: lambda: iter((broken,))}
    tables = [table for (table,) in rows if not table.startswith(("sqlite_", "_streamcrawl"))]
    return {f"{name}: {table}": partial(_table, path, table, ignore) for table in tables}


def _table(path: Path, table: str, ignore: frozenset[str]) -> Iterator[str]:
    with closing(_opened(path)) as database:
        database.text_factory = _decoded
        try:
            rows = database.execute(f"SELECT * FROM {_quoted(table)}")  # noqa: S608 - a table that is there
            columns = [column[0] for column in rows.description]
            for row in rows:
                fields = dict(zip(columns, row, strict=True))
                kept = {column: value for column, value in fields.items() if not column.startswith("_streamcrawl")}
                yield _record(kept, ignore)
        except sqlite3.DatabaseError as error:
            yield f"broken table: {error}"


def _contents(folder: Path, paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        with path.open("rb") as file:
            digest = blake2b(digest_size=16)
            while data := file.read(1 << 20):
                digest.update(data)
        yield f"{path.relative_to(folder).as_posix()} ({digest.hexdigest()})"


def _pages(job: Path, state: int) -> Iterator[str]:
    from streamcrawl.frontier.message import url_of

    with closing(_opened(job / STORE)) as database:
        rows = database.execute("SELECT message, reason FROM requests WHERE state = ?", (state,))
        for message, reason in rows:
            if reason != "duplicate":
                yield url_of(message)
