"""Compressed feeds: whole members, that are cut, appended to and gone on with."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.reading import items_in, unpacked
from streamcrawl.errors import SinkError
from streamcrawl.events import Notice
from streamcrawl.feeds.compression import CODECS, last_member
from streamcrawl.feeds.members import MemberOutput
from streamcrawl.operators.feed import Feed, feed
from streamcrawl.streams.local import LocalRun

ID = (0, 0, 0)
every = pytest.mark.parametrize("codec", list(CODECS))


class JobRun(LocalRun):
    """A run that keeps what a job would keep in a folder."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__(asyncio.get_running_loop())
        self.folder = folder
        self.durable = folder is not None
        self.told: list[str] = []
        self.events.on(Notice, lambda notice: self.told.append(notice.text))

    def spool(self, name: str) -> Path | None:
        return None if self.folder is None else self.folder / "sink.0"


async def take(opened: Any, *items: Any) -> None:
    for item in items:
        waiting = opened.accept(item, ID)
        if waiting is not None:
            await waiting


def written(sink: Feed, *items: Any) -> list[str]:
    async def work() -> list[str]:
        run = JobRun(None)
        opened = sink.open(run)
        await take(opened, *items)
        await opened.close()
        assert run.error is None
        return run.told

    return asyncio.run(work())


def numbers(*values: int) -> list[dict[str, Any]]:
    return [{"n": n, "text": f"{n * n}" * 20} for n in values]


def ending(codec: str) -> str:
    return CODECS[codec].extensions[0]


@every
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_by_extension_and_by_argument(tmp_path: Path, codec: str, kind: str) -> None:
    by_extension, by_argument = tmp_path / f"a.{kind}{ending(codec)}", tmp_path / f"b.{kind}"
    written(feed(by_extension), *numbers(1, 2))
    written(feed(by_argument, compress=codec), *numbers(1, 2))
    assert by_extension.read_bytes() == by_argument.read_bytes()
    assert [int(item["n"]) for item in items_in(by_extension)] == [1, 2]
    written(feed(by_extension, compress=None), *numbers(3))
    assert by_extension.read_bytes().startswith({"jsonl": b"{", "json": b"[", "csv": b"n"}[kind])


@every
def test_an_empty_feed_is_an_empty_file_within(tmp_path: Path, codec: str) -> None:
    path = tmp_path / f"a.jsonl{ending(codec)}"
    written(feed(path))
    assert path.stat().st_size > 0
    assert unpacked(path) == b""


def test_levels(tmp_path: Path) -> None:
    sizes: list[int] = []
    text = "".join(Random(1).choices("abcdefgh ", k=20_000))
    for level in (1, 9):
        path = tmp_path / "a.jsonl.gz"
        written(feed(path, compress_level=level), {"text": text})
        sizes.append(path.stat().st_size)
    assert sizes[0] > sizes[1]


@every
def test_readers_see_whole_members_while_it_grows(tmp_path: Path, codec: str) -> None:
    path = tmp_path / f"a.jsonl{ending(codec)}"
    short = replace(CODECS[codec], member=2000)

    async def work() -> None:
        opened = feed(path, compress=short).open(JobRun(None))
        seen: set[int] = set()
        for n in range(200):
            await take(opened, *numbers(n))
            await opened.flush()
            seen.add(len(items_in(path)) if path.stat().st_size else 0)
        assert len(seen) > 5
        await opened.close()

    asyncio.run(work())
    assert [item["n"] for item in items_in(path)] == list(range(200))


@every
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_it_goes_on_from_any_token(tmp_path: Path, codec: str, kind: str) -> None:
    """From the last one, and from the one before; what was written later is gone."""
    path, job = tmp_path / f"a.{kind}{ending(codec)}", tmp_path / "job"
    job.mkdir()
    sink = feed(path, compress=replace(CODECS[codec], member=500))

    async def part(token: Any, n: int) -> tuple[Any, Any]:
        opened = sink.open(JobRun(job), token)
        await take(opened, *numbers(n, n + 1))
        before = await opened.flush()
        await take(opened, *numbers(*range(100, 130)))
        after = await opened.flush()
        await take(opened, *numbers(*range(200, 230)))  # and the process is killed
        await asyncio.sleep(0)
        opened._output.abandon()  # type: ignore[attr-defined] # pyright: ignore # as the system closes its files
        return before, after

    before, after = asyncio.run(part(None, 0))
    later, _ = asyncio.run(part(before, 2))
    del after

    async def end() -> None:
        opened = sink.open(JobRun(job), later)
        await take(opened, *numbers(9))
        await opened.close()

    asyncio.run(end())
    assert [int(item["n"]) for item in items_in(path)] == [0, 1, 2, 3, 9]


