"""Demand flows backwards: nothing is taken, sent or asked for faster than what follows can take it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count, pairwise
from typing import Any

import pytest
import reactivex
from reactivex import operators as rx

from streamcrawl import Crawl, Request, Response, Slot
from streamcrawl import operators as ops
from streamcrawl.core import ItemId, Run
from streamcrawl.errors import ConnectError
from streamcrawl.streams.sink import SinkOperator
from streamcrawl.testing.fake_fetch import FakeFetch, page
from streamcrawl.testing.virtual_time import run_virtual

BARE = ops.default_layers(robots_txt=None, retry=None)


class Slow(SinkOperator):
    """A sink that takes `seconds` for an item, and notes how many it has accepted."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.accepted: list[Any] = []
        self.ids: list[ItemId] = []

    def open(self, run: Run, token: Any = None) -> Slow:
        return self

    async def accept(self, item: Any, item_id: ItemId) -> None:
        await asyncio.sleep(self.seconds)
        self.accepted.append(item)
        self.ids.append(item_id)

    async def flush(self) -> None: ...

    async def close(self) -> None: ...


def one_item(response: Response) -> Iterator[Any]:
    yield {"url": response.url}


def test_an_endless_start_is_taken_no_faster_than_places_are_free() -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        for n in count():
            taken += 1
            yield f"http://a.test/{n}"

    async def main() -> None:
        fetch = FakeFetch({}, latency=10.0)
        flow = Crawl(endless(), concurrency=16, per_host=4).pipe(
            ops.download(*BARE, fetch=fetch), ops.scrape(one_item, ops.http_error(allow="any"))
        )
        run = flow.start()
        for _ in range(20):
            await asyncio.sleep(5.0)
            assert taken <= run.counts.pages + 16
        assert taken > 30
        run.stop()
        summary = await run
        assert summary.balanced
        assert summary.pages + summary.waiting == taken

    run_virtual(main())


def sent_beside_a_slow_host(start: Iterator[str], slow: Any = "", **options: Any) -> list[float]:
    """When the requests for other hosts were sent.

    Args:
        slow: What the slow host answers.
    """
    fetch = FakeFetch({f"http://slow.test/{n}": slow for n in range(5000)} | {"/": ""})
    layers = ops.default_layers(robots_txt=None, retry=ops.retry(times=0))
    flow = Crawl(start, scope="any", jitter=0, **options).pipe(ops.download(*layers, fetch=fetch), ops.scrape(one_item))

    async def main() -> None:
        run = flow.start()
        await asyncio.sleep(30.0)
        run.stop()
        assert (await run).balanced

    run_virtual(main)
    return [at for at, request in fetch.log if "slow" not in request.url]


BUSY = page(status=429, headers={"Retry-After": "600"})
SLOW: dict[str, tuple[Any, dict[str, Any]]] = {
    "it is down, and rests": (ConnectError("refused"), {}),
    "it asks for time": (BUSY, {}),
    "it has a long delay": ("", {"per_host": 1, "delay": 60.0}),
}


@pytest.mark.parametrize(("slow", "options"), SLOW.values(), ids=SLOW)
@pytest.mark.parametrize("concurrency", [1, 16])
def test_a_slow_host_at_the_head_of_the_start_keeps_no_others_waiting(
    slow: Any, options: dict[str, Any], concurrency: int
) -> None:
    urls = [f"http://slow.test/{n}" for n in range(500)] + [f"http://other{n}.test/" for n in range(3)]
    sent = sent_beside_a_slow_host(iter(urls), slow, **{"concurrency": concurrency, **options})
    assert len(sent) == 3
    assert max(sent) < 10


def test_of_an_endless_start_whose_host_asks_for_time_no_more_than_a_bound_is_taken() -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        for n in count():
            taken += 1
            yield f"http://slow.test/{n}"

    assert not sent_beside_a_slow_host(endless(), BUSY)
    assert 16 < taken <= 4096 + 16


def test_an_endless_async_start_is_taken_no_faster_either() -> None:
    taken = 0

    async def endless() -> AsyncIterator[str]:
        nonlocal taken
        for n in count():
            taken += 1
            yield f"http://host{n % 3}.test/{n}"

    async def main() -> None:
        fetch = FakeFetch({}, latency=10.0)
        flow = Crawl(endless(), concurrency=6, limit_pages=50).pipe(
            ops.download(*BARE, fetch=fetch), ops.scrape(one_item, ops.http_error(allow="any"))
        )
        run = flow.start()
        while run.summary is None:
            await asyncio.sleep(3.0)
            assert taken <= run.counts.pages + 6
        assert run.summary.pages == 50
        assert fetch.most == 6

    run_virtual(main())


