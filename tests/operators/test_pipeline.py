"""pipeline: items step by step."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import reactivex as rx

from streamcrawl import Crawl, Drop, Response
from streamcrawl import operators as ops
from streamcrawl.errors import FlowError
from streamcrawl.events import ItemDropped, ItemFailed
from streamcrawl.spiders import Spider
from streamcrawl.testing import FakeFetch, run_virtual

BARE = ops.default_layers(robots_txt=None)


def parse(page: Response) -> Iterator[dict[str, int]]:
    for n in range(6):
        yield {"n": n}


def crawled(*operators: Any, crawl: Crawl[Any] | None = None) -> tuple[list[Any], list[Any], Any]:
    """The items, the events of items lost, and the summary."""
    whole = crawl or Crawl("http://a.test/").pipe(ops.download(*BARE, fetch=FakeFetch({"/": ""})), ops.scrape(parse))
    items: list[Any] = []
    told: list[Any] = []

    async def main() -> Any:
        run = whole.pipe(*operators).start(on_item=items.append)
        for kind in (ItemDropped, ItemFailed):
            run.events.on(kind, told.append)
        return await run

    return items, told, run_virtual(main)


def double(item: dict[str, int]) -> dict[str, int]:
    return {**item, "twice": item["n"] * 2}


async def slow(item: dict[str, int]) -> dict[str, int]:
    await asyncio.sleep(6.0 - item["n"])
    return {**item, "slow": 1}


def mark(item: dict[str, int]) -> None:
    item["marked"] = 1


def test_steps_in_their_order_plain_and_async() -> None:
    items, _, _ = crawled(ops.pipeline(double, slow, mark, limit=1))
    assert items == [{"n": n, "twice": 2 * n, "slow": 1, "marked": 1} for n in range(6)]
    items, _, _ = crawled(ops.pipeline(slow))
    assert [item["n"] for item in items] == [5, 4, 3, 2, 1, 0], "what is ready first goes on first"


class Numbered:
    """Opened and closed, async; numbers what it sees."""

    log: list[str]

    def __init__(self) -> None:
        self.seen = 0

    async def open_spider(self) -> None:
        await asyncio.sleep(3)
        self.log.append("open")

    def process_item(self, item: dict[str, int]) -> dict[str, int]:
        assert self.log
        self.seen += 1
        self.log.append(f"item {self.seen}")
        return {**item, "nth": self.seen}

    async def close_spider(self) -> None:
        self.log.append("closed")


def test_each_run_has_an_object_of_its_own_opened_before_and_closed_after() -> None:
    Numbered.log = []
    pipe = ops.pipeline(Numbered)
    for _ in range(2):
        items, _, _ = crawled(pipe)
        assert sorted(item["nth"] for item in items) == [1, 2, 3, 4, 5, 6]
    once = ["open", *(f"item {n}" for n in range(1, 7)), "closed"]
    assert Numbered.log == once * 2


def test_what_is_dropped_and_what_fails_is_told_and_loses_nothing_else() -> None:
    def picky(item: dict[str, int]) -> None:
        if item["n"] == 1:
            raise Drop("no ones")
        if item["n"] == 2:
            raise KeyError("two")

    async def picky_later(item: dict[str, int]) -> None:
        if item["n"] == 3:
            raise Drop("no threes")

    items, told, summary = crawled(ops.pipeline(picky, picky_later))
    assert [item["n"] for item in items] == [0, 4, 5]
    dropped = {event.reason: event.item["n"] for event in told if isinstance(event, ItemDropped)}
    assert dropped == {"no ones": 1, "no threes": 3}
    (failed,) = [event for event in told if isinstance(event, ItemFailed)]
    assert failed.item == {"n": 2}
    assert str(failed.error).endswith("KeyError: 'two'")
    assert "pipeline(" in str(failed.error)
    assert summary.error is None


class Shop(Spider):
    name = "shop"
    start_urls = ["http://a.test/"]  # noqa: RUF012 - as spiders have it
    currency = "EUR"

    def parse(self, response: Response) -> Iterator[dict[str, int]]:
        yield from parse(response)


class Priced:
    def open_spider(self, spider: Shop) -> None:
        self.currency = spider.currency

    def process_item(self, item: dict[str, Any], spider: Shop) -> dict[str, Any]:
        return {**item, "currency": self.currency, "by": spider.name}


def test_a_step_may_ask_for_the_spider() -> None:
    crawl = Crawl.of(Shop, currency="CHF").replace(download=ops.download(*BARE, fetch=FakeFetch({"/": ""})))
    items, _, _ = crawled(ops.pipeline(Priced()), crawl=crawl)
    assert items[0] == {"n": 0, "currency": "CHF", "by": "shop"}


def test_one_that_cannot_be_opened_ends_the_run() -> None:
    class Broken:
        def open_spider(self) -> None:
            raise OSError("no database")

        def process_item(self, item: Any) -> None: ...

    _, _, summary = crawled(ops.pipeline(Broken))
    assert isinstance(summary.error, FlowError)
    assert str(summary.error) == "pipeline(Broken) cannot be opened: OSError: no database"


def test_with_no_crawl_around_it() -> None:
    found: list[Any] = []
    rx.of({"n": 1}, {"n": 2}).pipe(ops.pipeline(double)).subscribe(found.append)
    assert found == [{"n": 1, "twice": 2}, {"n": 2, "twice": 4}]


@pytest.mark.parametrize(
    ("steps", "limit", "said"),
    [
        ((), 1, "needs a step"),
        ((double,), 0, "1 or more"),
        ((dict,), 1, "neither a function nor has it a method process_item"),
        ((5,), 1, "5 is neither a function"),
    ],
)
def test_arguments_are_checked_when_built(steps: tuple[Any, ...], limit: int, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        ops.pipeline(*steps, limit=limit)


def test_its_name_tells_the_steps() -> None:
    assert getattr(ops.pipeline(Numbered, Priced(), double), "name", "") == "pipeline(Numbered, Priced, double)"
