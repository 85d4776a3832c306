"""Layers that take a page's outputs as a whole, in a job: killed at any moment, every item comes exactly once."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from streamcrawl import Crawl, Request, Response, fetch
from streamcrawl import operators as ops
from streamcrawl.core import ScrapeInput
from streamcrawl.streams.scrape_layer import ScrapeHooks, scrape_layer
from streamcrawl.streams.starting import start_through
from streamcrawl.testing import run_virtual

URL = "http://a.test/"
PAGES = 12


def parse(page: Response) -> Iterator[Any]:
    number = int(page.url.rpartition("/")[2])
    for n in range(8):
        yield {"page": number, "n": n}
        if n == 3 and 2 * number + 1 < PAGES:
            yield page.follow(f"/{2 * number}")
            yield page.follow(f"/{2 * number + 1}")
    if number % 3 == 0:
        raise ValueError("the end is missing")


async def pairs(outputs: AsyncIterator[Any], page: ScrapeInput) -> AsyncIterator[Any]:
    """Fewer items than the callback gave, more than it gave, and one that it has to wait for."""
    held: Any = None
    async for output in outputs:
        if isinstance(output, Request):
            yield output
        elif held is None:
            held = output
        else:
            yield {"page": output["page"], "n": [held["n"], output["n"]]}
            yield {"page": output["page"], "sum": held["n"] + output["n"]}
            held = None
    more = await fetch(Request(f"{page.request.url}/more", dont_filter=True))
    yield {"page": int(page.request.url.rpartition("/")[2]), "more": more.status}


def instead(error: Exception, page: ScrapeInput) -> list[Any]:
    return [{"page": int(page.request.url.rpartition("/")[2]), "error": str(error), "n": n} for n in range(2)]


async def with_more(start: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for element in start:
        yield element
        yield {"start": element}


def crawl() -> Crawl[Any]:
    async def answer(request: Request) -> Response:
        await asyncio.sleep(1)
        return Response(request.url, request=request)

    async def slow(item: Any) -> Any:
        await asyncio.sleep(0.3)
        return item

    layers = (
        scrape_layer("instead", lambda run: ScrapeHooks(exception=instead)),
        scrape_layer("pairs", lambda run: ScrapeHooks(output=pairs)),
    )
    return Crawl(start_through([f"{URL}0", f"{URL}1"], with_more), job="job", concurrency=4).pipe(
        ops.download(*ops.default_layers(robots_txt=None), fetch=answer),
        ops.scrape(parse, *layers),
        ops.map_async(slow, 2),
        ops.feed("items.jsonl"),
    )


def finish(directory: Path, copies: Path | None = None, moments: tuple[float, ...] = ()) -> list[Any]:
    """The items of the crawl when it has ended; its directory is copied at these moments, as a kill would leave it."""

    async def main() -> Any:
        run = crawl().start()
        for moment in moments:
            assert copies is not None
            asyncio.get_running_loop().call_later(moment, shutil.copytree, directory, copies / str(moment))
        return await run

    with chdir(directory):
        summary = run_virtual(main)
        assert summary.reason == "finished"
        assert summary.counts.callback_errors == 0
    lines = (directory / "items.jsonl").read_text().splitlines()
    return sorted((json.loads(line) for line in lines), key=str)


@pytest.mark.parametrize("n", range(3))
def test_every_item_comes_exactly_once(tmp_path: Path, n: int) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    moments = tuple(each + n * 0.37 for each in (1.1, 2.5, 4.3, 7.9, 12.3, 17.7, 23.1))
    items = finish(whole, tmp_path, moments)
    assert len(items) == 2 + PAGES * 9 + PAGES // 3 * 2
    assert sum("error" in item for item in items) == PAGES // 3 * 2
    killed = [moment for moment in moments if (tmp_path / str(moment)).exists()]
    assert len(killed) >= 4
    for moment in killed:
        assert finish(tmp_path / str(moment)) == items, moment
