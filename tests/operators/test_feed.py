"""feed: items into files."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest
import reactivex as rx

from streamcrawl import Crawl, Field, Item, Request, Response
from streamcrawl import operators as ops
from streamcrawl.core import RUN
from streamcrawl.errors import ItemRefused, SinkError
from streamcrawl.events import ItemFailed, Notice
from streamcrawl.feeds.events import FeedStored
from streamcrawl.feeds.opened import BUFFER, FULL
from streamcrawl.operators.feed import Feed, feed
from streamcrawl.streams.local import LocalRun
from streamcrawl.testing import FakeFetch

ID = (0, 0, 0)


def in_run(work: Callable[[LocalRun], Coroutine[Any, Any, None]]) -> list[str]:
    """Do `work` with a run; gives the notices told."""
    told: list[str] = []

    async def main() -> None:
        run = LocalRun(asyncio.get_running_loop())
        run.events.on(Notice, lambda notice: told.append(notice.text))
        await work(run)

    asyncio.run(main())
    return told


def write(sink: Feed, *items: Any, token: int | None = None) -> list[str]:
    """Open, take the items, close."""

    async def work(run: LocalRun) -> None:
        opened = sink.open(run, token)
        for item in items:
            opened.accept(item, ID)
        await opened.close()

    return in_run(work)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_json_lines_overwrite_and_append(tmp_path: Path) -> None:
    path = tmp_path / "made" / "here" / "items.jsonl"
    write(feed(path), {"a": 1}, {"a": "é"})
    assert path.read_bytes() == '{"a":1}\n{"a":"é"}\n'.encode()
    write(feed(path, mode="append"), {"a": 3})
    assert lines(path) == [{"a": 1}, {"a": "é"}, {"a": 3}]
    write(feed(path), {"a": 4})
    assert lines(path) == [{"a": 4}]


def test_it_is_readable_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"

    async def work(run: LocalRun) -> None:
        opened = feed(path).open(run)
        assert path.read_bytes() == b""
        opened.accept({"n": 0}, ID)
        assert await opened.flush() == len(b'{"n":0}\n')
        assert lines(path) == [{"n": 0}]
        item = {"text": "x" * 1000}
        for _ in range(BUFFER // 1000 + 1):
            opened.accept(item, ID)
        seen = path.read_bytes()
        assert len(seen) > BUFFER, "a full buffer is written without being asked"
        assert seen.endswith(b"}\n")
        opened.accept({"n": 1}, ID)
        assert path.read_bytes() == seen
        await opened.close()
        assert lines(path)[-1] == {"n": 1}

    in_run(work)


def test_what_others_read_is_a_beginning_of_the_feed(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    done = threading.Event()
    read: list[bytes] = []

    def follow() -> None:
        while not done.is_set():
            read.append(path.read_bytes() if path.exists() else b"")

    async def work(run: LocalRun) -> None:
        opened = feed(path).open(run)
        for number in range(2000):
            opened.accept({"number": number, "text": "x" * (number % 700)}, ID)
            if number % 20 == 0:
                await opened.flush()
                assert path.read_bytes().endswith(b"}\n")
        await opened.close()

    reader = threading.Thread(target=follow)
    reader.start()
    try:
        in_run(work)
    finally:
        done.set()
        reader.join()
    content = path.read_bytes()
    assert any(0 < len(seen) < len(content) for seen in read), "nobody looked while it grew"
    assert all(content.startswith(seen) for seen in read)
    assert [item["number"] for item in lines(path)] == list(range(2000))


def test_a_json_array_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    path.write_text('["old"]')

    async def work(run: LocalRun) -> None:
        opened = feed(path).open(run)
        opened.accept({"a": 1}, ID)
        opened.accept([{"a": 2}, {"a": 3}], ID)
        await opened.flush()
        assert path.read_text() == '["old"]'
        await opened.close()
        await opened.close()

    in_run(work)
    assert json.loads(path.read_text()) == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert [each.name for each in tmp_path.iterdir()] == ["items.json"]


@pytest.mark.parametrize(("name", "content"), [("a.json", "[]\n"), ("a.jsonl", ""), ("a.csv", "")])
def test_without_items(tmp_path: Path, name: str, content: str) -> None:
    write(feed(tmp_path / name))
    assert (tmp_path / name).read_text() == content


def test_csv_goes_on_with_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    write(feed(path, fields=["b", "a"]), {"a": 1, "b": 2})
    told = write(feed(path, mode="append"), {"a": 3, "b": 4, "c": 5}, {"c": 6})
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [["b", "a"], ["2", "1"], ["4", "3"], ["", ""]]
    assert len(told) == 1
    assert "columns are b, a: 'c'" in told[0]


def test_csv_with_other_columns_is_not_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(SinkError, match="cannot append: the file has the columns a, b; wanted: b, a"):
        write(feed(path, mode="append", fields=("b", "a")), {"a": 1})
    assert path.read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize(
    ("name", "before", "item", "after", "told"),
    [
        ("a.jsonl", '{"a":1}\n{"a":', {"a": 2}, '{"a":1}\n{"a":2}\n', "5 bytes of it are removed"),
        ("a.jsonl", '{"a":1}', {"a": 2}, '{"a":1}\n{"a":2}\n', "no line end: completed"),
        ("a.csv", "a,b\r\n1,2\r\n3", {"a": 4, "b": 5}, "a,b\r\n1,2\r\n4,5\r\n", "1 bytes of it are removed"),
        ("a.csv", "a,b\n1,2", {"a": 4, "b": 5}, "a,b\n1,2\n4,5\r\n", "no line end: completed"),
    ],
)
def test_a_tail_is_completed_before_appending(
    tmp_path: Path, name: str, before: str, item: Any, after: str, told: str
) -> None:
    path = tmp_path / name
    path.write_bytes(before.encode())
    notices = write(feed(path, mode="append"), item)
    assert path.read_bytes().decode() == after
    assert len(notices) == 1
    assert told in notices[0]
    assert str(path) in notices[0]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
@pytest.mark.parametrize("mode", ["overwrite", "append"])
def test_it_goes_on_from_a_token(tmp_path: Path, name: str, mode: Literal["overwrite", "append"]) -> None:
    if (name, mode) == ("a.json", "append"):
        mode = "overwrite"
    sink = feed(tmp_path / name, mode=mode)
    tokens: list[int | None] = []

    async def killed(run: LocalRun) -> None:
        opened = sink.open(run)
        tokens.append(await opened.flush())
        opened.accept({"a": 1, "b": "safe"}, ID)
        tokens.append(await opened.flush())
        opened.accept({"a": 2, "b": "written, not noted"}, ID)
        await opened.flush()
        opened.accept({"a": 3, "b": "never written"}, ID)
        _kill(opened)

    in_run(killed)
    for token, kept in ((tokens[1], [("1", "safe")]), (tokens[0], [])):
        write(sink, {"a": 9, "b": "later"}, token=token)
        found = _read(tmp_path / name)
        assert [(str(each["a"]), each["b"]) for each in found] == [*kept, ("9", "later")]


def _kill(opened: Any) -> None:
    """Close the file as the system does with a process's."""
    output = opened._output  # a process that is killed asks nobody
    assert output is not None
    output.abandon()


