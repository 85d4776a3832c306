"""Feeds in parts, and feeds to object stores."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from store_servers import s3_server

from streamcrawl import Crawl, Request, Response
from streamcrawl import operators as ops
from streamcrawl.errors import ItemRefused, SinkError
from streamcrawl.events import Notice
from streamcrawl.feeds.events import FeedStored
from streamcrawl.feeds.names import of_part
from streamcrawl.feeds.outputs import FileOutput
from streamcrawl.operators.feed import Feed, feed
from streamcrawl.storage import objects as objects_module
from streamcrawl.storage.objects import shown
from streamcrawl.streams.local import LocalRun
from streamcrawl.testing import run_virtual

ID = (0, 0, 0)


class JobRun(LocalRun):
    """A run that keeps what a job would keep in a folder."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__(asyncio.get_running_loop())
        self.folder = folder
        self.told: list[str] = []
        self.events.on(Notice, lambda notice: self.told.append(notice.text))

    def spool(self, name: str) -> Path | None:
        return None if self.folder is None else self.folder / "sink.0000000000000000"


async def take(opened: Any, *items: Any) -> None:
    for item in items:
        waiting = opened.accept(item, ID)
        if waiting is not None:
            await waiting


def written(sink: Feed, *items: Any, folder: Path | None = None, token: Any = None) -> Any:
    """Open, take the items, flush, close; gives the token."""

    async def work() -> Any:
        run = JobRun(folder)
        opened = sink.open(run, token)
        await take(opened, *items)
        given = await opened.flush()
        await opened.close()
        assert run.error is None
        return given

    return asyncio.run(work())


def numbers(*values: int) -> list[dict[str, int]]:
    return [{"n": n} for n in values]


def read(directory: Path, pattern: str = "*") -> dict[str, list[Any]]:
    """The items of each part."""
    found: dict[str, list[Any]] = {}
    for path in sorted(directory.glob(pattern)):
        text = path.read_text()
        found[path.name] = (
            json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
        )
    return found


def test_names_of_parts() -> None:
    assert [of_part("a-{part}.csv", n, 0.0) for n in (1, 12)] == ["a-1.csv", "a-12.csv"]
    assert of_part("s3://b/{part:04}/a-{part:3}.csv", 7, 0.0) == "s3://b/0007/a-007.csv"
    assert of_part("a-{x}.csv", 7, 0.0) == "a-{x}.csv"
    assert of_part("a-%(batch_id)05d-%(batch_time)s.csv", 7, 1.5) == "a-00007-1970-01-01T00-00-01.500000+00-00.csv"


@pytest.mark.parametrize("kind", ["jsonl", "json"])
def test_parts_by_number_of_items(tmp_path: Path, kind: str) -> None:
    written(feed(tmp_path / "out" / f"items-{{part:02}}.{kind}", part_items=3), *numbers(*range(8)))
    assert read(tmp_path / "out") == {
        f"items-01.{kind}": numbers(0, 1, 2),
        f"items-02.{kind}": numbers(3, 4, 5),
        f"items-03.{kind}": numbers(6, 7),
    }


def test_a_part_that_is_full_at_the_end_is_the_last(tmp_path: Path) -> None:
    written(feed(tmp_path / "items-{part}.jsonl", part_items=2), *numbers(0, 1, 2, 3))
    assert sorted(read(tmp_path)) == ["items-1.jsonl", "items-2.jsonl"]


def test_parts_by_size_and_lists(tmp_path: Path) -> None:
    written(feed(tmp_path / "items-{part}.jsonl", part_bytes=20), *numbers(0, 1, 2, 3), numbers(4, 5, 6, 7), {"n": 8})
    assert read(tmp_path) == {
        "items-1.jsonl": numbers(0, 1, 2),
        "items-2.jsonl": numbers(3, 4, 5, 6, 7),
        "items-3.jsonl": numbers(8),
    }


