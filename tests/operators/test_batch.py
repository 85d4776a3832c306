"""Items in lists: full, in time, at the end, and when nothing else can move."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import reactivex
from hypothesis import given
from hypothesis import strategies as st
from reactivex import Observable
from reactivex import operators as rx
from reactivex.subject import Subject

from streamcrawl import Crawl, Request, Response
from streamcrawl import operators as ops
from streamcrawl.core import RUN, Extent, ItemId, Lease, OpenSink, Run
from streamcrawl.streams.local import LocalRun
from streamcrawl.streams.sink import SinkOperator
from streamcrawl.testing import FakeFetch, page, run_virtual, virtual

BARE = ops.default_layers(robots_txt=None, retry=None)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0,), r"batch\(0\): the count must be 1 or more"),
        ((-3,), r"batch\(-3\): the count must be 1 or more"),
        ((1, 0), r"batch\(seconds=0\): it must be more than 0"),
        ((1, -2.5), r"batch\(seconds=-2.5\): it must be more than 0"),
    ],
)
def test_arguments_that_make_no_sense_are_told_when_it_is_built(arguments: tuple[Any, ...], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        ops.batch(*arguments)


class Gathered:
    """One subscription in a run of its own."""

    def __init__(self, *arguments: Any) -> None:
        self.run = LocalRun(asyncio.get_running_loop())
        self.source: Subject[Any] = Subject()
        self.out: list[tuple[float, list[Any]]] = []
        self.extents: list[Extent | None] = []
        self.leases: list[Lease] = []
        self.ended = False
        token = RUN.set(self.run)
        pipe: Observable[list[Any]] = self.source.pipe(ops.batch(*arguments))
        self.subscription = pipe.subscribe(self._next, on_completed=self._end)
        RUN.reset(token)

    def _next(self, items: list[Any]) -> None:
        self.out.append((self.run.monotonic(), items))
        self.extents.append(self.run.extent)

    def _end(self) -> None:
        self.ended = True

    def send(self, *items: Any) -> None:
        for item in items:
            lease = Lease(len(self.leases) + 1, Request("http://a.test/"), "http://a.test", lambda lease: None)
            self.leases.append(lease)
            self.run.extent = Extent((lease,))
            self.source.on_next(item)
            self.run.extent = None


@given(st.integers(1, 10), st.lists(st.integers(), max_size=40))
def test_every_item_comes_once_in_order_in_full_lists_but_for_the_last(count: int, items: list[int]) -> None:
    async def main() -> None:
        gathered = Gathered(count)
        gathered.send(*items)
        gathered.source.on_completed()
        lists = [each for _, each in gathered.out]
        assert [item for each in lists for item in each] == items
        assert all(len(each) == count for each in lists[:-1])
        assert all(0 < len(each) <= count for each in lists)
        assert gathered.ended
        assert {lease.holds for lease in gathered.leases} <= {1}

    run_virtual(main())


@virtual
async def test_the_first_item_of_a_list_waits_no_longer_than_its_seconds() -> None:
    gathered = Gathered(3, 5.0)
    gathered.send("a")
    await asyncio.sleep(4.0)
    gathered.send("b")
    await asyncio.sleep(2.0)
    assert gathered.out == [(5.0, ["a", "b"])]
    gathered.send("c", "d", "e", "f")
    await asyncio.sleep(20.0)
    assert gathered.out[1:] == [(6.0, ["c", "d", "e"]), (11.0, ["f"])]
    assert gathered.run.scheduler.pending == 0


@virtual
async def test_leases_stay_open_until_their_list_was_handed_on() -> None:
    gathered = Gathered(2)
    gathered.send("a")
    assert [lease.holds for lease in gathered.leases] == [2]
    gathered.send("b")
    assert [lease.holds for lease in gathered.leases] == [1, 1]
    (extent,) = gathered.extents
    assert extent is not None
    assert extent.leases == tuple(gathered.leases)


@virtual
async def test_the_run_can_flush_it_and_lets_go_of_it_when_it_is_disposed_of() -> None:
    gathered = Gathered(100)
    gathered.send("a", "b")
    (flush,) = gathered.run.gatherers
    flush()
    flush()
    assert [items for _, items in gathered.out] == [["a", "b"]]
    gathered.subscription.dispose()
    assert gathered.run.gatherers == []


@virtual
async def test_an_item_with_no_lease_in_hand_is_gathered_too() -> None:
    gathered = Gathered(2)
    gathered.source.on_next("a")
    gathered.source.on_next("b")
    assert [items for _, items in gathered.out] == [["a", "b"]]


@virtual
async def test_two_subscriptions_gather_apart() -> None:
    source: Subject[Any] = Subject()
    pipe = source.pipe(ops.batch(2))
    out: list[list[Any]] = []
    pipe.subscribe(out.append)
    await asyncio.sleep(0)
    source.on_next(1)
    pipe.subscribe(out.append)
    await asyncio.sleep(0)
    source.on_next(2)
    source.on_next(3)
    assert out == [[1, 2], [2, 3]]


class Ids(SinkOperator):
    def __init__(self) -> None:
        self.ids: list[ItemId] = []

    def open(self, run: Run, token: Any = None) -> OpenSink:
        return self

    async def accept(self, item: Any, item_id: ItemId) -> None:
        self.ids.append(item_id)

    async def flush(self) -> None: ...

    async def close(self) -> None: ...


def three(response: Response) -> list[dict[str, Any]]:
    return [{"url": response.url, "n": n} for n in range(3)]


def number(item: Any) -> int:
    return int(item["n"])


def test_lists_have_ids_of_their_own_in_a_crawl_and_go_through_other_operators() -> None:
    starts = [f"http://a.test/{n}" for n in range(10)]
    sink = Ids()
    flow = Crawl(starts).pipe(
        ops.download(*BARE, fetch=FakeFetch(dict.fromkeys(starts, page()))),
        ops.scrape(three),
        ops.batch(4),
        rx.flat_map(reactivex.from_iterable),
        rx.map(number),
        ops.batch(7),
        sink,
    )
    lists = run_virtual(flow.collect())
    assert [len(each) for each in lists] == [7, 7, 7, 7, 2]
    assert len(set(sink.ids)) == 5
