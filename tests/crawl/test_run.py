"""A run: ways to start, watch, pause and end it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import attrs
import msgspec
import pydantic
import pytest
import reactivex
from reactivex import Observable
from reactivex import operators as rx
from reactivex.scheduler.eventloop import AsyncIOScheduler

from streamcrawl import Crawl, Dropped, Failed, Request, Response
from streamcrawl import fetch as inline
from streamcrawl import operators as ops
from streamcrawl.errors import ConnectError, FlowError, HttpError, InvalidURL
from streamcrawl.events import CallbackFailed, Event, RequestFailed, Responded, RunFinished, RunStarted, SentAgain
from streamcrawl.testing.fake_fetch import FakeFetch, page
from streamcrawl.testing.virtual_time import run_virtual

BARE = ops.default_layers(robots_txt=None, retry=None)
CHAIN = {f"http://a.test/{n}": page(links=[f"/{n + 1}"]) for n in range(30)}


def parse(response: Response) -> Iterator[Any]:
    yield {"url": response.url}
    yield from response.follow_all(css="a")


def no_items(response: Response) -> None:
    """A callback that yields nothing."""


def url_item(response: Response) -> dict[str, str]:
    return {"url": response.url}


def author(item: Any) -> Any:
    return item["author"]


def chain(**options: Any) -> tuple[Crawl[Any], FakeFetch]:
    fetch = FakeFetch(CHAIN, latency=1.0)
    return Crawl("http://a.test/0", **options).pipe(ops.download(*BARE, fetch=fetch), ops.scrape(parse)), fetch


def test_stop_finishes_what_is_under_way() -> None:
    async def main() -> None:
        flow, fetch = chain()
        run = flow.start()
        await asyncio.sleep(3.5)
        run.stop()
        summary = await run
        assert (summary.reason, summary.pages, len(fetch.log)) == ("stopped", 4, 4)
        assert (summary.waiting, summary.balanced, summary.ok) == (1, True, True)

    run_virtual(main())


def test_stop_now_leaves_what_is_under_way_waiting() -> None:
    async def main() -> None:
        flow, _ = chain()
        run = flow.start()
        await asyncio.sleep(3.5)
        run.stop("enough", now=True)
        summary = await run
        assert (summary.reason, summary.pages, summary.waiting, summary.balanced) == ("enough", 3, 1, True)

    run_virtual(main())


def test_pause_and_resume() -> None:
    async def main() -> None:
        flow, fetch = chain(limit_pages=10)
        run = flow.start()
        await asyncio.sleep(3.5)
        run.pause()
        await asyncio.sleep(100.0)
        assert len(fetch.log) == 4
        run.resume()
        summary = await run
        assert (summary.pages, len(fetch.log)) == (10, 10)

    run_virtual(main())


@pytest.mark.parametrize(
    ("limit", "reason"), [("limit_pages", "limit of 7 pages"), ("limit_items", "limit of 7 items")]
)
def test_limits_are_exact(limit: str, reason: str) -> None:
    async def main() -> None:
        flow, _ = chain(**{limit: 7})
        items: list[Any] = []
        summary = await flow.start(on_item=items.append)
        assert len(items) == summary.items == 7
        assert summary.reason == reason
        assert summary.balanced

    run_virtual(main())


def test_events_are_told_in_order_with_their_run() -> None:
    async def main() -> None:
        flow, _ = chain(limit_pages=3)
        run = flow.start()
        told: list[Event] = []
        pages: list[str] = []
        run.events.subscribe(told.append)
        run.events.on(Responded, lambda event: pages.append(event.response.url))
        await run
        assert isinstance(told[0], RunStarted)
        assert isinstance(told[-1], RunFinished)
        assert {event.run for event in told} == {run.id}
        assert pages == [f"http://a.test/{n}" for n in range(3)]

    run_virtual(main())


def test_async_for_asks_for_items_one_by_one_and_leaving_ends_the_run() -> None:
    async def main() -> None:
        flow, fetch = chain()
        seen: list[str] = []
        async for item in flow:
            seen.append(item["url"])
            if len(seen) == 5:
                break
        asked = len(fetch.log)
        await asyncio.sleep(50.0)
        assert seen == [f"http://a.test/{n}" for n in range(5)]
        assert len(fetch.log) == asked

    run_virtual(main())


def test_async_for_raises_what_stopped_the_run() -> None:
    async def main() -> None:
        flow, _ = chain()
        broken = flow.pipe(ops.strict(rx.map(author)))
        with pytest.raises(Exception, match="KeyError: 'author'"):
            async for _ in broken:
                pass

    run_virtual(main())


def test_items_is_an_observable_and_disposing_of_it_ends_the_run() -> None:
    async def main() -> None:
        flow, fetch = chain()
        done = asyncio.Event()
        out: list[Any] = []
        flow.items().pipe(rx.take(3), rx.to_list()).subscribe(out.append, on_completed=done.set)
        await done.wait()
        await asyncio.sleep(50.0)
        assert [item["url"][-1] for item in out[0]] == ["0", "1", "2"]
        assert len(fetch.log) <= 5

    run_virtual(main())


def test_items_blocks_where_no_loop_runs_and_operators_around_it_work() -> None:
    out: list[Any] = []
    fetch = FakeFetch(CHAIN)
    quick = Crawl("http://a.test/0", limit_pages=4).pipe(ops.download(*BARE, fetch=fetch), ops.scrape(parse))

    def numbered(n: int) -> Observable[Any]:
        def with_number(item: Any) -> Any:
            return n, item["url"]

        return quick.items().pipe(rx.map(with_number))

    reactivex.of(1, 2).pipe(rx.flat_map(numbered)).subscribe(out.append)
    assert sorted(out) == [(n, f"http://a.test/{p}") for n in (1, 2) for p in range(4)]


def test_a_stage_alone_follows_redirects_and_retries() -> None:
    fetch = FakeFetch(
        {
            "http://a.test/old": page(status=301, headers={"Location": "/new"}),
            "http://a.test/new": page("new"),
            "http://a.test/flaky": [page(status=503), page("well")],
            "http://a.test/dead": ConnectError("refused"),
            "/robots.txt": page("User-agent: *\nDisallow: /private"),
        }
    )
    paths = ("old", "flaky", "dead", "private")

    async def main() -> list[Any]:
        out: list[Any] = []
        done = asyncio.Event()
        source = reactivex.from_iterable([Request(f"http://a.test/{path}") for path in paths])
        source.pipe(ops.download(fetch=fetch)).subscribe(out.append, on_completed=done.set)
        await done.wait()
        return out

    out = {outcome.request.url.rpartition("/")[2]: outcome for outcome in run_virtual(main())}
    assert out["new"].text == "new"
    assert out["flaky"].text == "well"
    assert isinstance(out["dead"], Failed)
    assert isinstance(out["private"], Dropped)
    assert len(out) == 4


def test_without_scrape_the_responses_are_the_items() -> None:
    def status(response: Any) -> int:
        return int(response.status)

    fetch = FakeFetch(CHAIN)
    flow = Crawl(["http://a.test/0", "http://a.test/1"]).pipe(ops.download(*BARE, fetch=fetch), rx.map(status))
    assert run_virtual(flow.collect()) == [200, 200]


@dataclass
class Data:
    n: int


@attrs.define
class Attrs:
    n: int


class Model(pydantic.BaseModel):
    n: int


class Struct(msgspec.Struct):
    n: int


class Spider:
    def method(self, response: Response, n: int) -> Iterator[Any]:
        yield {"n": n}


def function(response: Response, n: int) -> list[Any]:
    return [Data(n), None, Attrs(n), Model(n=n), Struct(n)]


def single(response: Response, n: int) -> dict[str, int]:
    return {"n": n}


async def coroutine(response: Response, n: int) -> list[Any]:
    return [{"n": n}]


async def async_generator(response: Response, n: int) -> AsyncIterator[Any]:
    yield {"n": n}
    yield response.follow("/1", callback=single, cb_kwargs={"n": n}, dont_filter=True)


@pytest.mark.parametrize(
    ("callback", "count"),
    [(Spider().method, 1), (function, 4), (single, 1), (coroutine, 1), (async_generator, 2)],
    ids=["method", "function", "single", "coroutine", "async generator"],
)
def test_callbacks_of_every_kind(callback: Any, count: int) -> None:
    start = Request("http://a.test/0", callback=callback, cb_kwargs={"n": 3})
    flow = Crawl(start).pipe(ops.download(*BARE, fetch=FakeFetch(CHAIN)), ops.scrape(no_items))
    items = run_virtual(flow.collect())
    assert len(items) == count
    assert all((item["n"] if hasattr(item, "keys") else item.n) == 3 for item in items)


def test_errbacks_get_failures_refusals_and_statuses_alike() -> None:
    def errback(outcome: Failed | Dropped) -> Iterator[Any]:
        what = type(outcome.error).__name__ if isinstance(outcome, Failed) else outcome.reason
        yield {"url": outcome.request.url, "what": what}

    fetch = FakeFetch({"/robots.txt": page("User-agent: *\nDisallow: /no"), "/down": ConnectError("refused")})
    starts = [f"http://a.test/{path}" for path in ("no", "down", "missing")]
    flow = Crawl(starts).pipe(
        ops.download(*ops.default_layers(retry=None), fetch=fetch), ops.scrape(no_items, errback=errback)
    )
    told = {item["url"].rpartition("/")[2]: item["what"] for item in run_virtual(flow.collect())}
    assert told == {"no": "robots.txt", "down": "ConnectError", "missing": "HttpError"}


def test_the_status_error_has_its_response() -> None:
    async def main() -> None:
        run = Crawl("http://a.test/x").pipe(ops.download(*BARE, fetch=FakeFetch({})), ops.scrape(parse)).start()
        failed: list[Failed] = []
        run.events.on(RequestFailed, lambda event: failed.append(event.failed))
        summary = await run
        error = failed[0].error
        assert isinstance(error, HttpError)
        assert error.status == 404
        assert isinstance(error.response, Response)
        assert (summary.pages, summary.failed) == (0, 1)

    run_virtual(main())


def test_inline_fetch_goes_through_the_same_layers_and_raises_what_failed() -> None:
    fetch = FakeFetch(
        {
            "/robots.txt": page("User-agent: *\nDisallow: /private"),
            "/": page(),
            "/moved": page(status=302, headers={"Location": "/there"}),
            "/there": page("there"),
            "/down": ConnectError("refused"),
        }
    )

    async def callback(response: Response) -> AsyncIterator[Any]:
        yield {"text": (await inline(response.follow("/moved"))).text}
        for path in ("/private", "/down"):
            try:
                await inline(response.follow(path))
            except Exception as error:
                yield {"error": type(error).__name__, "text": str(error)}

    flow = Crawl("http://a.test/").pipe(
        ops.download(*ops.default_layers(retry=None), fetch=fetch), ops.scrape(callback)
    )
    items = run_virtual(flow.collect())
    assert items[0] == {"text": "there"}
    assert items[1] == {"error": "Drop", "text": "robots.txt"}
    assert items[2] == {"error": "ConnectError", "text": "refused"}


def test_what_makes_no_sense_is_told_when_it_is_built() -> None:
    with pytest.raises(InvalidURL, match=r"'quotes'.*it is relative"):
        Crawl("quotes")
    with pytest.raises(InvalidURL, match=r"http://\[::1"):
        Crawl(["http://a.test/", "http://[::1"])
    with pytest.raises(TypeError, match="not 3"):
        Crawl(3)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ValueError, match="concurrency is 0; it must be 1 or more"):
        Crawl("http://a.test/", concurrency=0)
    with pytest.raises(ValueError, match="memory is 'much'"):
        Crawl("http://a.test/", memory="much")
    with pytest.raises(FlowError, match=r"scrape\(\) comes after download\(\)"):
        Crawl("http://a.test/").pipe(ops.scrape(parse), ops.download())
    with pytest.raises(FlowError, match=r"one download\(\)"):
        Crawl("http://a.test/").pipe(ops.download(), ops.download())
    with pytest.raises(TypeError, match="'filter'"):
        Crawl("http://a.test/").pipe("filter")  # type: ignore[call-overload]  # that is the point


def test_what_layers_add_for_the_wire_is_told_nowhere() -> None:
    site = {"/0": page(status=302, headers={"Location": "/1"}), "/1": page(status=404)}
    secret = ops.on_request(lambda request: request.replace(headers=request.headers.set("Authorization", "Basic x")))

    async def main() -> list[Event]:
        fetch = FakeFetch(site)
        flow = Crawl("http://a.test/0").pipe(ops.download(secret, *BARE, fetch=fetch), ops.scrape(parse))
        told: list[Event] = []
        run = flow.start()
        run.events.subscribe(told.append)
        await run
        assert [request.headers.get("authorization") for _, request in fetch.log] == ["Basic x", "Basic x"]
        return told

    told = run_virtual(main())
    again = [event.again for event in told if isinstance(event, SentAgain)]
    failed = [event.failed for event in told if isinstance(event, RequestFailed)]
    assert len(again) == len(failed) == 1
    for request in (again[0].request, again[0].next, failed[0].request):
        assert "authorization" not in request.headers


def test_an_operator_that_was_not_called_is_named() -> None:
    with pytest.raises(TypeError, match=r"write ops\.download\(…\)"):
        Crawl("http://a.test/").pipe(ops.download, ops.scrape(parse))  # type: ignore[arg-type]  # that is the point
    with pytest.raises(TypeError, match=r"write ops\.feed\(…\)"):
        Crawl("http://a.test/").pipe(ops.download(), ops.scrape(parse), ops.feed)  # type: ignore[arg-type]  # likewise


def test_text_where_links_are_wanted_is_named() -> None:
    with pytest.raises(TypeError, match=r"follow_all\(css='li a'\)"):
        Response("http://a.test/").follow_all("li a")


def test_a_callback_that_cannot_be_called_is_not_blamed_on_the_engine() -> None:
    def needs_more(response: Response, more: int) -> None:
        """Never called: nobody gives it `more`."""

    async def main() -> str:
        run = Crawl("http://a.test/0").pipe(ops.download(*BARE, fetch=FakeFetch(CHAIN)), ops.scrape(needs_more)).start()
        told: list[str] = []
        run.events.on(CallbackFailed, lambda event: told.append(str(event.error)))
        await run
        return told[0]

    text = run_virtual(main())
    assert "needs_more() missing 1 required positional argument: 'more'" in text
    assert "scraper.py" not in text


def test_a_crawl_without_download_says_so_when_it_is_run() -> None:
    with pytest.raises(FlowError, match="no download"):
        run_virtual(Crawl("http://a.test/").collect())


def test_a_start_that_breaks_off_stops_the_run_in_good_order() -> None:
    def starts() -> Iterator[str]:
        yield "http://a.test/0"
        raise OSError("the list is gone")

    async def main() -> None:
        flow = Crawl(starts()).pipe(ops.download(*BARE, fetch=FakeFetch(CHAIN)), ops.scrape(parse))
        summary = await flow.start()
        assert "the start of the crawl failed: OSError: the list is gone" in str(summary.error)
        assert summary.balanced

    run_virtual(main())


def test_an_observable_may_be_the_start() -> None:
    fetch = FakeFetch(CHAIN, latency=1.0)

    async def main() -> None:
        timed = reactivex.interval(2.0, scheduler=AsyncIOScheduler(asyncio.get_running_loop())).pipe(
            rx.take(4), rx.map(lambda n: f"http://a.test/{n}")
        )
        flow = Crawl(timed).pipe(ops.download(*BARE, fetch=fetch), ops.scrape(url_item))
        assert len(await flow.collect()) == 4

    run_virtual(main())