def test_parts_by_time(tmp_path: Path) -> None:
    async def main() -> None:
        opened = feed(tmp_path / "items-{part}.jsonl", part_seconds=60).open(JobRun(None))
        await asyncio.sleep(100)  # the time runs from a part's first item
        await take(opened, *numbers(0))
        await asyncio.sleep(59)
        await take(opened, *numbers(1))
        assert read(tmp_path) == {}
        await asyncio.sleep(200)
        assert read(tmp_path) == {"items-1.jsonl": numbers(0, 1)}, "a part is whole although nothing comes after it"
        await take(opened, *numbers(2))
        await opened.close()

    run_virtual(main)
    assert read(tmp_path) == {"items-1.jsonl": numbers(0, 1), "items-2.jsonl": numbers(2)}


def test_what_is_refused_is_in_no_part(tmp_path: Path) -> None:
    """And counts for none."""
    told: list[tuple[int, int]] = []
    bad = {"n": object()}

    async def work() -> None:
        run = JobRun(None)
        run.events.on(FeedStored, lambda each: told.append((each.part, each.items)))
        opened = feed(tmp_path / "{part}.jsonl", part_items=2).open(run)
        for item in (bad, {"n": 1}, bad, {"n": 2}, [{"n": 3}, bad, {"n": 4}], {"n": 5}):
            try:
                await take(opened, item)
            except ItemRefused:
                assert bad in (item if isinstance(item, list) else [item])
        await opened.close()

    asyncio.run(work())
    assert read(tmp_path) == {"1.jsonl": numbers(1, 2), "2.jsonl": numbers(3, 4), "3.jsonl": numbers(5)}
    assert told == [(1, 2), (2, 2), (3, 1)]


def test_a_part_whose_time_is_up_when_the_run_ends_is_stored_once(tmp_path: Path) -> None:
    told: list[int] = []

    async def work() -> None:
        run = JobRun(None)
        run.events.on(FeedStored, lambda each: told.append(each.part))
        opened = feed(tmp_path / "{part}.jsonl", part_seconds=1.0).open(run)
        until = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(1.0, until.set_result, None)
        await take(opened, {"n": 1})
        await until
        await opened.close()

    run_virtual(work())
    assert told == [1]
    assert read(tmp_path) == {"1.jsonl": numbers(1)}


