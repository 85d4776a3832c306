"""The scheduler of a run: what is due runs inline, what is timed runs on the loop."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import reactivex
from reactivex import abc
from reactivex import operators as rx

from streamcrawl.streams.declared import Operator
from streamcrawl.streams.scheduler import RunScheduler
from streamcrawl.testing import START, VirtualLoop, virtual


class Log:
    """Actions that note their state when they run."""

    def __init__(self) -> None:
        self.ran: list[Any] = []

    def note(self, _: abc.SchedulerBase, state: Any = None) -> None:
        self.ran.append(state)


def scheduler() -> tuple[RunScheduler, VirtualLoop]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return RunScheduler(loop, loop.now), loop


@virtual
async def test_what_is_due_runs_before_schedule_returns() -> None:
    made, _ = scheduler()
    log = Log()
    made.schedule(log.note, "now")
    made.schedule_relative(0.0, log.note, "zero")
    made.schedule_relative(-5.0, log.note, "past")
    made.schedule_absolute(made.now - timedelta(days=1), log.note, "yesterday")
    assert log.ran == ["now", "zero", "past", "yesterday"]
    assert made.pending == 0


@virtual
async def test_what_is_timed_runs_in_its_time_and_counts_until_then() -> None:
    made, loop = scheduler()
    ran: list[tuple[float, Any]] = []

    def note(_: Any, state: Any) -> None:
        ran.append((loop.time(), state))

    made.schedule_relative(2.0, note, "two")
    made.schedule_relative(timedelta(seconds=1), note, "one")
    made.schedule_absolute(made.now + timedelta(seconds=3), note, "three")
    made.schedule_absolute((made.now + timedelta(seconds=4)).replace(tzinfo=None), note, "four, naive")
    assert (ran, made.pending) == ([], 4)
    await asyncio.sleep(2.5)
    assert (ran, made.pending) == ([(1.0, "one"), (2.0, "two")], 2)
    await asyncio.sleep(2.0)
    assert [state for _, state in ran] == ["one", "two", "three", "four, naive"]
    assert made.pending == 0


@virtual
async def test_what_was_disposed_of_does_not_run_and_counts_no_more() -> None:
    made, _ = scheduler()
    log = Log()
    timer = made.schedule_relative(1.0, log.note, "timer")
    timer.dispose()
    timer.dispose()
    assert made.pending == 0
    await asyncio.sleep(2.0)
    assert log.ran == []
    fired = made.schedule_relative(1.0, log.note, "fired")
    await asyncio.sleep(2.0)
    fired.dispose()
    assert (log.ran, made.pending) == (["fired"], 0)


@virtual
async def test_what_an_action_schedules_is_disposed_of_with_it() -> None:
    made, _ = scheduler()
    log = Log()

    def again(inner: abc.SchedulerBase, _: Any = None) -> abc.DisposableBase:
        return inner.schedule_relative(1.0, log.note, "inner")

    timer = made.schedule_relative(1.0, again)
    await asyncio.sleep(1.5)
    assert made.pending == 1
    timer.dispose()
    await asyncio.sleep(2.0)
    assert (log.ran, made.pending) == ([], 0)


@virtual
async def test_its_clock_is_the_runs_date() -> None:
    made, _ = scheduler()
    assert made.now == datetime.fromtimestamp(START, tz=UTC)
    await asyncio.sleep(60.0)
    assert made.now == datetime.fromtimestamp(START + 60, tz=UTC)


@pytest.mark.parametrize(
    ("operator", "expected"),
    [(rx.delay(1.5), [1.5, 1.5]), (rx.debounce(1.0), [0.0]), (rx.throttle_first(1.0), [0.0])],
    ids=["delay", "debounce", "throttle_first"],
)
@virtual
async def test_timed_operators_run_on_it(operator: Operator, expected: list[float]) -> None:
    made, loop = scheduler()
    times: list[float] = []

    def note(_: Any) -> None:
        times.append(loop.time())

    operator(reactivex.of(1, 2)).subscribe(note, scheduler=made)
    await asyncio.sleep(10.0)
    assert times == expected


@virtual
async def test_an_interval_goes_on_until_it_is_disposed_of() -> None:
    made, loop = scheduler()
    times: list[float] = []
    subscription = reactivex.interval(2.0).subscribe(lambda _: times.append(loop.time()), scheduler=made)
    await asyncio.sleep(7.0)
    subscription.dispose()
    await asyncio.sleep(10.0)
    assert times == pytest.approx([2.0, 4.0, 6.0])
    assert made.pending == 0
