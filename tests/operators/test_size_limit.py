"""Tests of ops.size_limit."""

from __future__ import annotations

import pytest
from through import Spy, through

from streamcrawl.core import Request
from streamcrawl.operators.size_limit import size_limit


def test_it_is_set_where_there_is_none() -> None:
    spy = Spy()
    through(size_limit(1000), to=["http://a.example/", Request("http://b.example/", max_size=5)], spy=spy)
    assert [request.max_size for request in spy.sent] == [1000, 5]


@pytest.mark.parametrize("size", [0, -1])
def test_a_bad_number_is_refused_when_built(size: int) -> None:
    with pytest.raises(ValueError, match=rf"size_limit\({size}\): 1 byte or more"):
        size_limit(size)
