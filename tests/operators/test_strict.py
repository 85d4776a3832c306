"""An operator whose failure ends the run in good order."""

from __future__ import annotations

from typing import Any

import pytest
from reactivex import operators as rx

from streamcrawl import Crawl, Drop, Response
from streamcrawl import operators as ops
from streamcrawl.core import ItemId, OpenSink, Run
from streamcrawl.errors import OperatorError
from streamcrawl.streams.declared import declared
from streamcrawl.streams.sink import SinkOperator
from streamcrawl.testing import FakeFetch, assert_marbles, page, run_virtual

BARE = ops.default_layers(robots_txt=None, retry=None)


class Keeping(SinkOperator):
    def __init__(self) -> None:
        self.log: list[Any] = []

    def open(self, run: Run, token: Any = None) -> OpenSink:
        return self

    def accept(self, item: Any, item_id: ItemId) -> None:
        self.log.append(item["n"])

    async def flush(self) -> None:
        self.log.append("flush")

    async def close(self) -> None:
        self.log.append("close")


def crawl(*operators: Any) -> tuple[Any, Keeping]:
    def parse(response: Response) -> Any:
        yield from ({"n": n} for n in range(5))

    sink = Keeping()
    flow = Crawl("http://a.test/").pipe(
        ops.download(*BARE, fetch=FakeFetch({"/": page()})), ops.scrape(parse), *operators, sink
    )

    async def main() -> Any:
        return await flow.start()

    return run_virtual(main()), sink


def add(total: dict[str, int], item: dict[str, int]) -> dict[str, int]:
    if item["n"] == 3:
        raise KeyError("three")
    return {"n": total["n"] + item["n"]}


def test_while_nothing_fails_it_is_the_operator() -> None:
    assert_marbles(ops.strict(rx.map(lambda value: value + "!")), "a-b-|", "x-y-|", values={"x": "a!", "y": "b!"})


def test_without_it_the_operator_starts_anew_and_its_state_is_lost() -> None:
    summary, sink = crawl(rx.scan(add, {"n": 100}))
    assert sink.log == [100, 101, 103, 104, "flush", "close"]
    assert summary.stats["items_failed"] == 1


def test_the_first_failure_stops_the_run_and_what_was_accepted_is_flushed() -> None:
    summary, sink = crawl(ops.strict(rx.scan(add, {"n": 100})))
    assert sink.log[:3] == [100, 101, 103]
    assert set(sink.log[3:-1]) == {"flush"}
    assert sink.log[-1] == "close"
    assert isinstance(summary.error, OperatorError)
    assert "scan(add at test_strict.py:" in str(summary.error)
    assert isinstance(summary.error.error, KeyError)
    assert summary.reason == "failed"
    assert summary.balanced


def three(response: Response) -> dict[str, int]:
    return {"n": 3}


def add_to_nothing(item: dict[str, int]) -> dict[str, int]:
    return add({"n": 0}, item)


def test_the_error_is_raised_where_the_run_is_blocking_or_collected() -> None:
    flow = Crawl("http://a.test/").pipe(
        ops.download(*BARE, fetch=FakeFetch({"/": page()})),
        ops.scrape(three),
        ops.strict(rx.map(add_to_nothing)),
    )
    with pytest.raises(OperatorError, match="KeyError: 'three'"):
        flow.run()
    with pytest.raises(OperatorError, match="KeyError: 'three'"):
        run_virtual(flow.collect())


def test_it_is_a_declaration_and_leaves_the_operator_as_it_is() -> None:
    operator: Any = rx.map(add_to_nothing)
    strict = declared(ops.strict(operator))
    assert (strict.operator, strict.strict, strict.at_most_once) == (operator, True, False)
    assert not declared(operator).strict
    assert ops.strict(operator) == ops.strict(operator)


def test_a_drop_is_a_failure_too_where_state_must_not_be_lost() -> None:
    def drop(item: Any) -> Any:
        raise Drop("not this one")

    summary, _ = crawl(ops.strict(rx.map(drop)))
    assert isinstance(summary.error, OperatorError)
    assert "Drop: not this one" in str(summary.error)
