"""An operator that is declared to emit with no item in hand."""

from __future__ import annotations

from typing import Any

import pytest
from reactivex import operators as rx

from streamcrawl import Crawl, Response
from streamcrawl import operators as ops
from streamcrawl.events import OutsideExtent
from streamcrawl.streams.declared import Declared, declared
from streamcrawl.testing import FakeFetch, assert_marbles, page, run_virtual

BARE = ops.default_layers(robots_txt=None, retry=None)


def crawl(*operators: Any, requests: tuple[Any, ...] = ()) -> tuple[Any, list[Any], list[OutsideExtent]]:
    def parse(response: Response) -> Any:
        yield from ({"n": n} for n in range(3))

    async def main() -> tuple[Any, list[Any], list[OutsideExtent]]:
        flow = Crawl("http://a.test/").pipe(
            *requests, ops.download(*BARE, fetch=FakeFetch({"/": page()})), ops.scrape(parse), *operators
        )
        out: list[Any] = []
        told: list[OutsideExtent] = []
        run = flow.start(on_item=out.append)
        run.events.on(OutsideExtent, told.append)
        return await run, out, told

    return run_virtual(main())


def test_it_emits_what_the_operator_emits() -> None:
    assert_marbles(ops.at_most_once(rx.delay(2.0)), "a-b-|", "--a-b-|")
    assert_marbles(ops.at_most_once(rx.filter(lambda each: each != "a")), "a-b-|", "--b-|")


@pytest.mark.parametrize("operator", [rx.delay(1.0), rx.buffer_with_time(5.0)], ids=["delay", "buffer_with_time"])
def test_undeclared_it_is_told_once_and_declared_it_is_accepted_in_silence(operator: Any) -> None:
    summary, plain, told = crawl(operator)
    assert [event.operator.partition(",")[0] for event in told] == [declared(operator).name]
    declared_summary, declared_out, silent = crawl(ops.at_most_once(operator))
    assert silent == []
    assert declared_out == plain != []
    assert (summary.reason, declared_summary.reason) == ("finished", "finished")


def test_it_is_a_promise_about_items_and_not_about_requests() -> None:
    summary, out, _ = crawl(requests=(ops.at_most_once(rx.delay(1.0)),))
    assert out == []
    assert summary.dropped == 1  # what comes later than its input comes too late


def test_declarations_add_up() -> None:
    operator: Any = rx.take(1)
    both = declared(ops.strict(ops.at_most_once(operator)))
    assert both == Declared(operator, strict=True, at_most_once=True)
    assert declared(ops.at_most_once(ops.strict(operator))) == both
    assert declared(ops.at_most_once(operator)) == Declared(operator, at_most_once=True)


def test_a_declared_operator_keeps_its_name() -> None:
    assert declared(ops.at_most_once(rx.delay(1.0))).name == "delay"
