"""Runs that end in every phase, by every cause: nothing hangs, nothing that was scraped is lost, the sum adds up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import pairwise, repeat
from typing import Any

import pytest
import reactivex
from reactivex import Observable
from reactivex import operators as rx

from streamcrawl import Crawl, Dropped, Request, Response, Slot, Summary
from streamcrawl import fetch as inline
from streamcrawl import operators as ops
from streamcrawl.core import ItemId, Layer, Run
from streamcrawl.errors import SinkError
from streamcrawl.events import Stalled
from streamcrawl.streams.sink import SinkOperator
from streamcrawl.testing.fake_fetch import Chunks, FakeFetch, page
from streamcrawl.testing.virtual_time import run_virtual

BARE = ops.default_layers(robots_txt=None, retry=None)
URL = "http://a.test/"
Accept = Callable[[Any], Awaitable[None]]


async def taken(item: Any) -> None:
    """Accepted at once."""


async def nothing() -> None:
    """Flushed at once."""


class Sink(SinkOperator):
    """A sink that does what the test says, and logs what was done with it."""

    def __init__(self, accept: Accept = taken, flush: Callable[[], Awaitable[None]] = nothing) -> None:
        self._accept = accept
        self._flush = flush
        self.items: list[Any] = []
        self.log: list[str] = []

    def open(self, run: Run, token: Any = None) -> Sink:
        return self

    async def accept(self, item: Any, item_id: ItemId) -> None:
        await self._accept(item)
        self.items.append(item)

    async def flush(self) -> None:
        self.log.append("flush")
        await self._flush()

    async def close(self) -> None:
        self.log.append("close")


def pages(count: int, body: str = "") -> dict[str, Response]:
    return {f"{URL}{n}": page(body) for n in range(count)}


def url_item(response: Response) -> dict[str, str]:
    return {"url": response.url}


def several(count: int) -> Callable[[Response], Iterator[Any]]:
    def parse(response: Response) -> Iterator[Any]:
        for n in range(count):
            yield {"n": n}

    return parse


def go(flow: Crawl[Any], then: Callable[[Any], Awaitable[None]] | None = None) -> Summary:
    async def main() -> Summary:
        run = flow.start()
        if then is not None:
            await then(run)
        summary = await run
        assert not run.live or summary.reason != "finished"
        return summary

    summary = run_virtual(main(), limit=100_000)
    assert summary.balanced, str(summary)
    return summary


async def slowly(item: Any) -> None:
    await asyncio.sleep(5.0)


async def never(item: Any) -> None:
    await asyncio.Event().wait()


def test_a_start_that_waits_for_ever_does_not_keep_a_run_that_is_over() -> None:
    async def start() -> AsyncIterator[str]:
        yield URL + "0"
        await asyncio.Event().wait()

    flow = Crawl(start(), limit_pages=1).pipe(ops.download(*BARE, fetch=FakeFetch(pages(1))), ops.scrape(url_item))
    assert go(flow).reason == "limit of 1 page"


def test_stop_now_while_the_last_items_are_accepted() -> None:
    async def stop(run: Any) -> None:
        await asyncio.sleep(10.0)
        run.stop()
        await asyncio.sleep(10.0)
        run.stop(now=True)

    sink = Sink(never)
    flow = Crawl(URL + "0").pipe(ops.download(*BARE, fetch=FakeFetch(pages(1))), ops.scrape(several(3)), sink)
    assert go(flow, stop).reason == "stopped"
    assert sink.log[-2:] == ["flush", "close"]


def test_an_operator_on_items_that_never_completes_is_told_and_left() -> None:
    async def main() -> tuple[Summary, list[Stalled]]:
        flow = Crawl(URL + "0").pipe(
            ops.download(*BARE, fetch=FakeFetch(pages(1))), ops.scrape(several(3)), rx.merge(reactivex.never())
        )
        run = flow.start()
        told: list[Stalled] = []
        run.events.on(Stalled, told.append)
        return await run, told

    summary, told = run_virtual(main())
    assert summary.items == 3
    assert "has not completed" in told[0].holders[0]


def test_nested_fetches_of_items_go_on_after_the_last_page() -> None:
    async def detail(item: Any) -> Any:
        await asyncio.sleep(3.0)
        return {"detail": (await inline(f"{URL}{item['n']}")).url}

    flow = Crawl(URL + "0", per_host=1).pipe(
        ops.download(*BARE, fetch=FakeFetch(pages(4), latency=1.0)), ops.scrape(several(4)), ops.map_async(detail, 8)
    )
    assert len(run_virtual(flow.collect())) == 4


@pytest.mark.parametrize("nested", [True, False], ids=["nested fetches", "pages in a batch"])
def test_large_bodies_do_not_use_up_the_ceiling(nested: bool) -> None:
    async def own_fetch(request: Request) -> Response:
        from streamcrawl.core import RUN

        for _ in range(4):
            await RUN.get().reserve(request, 1_500_000)
            await asyncio.sleep(0.1)
        return Response(request.url, body=b"x" * 6_000_000, request=request)

    async def details(response: Response) -> list[Any]:
        return [{"url": (await inline(f"{URL}detail{n}")).url} for n in range(20)]

    starts = [f"{URL}{n}" for n in range(1 if nested else 20)]
    items = run_virtual(
        Crawl(starts, memory="16MB")
        .pipe(ops.download(*BARE, fetch=own_fetch), ops.scrape(details if nested else url_item), ops.batch(100))
        .collect()
    )
    assert sum(map(len, items)) == 20


def test_a_limit_while_others_wait_for_their_turn_does_not_spin() -> None:
    def parse(response: Response) -> Iterator[Any]:
        yield {"url": response.url}
        yield from response.follow_all([f"/{n}" for n in range(10)])

    fetch = FakeFetch(pages(10), latency=lambda request: 0.1 if request.url.endswith("/0") else 50.0)
    flow = Crawl(URL + "0", delay=0.5, limit_pages=2).pipe(ops.download(*BARE, fetch=fetch), ops.scrape(parse))
    assert go(flow).pages == 2


def test_the_lent_place_reaches_grandchildren() -> None:
    def token_first(run: Run) -> Any:
        from streamcrawl.streams.layer import Hooks

        async def down(request: Request) -> Request:
            if "token" not in request.url and "robots" not in request.url:
                await run.fetch(Request("http://b.test/token"), parent=request)
            return request

        return Hooks(down=down)

    from streamcrawl.streams.layer import layer

    site = {"/robots.txt": page(status=404), "/token": page("t"), "/0": page("x")}
    layers: list[Layer] = [layer("token", token_first), *ops.default_layers()]
    flow = Crawl(URL + "0", concurrency=1, per_host=1).pipe(
        ops.download(*layers, fetch=FakeFetch(site, latency=1.0)), ops.scrape(url_item)
    )
    assert go(flow).pages == 1


@pytest.mark.parametrize("kind", ["coroutine", "async generator"])
def test_a_cancelled_error_in_a_callback_is_its_failure(kind: str) -> None:
    async def cancelled() -> None:
        task = asyncio.create_task(asyncio.sleep(10))
        await asyncio.sleep(0)
        task.cancel()
        await task

    async def coroutine(response: Response) -> None:
        await cancelled()

    async def generator(response: Response) -> AsyncIterator[Any]:
        yield {"n": 1}
        await cancelled()

    callback: Any = coroutine if kind == "coroutine" else generator
    flow = Crawl(URL + "0").pipe(ops.download(*BARE, fetch=FakeFetch(pages(1))), ops.scrape(callback))
    assert go(flow).counts.callback_errors == 1


@pytest.mark.parametrize("cause", ["hook raises", "reader gives up"])
def test_streams_that_nobody_reads_give_their_place_back(cause: str) -> None:
    chunks: list[Chunks] = []

    async def own_fetch(request: Request) -> Response:
        await asyncio.sleep(5.0 if request.stream and cause == "reader gives up" else 0.1)
        if not request.stream:
            return Response(request.url, request=request)
        chunks.append(Chunks(b"x" * 5000))
        return Response(request.url, request=request, stream=chunks[-1])

    async def impatient(response: Response) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(inline(Request(URL + "s", stream=True)), 1.0)

    picky = ops.http_error(allow=()) if cause == "reader gives up" else _raising()
    starts = [Request(URL + "0", stream=cause == "hook raises"), Request(URL + "1")]
    flow = Crawl(starts, concurrency=1).pipe(ops.download(*BARE, fetch=own_fetch), ops.scrape(impatient, picky))
    go(flow)
    assert chunks
    assert all(each.closed for each in chunks)


@pytest.mark.parametrize("how", ["nested", "hook on responses", "no scrape"])
def test_a_stream_is_closed_with_its_page_at_the_latest(how: str) -> None:
    chunks: list[Chunks] = []

    async def own_fetch(request: Request) -> Response:
        if not request.stream:
            return Response(request.url, request=request)
        chunks.append(Chunks(b"x" * 5000))
        return Response(request.url, request=request, stream=chunks[-1])

    async def forgetful(response: Response) -> AsyncIterator[Any]:
        await inline(Request(URL + "s", stream=True))
        yield {"url": response.url}

    def refuse(response: Response) -> None:
        if response.stream is not None:
            raise ValueError("not this one")

    def status(response: Any) -> int:
        return int(response.status)

    steps: dict[str, tuple[Any, ...]] = {
        "nested": (ops.scrape(forgetful),),
        "hook on responses": (ops.on_response(refuse), ops.scrape(url_item)),
        "no scrape": (rx.map(status),),
    }
    starts = [Request(f"{URL}{n}", stream=how != "nested") for n in range(4)]
    run: list[Any] = []

    async def keep(it: Any) -> None:
        run.append(it)

    go(Crawl(starts, concurrency=1).pipe(ops.download(*BARE, fetch=own_fetch), *steps[how]), keep)
    assert len(chunks) == 4
    assert all(each.closed for each in chunks)
    assert (run[0].hosts.used, run[0].live) == (0, {})


def _raising() -> Any:
    from streamcrawl.streams.scrape_layer import ScrapeHooks, scrape_layer

    def refuse(response: Any) -> Any:
        raise ValueError("not this one")

    return scrape_layer("refuse", lambda run: ScrapeHooks(input=refuse))


def test_a_slow_flush_holds_up_and_lets_go() -> None:
    async def flush() -> None:
        await asyncio.sleep(1000.0)

    starts = (f"{URL}{n}" for n in range(20_000))
    flow = Crawl(starts, concurrency=64, per_host=64).pipe(
        ops.download(*BARE, fetch=FakeFetch({})), ops.scrape(url_item, ops.http_error(allow="any")), Sink(flush=flush)
    )
    assert go(flow).pages == 20_000


@pytest.mark.parametrize("now", [True, False])
def test_links_refused_and_told_to_an_errback_are_counted_once(now: bool) -> None:
    async def errback(outcome: Any) -> None:
        await asyncio.sleep(3.0)

    def parse(response: Response) -> Iterator[Any]:
        yield from response.follow_all(["/0", "/0", "http://b.test/"], errback=errback)

    async def stop(run: Any) -> None:
        await asyncio.sleep(1.0)
        run.stop(now=now)

    flow = Crawl(URL + "0").pipe(ops.download(*BARE, fetch=FakeFetch(pages(1))), ops.scrape(parse))
    assert go(flow, stop).dropped == 3


def test_a_start_that_raises_at_its_end_does_not_keep_sinks_from_closing() -> None:
    def start() -> Iterator[str]:
        try:
            yield from (f"{URL}{n}" for n in range(10))
        finally:
            raise OSError("the list is locked")

    sink = Sink()
    flow = Crawl(start(), limit_pages=3, concurrency=1).pipe(
        ops.download(*BARE, fetch=FakeFetch(pages(10))), ops.scrape(url_item), sink
    )
    assert "the list is locked" in str(go(flow).error)
    assert sink.log[-2:] == ["flush", "close"]


def test_one_sink_that_cannot_flush_does_not_keep_the_others_from_it() -> None:
    async def broken() -> None:
        raise OSError("disk full")

    healthy = Sink()
    flow = Crawl(URL + "0").pipe(
        ops.download(*BARE, fetch=FakeFetch(pages(1))), ops.scrape(url_item), Sink(flush=broken), healthy
    )
    summary = go(flow)
    assert isinstance(summary.error, SinkError)
    assert "disk full" in str(summary.error)
    assert healthy.log[-2:] == ["flush", "close"]


@pytest.mark.parametrize("batched", [True, False])
def test_a_run_that_fails_still_delivers_what_was_scraped(batched: bool) -> None:
    async def start() -> AsyncIterator[Any]:
        yield URL + "0"
        await asyncio.sleep(7.0)
        yield 3

    sink = Sink(slowly)
    steps = (ops.batch(100),) if batched else ()
    flow = Crawl(start()).pipe(ops.download(*BARE, fetch=FakeFetch(pages(1))), ops.scrape(several(10)), *steps, sink)
    summary = go(flow)
    assert "neither a URL nor a Request" in str(summary.error)
    assert (len(sink.items[0]) if batched else len(sink.items)) == 10


def test_a_sink_that_has_lost_its_storage_stops_the_run() -> None:
    async def gone(item: Any) -> None:
        raise SinkError("storage is gone")

    flow = Crawl(URL + "0").pipe(ops.download(*BARE, fetch=FakeFetch(pages(1))), ops.scrape(several(5)), Sink(gone))
    summary = go(flow)
    assert summary.reason == "failed"
    assert "storage is gone" in str(summary.error)


@pytest.mark.parametrize("link", ["file:///etc/passwd", "data:,x"])
def test_a_page_of_the_web_never_leads_to_the_users_own_files(link: str) -> None:
    def parse(response: Response) -> Iterator[Any]:
        yield {"url": response.url}
        yield from response.follow_all([link], dont_filter=True)

    flow = Crawl(URL + "0", scope="any").pipe(ops.download(*BARE, fetch=FakeFetch(pages(1))), ops.scrape(parse))
    assert (go(flow).pages, go(flow).dropped) == (1, 1)


def test_an_observable_that_emits_on_a_thread_or_after_the_end() -> None:
    async def own_fetch(request: Request) -> Response:
        return Response(request.url, request=request)

    def from_thread(observer: Any, scheduler: Any = None) -> Any:
        from threading import Thread

        def work() -> None:
            for n in range(3):
                observer.on_next(f"{URL}{n}")
            observer.on_completed()

        Thread(target=work).start()

    late: reactivex.Subject[str] = reactivex.Subject()

    async def main() -> None:
        began = time.monotonic()
        flow = Crawl(Observable(from_thread)).pipe(ops.download(*BARE, fetch=own_fetch), ops.scrape(url_item))
        assert len(await flow.collect()) == 3
        assert time.monotonic() - began < 10
        run = flow.replace(start=late).start()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        late.on_next(URL)
        run.stop()
        summary = await run
        late.on_next(URL + "late")
        assert summary.balanced
        assert not late.observers

    asyncio.run(main())


def test_an_endless_start_of_duplicates_leaves_the_loop_free() -> None:
    async def main() -> Summary:
        flow = Crawl(repeat(URL + "0")).pipe(ops.download(*BARE, fetch=FakeFetch(pages(1))), ops.scrape(url_item))
        run = flow.start()
        for _ in range(50):
            await asyncio.sleep(0)
        run.stop()
        return await run

    summary = asyncio.run(main())  # in real time: in virtual time the clock stands while there is work
    assert (summary.pages, summary.reason) == (1, "stopped")


def test_async_for_gives_the_error_of_the_run_and_its_place_back() -> None:
    async def start() -> AsyncIterator[Any]:
        yield URL + "0"
        await asyncio.sleep(5.0)
        yield 3

    async def main() -> None:
        flow = Crawl(start()).pipe(ops.download(*BARE, fetch=FakeFetch(pages(1))), ops.scrape(several(10)))
        async for _ in flow:
            await asyncio.sleep(1.0)

    with pytest.raises(Exception, match="neither a URL nor a Request"):
        run_virtual(main())


def test_cancelling_collect_ends_the_run() -> None:
    fetch = FakeFetch(pages(100), latency=1.0)

    async def main() -> None:
        flow = Crawl([f"{URL}{n}" for n in range(100)], concurrency=1).pipe(
            ops.download(*BARE, fetch=fetch), ops.scrape(url_item)
        )
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flow.collect(), 5.5)
        asked = len(fetch.log)
        await asyncio.sleep(50.0)
        assert asked == len(fetch.log) == 6

    run_virtual(main())


def test_take_on_items_ends_a_callback_that_never_would() -> None:
    def endless(response: Response) -> Iterator[Any]:
        while True:
            yield {"url": response.url}

    flow = Crawl(URL + "0").pipe(ops.download(*BARE, fetch=FakeFetch(pages(1))), ops.scrape(endless), rx.take(3))
    assert len(run_virtual(flow.collect())) == 3


def test_what_the_taker_of_items_raises_is_no_failure_of_the_callback() -> None:
    async def main() -> Summary:
        def refuse(item: Any) -> None:
            raise ValueError("I want no more")

        flow = Crawl(URL + "0").pipe(ops.download(*BARE, fetch=FakeFetch(pages(1))), ops.scrape(several(3)))
        return await flow.start(on_item=refuse)

    summary = run_virtual(main())
    assert str(summary.error) == "I want no more"
    assert summary.counts.callback_errors == 0


def test_operators_stand_alone_in_a_plain_script() -> None:
    async def double(n: int) -> int:
        return 2 * n

    out: list[Any] = []
    reactivex.of(1, 2, 3).pipe(ops.map_async(double), ops.batch(2)).subscribe(out.append)
    assert sorted(n for each in out for n in each) == [2, 4, 6]


def test_a_stage_alone_inside_of_a_crawl_follows_redirects() -> None:
    site = {"/0": page("x"), "/old": page(status=301, headers={"Location": "/new"}), "/new": page("new")}

    def more(item: Any) -> Observable[Any]:
        return reactivex.of(Request(URL + "old")).pipe(ops.download(*BARE, fetch=FakeFetch(site)))

    flow = Crawl(URL + "0").pipe(
        ops.download(*BARE, fetch=FakeFetch(site)), ops.scrape(url_item), ops.at_most_once(rx.flat_map(more))
    )
    out = run_virtual(flow.collect())
    assert [response.text for response in out] == ["new"]


def test_a_hop_to_a_page_that_another_method_asked_for_is_a_duplicate() -> None:
    site = {"/form": [page("form"), page(status=303, headers={"Location": "/form"})]}
    starts = [Request(URL + "form"), Request(URL + "form", method="POST", not_before=0.0)]
    flow = Crawl(starts, concurrency=1).pipe(ops.download(*BARE, fetch=FakeFetch(site)), ops.scrape(url_item))
    summary = go(flow)
    assert (summary.pages, summary.counts.dropped) == (1, {"duplicate": 1})


def test_nested_fetches_keep_the_delay_after_a_pause() -> None:
    async def parse(response: Response) -> None:
        await asyncio.sleep(100.0)
        await asyncio.gather(*(inline(f"{URL}{n}") for n in range(1, 5)))

    fetch = FakeFetch(pages(5))
    flow = Crawl(URL + "0", delay=10.0, jitter=0.0).pipe(ops.download(*BARE, fetch=fetch), ops.scrape(parse))
    go(flow)
    times = fetch.times
    assert min(after - before for before, after in pairwise(times[1:])) >= 9.99


def test_slowed_hosts_do_not_starve_live_ones() -> None:
    hosts = [f"http://h{n}.test/" for n in range(16)]
    live = [f"http://live.test/{n}" for n in range(200)]
    fetch = FakeFetch(dict.fromkeys((*hosts, *live), page()), latency=1.0)

    async def slow_down(run: Any) -> None:
        for host in hosts:
            run.hosts.slow_down(host.rstrip("/"), 3600.0)
        await asyncio.sleep(30.0)
        assert fetch.most >= 7

    flow = Crawl([*hosts, *live], slots={"x": Slot(jitter=0.0)}).pipe(
        ops.download(*BARE, fetch=fetch), ops.scrape(url_item)
    )
    assert go(flow, slow_down).pages == 216


def test_starts_that_wait_for_their_retry_do_not_block_the_others() -> None:
    site = {f"/{n}": [page(status=503), page()] if n < 16 else page() for n in range(200)}
    fetch = FakeFetch(site, latency=0.1)
    patient = ops.retry(wait=lambda nth, random: 600.0, breaker=None)  # which takes 16 failures in a row for an outage
    layers = ops.default_layers(robots_txt=None, retry=patient, throttle=None)

    async def watch(run: Any) -> None:
        await asyncio.sleep(500.0)
        assert run.counts.pages == 184

    flow = Crawl([f"{URL}{n}" for n in range(200)]).pipe(ops.download(*layers, fetch=fetch), ops.scrape(url_item))
    summary = go(flow, watch)
    assert summary.pages == 200


def test_hosts_leave_the_table_when_they_have_no_work() -> None:
    async def main() -> None:
        starts = [f"http://h{n}.test/" for n in range(300)]
        flow = Crawl(starts, delay=3.0).pipe(
            ops.download(*BARE, fetch=FakeFetch(dict.fromkeys(starts, page()))), ops.scrape(url_item)
        )
        run = flow.start()
        most = 0
        while run.summary is None:
            most = max(most, len(run.hosts.hosts))
            await asyncio.sleep(1.0)
        assert run.counts.pages == 300
        assert len(run.hosts.hosts) <= 300

    run_virtual(main())


def test_dropped_is_a_value_of_its_own() -> None:
    request = Request(URL)
    assert repr(Dropped(request, "off-site")) == "<Dropped http://a.test/: off-site>"