@pytest.mark.parametrize("callback", ["sync", "async"])
def test_a_callback_is_not_asked_for_more_than_a_slow_sink_takes(callback: str) -> None:
    yielded = 0

    def many(response: Response) -> Iterator[Any]:
        nonlocal yielded
        for n in range(1000):
            yielded += 1
            yield {"n": n}

    async def many_later(response: Response) -> AsyncIterator[Any]:
        for item in many(response):
            yield item

    async def main() -> None:
        sink = Slow(1.0)
        fetch = FakeFetch({"http://a.test/": page()})
        flow = Crawl("http://a.test/").pipe(
            ops.download(*BARE, fetch=fetch), ops.scrape(many if callback == "sync" else many_later), sink
        )
        run = flow.start()
        for _ in range(100):
            await asyncio.sleep(3.0)
            assert yielded <= len(sink.accepted) + 18
        summary = await run
        assert [item["n"] for item in sink.accepted] == list(range(1000))
        assert len(set(sink.ids)) == 1000
        assert summary.items == 1000

    run_virtual(main())


def test_pages_stop_at_the_memory_ceiling_while_a_sink_stalls() -> None:
    stalled = asyncio.Event()

    class Stalling(Slow):
        async def accept(self, item: Any, item_id: ItemId) -> None:
            await stalled.wait()
            await super().accept(item, item_id)

    async def main() -> None:
        sink = Stalling(0.0)
        body = page("x" * 1_000_000)
        fetch = FakeFetch({f"http://a.test/{n}": body for n in range(200)}, latency=1.0)
        starts = [f"http://a.test/{n}" for n in range(200)]

        def parse(response: Response) -> Iterator[Any]:
            for _ in range(20):
                yield {"url": response.url}

        flow = Crawl(starts, memory="64MB", concurrency=4).pipe(
            ops.download(*BARE, fetch=fetch), ops.scrape(parse), sink
        )
        run = flow.start()
        await asyncio.sleep(500.0)
        assert run.budget.used <= run.budget.limit + 4 * 7_000_000
        assert 4 < len(fetch.log) < 20
        stalled.set()
        summary = await run
        assert (summary.pages, len(sink.accepted)) == (200, 4000)
        assert run.budget.used == 0

    run_virtual(main())


@pytest.mark.parametrize("size", [3, 500, 10_000])
def test_no_size_of_batch_can_deadlock(size: int) -> None:
    starts = [f"http://a.test/{n}" for n in range(100)]
    fetch = FakeFetch({url: page("x" * 100_000) for url in starts}, latency=1.0)
    flow = Crawl(starts, concurrency=16, memory="16MB").pipe(
        ops.download(*BARE, fetch=fetch), ops.scrape(one_item), ops.batch(size)
    )
    lists = run_virtual(flow.collect())
    assert sum(map(len, lists)) == 100
    assert all(0 < len(each) <= size for each in lists)


def test_a_batch_is_full_when_nothing_hurries_it() -> None:
    starts = [f"http://a.test/{n}" for n in range(100)]
    fetch = FakeFetch(dict.fromkeys(starts, page()), latency=1.0)
    flow = Crawl(starts, concurrency=16).pipe(ops.download(*BARE, fetch=fetch), ops.scrape(one_item), ops.batch(40))
    assert [len(each) for each in run_virtual(flow.collect())] == [40, 40, 20]


def test_a_batch_waits_no_longer_than_its_seconds() -> None:
    starts = [f"http://a.test/{n}" for n in range(6)]
    fetch = FakeFetch(dict.fromkeys(starts, page()), latency=10.0)
    flow = Crawl(starts, concurrency=1).pipe(
        ops.download(*BARE, fetch=fetch), ops.scrape(one_item), ops.batch(100, 25.0)
    )
    assert [len(each) for each in run_virtual(flow.collect())] == [3, 3]


def test_the_delay_is_kept_between_requests_to_one_host() -> None:
    starts = [f"http://{host}.test/{n}" for n in range(5) for host in ("a", "b")]
    fetch = FakeFetch({"/robots.txt": page(status=404), **dict.fromkeys(starts, page())}, latency=0.3)
    flow = Crawl(starts, delay=2.0, jitter=0.0).pipe(ops.download(fetch=fetch), ops.scrape(one_item))
    assert len(run_virtual(flow.collect())) == 10
    for host in ("a", "b"):
        times = [at for at, request in fetch.log if f"//{host}.test" in request.url]
        assert len(times) == 6
        gaps = [after - before for before, after in pairwise(times)]
        assert min(gaps) == pytest.approx(2.0)
        assert max(gaps) == pytest.approx(2.0)


