"""The guard around a plain operator: what it swallows, raises, invents or ends is noticed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import reactivex
from reactivex import Observable, abc
from reactivex import operators as rx
from reactivex.subject import Subject

from streamcrawl.core import Extent
from streamcrawl.errors import LawBroken, OperatorError
from streamcrawl.events import OperatorFailed
from streamcrawl.streams.declared import Declared
from streamcrawl.streams.guard import guard
from streamcrawl.streams.local import LocalRun
from streamcrawl.testing import virtual

Op = Callable[[Observable[Any]], Observable[Any]]


class Edge:
    """Numbers flow here; those below 0 go by. Everything that the guard says is written down."""

    def __init__(self, one_to_one: bool) -> None:
        self.one_to_one = one_to_one
        self.told: list[tuple[str, Any, str]] = []

    def passes(self, element: Any) -> bool:
        return bool(element < 0)

    def swallowed(self, element: Any, reason: str, lower: abc.ObserverBase[Any]) -> None:
        self.told.append(("swallowed", element, reason))

    def failed(self, element: Any, error: OperatorError, lower: abc.ObserverBase[Any]) -> None:
        self.told.append(("failed", element, str(error)))

    def output(self, element: Any, output: Any) -> Any:
        if output == "foreign":
            raise LawBroken("emitted what is not its own")
        return output

    def outside(self, operator: str, at_most_once: bool) -> None:
        self.told.append(("outside", at_most_once, operator))

    def ended(self, operator: str) -> None:
        self.told.append(("ended", None, operator))


class Guarded:
    """One operator under guard, and what comes out of it."""

    def __init__(self, operator: Op, *, one_to_one: bool = True) -> None:
        self.run = LocalRun(asyncio.get_running_loop())
        self.edge = Edge(one_to_one)
        self.source: Subject[Any] = Subject()
        self.out: list[Any] = []
        self.completed = 0
        self.events: list[OperatorFailed] = []
        self.run.events.on(OperatorFailed, self.events.append)
        stream = guard(operator, "op", self.edge, self.run)(self.source)
        self.subscription = stream.subscribe(self.out.append, self.run.fail, self._end, scheduler=self.run.scheduler)

    def _end(self) -> None:
        self.completed += 1

    def send(self, *elements: Any) -> Guarded:
        for element in elements:
            self.run.extent = Extent(())
            self.source.on_next(element)
            self.run.extent = None
        return self

    def end(self) -> Guarded:
        self.source.on_completed()
        return self


def twice(source: Observable[Any]) -> Observable[Any]:
    return source.pipe(rx.flat_map(lambda n: reactivex.of(n, n)))


def by_parity(source: Observable[Any]) -> Observable[Any]:
    """Subscribes to its source twice."""

    def is_even(n: Any) -> bool:
        return int(n) % 2 == 0

    even = source.pipe(rx.filter(is_even), rx.map(lambda n: f"even {n}"))
    odd = source.pipe(rx.filter(lambda n: not is_even(n)), rx.map(lambda n: f"odd {n}"))
    return reactivex.merge(even, odd)


def after_all(source: Observable[Any]) -> Observable[Any]:
    """Passes each element on, and fails then."""

    def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        def on_next(element: Any) -> None:
            lower.on_next(element)
            raise KeyError(f"after {element}")

        return source.subscribe(on_next, lower.on_error, lower.on_completed)

    return Observable(subscribe)


@virtual
async def test_an_operator_that_does_its_work_is_not_noticed() -> None:
    guarded = Guarded(rx.map(lambda n: n * 10)).send(1, 2, 3).end()
    assert (guarded.out, guarded.completed) == ([10, 20, 30], 1)
    assert (guarded.edge.told, guarded.run.error) == ([], None)


@virtual
async def test_what_passes_is_not_shown_to_the_operator() -> None:
    seen: list[int] = []
    guarded = Guarded(rx.do_action(seen.append)).send(1, -1, 2)
    assert (guarded.out, seen) == ([1, -1, 2], [1, 2])


@pytest.mark.parametrize("one_to_one", [True, False])
@virtual
async def test_what_is_swallowed_is_told_with_the_name(one_to_one: bool) -> None:
    guarded = Guarded(rx.filter(lambda n: n != 2), one_to_one=one_to_one).send(1, 2, 3)
    assert guarded.out == [1, 3]
    assert guarded.edge.told == [("swallowed", 2, "swallowed by op")]


@virtual
async def test_a_source_that_is_subscribed_twice_counts_both_ways() -> None:
    guarded = Guarded(by_parity).send(1, 2).end()
    assert (guarded.out, guarded.completed) == (["odd 1", "even 2"], 1)
    assert guarded.edge.told == []


@pytest.mark.parametrize("one_to_one", [True, False])
@virtual
async def test_one_that_raises_fails_its_element_and_starts_anew(one_to_one: bool) -> None:
    def add(total: int, n: int) -> int:
        if n == 3:
            raise ValueError("three")
        return total + n

    guarded = Guarded(rx.scan(add, 0), one_to_one=one_to_one).send(1, 2, 3, 4, 5).end()
    assert guarded.out == [1, 3, 4, 9]
    assert guarded.edge.told == [("failed", 3, "operator op: ValueError: three")]
    assert (guarded.completed, guarded.run.error) == (1, None)


@virtual
async def test_a_failure_after_the_output_is_told_and_the_element_goes_on_once() -> None:
    guarded = Guarded(after_all).send(1, 2)
    assert guarded.out == [1, 2]
    assert guarded.edge.told == []
    assert [str(event.error) for event in guarded.events] == ["'after 1'", "'after 2'"]
    assert guarded.run.stats["operator_errors"] == 2


@virtual
async def test_a_failure_after_the_output_of_an_item_is_that_items() -> None:
    guarded = Guarded(after_all, one_to_one=False).send(1)
    assert guarded.out == [1]
    assert guarded.edge.told == [("failed", 1, "operator op: KeyError: 'after 1'")]


@pytest.mark.parametrize("one_to_one", [True, False])
@virtual
async def test_a_strict_one_stops_the_run_and_sees_no_more(one_to_one: bool) -> None:
    seen: list[int] = []

    def fail(n: int) -> int:
        seen.append(n)
        raise ValueError(f"number {n}")

    guarded = Guarded(Declared(rx.map(fail), strict=True), one_to_one=one_to_one).send(1, 2)
    assert str(guarded.run.error) == "operator op: ValueError: number 1"
    assert isinstance(guarded.run.error, OperatorError)
    assert guarded.run.error.__cause__ is guarded.run.error.error
    assert seen == [1]
    assert guarded.end().completed == 1
    assert [what for what, _, _ in guarded.edge.told] == ["failed", "swallowed"]


@virtual
async def test_a_second_output_stops_the_run_where_there_is_one_for_each() -> None:
    guarded = Guarded(twice).send(7)
    assert guarded.out == [7]
    assert isinstance(guarded.run.error, LawBroken)
    assert str(guarded.run.error) == "operator op emitted a second output, 7, for 7; on this edge each input has one"
    guarded = Guarded(twice, one_to_one=False).send(7)
    assert (guarded.out, guarded.run.error) == ([7, 7], None)


@virtual
async def test_an_output_in_anothers_place_stops_the_run() -> None:
    guarded = Guarded(rx.map(lambda _: "foreign")).send(1)
    assert guarded.out == []
    assert str(guarded.run.error) == "operator op emitted what is not its own"


@virtual
async def test_an_output_with_no_input_in_hand_stops_the_run_where_there_is_one_for_each() -> None:
    guarded = Guarded(rx.delay(5.0)).send(1)
    await asyncio.sleep(6.0)
    assert guarded.out == []
    assert isinstance(guarded.run.error, LawBroken)
    assert "op emitted 1 with no input in hand; use ops.map_async" in str(guarded.run.error)


@pytest.mark.parametrize("declared", [True, False])
@virtual
async def test_an_item_outside_any_extent_is_told_with_what_was_declared(declared: bool) -> None:
    guarded = Guarded(Declared(rx.delay(5.0), at_most_once=declared), one_to_one=False).send(1, 2)
    await asyncio.sleep(6.0)
    assert guarded.out == [1, 2]
    assert [each for each in guarded.edge.told if each[0] == "outside"] == [("outside", declared, "op")] * 2


@virtual
async def test_an_item_that_comes_later_in_an_extent_of_its_own_is_not_outside() -> None:
    guarded = Guarded(rx.delay(5.0), one_to_one=False).send(1)
    guarded.run.extent = Extent(())
    await asyncio.sleep(6.0)
    assert guarded.out == [1]
    assert [what for what, _, _ in guarded.edge.told] == ["swallowed"]


@virtual
async def test_one_that_completes_ends_the_run_and_what_follows_is_swallowed() -> None:
    guarded = Guarded(rx.take(2)).send(1, 2, 3)
    assert guarded.out == [1, 2]
    assert guarded.edge.told == [("ended", None, "op"), ("swallowed", 3, "after op completed")]
    assert guarded.completed == 0
    assert guarded.end().completed == 1


@virtual
async def test_items_end_when_the_operator_does() -> None:
    guarded = Guarded(rx.take(1), one_to_one=False).send(1)
    assert guarded.completed == 1
    assert guarded.send(2).end().completed == 1
    assert guarded.out == [1]


@virtual
async def test_what_an_operator_kept_comes_at_the_end() -> None:
    guarded = Guarded(rx.to_list(), one_to_one=False).send(1, 2).end()
    assert (guarded.out, guarded.completed) == ([[1, 2]], 1)


@virtual
async def test_a_failure_at_the_end_is_told_and_the_end_comes_all_the_same() -> None:
    guarded = Guarded(rx.last(), one_to_one=False).end()
    assert (guarded.out, guarded.completed) == ([], 1)
    assert [event.operator for event in guarded.events] == ["op"]
    assert guarded.run.stats["operator_errors"] == 1


@pytest.mark.parametrize("strict", [True, False])
@virtual
async def test_a_failure_with_no_element_in_hand_is_told(strict: bool) -> None:
    guarded = Guarded(Declared(rx.timeout(5.0), strict=strict), one_to_one=False).send(1)
    await asyncio.sleep(6.0)
    assert [event.operator for event in guarded.events] == ["op"]
    assert (guarded.run.error is not None) == strict
    guarded.send(2)
    assert guarded.out == ([1] if strict else [1, 2])
    assert guarded.end().completed == 1


@virtual
async def test_one_that_fails_as_soon_as_it_is_subscribed_stops_the_run() -> None:
    guarded = Guarded(lambda _: reactivex.throw(ValueError("broken")))
    assert str(guarded.run.error) == "operator op: ValueError: broken"
    guarded = Guarded(lambda source: source.pipe(rx.start_with(9)))
    assert isinstance(guarded.run.error, LawBroken)


@virtual
async def test_what_stands_below_and_raises_is_not_blamed_on_the_operator() -> None:
    guarded = Guarded(rx.map(lambda n: n), one_to_one=False)
    source: Subject[Any] = Subject()

    def broken(element: Any) -> None:
        raise ZeroDivisionError("below")

    guard(rx.map(lambda n: n), "op", guarded.edge, guarded.run)(source).subscribe(broken)
    source.on_next(1)
    assert str(guarded.run.error) == "below"
    assert guarded.edge.told == []


@virtual
async def test_an_element_that_comes_while_another_is_in_hand_is_counted_apart() -> None:
    guarded = Guarded(rx.filter(lambda n: n != 2))
    stream = guard(rx.filter(lambda n: n != 2), "outer", guarded.edge, guarded.run)(guarded.source)
    out: list[int] = []

    def feed_back(n: int) -> None:
        out.append(n)
        if n == 1:
            guarded.source.on_next(2)

    stream.subscribe(feed_back)
    guarded.send(1, 3)
    assert out == [1, 3]
    assert ("swallowed", 2, "swallowed by outer") in guarded.edge.told
    assert not [each for each in guarded.edge.told if each[1] in (1, 3)]


@virtual
async def test_disposing_lets_the_operator_go() -> None:
    gone: list[str] = []
    guarded = Guarded(rx.finally_action(lambda: gone.append("operator")))
    assert gone == []
    guarded.subscription.dispose()
    assert gone == ["operator"]
    assert guarded.send(1).out == []
