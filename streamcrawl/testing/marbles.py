"""Marble tests of purely synchronous operators, on reactivex's own marbles and TestScheduler.

Each character is one second: "-" waits, "|" completes, "#" fails, "(ab)" is one moment ("(a,b)" for two elements),
anything else is an element; digits become numbers. Operators that make asyncio tasks need `run_virtual` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import reactivex
from reactivex import Observable
from reactivex.observable.marbles import parse
from reactivex.testing import TestScheduler
from reactivex.testing.reactivetest import ReactiveTest

Operator = Callable[[Observable[Any]], Observable[Any]]
Moment = tuple[float, str, Any]
"""(seconds since the subscription, "next", "error" or "completed", the element or the error's type and text)."""

_LIMIT = 100_000.0


def _moment(at: float, told: Any) -> Moment:
    if told.kind == "N":
        return at, "next", told.value
    if told.kind == "E":
        return at, "error", f"{type(told.exception).__name__}: {told.exception}"
    return at, "completed", None


def _lookup(values: Mapping[str, Any] | None) -> dict[str | float, Any]:
    return {} if values is None else dict(values.items())


def marbles(
    operator: Operator, source: str, *, values: Mapping[str, Any] | None = None, error: Exception | None = None
) -> list[Moment]:
    """What the operator makes of the source, with times.

    Args:
        operator: Any reactivex operator.
        source: A marble string.
        values: What the names in it stand for.
        error: What "#" stands for; `Exception("error")` if left out.
    """
    scheduler = TestScheduler()
    cold: Observable[Any] = reactivex.from_marbles(source, timespan=1.0, lookup=_lookup(values), error=error)
    told = scheduler.start(lambda: operator(cold), disposed=_LIMIT).messages
    return [_moment(each.time - ReactiveTest.subscribed, each.value) for each in told]


def assert_marbles(
    operator: Operator,
    source: str,
    expected: str,
    *,
    values: Mapping[str, Any] | None = None,
    error: Exception | None = None,
) -> None:
    """Assert that the operator makes `expected` of `source`; arguments as for `marbles`.

    Raises: AssertionError, with what came instead; ValueError for an `expected` that goes on after its end.
    """
    got = marbles(operator, source, values=values, error=error)
    parsed = parse(expected, timespan=1.0, lookup=_lookup(values), error=error, raise_stopped=True)
    wanted = [_moment(_seconds(at), told) for at, told in parsed]
    if got != wanted:
        lines = [f"{source!r} became", *map(_line, got), f"and should have become {expected!r}", *map(_line, wanted)]
        raise AssertionError("\n".join(lines))


def _seconds(time: float | timedelta) -> float:
    return time.total_seconds() if isinstance(time, timedelta) else time


def _line(moment: Moment) -> str:
    at, kind, value = moment
    return f"  {at:5g} s  {kind}" + (f"  {value!r}" if kind != "completed" else "")
