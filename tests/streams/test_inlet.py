"""Where a run puts elements into a stream: it is a Subject, as far as one thread can see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from reactivex import operators as rx
from reactivex.subject import Subject

from streamcrawl.streams.inlet import Inlet

Source: TypeAlias = "Inlet[int] | Subject[int]"
MADE: list[Callable[[], Source]] = [Inlet[int], Subject[int]]
BOTH = pytest.mark.parametrize("make", MADE, ids=["Inlet", "Subject"])


def ten_times(number: int) -> int:
    return number * 10


@BOTH
def test_everybody_who_is_there_hears_it(make: Callable[[], Source]) -> None:
    inlet = make()
    first: list[Any] = []
    second: list[Any] = []
    gone = inlet.subscribe(first.append, first.append, lambda: first.append("over"))
    inlet.on_next(1)
    inlet.pipe(rx.map(ten_times)).subscribe(second.append, on_completed=lambda: second.append("over"))
    inlet.on_next(2)
    gone.dispose()
    gone.dispose()
    inlet.on_next(3)
    inlet.on_completed()
    inlet.on_next(4)
    late: list[str] = []
    inlet.subscribe(print, on_completed=lambda: late.append("over"))
    assert (first, second, late) == ([1, 2], [20, 30, "over"], ["over"])


@BOTH
def test_who_comes_and_goes_while_an_element_is_on_its_way(make: Callable[[], Source]) -> None:
    inlet = make()
    told: list[str] = []

    def first(element: int) -> None:
        told.append(f"first {element}")
        if element == 1:
            other.dispose()
            inlet.subscribe(lambda each: told.append(f"new {each}"))
            inlet.on_next(2)

    inlet.subscribe(first)
    other = inlet.subscribe(lambda each: told.append(f"other {each}"))
    inlet.on_next(1)
    assert told == ["first 1", "first 2", "new 2"]


@BOTH
def test_an_error_ends_it(make: Callable[[], Source]) -> None:
    inlet = make()
    told: list[Any] = []
    inlet.subscribe(told.append, lambda error: told.append(str(error)), lambda: told.append("over"))
    inlet.on_error(ValueError("broken"))
    inlet.on_next(1)
    inlet.subscribe(told.append, lambda error: told.append(str(error)), lambda: told.append("over"))
    assert told == ["broken", "broken"]
