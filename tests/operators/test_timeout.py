"""Tests of ops.timeout."""

from __future__ import annotations

import math

import pytest
from through import Spy, through

from streamcrawl.core import Request
from streamcrawl.operators.timeout import timeout


def test_it_is_set_where_there_is_none() -> None:
    spy = Spy()
    through(timeout(7.5), to=["http://a.example/", Request("http://b.example/", timeout=1.0)], spy=spy)
    assert [request.timeout for request in spy.sent] == [7.5, 1.0]


@pytest.mark.parametrize("seconds", [0, -1, math.inf, math.nan])
def test_a_bad_number_is_refused_when_built(seconds: float) -> None:
    with pytest.raises(ValueError, match=rf"timeout\({seconds!r}\).*more than 0"):
        timeout(seconds)


@pytest.mark.parametrize("seconds", [10**400, 10**5000], ids=["long", "longer than Python writes"])
def test_more_than_a_float_can_be_is_refused_when_built(seconds: int) -> None:
    with pytest.raises(ValueError, match=r"^timeout\(.{1,80}\): a finite number of seconds, more than 0$"):
        timeout(seconds)
