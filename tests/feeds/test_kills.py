"""A job with feeds of every format and every compression, killed at any moment, goes on to the same feeds.

What the files hold at a moment of virtual time is what a `kill -9` at that moment leaves: it is copied, and the copy
goes on. Until then readers see whole records, or nothing.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from feeds.reading import FORMATS, items_in
from streamcrawl import Crawl, Request, Response
from streamcrawl import operators as ops
from streamcrawl.feeds.compression import CODECS
from streamcrawl.testing import run_virtual

PAGES = 40
PACKED = [(each, end) for each in FORMATS if each not in ("parquet", "arrow", "sqlite") for end in ("", *CODECS)]
NAMES = [
    *(f"{each}{CODECS[codec].extensions[0] if codec else ''}" for each, codec in PACKED),
    "parquet",
    "arrow",
    "sqlite",
]


async def site(request: Request) -> Response:
    n = int(request.url.rpartition("/")[2])
    await asyncio.sleep(0.1 + n * 7 % 13 / 10)
    links = "".join(f'<a href="/{k}">x</a>' for k in (2 * n + 1, 2 * n + 2) if k < PAGES)
    return Response(request.url, body=f"<html>{links}</html>".encode(), request=request)


def parse(page: Any) -> Iterator[Any]:
    n = int(page.url.rpartition("/")[2])
    yield from ({"page": n, "k": k, "text": f"é{n * k}" * 10} for k in range(6))
    yield from page.follow_all(css="a")


def feeds() -> Iterator[Any]:
    """Each format in each way; members are short, so that there are many."""
    for name in NAMES:
        codec = next((each for each in CODECS.values() if name.endswith(each.extensions)), None)
        short = None if codec is None else replace(codec, member=900)
        yield ops.feed(f"whole.{name}", compress=short)
        if name != "sqlite":
            yield ops.feed(f"parts/{{part:03}}.{name}", compress=short, part_items=50)
    yield ops.feed("times/%(batch_time)s.jsonl", part_items=30)
    yield ops.feed("{time}.jsonl.gz")


def crawl(seed: int) -> Crawl[Any]:
    begun: Crawl[Any] = Crawl("http://a.test/0", concurrency=4, seed=seed, job="job")
    return begun.pipe(ops.download(*ops.default_layers(robots_txt=None), fetch=site), ops.scrape(parse), *feeds())


def found(items: list[dict[str, Any]]) -> Counter[tuple[int, int]]:
    return Counter((int(item["page"]), int(item["k"])) for item in items)


def results(directory: Path) -> dict[str, Counter[tuple[int, int]]]:
    """The items of each feed; every part is a whole file."""
    made = {name: found(items_in(directory / f"whole.{name}")) for name in NAMES}
    for name in NAMES[:-1]:
        parts = sorted((directory / "parts").glob(f"???.{name}"))
        assert [path.name for path in parts] == [f"{n:03}.{name}" for n in range(1, len(parts) + 1)]
        made[f"parts {name}"] = sum((found(items_in(path)) for path in parts), Counter[tuple[int, int]]())
    made["times"] = sum(
        (found(items_in(path)) for path in (directory / "times").glob("*.jsonl")), Counter[tuple[int, int]]()
    )
    (timed,) = directory.glob("*-*.jsonl.gz")
    made["time"] = found(items_in(timed))
    return made


class Inline(ThreadPoolExecutor):
    """Does at once what is given to it: so nothing is half done when the files are copied."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(work(*arguments, **named))
        except BaseException as error:
            done.set_exception(error)
        return done


def run(seed: int, directory: Path, moments: list[float] = [], copies: Path | None = None) -> int:  # noqa: B006
    """Run the job to its end, and at each moment copy what a kill would leave. Gives how many copies there are."""
    made = 0

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(Inline())
        started = crawl(seed).start()

        def copy() -> None:
            nonlocal made
            if started.summary is None and copies is not None:
                shutil.copytree(directory, copies / str(made))
                made += 1

        for moment in moments:
            asyncio.get_running_loop().call_later(moment, copy)
        summary = await started
        assert summary.error is None
        assert summary.balanced

    with chdir(directory):
        run_virtual(main())
    return made


def whole_records(directory: Path) -> None:
    """What readers see of feeds that were killed: whole records only."""
    for name in NAMES:
        path = directory / f"whole.{name}"
        if path.exists() and path.stat().st_size and name != "sqlite":
            for item in items_in(path):
                assert int(item["k"]) < 6
                assert item["text"]
        for part in (directory / "parts").glob(f"???.{name}"):
            assert len(items_in(part)) == 50


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(2))
def test_what_was_killed_goes_on_to_the_same_result(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    moments = [random.random() * 3, 4 + random.random() * 2, 6 + random.random() * 3]
    copies = run(seed, undisturbed, moments, tmp_path)
    expected = Counter((page, k) for page in range(PAGES) for k in range(6))
    assert {name for name, items in results(undisturbed).items() if items != expected} == set()
    assert copies
    for n in range(copies):
        directory, further = tmp_path / str(n), tmp_path / f"{n}-further"
        whole_records(directory)
        further.mkdir()
        killed_again = run(seed, directory, [random.random() * 4], further)
        assert {name for name, items in results(directory).items() if items != expected} == set(), moments[n]
        if killed_again:
            run(seed, further / "0")
            assert {name for name, items in results(further / "0").items() if items != expected} == set()
