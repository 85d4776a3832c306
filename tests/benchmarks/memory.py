"""Backpressure: does memory stay where it is, however long a crawl runs and however slow its end is?

    python tests/benchmarks/memory.py [--counts 10000 100000 1000000] [--only CASE …]

Each case runs with memory="128MB", once for each count and in a process of its own, against a site inside the process
(so that 10^6 pages take minutes, not hours). The table has the peak RSS, and how far the last count is above the first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from measured import peak_rss

SITE = "http://site.test"
PLACES = 16


async def slow_site(request: Any) -> Any:
    """Every page after a millisecond; no robots.txt."""
    from streamcrawl import Headers, Response

    await asyncio.sleep(0.001)
    if request.url.endswith("/robots.txt"):
        return Response(request.url, 404, request=request)
    return Response(request.url, headers=Headers({"content-type": "text/html"}), body=b"x" * 4096, request=request)


class Opened:
    """A sink under way: takes an item after `wait(how many it has taken)` seconds, None being at once."""

    def __init__(self, wait: Callable[[int], float | None]) -> None:
        self._wait = wait
        self.taken = 0

    async def accept(self, item: Any, item_id: Any) -> None:
        wait = self._wait(self.taken)
        self.taken += len(item) if isinstance(item, list) else 1
        if wait is not None:
            await asyncio.sleep(wait)

    async def flush(self) -> None: ...

    async def close(self) -> None: ...


def slow_sink(wait: Callable[[int], float | None]) -> tuple[Any, Callable[[], int]]:
    """A sink operator, and how many items it has taken."""
    from streamcrawl.streams.sink import SinkOperator

    opened = Opened(wait)

    @dataclass(frozen=True)
    class SlowSink(SinkOperator):
        def open(self, run: Any, token: Any = None) -> Any:
            return opened

    return SlowSink(), lambda: opened.taken


def crawl_of(start: Any, **options: Any) -> Any:
    from streamcrawl import Crawl

    return Crawl(start, memory="128MB", concurrency=PLACES, per_host=PLACES, **options)


def pages(count: int | None, taken: list[int]) -> Iterator[Any]:
    """Start requests, endless or `count`; `taken` has how many were asked for. They stay out of the seen-set."""
    from streamcrawl import Request

    number = 0
    while count is None or number < count:
        number += 1
        taken[0] = number
        yield Request(f"{SITE}/{number}", dont_filter=True)


def items_of_a_page(number: int) -> Callable[[Any], Iterator[Any]]:
    def parse(page: Any) -> Iterator[Any]:
        for each in range(number):
            yield {"url": page.url, "number": each, "text": "text " * 20}

    return parse


def endless_start(count: int) -> dict[str, Any]:
    """An endless start; the crawl ends after `count` pages."""
    from streamcrawl import operators as ops

    taken = [0]
    crawl = crawl_of(pages(None, taken), limit_pages=count)
    summary = crawl.pipe(ops.download(fetch=slow_site), ops.scrape(items_of_a_page(1))).run()
    # Asked for: those that were answered, and one for each place.
    return {"done": summary.pages, "taken": taken[0], "allowed": summary.pages + PLACES}


def huge_page(count: int) -> dict[str, Any]:
    """One page whose callback yields `count` items into a sink that is slower than it."""
    from streamcrawl import operators as ops

    sink, taken = slow_sink(lambda number: 0.001 if number % 100 == 0 else 0)
    crawl_of(f"{SITE}/").pipe(ops.download(fetch=slow_site), ops.scrape(items_of_a_page(count)), sink).run()
    return {"done": taken()}


def stalled_sink(count: int) -> dict[str, Any]:
    """Pages of ten items each, and a sink that takes nothing for three seconds, three times."""
    from streamcrawl import operators as ops

    stalls = {count // 4, count // 2, 3 * count // 4}
    sink, taken = slow_sink(lambda number: 3.0 if number in stalls else None)
    start = pages(count // 10, [0])
    crawl_of(start).pipe(ops.download(fetch=slow_site), ops.scrape(items_of_a_page(10)), sink).run()
    return {"done": taken()}


def batches(count: int) -> dict[str, Any]:
    """Batches of 500 with 16 places and one item a page: no batch can be full by what is under way."""
    from streamcrawl import operators as ops

    sink, taken = slow_sink(lambda number: 0)
    steps = (ops.download(fetch=slow_site), ops.scrape(items_of_a_page(1)), ops.batch(500), sink)
    crawl_of(pages(count, [0])).pipe(*steps).run()
    return {"done": taken()}


CASES: dict[str, Callable[[int], dict[str, Any]]] = {
    "endless-start": endless_start,
    "huge-page": huge_page,
    "stalled-sink": stalled_sink,
    "batch-500": batches,
}


def run_in_process(case: str, count: int) -> dict[str, Any]:
    """One case in its own process. Raises: RuntimeError if it fails, or lost or took more than it should."""
    command = [sys.executable, __file__, "--case", case, "--counts", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600)
    if done.returncode != 0:
        raise RuntimeError(f"{case} with {count} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if result["done"] != count:
        raise RuntimeError(f"{case}: {result['done']} came out of {count}")
    if result.get("taken", 0) > result.get("allowed", 0):
        raise RuntimeError(f"{case}: took {result['taken']} from start, and {result['allowed']} were asked for")
    return result


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--counts", type=int, nargs="+", default=[10**4, 10**5, 10**6])
    arguments.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    arguments.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.case:
        print(json.dumps({**CASES[given.case](given.counts[0]), "peak_rss": peak_rss()}))
        return
    print("| peak RSS, MB |", " | ".join(f"{count:,}" for count in given.counts), "| growth |")
    print("|---|" + "---:|" * (len(given.counts) + 1))
    for case in given.only:
        peaks = [run_in_process(case, count)["peak_rss"] / 1e6 for count in given.counts]
        print(
            f"| {case} |", " | ".join(f"{peak:.1f}" for peak in peaks), f"| {peaks[-1] - peaks[0]:+.1f} |", flush=True
        )


if __name__ == "__main__":
    main()