def test_files_of_the_job_go_when_no_token_asks_for_them(tmp_path: Path) -> None:
    job = tmp_path / "job"
    job.mkdir()

    async def work() -> list[int]:
        opened = feed(tmp_path / "a.jsonl.gz", compress=replace(CODECS["gzip"], member=100)).open(JobRun(job))
        counts: list[int] = []
        for n in range(20):
            await take(opened, *numbers(n))
            await opened.flush()
            counts.append(len([*job.iterdir()]))
        await opened.close()
        return counts

    assert max(asyncio.run(work())) <= 4


def test_what_the_job_had_and_is_gone_is_told(tmp_path: Path) -> None:
    job = tmp_path / "job"
    job.mkdir()
    sink = feed(tmp_path / "a.jsonl.gz")

    async def work() -> None:
        opened = sink.open(JobRun(job))
        await take(opened, *numbers(1))
        token = await opened.flush()
        await opened.close()
        for path in job.iterdir():
            path.unlink()
        with pytest.raises(SinkError, match=r"feed .*a.jsonl.gz: .*sink.0.rest.0 is gone or damaged"):
            sink.open(JobRun(job), token)

    asyncio.run(work())


@every
@pytest.mark.parametrize("kind", ["jsonl", "csv", "msgpack", "pickle", "marshal"])
def test_appending(tmp_path: Path, codec: str, kind: str) -> None:
    path = tmp_path / f"a.{kind}{ending(codec)}"
    sink = feed(path, mode="append")
    written(sink, *numbers(1))
    assert written(sink, *numbers(2)) == []
    with path.open("ab") as file:
        file.write(path.read_bytes()[:10])  # a member that was cut off
    (told,) = written(sink, *numbers(3))
    assert told.endswith("its last record was cut off: 10 bytes of it are removed")
    assert [int(item["n"]) for item in items_in(path)] == [1, 2, 3]


def test_appending_to_what_others_have_compressed(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"n":1}'))
    written(feed(path, mode="append"), {"n": 2})
    assert unpacked(path) == b'{"n":1}\n{"n":2}\n'
    path.write_bytes(gzip.compress(b'{"n":1}\n{"n":'))
    with pytest.raises(SinkError, match="cannot append: its last record was cut off before it was compressed"):
        written(feed(path, mode="append"), {"n": 2})


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=5), st.data())
def test_the_last_whole_member_of_anything(texts: list[bytes], data: st.DataObject) -> None:
    for codec in CODECS.values():
        members: list[bytes] = []
        for text in texts:
            compressor = codec.compressor(None)
            members.append(compressor.compress(text) + compressor.flush())
        cut = data.draw(st.integers(0, sum(map(len, members))))
        assert codec.decompressor is not None
        end, head = last_member(BytesIO(b"".join(members)[:cut]), codec.decompressor)
        ends = [sum(map(len, members[:n])) for n in range(len(members) + 1)]
        assert end == max(each for each in ends if each <= cut)
        assert head == b"".join(texts[: ends.index(end)])


class Failing:
    """An output whose disk is full for a while."""

    slow: ClassVar[bool] = False

    def __init__(self) -> None:
        self.data = b""
        self.full = True

    @property
    def offset(self) -> int:
        return len(self.data)

    size = offset

    def write(self, data: bytes) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.data += data

    def mark(self, *, durable: bool) -> None: ...
    def sync(self) -> None: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


def test_what_a_full_disk_did_not_take_is_written_once(tmp_path: Path) -> None:
    import gzip

    below = Failing()
    output = MemberOutput(below, replace(CODECS["gzip"], member=10), None, None)
    output.write(b"first member ")  # it is taken: the next write tells
    with pytest.raises(OSError, match="No space"):
        output.write(b"second member")
    with pytest.raises(OSError, match="No space"):
        output.mark(durable=False)
    below.full = False
    output.write(b"second member")
    output.close()
    assert gzip.decompress(below.data) == b"first member second member"


def test_durable_without_a_job_ends_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    path = tmp_path / "a.jsonl.gz"

    def fsync(file: int) -> None:
        synced.append(path.stat().st_size)

    monkeypatch.setattr(os, "fsync", fsync)

    async def work() -> None:
        opened = feed(path, durable=True).open(JobRun(None))
        await take(opened, *numbers(1))
        await opened.flush()
        assert len(items_in(path)) == 1
        await opened.close()

    asyncio.run(work())
    assert synced[0] > 0


def test_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    import gzip

    written(feed("-", compress="gzip"), {"n": 1})
    assert gzip.decompress(capfdbinary.readouterr().out) == b'{"n":1}\n'


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"compress": "rar"}, "compress='rar': one of auto, gzip, bz2, xz, zstd, or None"),
        ({"compress_level": 3}, "compress_level=3: nothing is compressed"),
        ({"compress": "gzip", "compress_level": 10}, "compress_level=10: 0 to 9 for gzip"),
        ({"compress": "bz2", "compress_level": 0}, "compress_level=0: 1 to 9 for bz2"),
    ],
)
def test_arguments_are_checked_when_built(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        feed("items.jsonl", **arguments)
