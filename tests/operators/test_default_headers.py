"""Tests of ops.default_headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from through import Spy, through

from streamcrawl.core import Request
from streamcrawl.headers import NO_HEADERS, Headers
from streamcrawl.operators.default_headers import DEFAULT_HEADERS, default_headers, filling


def sent(layer_headers: dict[str, str | None] | None, *requests: Request) -> list[Headers]:
    spy = Spy()
    through(default_headers(layer_headers), to=requests, spy=spy)
    return [request.headers for request in spy.sent]


def test_what_is_missing_is_added() -> None:
    bare, own = sent(
        None,
        Request("http://a.example/"),
        Request("http://a.example/", headers=Headers({"accept-language": "de", "X-Own": "1"})),
    )
    assert bare == Headers(DEFAULT_HEADERS.items())  # type: ignore[arg-type]  # no value of the defaults is None
    assert own.pairs() == (("accept-language", "de"), ("X-Own", "1"), ("Accept", DEFAULT_HEADERS["Accept"]))


@pytest.mark.parametrize(
    ("given_headers", "expected"),
    [
        ({"X-A": "1"}, [("X-A", "1")]),
        ({"X-A": "1", "Accept": None}, [("X-A", "1")]),
        ({"Accept": None}, []),
        ({}, []),
    ],
)
def test_headers_of_your_own_stand_instead(
    given_headers: dict[str, str | None], expected: list[tuple[str, str]]
) -> None:
    (headers,) = sent(given_headers, Request("http://a.example/"))
    assert list(headers.pairs()) == expected


def test_a_request_that_has_all_is_not_copied() -> None:
    request = Request("http://a.example/", headers=Headers({"Accept": "*/*"}))
    assert filling(Headers({"accept": "text/html"}))(request) is request


def test_equal_requests_share_one_headers_object() -> None:
    one, two = sent(None, Request("http://a.example/1"), Request("http://a.example/2"))
    assert one is two


names = st.sampled_from(["Accept", "ACCEPT", "X-A", "x-b", "Via"])
fields = st.lists(st.tuples(names, st.sampled_from(["1", "2"])), max_size=4)


@given(st.lists(fields, min_size=1, max_size=6), fields)
def test_the_shortcut_gives_what_defaults_gives(
    requests: list[list[tuple[str, str]]], defaults: list[tuple[str, str]]
) -> None:
    fill = filling(Headers(defaults))
    pool = [Headers(pairs) if pairs else NO_HEADERS for pairs in requests]
    for headers in (*pool, *pool):
        filled = fill(Request("http://a.example/", headers=headers)).headers
        assert filled == headers.defaults(Headers(defaults))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("", "1"), ("A B", "1"), ("Ä", "1"), ("A:", "1"), ("X", "a\nb"), ("X", "\0")],
        *[("X", "a\x01"), ("X", "a\x0b"), ("X", "a\x1f"), ("X", "a\x7f"), ("X", "\ud800"), ("X", "\r")],
    ],
)
def test_what_http_does_not_allow_is_refused_when_built(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="header"):
        default_headers({name: value})
    with pytest.raises(ValueError, match="header"):
        default_headers(Headers({name: value}))


def test_no_error_shows_a_value() -> None:
    with pytest.raises(ValueError, match=r"^header Authorization: its value has '\\n' in it") as caught:
        default_headers({"Authorization": "Bearer secret\n"})
    assert "secret" not in str(caught.value)


def test_blanks_around_a_value_are_no_part_of_it() -> None:
    (headers,) = sent({"X": " a\tb \t", "Y": " "}, Request("http://a.example/"))
    assert headers.pairs() == (("X", "a\tb"), ("Y", ""))


def test_headers_are_taken_too() -> None:
    spy = Spy()
    given_headers = Headers([("X", "1"), ("Link", "a"), ("link", " b")])
    through(default_headers(given_headers), to=[Request("http://a.example/", headers=Headers({"x": "2"}))], spy=spy)
    assert [request.headers.pairs() for request in spy.sent] == [(("x", "2"), ("Link", "a"), ("link", "b"))]
