"""What the crawl's start gives goes through the scrape layers; it may give items too."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import reactivex
from reactivex import Observable
from reactivex import operators as rx

from streamcrawl import Crawl, Drop, Request, Response
from streamcrawl import operators as ops
from streamcrawl.core import Run, ScrapeInput, Start
from streamcrawl.streams.scrape_layer import NamedScrapeLayer, ScrapeHooks, scrape_layer
from streamcrawl.testing import FakeFetch, run_virtual

BARE = ops.default_layers(robots_txt=None)


def parse(page: Response) -> Iterator[dict[str, Any]]:
    yield {"url": page.url}


def seen(found: list[tuple[object, ScrapeInput]]) -> NamedScrapeLayer:
    """A layer that keeps what it is shown, refuses /refused and changes /changed."""

    def make(run: Run) -> ScrapeHooks:
        def request(link: Request, page: ScrapeInput) -> Request:
            found.append((link.url, page))
            if link.url.endswith("/refused"):
                raise Drop("refused")
            return link.replace(url=link.url + "/more") if link.url.endswith("/changed") else link

        def item(item: Any, page: ScrapeInput) -> Any:
            found.append((item, page))
            return item

        return ScrapeHooks(request=request, item=item)

    return scrape_layer("seen", make)


def test_scrape_layers_see_the_start() -> None:
    found: list[tuple[object, ScrapeInput]] = []
    crawl = Crawl(["http://a.test/1", {"n": 1}, "http://a.test/refused", "http://a.test/changed"]).pipe(
        ops.download(*BARE, fetch=FakeFetch({"/1": "", "/changed/more": ""})), ops.scrape(parse, seen(found))
    )

    async def main() -> Any:
        items: list[Any] = []
        return await crawl.start(on_item=items.append), items

    summary, items = run_virtual(main)
    at_start = [what for what, page in found if isinstance(page, Start)]
    assert at_start == ["http://a.test/1", {"n": 1}, "http://a.test/refused", "http://a.test/changed"]
    assert sorted(map(str, items)) == [
        "{'n': 1}",
        "{'url': 'http://a.test/1'}",
        "{'url': 'http://a.test/changed/more'}",
    ]
    assert summary.balanced
    assert summary.counts.offered.start == 3
    assert summary.counts.dropped == {"refused": 1}
    assert "outside_extent" not in {key for key, value in summary.stats.items() if value}


def test_a_start_that_gives_something_else_fails() -> None:
    with pytest.raises(TypeError, match="and 5 is neither"):
        Crawl(["http://a.test/", 5])


def test_an_endless_start_of_items_waits_for_a_slow_sink() -> None:
    given = 0

    def start() -> Iterator[dict[str, int]]:
        nonlocal given
        while True:
            given += 1
            yield {"n": given}

    async def slow(item: Any) -> Any:
        await asyncio.sleep(1)
        return item

    crawl = Crawl(start()).pipe(ops.download(fetch=FakeFetch({})), ops.scrape(parse), ops.map_async(slow, 1))

    async def main() -> None:
        run = crawl.start()
        await asyncio.sleep(100)
        assert 99 <= run.counts.items <= 101
        assert given < 2000
        run.stop(now=True)
        await run

    run_virtual(main)


async def mixed() -> AsyncIterator[str | dict[str, int]]:
    for n in range(60):
        await asyncio.sleep(0.5)
        yield f"http://a.test/{n}" if n % 3 == 0 else {"n": n}


async def slowly(item: Any) -> Any:
    await asyncio.sleep(3)
    return item


def twice(item: dict[str, Any]) -> Observable[dict[str, Any]]:
    return reactivex.of(item, {**item, "again": 1})


def killed_and_finished(crawl: Callable[[], Crawl[Any]], tmp_path: Path, moments: tuple[float, ...]) -> Iterator[Path]:
    """The folders of an undisturbed job, and of what a kill at each of the moments leaves, gone on to the end."""

    def finish(directory: Path, moments: tuple[float, ...] = ()) -> Path:
        async def main() -> Any:
            run = crawl().start()
            for moment in moments:
                asyncio.get_running_loop().call_later(moment, shutil.copytree, directory, tmp_path / str(moment))
            return await run

        with chdir(directory):
            assert run_virtual(main).reason == "finished"
        return directory

    whole = tmp_path / "whole"
    whole.mkdir()
    yield finish(whole, moments)
    for moment in moments:
        yield finish(tmp_path / str(moment))


async def fetch_slowly(request: Request) -> Response:
    await asyncio.sleep(1)
    return Response(request.url, request=request)


NUMBERS = [json.dumps({"n": n}, separators=(",", ":")) for n in range(60) if n % 3]
EXPECTED = sorted([*NUMBERS, *(f'{{"url":"http://a.test/{n}"}}' for n in range(0, 60, 3))])
MOMENTS = (2.1, 7.7, 14.9, 31.3)


def test_items_of_the_start_are_safe_before_they_count_as_taken(tmp_path: Path) -> None:
    def crawl() -> Crawl[Any]:
        return Crawl(mixed(), job="job", concurrency=4).pipe(
            ops.download(*BARE, fetch=fetch_slowly),
            ops.scrape(parse),
            ops.map_async(slowly, 4),
            ops.feed("items.jsonl"),
        )

    for folder in killed_and_finished(crawl, tmp_path, MOMENTS):
        assert sorted((folder / "items.jsonl").read_text().splitlines()) == EXPECTED, folder


def test_items_of_the_start_come_to_every_sink_once(tmp_path: Path) -> None:
    """When it is killed, the first sink has some of them that the second has not."""

    def crawl() -> Crawl[Any]:
        return Crawl(mixed(), job="job", concurrency=4).pipe(
            ops.download(*BARE, fetch=fetch_slowly),
            ops.scrape(parse),
            ops.feed("first.jsonl"),
            rx.flat_map(twice),
            ops.feed("twice.jsonl"),
            ops.map_async(slowly, 4),
            ops.batch(5),
            ops.feed("second.jsonl"),
        )

    for folder in killed_and_finished(crawl, tmp_path, MOMENTS):
        assert sorted((folder / "first.jsonl").read_text().splitlines()) == EXPECTED, folder
        for name in ("twice.jsonl", "second.jsonl"):
            lines = (folder / name).read_text().splitlines()
            again = [line.replace(',"again":1', "") for line in lines if "again" in line]
            assert sorted(again) == EXPECTED, (folder, name)
            assert len(lines) == 2 * len(EXPECTED), (folder, name)
