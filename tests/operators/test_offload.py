"""CPU work in threads and processes, while the crawl goes on."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest
import reactivex
from offloaded import picky, squared

from streamcrawl import Crawl, Response, Summary
from streamcrawl import operators as ops
from streamcrawl.errors import OperatorError
from streamcrawl.events import ItemFailed
from streamcrawl.streams.naming import name_of
from streamcrawl.testing import FakeFetch, page, run_virtual

BARE = ops.default_layers(robots_txt=None, retry=None)


def crawl(*operators: Any, count: int = 5) -> tuple[Summary, list[Any], list[Exception]]:
    def parse(response: Response) -> Any:
        yield from ({"n": n} for n in range(count))

    async def main() -> tuple[Summary, list[Any], list[Exception]]:
        out: list[Any] = []
        errors: list[Exception] = []
        flow = Crawl("http://a.test/").pipe(
            ops.download(*BARE, fetch=FakeFetch({"/": page()})), ops.scrape(parse), *operators
        )
        run = flow.start(on_item=out.append)
        run.events.on(ItemFailed, lambda event: errors.append(event.error))
        summary = await run
        assert run.live == {}
        return summary, out, errors

    return run_virtual(main())


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_makes_no_sense_is_told_when_it_is_built(limit: int) -> None:
    with pytest.raises(ValueError, match=rf"offload\(limit={limit}\): the limit must be 1 or more"):
        ops.offload(squared, limit=limit)


def test_it_is_named_after_its_function() -> None:
    assert name_of(ops.offload(squared)).startswith("map_async(squared at ")


def test_in_a_thread_of_the_loop() -> None:
    threads: set[int] = set()

    def work(item: Any) -> Any:
        threads.add(threading.get_ident())
        return squared(item)

    summary, out, _ = crawl(ops.offload(work))
    assert sorted(item["square"] for item in out) == [0, 1, 4, 9, 16]
    assert summary.ok
    assert threading.get_ident() not in threads


def test_in_a_pool_of_ones_own_which_stays_open() -> None:
    def where(item: dict[str, Any]) -> dict[str, Any]:
        return {**item, "thread": threading.current_thread().name}

    with ThreadPoolExecutor(2, "mine") as pool:
        _, out, _ = crawl(ops.offload(where, pool))
        assert {item["thread"].partition("_")[0] for item in out} == {"mine"}
        assert pool.submit(int, "7").result() == 7


def test_in_other_processes() -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        summary, out, errors = crawl(ops.offload(squared, pool), ops.offload(picky, pool))
    assert sorted(item["square"] for item in out) == [0, 1, 9, 16]
    assert os.getpid() not in {item["process"] for item in out}
    (error,) = errors
    assert isinstance(error, OperatorError)
    assert str(error).endswith("ValueError: n is 2")
    assert summary.stats["items_failed"] == 1


def test_what_it_raises_is_that_items_failure() -> None:
    summary, out, errors = crawl(ops.offload(picky))
    assert [item["n"] for item in sorted(out, key=lambda item: item["n"])] == [0, 1, 3, 4]
    assert [str(error) for error in errors] == [f"operator {name_of(ops.offload(picky))}: ValueError: n is 2"]
    assert summary.reason == "finished"


def test_no_more_at_once_than_its_limit() -> None:
    active = most = 0
    lock = threading.Lock()
    together = threading.Barrier(2, timeout=10)

    def work(item: Any) -> Any:
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
        together.wait()
        with lock:
            active -= 1
        return item

    with ThreadPoolExecutor(8) as pool:
        _, out, _ = crawl(ops.offload(work, pool, limit=2), count=6)
    assert (len(out), most) == (6, 2)


def test_the_loop_goes_on_while_it_works() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(n: int) -> int:
        begun.set()
        assert go_on.wait(10)
        return n + 1

    async def main() -> list[int]:
        out: list[int] = []
        over = asyncio.Event()
        reactivex.of(1).pipe(ops.offload(work)).subscribe(out.append, on_completed=over.set)
        while not begun.is_set():
            await asyncio.sleep(0.001)
        assert out == []
        go_on.set()
        await over.wait()
        return out

    assert asyncio.run(main()) == [2]


class Refusing(Executor):
    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("cannot schedule new futures after shutdown")


def test_an_executor_that_takes_nothing_fails_the_items_and_not_the_crawl() -> None:
    summary, out, errors = crawl(ops.offload(squared, Refusing()), count=2)
    assert (out, len(errors), summary.reason) == ([], 2, "finished")
    assert "cannot schedule new futures" in str(errors[0])
