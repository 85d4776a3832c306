"""Tests of ops.user_agent."""

from __future__ import annotations

import pytest
from through import Spy, through

from streamcrawl.core import Request
from streamcrawl.headers import Headers
from streamcrawl.operators.robots_txt import robots_txt
from streamcrawl.operators.user_agent import user_agent
from streamcrawl.testing.fake_fetch import FakeFetch
from streamcrawl.transport import Wire


def test_it_is_set_where_there_is_none() -> None:
    spy = Spy()
    own = Request("http://b.example/", headers=Headers({"user-agent": "own/2"}))
    through(user_agent("shop/1 (+http://x)"), to=["http://a.example/", own], spy=spy)
    assert [request.headers.getall("User-Agent") for request in spy.sent] == [["shop/1 (+http://x)"], ["own/2"]]


def test_blanks_around_it_are_no_part_of_it() -> None:
    spy = Spy()
    through(user_agent(" shop/1\t"), to=["http://a.example/"], spy=spy)
    assert [request.headers["User-Agent"] for request in spy.sent] == ["shop/1"]
    assert Wire(user_agent=" shop/1 ").user_agent == "shop/1"


def test_above_robots_txt_it_decides_which_rules_hold() -> None:
    fetch = FakeFetch({"/robots.txt": "User-agent: shop\nDisallow: /\n\nUser-agent: *\nDisallow:", "/a": "a"})
    above = through(user_agent("shop/1"), robots_txt(), to=["http://a.example/a"], fetch=fetch)
    below = through(robots_txt(), user_agent("shop/1"), to=["http://a.example/a"], fetch=fetch)
    assert [repr(outcome) for outcome in above] == ["<Dropped http://a.example/a: robots.txt>"]
    assert [repr(outcome) for outcome in below] == ["<Response 200 http://a.example/a>"]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        *[("", "must name something"), (" ", "must name"), ("a\r\nX: 1", "line break")],
        *[("shop\x01", "control character"), ("shop\x7f", "control character"), ("\ud800", "lone surrogate")],
    ],
)
def test_a_bad_value_is_refused_when_built(value: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        user_agent(value)
