"""Tests of ops.size_limit."""

from __future__ import annotations

import pytest
from through import Spy, through

from streamcrawl.core import Request
from streamcrawl.errors import ConnectError
from streamcrawl.events import Notice
from streamcrawl.operators.size_limit import size_limit
from streamcrawl.testing.fake_fetch import FakeFetch, page


def test_it_is_set_where_there_is_none() -> None:
    spy = Spy()
    through(size_limit(1000), to=["http://a.example/", Request("http://b.example/", max_size=5)], spy=spy)
    assert [request.max_size for request in spy.sent] == [1000, 5]


@pytest.mark.parametrize("size", [0, -1])
def test_a_bad_number_is_refused_when_built(size: int) -> None:
    with pytest.raises(ValueError, match=rf"size_limit\({size}\): 1 byte or more"):
        size_limit(size)
    with pytest.raises(ValueError, match=rf"size_limit\({size}\): 1 byte or more"):
        size_limit(warn=size)


def test_nothing_to_do_is_refused_when_built() -> None:
    with pytest.raises(ValueError, match="neither size nor warn"):
        size_limit()


def test_large_bodies_are_told_of() -> None:
    spy = Spy()
    site = FakeFetch(
        {
            "/large": b"x" * 1001,
            "/fits": b"x" * 1000,
            "/streamed": page(b"x" * 10, headers={"Content-Length": "1002"}),
            "/odd": page(b"x" * 10, headers={"Content-Length": "\u00b2"}),
            "/broken": ConnectError("refused"),
        }
    )
    to = [
        Request(f"http://a.example/{name}", stream=name in ("streamed", "odd"))
        for name in ("large", "fits", "streamed", "odd", "broken")
    ]
    through(size_limit(warn=1000), to=to, fetch=site, spy=spy)
    told = [(event.text, event.level) for event in spy.events if isinstance(event, Notice)]
    assert told == [
        ("size_limit: the body of http://a.example/large is 1001 bytes long, more than 1000", "warning"),
        ("size_limit: the body of http://a.example/streamed is 1002 bytes long, more than 1000", "warning"),
    ]
    assert spy.stats == {"size_limit/warned": 2}
    assert [request.max_size for request in spy.sent] == [None] * 5


def test_what_is_large_is_said_by_a_function_of_the_request() -> None:
    spy = Spy()
    site = FakeFetch({"/page": b"x" * 20, "/film": b"x" * 1000, "/odd": b"x" * 1000})
    most = {"http://a.example/page": 10, "http://a.example/film": 1000}
    through(
        size_limit(warn=lambda request: most.get(request.url)), to=[*most, "http://a.example/odd"], fetch=site, spy=spy
    )
    assert [event.text for event in spy.events if isinstance(event, Notice)] == [
        "size_limit: the body of http://a.example/page is 20 bytes long, more than 10"
    ]
    assert spy.stats == {"size_limit/warned": 1}
