"""Asynchronous work on every edge of the pipe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal

import pytest
import reactivex
from reactivex import Observable
from reactivex import operators as rx

from streamcrawl import Crawl, Drop, Request, Response, Summary, fetch
from streamcrawl import operators as ops
from streamcrawl.core import ItemId, OpenSink, Run
from streamcrawl.errors import ConnectError, OperatorError
from streamcrawl.events import ItemDropped, ItemFailed, RequestDropped, RequestFailed
from streamcrawl.streams.sink import SinkOperator
from streamcrawl.testing import Chunks, FakeFetch, check_operator, page, run_virtual

BARE = ops.default_layers(robots_txt=None, retry=None)
STARTS = [f"http://a.test/{n}" for n in range(4)]


@pytest.mark.parametrize("limit", [0, -5])
def test_a_limit_that_makes_no_sense_is_told_when_it_is_built(limit: int) -> None:
    with pytest.raises(ValueError, match=rf"map_async\(limit={limit}\): the limit must be 1 or more"):
        ops.map_async(lambda item: item, limit)


def parse(response: Response) -> dict[str, str]:
    return {"url": response.url}


def nothing(response: Response) -> None: ...


def twice(item: Any) -> Observable[Any]:
    return reactivex.of(item, item)


class Edges:
    """A crawl with operators on its edges; what is told about them is written down."""

    def keep(self, item: Any) -> None:
        self.out.append(item)

    def __init__(self, *, requests: Any = (), outcomes: Any = (), items: Any = (), starts: Any = None) -> None:
        self.fetch = FakeFetch(dict.fromkeys(STARTS, page("text")), latency=1.0)
        self.out: list[Any] = []
        self.told: list[Any] = []
        flow = Crawl(starts or STARTS).pipe(
            *requests, ops.download(*BARE, fetch=self.fetch), *outcomes, ops.scrape(parse), *items
        )

        async def main() -> Summary:
            run = flow.start(on_item=self.keep)
            for kind in (ItemFailed, ItemDropped, RequestFailed, RequestDropped):
                run.events.on(kind, self.told.append)
            summary = await run
            assert run.live == {}
            assert run.hosts.used == 0
            return summary

        self.summary: Summary = run_virtual(main())
        assert self.summary.balanced


def url_of(element: Any) -> str:
    found: Any = getattr(element, "url", None)
    return str(found or element["url"])


def failing(error: Exception) -> Callable[[Any], Any]:
    async def picky(element: Any) -> Any:
        await asyncio.sleep(1.0)
        if url_of(element).endswith("/2"):
            raise error
        return element

    return picky


EDGES = pytest.mark.parametrize("edge", ["requests", "outcomes", "items"])


@EDGES
def test_a_failure_is_that_elements_and_named(edge: str) -> None:
    ran = Edges(**{edge: (ops.map_async(failing(KeyError("author"))),)})
    assert len(ran.out) == 3
    (told,) = ran.told
    error = told.error if isinstance(told, ItemFailed) else told.failed.error
    assert isinstance(error, OperatorError)
    assert "operator map_async(picky at test_map_async.py:" in str(error)
    assert "KeyError: 'author'" in str(error)
    assert isinstance(error.__cause__, KeyError)


@EDGES
def test_what_it_drops_is_counted_with_its_reason(edge: str) -> None:
    ran = Edges(**{edge: (ops.map_async(failing(Drop("not today"))),)})
    assert len(ran.out) == 3
    (told,) = ran.told
    assert (told.reason if isinstance(told, ItemDropped) else told.dropped.reason) == "not today"
    assert ran.summary.ok


@EDGES
def test_a_function_that_waits_for_nothing_serves_too(edge: str) -> None:
    seen: list[str] = []

    def note(element: Any) -> Any:
        seen.append(url_of(element))
        return element

    ran = Edges(**{edge: (ops.map_async(note),)})
    assert sorted(seen) == STARTS
    assert len(ran.out) == 4


def test_one_at_once_keeps_the_order_and_more_do_not() -> None:
    async def backwards(item: Any) -> Any:
        await asyncio.sleep(10.0 - int(item["url"][-1]))
        return item

    in_order = Edges(items=(ops.map_async(backwards, 1),))
    assert [item["url"] for item in in_order.out] == STARTS
    at_once = Edges(items=(ops.map_async(backwards, 4),))
    assert [item["url"] for item in at_once.out] == STARTS[::-1]


def test_what_it_changes_of_a_request_goes_to_the_wire() -> None:
    async def signed(request: Any) -> Any:
        await asyncio.sleep(1.0)
        return request.replace(headers=request.headers.set("X", "signed"))

    ran = Edges(requests=(ops.map_async(signed),))
    assert {request.headers.get("X") for _, request in ran.fetch.log} == {"signed"}


def test_an_answered_request_goes_by() -> None:
    seen: list[str] = []

    async def note(request: Any) -> Any:
        seen.append(request.url)
        return request

    answered = Request("http://a.test/known", answer=Response("http://a.test/known", body=b"x"))
    ran = Edges(requests=(ops.map_async(note),), starts=[answered, STARTS[0]])
    assert seen == [STARTS[0]]
    assert sorted(item["url"] for item in ran.out) == [STARTS[0], "http://a.test/known"]


def test_failures_and_refusals_reach_it_only_where_outcomes_of_all_kinds_flow() -> None:
    kinds: list[str] = []

    async def note(outcome: Any) -> Any:
        kinds.append(type(outcome).__name__)
        return outcome

    fetch_ = FakeFetch({"/down": ConnectError("refused"), "/": page()})

    async def main() -> Summary:
        flow = Crawl(["http://a.test/", "http://a.test/down"]).pipe(
            ops.download(ops.up(ops.map_async(note)), fetch=fetch_), ops.scrape(nothing)
        )
        return await flow.start()

    summary = run_virtual(main())
    assert sorted(kinds) == ["Failed", "Response"]
    assert summary.failed == 1


def test_inside_of_it_fetch_goes_through_the_crawl() -> None:
    async def with_detail(item: Any) -> Any:
        detail = await fetch(item["url"])
        return {**item, "status": detail.status}

    ran = Edges(items=(ops.map_async(with_detail, 2),))
    assert [item["status"] for item in ran.out] == [200] * 4
    assert ran.summary.counts.offered.nested == 4


class Ids(SinkOperator):
    def __init__(self) -> None:
        self.ids: list[ItemId] = []

    def open(self, run: Run, token: Any = None) -> OpenSink:
        return self

    async def accept(self, item: Any, item_id: ItemId) -> None:
        self.ids.append(item_id)

    async def flush(self) -> None: ...

    async def close(self) -> None: ...


def test_items_keep_their_identity_across_it() -> None:
    async def later(item: Any) -> Any:
        await asyncio.sleep(5.0 - int(item["url"][-1]))
        return item

    sink = Ids()
    ran = Edges(items=(rx.flat_map(twice), ops.map_async(later), sink))
    assert ran.summary.stats.get("outside_extent", 0) == 0
    further = max(sink.ids)[2]  # the second output made of an item has the same number each time, whichever comes first
    assert further > 0
    assert sorted(sink.ids) == [(row, 0, number) for row in range(1, 5) for number in (0, further)]


def test_a_streamed_body_that_nobody_gets_is_closed() -> None:
    chunks = [Chunks(b"x" * 100, size=10) for _ in STARTS]
    fetch_ = FakeFetch(
        {url: Response(url, stream=each) for url, each in zip(STARTS, chunks, strict=True)},
    )

    async def broken(response: Any) -> Any:
        raise KeyError("author")

    async def main() -> None:
        flow = Crawl([Request(url, stream=True) for url in STARTS], concurrency=1).pipe(
            ops.download(*BARE, fetch=fetch_), ops.map_async(broken), ops.scrape(nothing)
        )
        run = flow.start()
        summary = await run
        assert (summary.failed, summary.balanced, run.live, run.hosts.used) == (4, True, {}, 0)

    run_virtual(main())
    assert all(each.closed for each in chunks)


def test_alone_within_a_loop_it_waits_for_the_last() -> None:
    async def main() -> list[Any]:
        out: list[Any] = []
        over = asyncio.Event()

        async def tenfold(n: Any) -> Any:
            await asyncio.sleep(n)
            if n == 2:
                raise ValueError("two")
            return n * 10

        reactivex.of(3, 1, 2).pipe(ops.map_async(tenfold, 2)).subscribe(out.append, on_completed=over.set)
        await over.wait()
        return out

    assert run_virtual(main()) == [10, 30]


def test_it_keeps_the_laws_on_every_edge() -> None:
    async def later(element: Any) -> Any:
        await asyncio.sleep(0.5)
        return element

    edges: tuple[Literal["request", "response", "outcome"], ...] = ("request", "response", "outcome")
    for edge in edges:
        assert check_operator(ops.map_async(later, 3), edge=edge, waits=True).offered > 0


def test_failed_and_dropped_pass_beside_it_on_the_edge_of_responses() -> None:
    seen: list[type] = []

    async def note(response: Any) -> Any:
        seen.append(Response if isinstance(response, Response) else object)
        return response

    def no_more(request: Request) -> Request:
        if request.url == STARTS[1]:
            raise Drop("no more")
        return request

    ran = Edges(requests=(rx.map(no_more),), outcomes=(ops.map_async(note),))
    assert len(ran.out) == 3
    assert seen == [Response] * 3