def _read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    return json.loads(path.read_text()) if path.suffix == ".json" else lines(path)


def test_a_token_past_the_end_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    write(feed(path), {"a": 1})
    with pytest.raises(SinkError, match="it has 8 bytes, but 80 were written"):
        write(feed(path), token=80)
    assert lines(path) == [{"a": 1}]


@pytest.mark.parametrize("name", ["items.jsonl", "items.json", "items.csv"])
def test_a_path_that_cannot_be_written_is_named_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    beneath = tmp_path / "file" / name
    with pytest.raises(SinkError, match=f"cannot write {beneath}: Not a directory"):
        in_run(lambda run: _only_open(feed(beneath), run))
    folder = tmp_path / name
    folder.mkdir()
    with pytest.raises(SinkError, match=f"cannot write {folder}: Is a directory"):
        in_run(lambda run: _only_open(feed(folder), run))


async def _only_open(sink: Feed, run: LocalRun) -> None:
    sink.open(run)


def test_an_item_that_cannot_be_written_is_named_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"

    async def work(run: LocalRun) -> None:
        opened = feed(path).open(run)
        opened.accept({"a": 1}, ID)
        with pytest.raises(ItemRefused, match=r"feed .*items.jsonl: field 'a' cannot be written"):
            opened.accept({"a": object()}, ID)
        with pytest.raises(ItemRefused, match="item 2 of 3: field 'b' cannot be written"):
            opened.accept([{"b": 2}, {"b": object()}, {"b": 3}], ID)
        await opened.close()

    in_run(work)
    assert lines(path) == [{"a": 1}, {"b": 2}, {"b": 3}]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_stops_the_run_and_bounds_what_waits() -> None:
    async def work(run: LocalRun) -> None:
        opened = feed("/dev/full", format="jsonl").open(run)
        item = {"text": "x" * 10_000}
        for _ in range(FULL // 10_000 + 1):
            opened.accept(item, ID)
        with pytest.raises(SinkError, match="bytes wait already"):
            opened.accept(item, ID)
        assert isinstance(run.error, SinkError)
        assert str(run.error) == "feed /dev/full: cannot be written: No space left on device"
        with pytest.raises(SinkError, match="No space left"):
            await opened.flush()
        with pytest.raises(SinkError, match="No space left"):
            await opened.close()

    in_run(work)


class HalfWritten:
    """A file that takes half of what it is given, then is full."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.full = True
        self._calls = 0

    def write(self, data: memoryview) -> int:
        if not self.full:
            return int(self._file.write(data))
        self._calls += 1
        if self._calls > 1:
            raise OSError(28, "No space left on device")
        return int(self._file.write(data[: len(data) // 2]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_half_a_record_is_taken_back_and_written_again_later(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"

    async def work(run: LocalRun) -> None:
        opened: Any = feed(path).open(run)
        output: Any = opened._output  # no other way to fill a disk half-way
        output._file = half = HalfWritten(output._file)
        opened.accept({"a": 1}, ID)
        with pytest.raises(SinkError, match="No space left"):
            await opened.flush()
        assert path.read_bytes() == b""
        half.full = False
        await opened.close()

    in_run(work)
    assert lines(path) == [{"a": 1}]


def test_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    sink = feed("-")
    assert (sink.format, sink.target) == ("jsonl", "-")
    write(sink, {"a": "é"})
    write(feed("-", format="csv"), {"a": "é"})
    write(feed("-", format="json"), {"a": "é"})
    assert capfdbinary.readouterr().out.decode() == '{"a":"é"}\na\r\né\r\n[\n{"a":"é"}\n]\n'


def test_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe.json"
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    write(feed(path), {"a": 1})
    reader.join()
    assert read == [b'[\n{"a":1}\n]\n']


def test_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    path = tmp_path / "items.jsonl"

    def fsync(file: int) -> None:
        synced.append(path.read_bytes())

    monkeypatch.setattr(os, "fsync", fsync)

    async def work(run: LocalRun) -> None:
        opened = feed(path, durable=True).open(run)
        opened.accept({"a": 1}, ID)
        assert await opened.flush() == 8
        await opened.close()

    in_run(work)
    assert synced[0] == b'{"a":1}\n'
    synced.clear()
    write(feed(path), {"a": 1})
    assert synced == []


def test_as_an_operator_it_passes_items_on(tmp_path: Path) -> None:
    assert RUN.get(None) is None
    passed: list[Any] = []
    item = {"a": 1}
    rx.of(item, [{"a": 2}]).pipe(feed(tmp_path / "a.jsonl"), feed(tmp_path / "b.csv")).subscribe(passed.append)
    assert passed[0] is item
    assert lines(tmp_path / "a.jsonl") == [{"a": 1}, {"a": 2}]
    assert (tmp_path / "b.csv").read_bytes() == b"a\r\n1\r\n2\r\n"


def test_one_description_serves_many_runs(tmp_path: Path) -> None:
    sink = feed(tmp_path / "items.csv")
    write(sink, {"a": 1})
    write(sink, {"b": 2})
    assert (tmp_path / "items.csv").read_bytes() == b"b\r\n2\r\n"


def test_two_names_of_one_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: list[str | Path] = [
        "items.jsonl",
        "./items.jsonl",
        tmp_path / "items.jsonl",
        f"file://{tmp_path}/items.jsonl",
    ]
    assert {feed(name).target for name in names} == {os.path.realpath(tmp_path / "items.jsonl")}
    assert feed("file:items.jsonl").target != feed("other.jsonl").target


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"uri": "items.xlsx"}, "no format for the extension '.xlsx'"),
        ({"uri": "items"}, "no format for the extension ''"),
        ({"uri": ""}, "a path is needed"),
        ({"uri": "file://elsewhere/items.csv"}, "names a file of the machine 'elsewhere'"),
        ({"uri": "items.jsonl", "format": "yaml"}, "format='yaml': one of jsonl, json, csv"),
        ({"uri": "items.jsonl", "mode": "replace"}, "mode='replace': one of overwrite, append"),
        ({"uri": "items.json", "mode": "append"}, "a JSON array cannot be appended to"),
        ({"uri": "items.csv", "fields": []}, "distinct names of fields, at least one"),
        ({"uri": "items.csv", "fields": ["a", "a"]}, "distinct names of fields"),
    ],
)
def test_arguments_are_checked_when_built(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        feed(**arguments)


def test_a_feed_says_what_it_is(tmp_path: Path) -> None:
    sink = feed("items.csv", fields="a")
    assert (sink.name, sink.fields, sink.concurrency) == ("feed(items.csv)", {"a": "a"}, 1)

    async def work(run: LocalRun) -> None:
        opened = feed(tmp_path / "a.jsonl").open(run)
        opened.accept({"a": 1}, ID)
        assert repr(opened) == f"<OpenFeed {tmp_path}/a.jsonl: 8 bytes waiting>"
        await opened.close()
        assert repr(opened).endswith(": closed>")
        with pytest.raises(SinkError, match="closed"):
            opened.accept({"a": 1}, ID)
        with pytest.raises(SinkError, match="closed"):
            await opened.flush()

    in_run(work)


def nothing(item: Any) -> bool:
    return False


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.xml", "a.jsonl.gz", "{part}.csv", "a.parquet"])
@pytest.mark.parametrize("store_empty", [True, False])
def test_a_feed_of_no_items_is_stored_or_not(tmp_path: Path, name: str, store_empty: bool) -> None:
    told: list[FeedStored] = []
    sink = feed(tmp_path / name, store_empty=store_empty, item_filter=nothing)

    async def work(run: LocalRun) -> None:
        run.events.on(FeedStored, told.append)
        opened = sink.open(run)
        opened.accept({"a": 1}, ID)
        await opened.flush()
        await opened.close()
        assert run.stats.get("feedexport/success_count/FileFeedStorage", 0) == store_empty

    in_run(work)
    assert len([*tmp_path.iterdir()]) == len(told) == store_empty


def test_what_is_stored_is_told_and_counted(tmp_path: Path) -> None:
    told: list[FeedStored] = []

    async def work(run: LocalRun) -> None:
        run.events.on(FeedStored, told.append)
        whole = feed(tmp_path / "a.jsonl").open(run)
        parts = feed(tmp_path / "{part}.jsonl", part_items=2).open(run)
        for n in range(3):
            whole.accept({"n": n}, ID)
            waiting: Any = parts.accept({"n": n}, ID)
            if waiting is not None:
                await waiting
        await whole.close()
        await parts.close()
        assert run.stats["feedexport/success_count/FileFeedStorage"] == 3

    in_run(work)
    assert [(Path(each.uri).name, each.part, each.items, each.size) for each in told] == [
        ("a.jsonl", 0, 3, 24),
        ("1.jsonl", 1, 2, 16),
        ("2.jsonl", 2, 1, 8),
    ]


def is_second(item: Any) -> bool:
    return bool(item["n"] == 2)


def test_a_feed_that_is_a_table(tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite"
    sink = feed(path, fields={"title": "name", "n": "n"}, format_options={"table": "teas", "key": "n"})
    items = [{"title": "Tea", "n": 1, "more": 0}, {"title": "Milk", "n": 2}, {"title": "Green tea", "n": 1}]
    rx.from_iterable(items).pipe(sink, feed(path, item_filter=is_second)).subscribe()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name, n FROM teas ORDER BY n").fetchall() == [("Green tea", 1), ("Milk", 2)]
        assert db.execute("SELECT title, n FROM items").fetchall() == [("Milk", 2)]
    assert sink.format == "sqlite"
    assert sink.target != feed(path).target
    rx.of({"n": 1}).pipe(feed(tmp_path / "%(kind)s.db", uri_params={"kind": "tea"})).subscribe()
    assert (tmp_path / "tea.db").exists()


def test_scrapys_names_of_formats() -> None:
    names = ("jsonlines", "jl", "json", "csv", "xml", "pickle", "marshal")
    assert [feed("a", format=each).format for each in names] == ["jsonl", "jsonl", *names[2:]]


def _euros(value: float) -> str:
    return f"€ {value:.2f}"


class _Priced(Item):
    name = Field()
    price = Field(serializer=_euros)


@dataclasses.dataclass
class _Offer:
    name: str
    price: float = dataclasses.field(default=0.0, metadata={"serializer": _euros})


@pytest.mark.parametrize("make", [_Priced, _Offer])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.xml", "a.pickle", "a.sqlite"])
def test_a_field_is_written_as_its_serializer_has_it(make: Any, name: str, tmp_path: Path) -> None:
    passed: list[Any] = []
    rx.of(make(name="tea", price=3.5)).pipe(feed(tmp_path / name)).subscribe(passed.append)
    assert passed[0] == make(name="tea", price=3.5)  # what goes on is the item
    assert "€ 3.50".encode() in (tmp_path / name).read_bytes()


def test_a_serializer_that_raises_costs_its_item_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    told: list[str] = []

    async def main() -> None:
        free: Any = "free"

        def offers(page: Response) -> list[_Offer]:
            return [_Offer("one", free), _Offer("two", 2)]

        crawl = Crawl(Request("http://a.test/")).pipe(
            ops.download(fetch=FakeFetch({"/": "x"})), ops.scrape(offers), ops.feed(path)
        )
        run = crawl.start()
        run.events.on(ItemFailed, lambda event: told.append(str(event.error)))
        await run

    asyncio.run(main())
    assert path.read_text("utf-8") == '{"name":"two","price":"€ 2.00"}\n'
    assert "field 'price': its serializer raised ValueError" in told[0]
