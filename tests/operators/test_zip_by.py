"""zip_by: parts that belong together, what becomes of those that do not, and jobs that are killed in between."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import reactivex
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex import Observable
from reactivex import operators as rx

from streamcrawl import Crawl, Response, Summary
from streamcrawl import operators as ops
from streamcrawl.core import ItemId, OpenSink, Run
from streamcrawl.events import ItemDropped
from streamcrawl.streams.sink import SinkOperator
from streamcrawl.testing import FakeFetch, links_to, run_virtual

URL = "https://shop.test/"


def marked(item: dict[str, Any]) -> dict[str, Any]:
    return item | {"seen": True}


def doubled(item: Any) -> Observable[Any]:
    return reactivex.of(item, item)


def alone(operator: Any, *items: Any) -> list[Any]:
    found: list[Any] = []

    async def main() -> None:
        await reactivex.from_iterable(items).pipe(operator, rx.do_action(found.append), rx.default_if_empty(None))

    run_virtual(main)
    return found


@dataclass
class Price:
    id: int
    price: int


def test_parts_of_one_key_become_one_whatever_their_order() -> None:
    zipped = ops.zip_by("id", "title", "price")
    items = [{"id": 1, "title": "a"}, Price(2, 20), {"id": 2, "title": "b"}, {"other": 1}, Price(1, 10)]
    assert alone(zipped, *items) == [
        {"id": 2, "title": "b", "price": 20}, {"other": 1}, {"id": 1, "title": "a", "price": 10},
    ]  # fmt: skip


def test_more_of_a_part_wait_their_turn() -> None:
    zipped = ops.zip_by("id", "a", "b")
    items = [{"id": 1, "a": 1}, {"id": 1, "a": 2}, {"id": 1, "b": 3}, {"id": 1, "b": 4}, {"id": 1, "b": 5}]
    assert alone(zipped, *items) == [{"id": 1, "a": 1, "b": 3}, {"id": 1, "a": 2, "b": 4}]


def test_functions_in_place_of_fields() -> None:
    zipped = ops.zip_by(
        lambda item: item % 10, lambda item: item < 10, lambda item: item >= 20, lambda item: 10 <= item < 20,
        combine=lambda *parts: parts,
    )  # fmt: skip
    assert alone(zipped, 3, 14, 23, 24, 13, 4) == [(3, 23, 13), (4, 24, 14)]


def test_what_stays_incomplete_is_emitted_on_demand() -> None:
    items = [{"id": 1, "a": 1}, {"id": 2, "a": 2}, {"id": 2, "b": 2}, {"id": 3, "b": 3}]
    assert alone(ops.zip_by("id", "a", "b"), *items) == [{"id": 2, "a": 2, "b": 2}]
    found = alone(ops.zip_by("id", "a", "b", incomplete="emit"), *items)
    assert found == [{"id": 2, "a": 2, "b": 2}, {"id": 1, "a": 1}, {"id": 3, "b": 3}]


@given(st.permutations([(key, part) for key in range(4) for part in "abc"]))
@settings(deadline=None, max_examples=50)
def test_any_order_gives_the_same_wholes(order: list[tuple[int, str]]) -> None:
    found = alone(ops.zip_by("id", "a", "b", "c"), *({"id": key, part: f"{key}{part}"} for key, part in order))
    assert sorted(found, key=lambda item: item["id"]) == [
        {"id": key, "a": f"{key}a", "b": f"{key}b", "c": f"{key}c"} for key in range(4)
    ]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        (("id",), {}, ValueError, "0 parts"),
        (("id", "a"), {}, ValueError, "1 parts, and it takes two or more"),
        (("id", "a", "b"), {"incomplete": "keep"}, ValueError, r"incomplete='keep'\): one of drop, emit"),
        (("id", "a", 7), {}, TypeError, "fields or functions"),
    ],
)
def test_arguments_are_checked_when_it_is_built(arguments: Any, options: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        ops.zip_by(*arguments, **options)


IDS = range(12)
SITE = {"/": links_to(*(f"/book/{n}" for n in IDS))} | {
    path: body for n in IDS for path, body in {f"/book/{n}": f"<h1>Book {n}</h1>", f"/stock/{n}": f"<p>{n}</p>"}.items()
}


def parse(page: Response) -> Any:
    yield from page.follow_all(css="a", callback=book)


def book(page: Response) -> Any:
    n = int(page.url.rpartition("/")[2])
    yield {"id": n, "title": page.css("h1::text").get()}
    yield page.follow(f"/stock/{n}", callback=stock)


def stock(page: Response) -> Any:
    n = int(page.url.rpartition("/")[2])
    if n != 5:
        yield {"id": n, "stock": page.css("p::text").get()}


def crawled(*operators: Any, stop_at: int = 1 << 30, **options: Any) -> tuple[Summary, list[Any], list[Any]]:
    told: list[Any] = []
    crawl = Crawl(URL, **options).pipe(
        ops.download(*ops.default_layers(robots_txt=None), fetch=FakeFetch(SITE, latency=1)),
        ops.scrape(parse),
        *operators,
    )

    async def main() -> tuple[Summary, list[Any], list[Any]]:
        items: list[Any] = []
        run = crawl.start(items.append)
        run.events.on(ItemDropped, told.append)
        return await run, items, told

    return run_virtual(main)


WHOLE = [{"id": n, "title": f"Book {n}", "stock": str(n)} for n in IDS if n != 5]


def test_an_item_of_two_pages_and_one_that_stays_alone() -> None:
    summary, items, told = crawled(ops.zip_by("id", "title", "stock"))
    assert sorted(items, key=lambda item: item["id"]) == WHOLE
    assert summary.stats["items_incomplete"] == 1
    assert [(event.item["id"], event.reason) for event in told] == [(5, "incomplete: no stock")]
    assert summary.balanced
    _, items, _ = crawled(ops.zip_by("id", "title", "stock", incomplete="emit"))
    assert items[-1] == {"id": 5, "title": "Book 5"}


def test_a_combine_that_raises_is_that_items_failure() -> None:
    def combine(title: Any, stock: Any) -> Any:
        return {"ratio": 1 / int(stock["stock"])}

    summary, items, _ = crawled(ops.zip_by("id", "title", "stock", combine=combine))
    assert len(items) == 10
    assert summary.stats["items_failed"] == 1
    assert summary.balanced


def test_a_run_with_no_memory_left_goes_on() -> None:
    """Every part waits for one that never comes: the older half is let go each time that nothing else can move."""
    pages = [f"{URL}{n}" for n in range(60)]
    fetch = FakeFetch({f"/{n}": "x" * 800_000 for n in range(60)})

    def part(page: Response) -> Any:
        return {"id": page.url, "a": 1}

    crawl = Crawl(pages, memory="16MB").pipe(
        ops.download(*ops.default_layers(robots_txt=None), fetch=fetch), ops.scrape(part), ops.zip_by("id", "a", "b")
    )

    async def main() -> Summary:
        return await crawl.start()

    summary = run_virtual(main)
    assert summary.pages == 60
    assert summary.stats["items_incomplete"] == 60


class Ids:
    """A sink that keeps the ids of what it takes."""

    def __init__(self) -> None:
        self.taken: list[ItemId] = []

    def accept(self, item: Any, item_id: ItemId) -> None:
        self.taken.append(item_id)

    async def flush(self) -> None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class KeepIds(SinkOperator):
    opened: Ids

    def open(self, run: Run, token: Any = None) -> OpenSink:
        return self.opened


def test_a_whole_has_the_identity_of_its_first_part_behind_other_operators_too() -> None:
    directly, behind, twice = Ids(), Ids(), Ids()
    crawled(
        ops.zip_by("id", "title", "stock"), KeepIds(directly), rx.map(marked), KeepIds(behind),
        rx.flat_map(doubled), KeepIds(twice),
    )  # fmt: skip
    assert len(set(directly.taken)) == 11
    assert directly.taken == behind.taken
    assert len(set(twice.taken)) == 22
    assert set(twice.taken) > set(directly.taken)


@pytest.mark.parametrize("stop", [3, 7, 14, 20, 24])
def test_a_job_that_was_stopped_in_between_makes_every_whole_once(tmp_path: Path, stop: int) -> None:
    feed = tmp_path / "books.jsonl"
    pipe = (ops.zip_by("id", "title", "stock"), rx.map(marked), ops.feed(feed))
    summary, _, _ = crawled(*pipe, job=tmp_path / "job", limit_pages=stop)
    assert summary.error is None
    assert summary.stats.get("items_incomplete", 0) == 0  # they are not lost: the job goes on
    crawled(*pipe, job=tmp_path / "job")
    lines = [json.loads(line) for line in feed.read_text().splitlines()]
    assert sorted(lines, key=lambda item: item["id"]) == [item | {"seen": True} for item in WHOLE]
    again, _, _ = crawled(*pipe, job=tmp_path / "job")
    assert again.reason == "already finished"
