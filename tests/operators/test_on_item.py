"""A function on each item."""

from __future__ import annotations

from typing import Any

import pytest
import reactivex

from streamcrawl import Crawl, Drop, Response
from streamcrawl import operators as ops
from streamcrawl.events import ItemDropped, ItemFailed
from streamcrawl.testing import FakeFetch, page, run_virtual

BARE = ops.default_layers(robots_txt=None, retry=None)


def crawl(*operators: Any) -> tuple[Any, list[Any], list[Any]]:
    def parse(response: Response) -> Any:
        yield from ({"n": n} for n in range(4))

    async def main() -> tuple[Any, list[Any], list[Any]]:
        out: list[Any] = []
        told: list[Any] = []
        flow = Crawl("http://a.test/").pipe(
            ops.download(*BARE, fetch=FakeFetch({"/": page()})), ops.scrape(parse), *operators
        )
        run = flow.start(on_item=out.append)
        run.events.on(ItemFailed, lambda event: told.append(str(event.error)))
        run.events.on(ItemDropped, lambda event: told.append(event.reason))
        return await run, out, told

    return run_virtual(main())


@pytest.mark.parametrize("other", [{"n": 9}, [], 0, "", False])
def test_what_it_gives_goes_on_and_nothing_leaves_the_item(other: Any) -> None:
    out: list[Any] = []
    reactivex.of({"n": 1}, {"n": 2}).pipe(ops.on_item(lambda item: other if item["n"] == 1 else None)).subscribe(
        out.append
    )
    assert out == [other, {"n": 2}]


def test_it_may_change_the_item_in_place() -> None:
    def mark(item: Any) -> None:
        item["seen"] = True

    _, out, _ = crawl(ops.on_item(mark))
    assert out == [{"n": n, "seen": True} for n in range(4)]


def test_a_dropped_item_is_counted_with_its_reason() -> None:
    def odd(item: Any) -> None:
        if item["n"] % 2 == 0:
            raise Drop("even")

    summary, out, told = crawl(ops.on_item(odd))
    assert out == [{"n": 1}, {"n": 3}]
    assert told == ["even", "even"]
    assert (summary.stats["items_dropped"], summary.stats["items_dropped/even"]) == (2, 2)
    assert summary.ok


def test_what_it_raises_is_that_items_failure_and_names_the_function() -> None:
    def broken(item: Any) -> None:
        if item["n"] == 2:
            raise KeyError("author")

    summary, out, told = crawl(ops.on_item(broken))
    assert [item["n"] for item in out] == [0, 1, 3]
    line = broken.__code__.co_firstlineno
    assert told == [f"operator on_item(broken at test_on_item.py:{line}), number 3 in the pipe: KeyError: 'author'"]
    assert not summary.ok


def test_a_callable_object_serves_too() -> None:
    class Adding:
        def __call__(self, item: Any) -> dict[str, int]:
            return {"n": item["n"] + 1}

    _, out, _ = crawl(ops.on_item(Adding()), ops.strict(ops.on_item(Adding())))
    assert [item["n"] for item in out] == [2, 3, 4, 5]
