from __future__ import annotations

import pytest
import reactivex as rx
from reactivex import operators as op

from streamcrawl.testing import assert_marbles, marbles


def test_a_map() -> None:
    assert_marbles(op.map(str.upper), "-a-b-|", "-A-B-|")


def test_elements_have_values_and_moments() -> None:
    values = {"a": {"price": 3}, "b": {"price": 30}}
    told = marbles(op.filter(lambda item: item["price"] > 10), "a--b-|", values=values)
    assert told == [(3.0, "next", {"price": 30}), (5.0, "completed", None)]


def test_groups_share_a_moment() -> None:
    assert_marbles(op.flat_map(lambda x: rx.of(x, x + 1)), "-1----|", "-(1,2)|")


def test_errors_are_compared_by_type_and_text() -> None:
    assert_marbles(op.take(3), "-a-#", "-a-#", error=ValueError("no"))
    with pytest.raises(AssertionError, match="KeyError: 'yes'"):
        assert_marbles(op.catch(rx.throw(KeyError("yes"))), "-a-#", "-a-#", error=ValueError("no"))


def test_timed_operators_run_in_virtual_time() -> None:
    assert_marbles(op.debounce(3), "-a-b-----|", "------b--|")


def test_the_first_character_counts() -> None:
    assert marbles(op.map(lambda x: x), "1-|") == [(0.0, "next", 1), (2.0, "completed", None)]


@pytest.mark.parametrize("expected", ["-A-B--|", "-A-C-|", "-A-B-", "-A-|", "-A-B-#"])
def test_a_difference_is_told_with_both_sides(expected: str) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_marbles(op.map(str.upper), "-a-b-|", expected)
    text = str(caught.value)
    assert "'-a-b-|' became" in text
    assert repr(expected) in text
    assert "1 s  next  'A'" in text


def test_an_expectation_that_goes_on_after_its_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"after a # or \|"):
        assert_marbles(op.take(1), "-a-|", "-a|b")