def test_a_slot_has_its_own_pace() -> None:
    starts = [Request(f"http://{n}.test/", slot="shared") for n in range(6)]
    fetch = FakeFetch({request.url: page() for request in starts}, latency=1.0)
    flow = Crawl(starts, slots={"shared": Slot(concurrency=2)}).pipe(
        ops.download(*BARE, fetch=fetch), ops.scrape(one_item)
    )
    assert len(run_virtual(flow.collect())) == 6
    assert fetch.most == 2


def test_no_host_holds_more_than_its_share_while_places_are_short() -> None:
    def started(slow: bool) -> tuple[list[str], dict[str, float]]:
        hosts = [f"http://{n}.test" for n in range(9)] + (["http://slow.test"] if slow else [])
        return [f"{host}/{n}" for n in range(100) for host in hosts], {}

    def pages_of_the_nine(slow: bool) -> int:
        starts, _ = started(slow)
        fetch = FakeFetch(dict.fromkeys(starts, page()), latency=lambda request: 5.0 if "slow" in request.url else 0.1)
        flow = Crawl(starts, concurrency=80, per_host=80).pipe(ops.download(*BARE, fetch=fetch), ops.scrape(one_item))

        async def main() -> int:
            run = flow.start()
            await asyncio.sleep(1.0)
            pages = sum("slow" not in request.url for _, request in fetch.log)
            run.stop(now=True)
            await run
            return pages

        return run_virtual(main())

    assert pages_of_the_nine(slow=True) >= 0.85 * pages_of_the_nine(slow=False)


def test_a_nested_fetch_never_waits_for_what_its_parent_holds() -> None:
    from streamcrawl import fetch as inline

    async def with_details(response: Response) -> dict[str, str]:
        detail = await inline(response.follow("/detail" + response.url[-1]))
        return {"url": response.url, "detail": detail.url}

    starts = [f"http://a.test/{n}" for n in range(8)]
    fetch = FakeFetch(
        {"/": page(), **{f"/{n}": page() for n in range(8)}, **{f"/detail{n}": page() for n in range(8)}}, latency=1.0
    )
    flow = Crawl(starts, concurrency=1, per_host=1).pipe(ops.download(*BARE, fetch=fetch), ops.scrape(with_details))

    async def main() -> None:
        out: list[Any] = []
        summary = await flow.start(on_item=out.append)
        assert len(out) == 8
        assert summary.balanced
        assert summary.counts.offered.nested == 8
        assert fetch.most == 1

    run_virtual(main())


def test_robots_txt_is_a_gate_and_goes_through_the_same_layers() -> None:
    starts = [f"http://a.test/{n}" for n in range(10)]
    fetch = FakeFetch(
        {"/robots.txt": page("User-agent: *\nDisallow: /3"), **dict.fromkeys(starts, page())}, latency=1.0
    )
    flow = Crawl(starts, concurrency=10, per_host=10).pipe(ops.download(fetch=fetch), ops.scrape(one_item))

    async def main() -> None:
        run = flow.start()
        await asyncio.sleep(0.5)
        assert [request.url for _, request in fetch.log] == ["http://a.test/robots.txt"]
        summary = await run
        assert summary.counts.dropped == {"robots.txt": 1}
        assert summary.pages == 9

    run_virtual(main())


def test_items_of_reactivex_operators_keep_their_lease() -> None:
    sink = Slow(1.0)
    starts = [f"http://a.test/{n}" for n in range(4)]

    fetch = FakeFetch(dict.fromkeys(starts, page()))
    flow = Crawl(starts).pipe(
        ops.download(*BARE, fetch=fetch),
        ops.scrape(one_item),
        rx.flat_map(lambda item: reactivex.of(item, item)),
        ops.map_async(_later, 2),
        sink,
    )

    async def main() -> None:
        run = flow.start()
        summary = await run
        assert summary.stats.get("outside_extent", 0) == 0
        assert len(set(sink.ids)) == 8
        assert not run.live

    run_virtual(main())


async def _later(item: Any) -> Any:
    await asyncio.sleep(0.5)
    return item
