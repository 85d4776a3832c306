"""Random pipes over random webs, stopped, paused and failed at random moments: no hang, no leak, the sum adds up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from random import Random
from typing import Any

import pytest
import reactivex
from reactivex import Observable
from reactivex import operators as rx

from streamcrawl import Crawl, Response, StreamcrawlError, Summary
from streamcrawl import fetch as inline
from streamcrawl import operators as ops
from streamcrawl.core import ItemId, Layer, Run
from streamcrawl.streams.sink import SinkOperator
from streamcrawl.testing.virtual_time import run_virtual
from streamcrawl.testing.web import Web

CAUSES = ("none", "none", "stop", "stop now", "stop twice", "pause", "fail")


class Sink(SinkOperator):
    """Takes `seconds` for an item, and notes what it was given."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.items: list[Any] = []
        self.closed = 0

    def open(self, run: Run, token: Any = None) -> Sink:
        return self

    async def accept(self, item: Any, item_id: ItemId) -> None:
        if self._seconds:
            await asyncio.sleep(self._seconds)
        self.items.append(item)

    async def flush(self) -> None:
        """All that was accepted is safe."""

    async def close(self) -> None:
        self.closed += 1


class Pipe:
    """A crawl made of a seed."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        chance = self.chance
        self.web = Web(pages=chance.randint(1, 60), fanout=chance.randint(1, 5), hosts=chance.randint(1, 4), seed=seed)
        waits = chance.choice(([0.0], [0.1], [0.0, 0.1, 1.0, 7.0]))
        self.fetch = self.web.fetch(latency=lambda request: chance.choice(waits))
        self.last = Sink(chance.choice((0.0, 0.05, 1.0)))
        self.sinks = [self.last]
        self.concurrency, self.per_host = chance.randint(1, 20), chance.randint(1, 8)
        self.cause = chance.choice(CAUSES)
        self.at = chance.random() * chance.choice((1, 10, 60))

    def crawl(self) -> Crawl[Any]:
        chance = self.chance
        return Crawl(
            self.web.start,
            concurrency=self.concurrency,
            per_host=self.per_host,
            delay=chance.choice((0.0, 0.0, 0.5)),
            scope=chance.choice(("any", "host")),
            memory=chance.choice(("16MB", "512MB")),
            limit_pages=chance.choice((None, None, chance.randint(1, 20))),
            seed=0,
        ).pipe(*self._requests(), self._download(), *self._outcomes(), self._scrape(), *self._items(), self.last)

    def _sometimes(self, element: Any) -> bool:
        return self.chance.random() < 0.9

    async def _slowly(self, element: Any) -> Any:
        await asyncio.sleep(self.chance.random())
        return self._picky(element)

    def _picky(self, element: Any) -> Any:
        if self.chance.random() < 0.05:
            raise ValueError("not this one")
        return element

    def _requests(self) -> list[Any]:
        return [rx.filter(self._sometimes)] if self.chance.random() < 0.3 else []

    def _outcomes(self) -> list[Any]:
        made: list[Any] = [rx.filter(self._sometimes), ops.map_async(self._slowly, 3), rx.map(self._picky)]
        return self.chance.sample(made, self.chance.randint(0, 2))

    def _download(self) -> Any:
        chance = self.chance
        layers: list[Layer] = list(ops.default_layers())
        slow: Any = ops.map_async(self._slowly, chance.randint(1, 5))
        for layer in (ops.down(slow), ops.up(slow), ops.down(rx.map(self._picky)), ops.up(rx.map(self._picky))):
            if chance.random() < 0.2:
                layers.insert(chance.randint(0, len(layers)), layer)
        return ops.download(*layers, fetch=self.fetch)

    def _scrape(self) -> Any:
        callbacks: list[Callable[[Response], Any]] = [self._generator, self._async, self._coroutine, self._nested]
        return ops.scrape(self.chance.choice(callbacks), errback=self.chance.choice((None, nothing)))

    def _generator(self, page: Response) -> Iterator[Any]:
        for n in range(self.chance.choice((1, 1, 40))):
            yield {"url": page.url, "n": n}
        self._picky(page)
        yield from page.follow_all(css="a")

    async def _async(self, page: Response) -> AsyncIterator[Any]:
        for output in self._generator(page):
            if self.chance.random() < 0.1:
                await asyncio.sleep(self.chance.random())
            yield output

    async def _coroutine(self, page: Response) -> list[Any]:
        await asyncio.sleep(self.chance.random())
        return list(self._generator(page))

    async def _nested(self, page: Response) -> AsyncIterator[Any]:
        yield {"url": page.url}
        try:
            await inline(page.follow(f"/x{self.chance.randint(0, 9)}"))
        except StreamcrawlError:
            yield {"url": page.url, "detail": None}
        for request in page.follow_all(css="a"):
            yield request

    def _items(self) -> Iterator[Any]:
        chance = self.chance
        for _ in range(chance.randint(0, 3)):
            kind = chance.choice(("batch", "map_async", "delay", "double", "filter", "take", "debounce", "sink"))
            if kind == "batch":
                yield ops.batch(chance.choice((2, 7, 1000)), chance.choice((None, 1.0, 5.0)))
                yield rx.flat_map(apart)
            elif kind == "map_async":
                yield ops.map_async(self._slowly, chance.randint(1, 5))
            elif kind == "delay":
                yield rx.delay(chance.choice((0.1, 3.0)))
            elif kind == "double":
                yield rx.flat_map(doubled)
            elif kind == "filter":
                yield rx.filter(self._sometimes)
            elif kind == "take":
                yield rx.take(chance.randint(1, 20))
            elif kind == "debounce":
                yield rx.debounce(0.5)
            else:
                self.sinks.append(Sink(chance.choice((0.0, 0.2, 2.0))))
                yield self.sinks[-1]

    async def run(self) -> tuple[Any, Summary, list[Any]]:
        out: list[Any] = []
        run = self.crawl().start(on_item=out.append)
        ending = asyncio.create_task(self._interfere(run))
        summary = await run
        ending.cancel()
        return run, summary, out

    async def _interfere(self, run: Any) -> None:
        await asyncio.sleep(self.at)
        if self.cause == "pause":
            run.pause()
            await asyncio.sleep(self.chance.random() * 100)
            run.resume()
        elif self.cause == "fail":
            run.fail(RuntimeError("injected"))
        elif self.cause != "none":
            run.stop(now=self.cause == "stop now")
            await asyncio.sleep(self.chance.random() * 3)
            if self.cause == "stop twice":
                run.stop(now=True)


def nothing(outcome: object) -> None:
    """An errback that gives nothing."""


def apart(items: Any) -> Observable[Any]:
    return reactivex.from_iterable(items)


def doubled(item: Any) -> Observable[Any]:
    return reactivex.of({**item}, {**item, "again": True})


@pytest.mark.parametrize("seeds", [range(n, n + 50) for n in range(0, 400, 50)], ids=str)
def test_whatever_stands_in_the_pipe_and_however_it_ends(seeds: range) -> None:
    for seed in seeds:
        pipe = Pipe(seed)
        run, summary, out = run_virtual(pipe.run(), limit=1e6)
        told = f"seed {seed}, {pipe.cause}: {summary}"
        assert summary.balanced, told
        assert not run.tasks, told
        assert not run.item_tasks, told
        assert [sink.closed for sink in pipe.sinks] == [1] * len(pipe.sinks), told
        assert pipe.fetch.most <= pipe.concurrency, told
        assert max(pipe.fetch.most_by_host.values(), default=0) <= pipe.per_host, told
        if pipe.cause in ("none", "stop", "pause"):
            assert summary.error is None, told
            assert (run.hosts.used, run.budget.used, run.live, run.congestion) == (0, 0, {}, 0), told
            assert len(pipe.last.items) == len(out), told