@pytest.mark.parametrize("limits", [{"part_seconds": 1.0}, {"part_items": 2}])
@pytest.mark.parametrize("kind", ["jsonl", "json"])
def test_a_part_that_could_not_be_ended_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, Any], kind: str
) -> None:
    """The disk is full: who reads the parts is not shown half of one, and the run says why it ends."""

    def full(self: FileOutput, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def work() -> str:
        run = JobRun(None)
        opened = feed(tmp_path / "out" / f"{{part}}.{kind}", **limits).open(run)
        with monkeypatch.context() as patched:
            patched.setattr(FileOutput, "write", full)
            try:
                await take(opened, {"n": 1}, {"n": 2})
            except SinkError as error:
                run.fail(error)  # as the operator does
            await asyncio.sleep(2.0)
        with pytest.raises(SinkError, match="No space left on device; what is not stored is in"):
            await opened.close()
        return str(run.error)

    assert "No space left on device" in run_virtual(work())
    assert not (tmp_path / "out").exists()


def test_nothing_is_seen_of_a_part_before_it_is_whole(tmp_path: Path) -> None:
    async def main() -> None:
        opened = feed(tmp_path / "items-{part}.jsonl", part_items=2).open(JobRun(None))
        await take(opened, *numbers(0))
        await opened.flush()
        assert read(tmp_path) == {}
        await opened.close()

    asyncio.run(main())
    assert read(tmp_path) == {"items-1.jsonl": numbers(0)}


def test_without_items_there_is_one_empty_part(tmp_path: Path) -> None:
    written(feed(tmp_path / "items-{part}.json"))
    assert read(tmp_path) == {"items-1.json": []}


def test_what_an_earlier_crawl_left_is_replaced(tmp_path: Path) -> None:
    sink = feed(tmp_path / "items-{part}.jsonl", part_items=1)
    written(sink, *numbers(0, 1, 2, 3))
    (tmp_path / "items-9.jsonl").write_text('{"not": "ours"}\n')
    written(sink, *numbers(7, 8))
    assert read(tmp_path) == {
        "items-1.jsonl": numbers(7),
        "items-2.jsonl": numbers(8),
        "items-9.jsonl": [{"not": "ours"}],
    }


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # one that was killed closes nothing
@pytest.mark.parametrize("kind", ["jsonl", "json"])
def test_it_goes_on_from_its_token(tmp_path: Path, kind: str) -> None:
    """What came after the token is gone, whether its part was stored or not."""
    job, out = tmp_path / "job", tmp_path / "out"
    job.mkdir()
    sink = feed(out / f"{{part}}.{kind}", part_items=2)

    async def killed() -> Any:
        opened = sink.open(JobRun(job))
        await take(opened, *numbers(0, 1, 2))
        token = await opened.flush()
        await take(opened, *numbers(3, 4, 5, 6))
        for _ in range(100):
            await asyncio.sleep(0.01)
            if len(read(out)) == 3:
                break
        return token

    token = asyncio.run(killed())
    assert sorted(read(out)) == [f"{n}.{kind}" for n in (1, 2, 3)]
    written(sink, *numbers(30, 40), folder=job, token=token)
    assert read(out) == {f"1.{kind}": numbers(0, 1), f"2.{kind}": numbers(2, 30), f"3.{kind}": numbers(40)}


def test_files_of_the_job_go_when_no_token_asks_for_them(tmp_path: Path) -> None:
    job = tmp_path / "job"
    job.mkdir()

    async def main() -> None:
        opened = feed(tmp_path / "{part}.jsonl", part_items=1).open(JobRun(job))
        seen: list[int] = []
        for n in range(6):
            await take(opened, *numbers(n))
            for _ in range(100):  # until the part is stored
                await asyncio.sleep(0.01)
                if (tmp_path / f"{n + 1}.jsonl").exists():
                    break
            await opened.flush()
            seen.append(len([*job.iterdir()]))
        assert seen[-1] == seen[2] <= 3, seen
        await opened.close()

    asyncio.run(main())


# ---- object stores

OPTIONS: dict[str, Any] = {"key": "key", "secret": "secret"}


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with s3_server("pages") as server:
        OPTIONS["endpoint_url"] = server.url
        yield server.client


def keys(client: Any, prefix: str) -> dict[str, list[Any]]:
    listed = client.list_objects_v2(Bucket="pages", Prefix=prefix).get("Contents", [])
    bodies = {each["Key"]: client.get_object(Bucket="pages", Key=each["Key"])["Body"].read() for each in listed}
    return {key: [json.loads(line) for line in body.splitlines()] for key, body in bodies.items()}


def test_s3_by_part_and_whole(s3: Any) -> None:
    written(feed("s3://pages/by/{part:03}.jsonl", part_items=2, storage=OPTIONS), *numbers(0, 1, 2))
    assert keys(s3, "by/") == {"by/001.jsonl": numbers(0, 1), "by/002.jsonl": numbers(2)}
    written(feed("s3://pages/whole.jsonl", storage=OPTIONS), *numbers(0, 1, 2))
    assert keys(s3, "whole") == {"whole.jsonl": numbers(0, 1, 2)}


def test_s3_a_whole_feed_is_replaced_at_the_end_of_the_run(s3: Any) -> None:
    sink = feed("s3://pages/replaced.jsonl", storage=OPTIONS)
    written(sink, *numbers(0))

    async def main() -> None:
        opened = sink.open(JobRun(None))
        await take(opened, *numbers(1))
        await opened.flush()
        assert keys(s3, "replaced") == {"replaced.jsonl": numbers(0)}
        await opened.close()

    asyncio.run(main())
    assert keys(s3, "replaced") == {"replaced.jsonl": numbers(1)}


def test_s3_a_bucket_that_is_missing_is_told_before_the_first_request(s3: Any) -> None:
    asked: list[str] = []

    async def fetch(request: Request) -> Response:
        asked.append(request.url)
        return Response(request.url, request=request)

    async def parse(page: Any) -> AsyncIterator[Any]:
        yield {"url": page.url}

    crawl = Crawl("http://a.test/").pipe(
        ops.download(fetch=fetch), ops.scrape(parse), feed("s3://missing/{part}.jsonl", storage=OPTIONS)
    )
    with pytest.raises(SinkError, match=r"s3://missing/\{part\}\.jsonl cannot be written: .*bucket does not exist"):
        crawl.run()
    assert asked == []


def test_a_store_that_is_down_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put = objects_module.Objects.put
    fails = iter([True, True, False])

    def failing(self: Any, path: Path, uri: str) -> None:
        if next(fails):
            raise objects_module.ObjectLost(f"{uri}: down", again=True)
        put(self, path, uri)

    monkeypatch.setattr(objects_module.Objects, "put", failing)
    told: list[str] = []

    async def main() -> None:
        run = JobRun(None)
        opened = feed(tmp_path / "{part}.jsonl").open(run)
        await take(opened, *numbers(0))
        await opened.close()
        told.extend(run.told)

    run_virtual(main)
    assert read(tmp_path) == {"1.jsonl": numbers(0)}
    assert [text.rpartition("; ")[2] for text in told] == ["again in 1 s", "again in 2 s"]


def test_a_store_that_stays_down_ends_the_run_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    down = True
    put = objects_module.Objects.put

    def failing(self: Any, path: Path, uri: str) -> None:
        if down:
            raise objects_module.ObjectLost(f"{uri}: down", again=True)
        put(self, path, uri)

    monkeypatch.setattr(objects_module.Objects, "put", failing)
    monkeypatch.chdir(tmp_path)

    async def fetch(request: Request) -> Response:
        await asyncio.sleep(1)
        return Response(request.url, request=request)

    async def parse(page: Any) -> AsyncIterator[Any]:
        n = int(page.url.rpartition("/")[2])
        yield {"n": n}
        if n < 40:
            yield page.follow(f"/{n + 1}")

    layers = ops.default_layers(robots_txt=None)
    crawl = Crawl("http://a.test/0", job="job").pipe(
        ops.download(*layers, fetch=fetch), ops.scrape(parse), feed("out/{part:02}.jsonl", part_items=4)
    )

    async def main() -> Any:
        return await crawl.start()

    for _ in range(2):
        error = run_virtual(main).error
        assert isinstance(error, SinkError)
        told = (
            "feed out/{part:02}.jsonl: out/01.jsonl: down; what is not stored is in the job: the same command goes on"
        )
        assert str(error) == told
        assert not out.exists()
    down = False
    assert run_virtual(main).reason == "finished"
    got = [item["n"] for part in read(out).values() for item in part]
    assert got == [*range(41)]
    assert len(read(out)) >= 8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"uri": "items.jsonl", "part_items": 5}, r"parts need their number in the name: write items-\{part\}"),
        ({"uri": "s3://bucket/items.jsonl", "part_seconds": 5}, "parts need their number"),
        ({"uri": "{part}.jsonl", "part_items": 0}, "part_items=0: 1 or more"),
        ({"uri": "{part}.jsonl", "part_bytes": -1}, "part_bytes=-1: 1 or more"),
        ({"uri": "{part}.jsonl", "part_seconds": 0}, "part_seconds=0: a finite number of seconds, more than 0"),
        ({"uri": "{part}.jsonl", "mode": "append"}, "cannot be appended to"),
        ({"uri": "s3://bucket/items.jsonl", "mode": "append"}, "cannot be appended to"),
        ({"uri": "s3://bucket/items"}, "no format for the extension ''"),
    ],
)
def test_arguments_are_checked_when_built(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        feed(**arguments)


def test_credentials_are_not_shown() -> None:
    assert shown("ftp://me:secret@files.test/a@b.csv") == "ftp://files.test/a@b.csv"
