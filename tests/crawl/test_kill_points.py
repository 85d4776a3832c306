"""A job killed at any moment goes on to what an undisturbed crawl gives: no page and no item lost, none doubled.

What the files hold at a moment of virtual time is what a `kill -9` at that moment leaves: it is copied, and the copy
goes on.
"""

from __future__ import annotations

import asyncio
import csv
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import chdir
from pathlib import Path
from random import Random
from typing import Any

import pytest
import reactivex
from reactivex import operators as rx

from streamcrawl import Crawl, Headers, Request, Response
from streamcrawl import operators as ops
from streamcrawl.errors import ConnectError
from streamcrawl.testing import run_virtual

PAGES = 60


class Web:
    """Pages that link to one another; some move, fail once, fail always, or take their time."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.fetched: Counter[str] = Counter()
        self.failing = {n for n in range(1, PAGES) if n % 17 == 5}

    async def __call__(self, request: Request) -> Response:
        n = int(request.url.rpartition("/")[2])
        await asyncio.sleep(self.random.choice((0.01, 0.1, 0.5, 2.0)))
        self.fetched[request.url] += 1
        if n in self.failing:
            raise ConnectError("refused")
        if n % 11 == 3 and not request.attempt:
            return Response(request.url, status=503, request=request)
        if n % 13 == 4 and n < PAGES:
            return Response(request.url, status=302, headers=Headers({"Location": f"/{n + 1000}"}), request=request)
        n %= 1000
        links = "".join(f'<a href="/{k}">x</a>' for k in (3 * n + 1, 3 * n + 2, n + 7) if k < PAGES)
        return Response(request.url, body=f"<html>{links}</html>".encode(), request=request)


async def slow(item: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(0.05 * ((item["k"] * 7 + item.get("part", 0)) % 5))
    return item


def parse(page: Any) -> Iterator[Any]:
    n = int(page.url.rpartition("/")[2])
    yield from ({"page": n, "k": k} for k in range(3))
    if n % 10 == 0:
        yield Request(page.urljoin("/2"), callback=again, dont_filter=True)
    yield from links(page)


def links(page: Any) -> Iterator[Request]:
    """Which callback a page gets does not hang on who finds it first."""
    for request in page.follow_all(css="a"):
        slowly = int(request.url.rpartition("/")[2]) % 4 == 1
        yield request.replace(callback=parse_slowly) if slowly else request


async def parse_slowly(page: Any) -> AsyncIterator[Any]:
    n = int(page.url.rpartition("/")[2])
    for k in range(25):
        yield {"page": n, "k": k}
        await asyncio.sleep(0.2)
    for request in links(page):
        yield request


def again(page: Any) -> Iterator[Any]:
    yield {"page": -1, "k": 0, "of": page.url}


def wanted(item: dict[str, Any]) -> bool:
    return bool(item["k"] % 7 != 3)


def mapped(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "mapped": True}


def three(item: dict[str, Any]) -> Any:
    return reactivex.of(*({**item, "part": part} for part in range(3)))


def pipe(seed: int) -> list[Any]:
    """Operators on items between and before three feeds, as the seed has it."""
    random = Random(seed)
    middle: list[Any] = [
        rx.filter(wanted),
        rx.flat_map(three),
        ops.map_async(slow, random.choice((1, 4, 16))),
        rx.map(mapped),
    ]
    random.shuffle(middle)
    middle = middle[: random.randrange(len(middle) + 1)]
    parts: Any = {"part_items": random.choice((5, 40))} if random.random() < 0.7 else {"part_seconds": 3.0}
    kind = random.choice(("jsonl", "json", "csv"))
    in_parts = ops.feed(f"parts-{{part:03}}.{kind}", fields=("page", "k", "part"), **parts)
    for feed in (ops.feed("a.jsonl"), ops.feed("b.csv", fields=("page", "k", "part")), in_parts):
        middle.insert(random.randrange(len(middle) + 1), feed)
    if random.random() < 0.5:
        middle.append(ops.batch(random.choice((2, 7)), random.choice((None, 1.0))))
    return [*middle, ops.feed("c.json")]


def crawl(seed: int, chance: int = 0) -> tuple[Crawl[Any], Web]:
    web = Web(seed + 1000 * chance)
    layers = ops.default_layers(robots_txt=None, retry=ops.retry(times=2))
    made: Any = Crawl("http://a.test/0", concurrency=4, seed=seed, job="job").pipe(
        ops.download(*layers, fetch=web), ops.scrape(parse), *pipe(seed)
    )
    return made, web


def results(directory: Path) -> dict[str, Counter[str]]:
    with (directory / "b.csv").open(newline="") as file:
        rows = Counter(map(repr, csv.reader(file)))
    whole = json.loads((directory / "c.json").read_text())
    parts = sorted(path for path in directory.glob("parts-*") if path.suffix != ".part")
    assert [path.stem for path in parts] == [f"parts-{n:03}" for n in range(1, len(parts) + 1)]
    return {
        "parts": Counter(record for path in parts for record in records(path)),
        "jsonl": Counter((directory / "a.jsonl").read_text().splitlines()),
        "csv": rows,
        "json": Counter(json.dumps(item, sort_keys=True) for item in whole),
    }


def records(path: Path) -> list[str]:
    """The records of a part: each is a whole file of its format."""
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            names, *rows = csv.reader(file)
        assert names == ["page", "k", "part"]
        return [repr(row) for row in rows]
    if path.suffix == ".json":
        return [json.dumps(item) for item in json.loads(path.read_text())]
    return path.read_text().splitlines()


def killed_at(seed: int, directory: Path, moments: list[float], copies: Path, chance: int = 0) -> int:
    """Run the job, and at each moment copy what a kill would leave. Gives how many copies there are."""
    made = 0

    async def main() -> None:
        run = crawl(seed, chance)[0].start()
        loop = asyncio.get_running_loop()

        def copy() -> None:
            nonlocal made
            if run.summary is None:
                shutil.copytree(directory, copies / str(made))
                made += 1

        for moment in moments:
            loop.call_later(moment, copy)
        summary = await run
        assert summary.error is None

    with chdir(directory):
        run_virtual(main())
    return made


def finish(seed: int, directory: Path) -> Web:
    made, web = crawl(seed)

    async def main() -> None:
        summary = await made.start()
        assert summary.error is None
        assert summary.reason == "finished"
        assert summary.balanced

    with chdir(directory):
        run_virtual(main())
    return web


@pytest.mark.parametrize("seed", range(12))
def test_what_was_killed_goes_on_to_the_same_result(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    moments = [random.random() * 2, *sorted(random.choice((1.0, 5.0, 20.0)) + random.random() * 5 for _ in range(3))]
    copies = killed_at(seed, undisturbed, moments, tmp_path)
    whole = results(undisturbed)
    assert sum(whole["jsonl"].values()) > 100
    assert sum(whole["parts"].values()) > 100
    assert copies
    for n in range(copies):
        directory, further = tmp_path / str(n), tmp_path / f"{n}-further"
        further.mkdir()
        if killed_at(seed, directory, [random.random() * 10], further, n + 1):  # killed a second time
            finish(seed, further / "0")
            assert results(further / "0") == whole, f"killed at {moments[n]} and again"
        assert results(directory) == whole, f"killed at {moments[n]}"
