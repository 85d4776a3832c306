"""The laws of DESIGN §3 by example: reactivex's operators on every edge, each ends as the laws say, none hangs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import reactivex
from reactivex import Observable
from reactivex import operators as rx

from streamcrawl import Crawl, Request, Response, Summary
from streamcrawl import operators as ops
from streamcrawl.core import Layer
from streamcrawl.errors import FlowError, LawBroken, OperatorError
from streamcrawl.events import CallbackFailed, Event, ItemFailed, OutsideExtent, RequestDropped, RequestFailed
from streamcrawl.testing.fake_fetch import FakeFetch, page
from streamcrawl.testing.virtual_time import run_virtual

PAGES = 6
SITE = {
    "http://a.test/": page(links=[f"/{n}" for n in range(1, PAGES)]),
    **{f"http://a.test/{n}": page(f"<h1>{n}</h1>") for n in range(1, PAGES)},
}

Op = Callable[[Observable[Any]], Observable[Any]]


def parse(response: Response) -> Iterator[Any]:
    yield {"url": response.url}
    yield from response.follow_all(css="a")


async def crawl(
    start: Any, *, requests: tuple[Op, ...] = (), outcomes: tuple[Op, ...] = (), items: tuple[Op, ...] = ()
) -> tuple[Summary, list[Any], list[Event]]:
    """Run the site through operators on its edges; gives the summary, what came out, and the events."""
    fetch = FakeFetch(SITE, latency=1.0)
    download = ops.download(*ops.default_layers(robots_txt=None, retry=None), fetch=fetch)
    flow = Crawl(start, concurrency=2).pipe(*requests, download, *outcomes, ops.scrape(parse), *items)
    out: list[Any] = []
    events: list[Event] = []
    run = flow.start(on_item=out.append)
    run.events.subscribe(events.append)
    return await run, out, events


def go(start: Any = "http://a.test/", **edges: tuple[Op, ...]) -> tuple[Summary, list[Any], list[Event]]:
    summary, out, events = run_virtual(crawl(start, **edges))
    assert summary.balanced, str(summary)
    return summary, out, events


def boom(element: Any) -> Any:
    raise KeyError("author")


def picky(element: Any) -> Any:
    if url_of(element).endswith("/3"):
        raise KeyError("author")
    return element


def url_of(element: Any) -> str:
    return str(element["url"] if hasattr(element, "keys") else element.url)


def not_the_third(element: Any) -> bool:
    return not url_of(element).endswith("/3")


def length(element: Any) -> int:
    return len(url_of(element))


def nothing(element: Any) -> bool:
    return False


def twice(element: Any) -> Observable[Any]:
    return reactivex.of(element, element)


def latest(before: Any, element: Any) -> Any:
    return element


def no_items(response: Response) -> None:
    """A callback that yields nothing."""


def first(pair: Any) -> Any:
    return pair[0]


def broken_from_the_start(source: Observable[Any]) -> Observable[Any]:
    return reactivex.throw(ValueError("broken"))


def test_without_operators_every_page_comes_out_once() -> None:
    summary, out, _ = go()
    assert sorted(item["url"] for item in out) == sorted(SITE)
    assert summary.pages == PAGES
    assert summary.ok


# -- the edges of requests and of outcomes: one in, one out -----------------------------------------------------------

EDGES = ("requests", "outcomes")


@pytest.mark.parametrize("edge", EDGES)
def test_what_a_filter_swallows_is_dropped_with_its_name(edge: str) -> None:
    summary, out, events = go(**{edge: (rx.filter(not_the_third),)})
    assert len(out) == PAGES - 1
    reasons = [event.dropped.reason for event in events if isinstance(event, RequestDropped)]
    assert len(reasons) == 1
    assert reasons[0].startswith("swallowed by filter(not_the_third at test_laws_by_example.py")
    assert summary.dropped == 1


@pytest.mark.parametrize("edge", EDGES)
def test_a_filter_that_swallows_everything_ends_the_crawl(edge: str) -> None:
    summary, out, _ = go(**{edge: (rx.filter(nothing),)})
    assert out == []
    assert (summary.dropped, summary.pages, summary.reason) == (1, 0, "finished")


@pytest.mark.parametrize("edge", EDGES)
def test_distinct_drops_what_is_not(edge: str) -> None:
    summary, out, _ = go(**{edge: (rx.distinct(length),)})
    assert len(out) == 2
    assert summary.dropped == PAGES - 2


@pytest.mark.parametrize("edge", EDGES)
def test_take_ends_the_run_like_a_limit(edge: str) -> None:
    summary, out, _ = go(**{edge: (rx.take(2),)})
    assert len(out) == 2
    assert summary.reason.startswith("take")
    assert summary.ok


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("operator", [rx.delay(1.0), rx.debounce(0.5)], ids=["delay", "debounce"])
def test_one_that_emits_later_stops_the_run_and_is_named(edge: str, operator: Op) -> None:
    async def slowly() -> AsyncIterator[str]:
        yield "http://a.test/"
        await asyncio.sleep(60.0)
        yield "http://a.test/1"

    summary, _, _ = go(slowly(), **{edge: (operator,)})
    assert isinstance(summary.error, LawBroken)
    assert "with no input in hand" in str(summary.error)
    assert any(name in str(summary.error) for name in ("delay", "debounce"))
    summary, _, _ = go(**{edge: (operator,)})
    assert (summary.dropped, summary.ok) == (1, False)


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("operator", [rx.flat_map, rx.concat_map], ids=["flat_map", "concat_map"])
def test_one_output_each_is_fine_and_a_second_stops_the_run(edge: str, operator: Any) -> None:
    summary, out, _ = go(**{edge: (operator(reactivex.just),)})
    assert len(out) == PAGES
    summary, _, _ = go(**{edge: (operator(twice),)})
    assert isinstance(summary.error, LawBroken)
    assert "a second output" in str(summary.error)


@pytest.mark.parametrize("edge", EDGES)
def test_scan_that_gives_one_for_one_is_fine(edge: str) -> None:
    _, out, _ = go(**{edge: (rx.scan(latest),)})
    assert len(out) == PAGES


@pytest.mark.parametrize("edge", EDGES)
def test_zip_ends_the_run_with_its_partner_and_pairs_do_not_go_on(edge: str) -> None:
    summary, out, _ = go(**{edge: (rx.zip(reactivex.of(1, 2)), rx.map(first))})
    assert len(out) == 2
    assert summary.reason.startswith("zip")
    summary, _, _ = go(**{edge: (rx.zip(reactivex.of(1, 2)),)})
    assert isinstance(summary.error, LawBroken)
    assert "a tuple" in str(summary.error)


@pytest.mark.parametrize("edge", EDGES)
def test_start_with_has_no_input_in_hand(edge: str) -> None:
    first: Any = Request("http://a.test/9")
    summary, _, _ = go(**{edge: (rx.start_with(first),)})
    assert isinstance(summary.error, LawBroken)
    assert "start_with" in str(summary.error)


@pytest.mark.parametrize("edge", EDGES)
def test_one_element_that_raises_is_that_elements_failure(edge: str) -> None:
    summary, out, events = go(**{edge: (rx.map(picky),)})
    assert len(out) == PAGES - 1
    failed = [event.failed for event in events if isinstance(event, RequestFailed)]
    assert [each.request.url for each in failed] == ["http://a.test/3"]
    assert isinstance(failed[0].error, OperatorError)
    assert not summary.ok
    assert "map(picky at test_laws_by_example.py" in str(failed[0].error)
    assert summary.failed == 1


@pytest.mark.parametrize("edge", [*EDGES, "items"])
def test_strict_stops_at_the_first_failure(edge: str) -> None:
    summary, _, _ = go(**{edge: (ops.strict(rx.map(picky)),)})
    assert isinstance(summary.error, OperatorError)
    assert "picky" in str(summary.error)


@pytest.mark.parametrize("edge", [*EDGES, "items"])
def test_an_operator_that_always_raises_does_not_hang(edge: str) -> None:
    summary, out, _ = go(**{edge: (rx.do_action(boom),)})
    assert out == []
    assert summary.reason == "finished"
    assert not summary.ok


@pytest.mark.parametrize("edge", [*EDGES, "items"])
def test_one_that_fails_when_it_is_subscribed_stops_the_run(edge: str) -> None:
    summary, _, _ = go(**{edge: (broken_from_the_start,)})
    assert isinstance(summary.error, OperatorError)
    assert "broken" in str(summary.error)


@pytest.mark.parametrize("edge", [*EDGES, "items"])
def test_map_async_may_stand_anywhere(edge: str) -> None:
    async def later(element: Any) -> Any:
        await asyncio.sleep(3.0)
        return picky(element)

    summary, out, _ = go(**{edge: (ops.map_async(later, 2),)})
    assert len(out) == PAGES - 1
    assert summary.failed + summary.stats.get("items_failed", 0) == 1


# -- the edge of items: swallow, multiply, hold -----------------------------------------------------------------------


def test_items_may_be_filtered_and_multiplied() -> None:
    _, out, _ = go(items=(rx.filter(not_the_third),))
    assert len(out) == PAGES - 1
    for operator in (rx.flat_map, rx.concat_map):
        _, out, _ = go(items=(operator(twice),))
        assert len(out) == 2 * PAGES
    _, out, _ = go(items=(rx.scan(lambda count, _: count + 1, 0),))
    assert out == list(range(1, PAGES + 1))
    _, out, _ = go(items=(rx.distinct(length),))
    assert len(out) == 2
    _, out, _ = go(items=(rx.zip(reactivex.of(1, 2)),))
    assert [number for _, number in out] == [1, 2]


def test_items_swallowed_altogether() -> None:
    summary, out, _ = go(items=(rx.filter(nothing),))
    assert out == []
    assert (summary.pages, summary.reason) == (PAGES, "finished")


def test_take_on_items_ends_the_run() -> None:
    summary, out, _ = go(items=(rx.take(2),))
    assert len(out) == 2
    assert summary.reason.startswith("take")


@pytest.mark.parametrize(
    ("operator", "count"),
    [(rx.delay(5.0), PAGES), (rx.debounce(0.5), 4), (rx.start_with({"url": "first"}), PAGES + 1)],
    ids=["delay", "debounce", "start_with"],
)
def test_items_that_come_outside_any_extent_arrive_and_are_told_once(operator: Op, count: int) -> None:
    _, out, events = go(items=(operator,))
    assert len(out) == count
    if "start_with" not in str(operator):
        told = [event.operator for event in events if isinstance(event, OutsideExtent)]
        assert len(told) <= 1
    _, out, events = go(items=(ops.at_most_once(operator),))
    assert len(out) == count
    assert not [event for event in events if isinstance(event, OutsideExtent)]


def test_an_item_on_which_an_operator_raises_is_lost_alone() -> None:
    summary, out, events = go(items=(rx.filter(lambda item: item["author"]),))
    assert out == []
    failed = [event for event in events if isinstance(event, ItemFailed)]
    assert len(failed) == PAGES
    assert "KeyError: 'author'" in str(failed[0].error)
    assert summary.stats["items_failed"] == PAGES
    assert not summary.ok


def swapped(source: Observable[Any]) -> Observable[Any]:
    """Emits the element before the one that came in."""

    def pairs(shared: Observable[Any]) -> Observable[Any]:
        return reactivex.zip(shared, shared.pipe(rx.skip(1))).pipe(rx.map(first))

    return source.pipe(rx.publish(pairs))


def test_an_operator_that_emits_another_elements_outcome_stops_the_run_and_is_named() -> None:
    async def main() -> Summary:
        layers = (ops.up(swapped), *ops.default_layers(robots_txt=None))
        starts = [f"http://a.test/{n}" for n in range(1, 4)]
        flow = Crawl(starts).pipe(ops.download(*layers, fetch=FakeFetch(SITE)), ops.scrape(parse))
        return await flow.start()

    summary = run_virtual(main())
    assert isinstance(summary.error, LawBroken)
    assert "up(swapped" in str(summary.error)
    assert "in the place of" in str(summary.error)
    assert summary.balanced


def test_an_operator_of_down_that_makes_something_else_of_requests_is_named() -> None:
    async def main() -> Summary:
        pairing = ops.down(rx.zip_with_iterable([1, 2]))  # type: ignore[arg-type]  # that is the point
        flow = Crawl("http://a.test/").pipe(ops.download(pairing, fetch=FakeFetch(SITE)), ops.scrape(parse))
        return await flow.start()

    assert "down(zip_with_iterable" in str(run_virtual(main()).error)


def test_a_request_made_from_scratch_stands_for_the_one_that_came_in() -> None:
    _, out, _ = go(requests=(rx.map(lambda request: Request(request.url)),))
    assert len(out) == PAGES


def test_a_layer_above_robots_txt_may_change_urls() -> None:
    async def main() -> Summary:
        rewrite = ops.on_request(lambda request: request.replace(url=request.url + "?a=1"))
        layers: list[Layer] = [rewrite, *ops.default_layers()]
        site = {key.removeprefix("http://a.test"): answer for key, answer in SITE.items()}
        flow = Crawl("http://a.test/").pipe(ops.download(*layers, fetch=FakeFetch(site)), ops.scrape(parse))
        return await flow.start()

    assert run_virtual(main()).pages == PAGES


def test_a_run_that_fails_while_a_nested_fetch_is_under_way_still_adds_up() -> None:
    def doubled(request: Request) -> Observable[Request]:
        return reactivex.of(*([request] if "a." in request.url else [request, request]))

    async def main() -> Summary:
        flow = Crawl(["http://a.test/", "http://b.test/"]).pipe(
            rx.flat_map(doubled),
            ops.download(fetch=FakeFetch(SITE, latency=1.0)),
            ops.scrape(parse),
        )
        return await flow.start()

    summary = run_virtual(main())
    assert isinstance(summary.error, LawBroken)
    assert summary.balanced, str(summary)


def test_an_errback_hears_of_links_that_were_refused() -> None:
    def errback(outcome: Any) -> Iterator[Any]:
        yield {"url": outcome.request.url, "reason": outcome.reason}
        yield outcome.request

    def links(response: Response) -> Iterator[Any]:
        for url in ("/1", "/1", "http://elsewhere.test/", "mailto:somebody@a.test"):
            yield response.follow(url, errback=errback, callback=no_items)

    async def main() -> tuple[Summary, list[Any]]:
        out: list[Any] = []
        flow = Crawl("http://a.test/").pipe(ops.download(fetch=FakeFetch(SITE)), ops.scrape(links))
        return await flow.start(on_item=out.append), out

    summary, out = run_virtual(main())
    assert {item["reason"] for item in out} == {"duplicate", "off-site", "not followed (mailto:)"}
    assert len(out) == 3
    assert summary.balanced, str(summary)


def test_the_events_of_a_crawl_are_those_of_all_its_runs() -> None:
    async def main() -> None:
        flow = Crawl("http://a.test/").pipe(ops.download(fetch=FakeFetch(SITE)), ops.scrape(parse))
        told: list[Event] = []
        flow.events.subscribe(told.append)
        one, two = flow.start(), flow.start()
        await one
        await two
        assert {event.run for event in told} == {one.id, two.id}

    run_virtual(main())


def test_two_sinks_on_one_path_are_refused_when_the_pipe_is_built() -> None:
    with pytest.raises(FlowError, match=r"two sinks write to .*same\.jsonl"):
        Crawl("http://a.test/").pipe(
            ops.download(), ops.scrape(parse), ops.feed("same.jsonl"), ops.feed("./same.jsonl")
        )


def test_to_list_comes_at_the_end() -> None:
    _, out, _ = go(items=(rx.to_list(),))
    assert len(out) == 1
    assert len(out[0]) == PAGES


def test_a_callback_that_breaks_off_keeps_what_it_yielded() -> None:
    def broken(response: Response) -> Iterator[Any]:
        yield {"n": 1}
        yield 42

    async def main() -> tuple[Summary, list[Any], list[Event]]:
        fetch = FakeFetch(SITE)
        flow = Crawl("http://a.test/").pipe(ops.download(fetch=fetch), ops.scrape(broken))
        out: list[Any] = []
        events: list[Event] = []
        run = flow.start(on_item=out.append)
        run.events.subscribe(events.append)
        return await run, out, events

    summary, out, events = run_virtual(main())
    assert out == [{"n": 1}]
    assert "yielded 42 (int)" in str(next(event.error for event in events if isinstance(event, CallbackFailed)))
    assert (summary.counts.callback_errors, summary.ok, summary.balanced) == (1, False, True)
