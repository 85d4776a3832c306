"""When a request is sent again: waits, what is transient, Retry-After."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from streamcrawl.backoff import backoff, retry_after, transient, waited
from streamcrawl.core import Dropped, Failed, Request
from streamcrawl.errors import (
    AddressRefused,
    BodyTooLarge,
    ConnectError,
    DecodeError,
    FetchTimeout,
    OperatorError,
    ProtocolError,
    ProxyError,
    ResolveError,
    TLSError,
    TruncatedBody,
    UnsupportedScheme,
)
from streamcrawl.response import Response

NOW = 784_111_777.0
"""Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110's examples."""


def test_waits_double_up_to_the_ceiling() -> None:
    wait = backoff(1.5, ceiling=10, jitter=0)
    assert [wait(repeat, Random(1)) for repeat in (1, 2, 3, 4, 5, 5000)] == [1.5, 3.0, 6.0, 10, 10, 10]


def test_chance_takes_off_its_share_and_never_more() -> None:
    wait, random = backoff(8, factor=1, ceiling=8, jitter=0.25), Random(1)
    waits = [wait(1, random) for _ in range(1000)]
    assert 6 <= min(waits) < 6.1
    assert 7.9 < max(waits) <= 8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"first": -1, "ceiling": 1}, "-1"),
        ({"first": 2, "ceiling": 1}, "ceiling=1"),
        ({"first": 1, "ceiling": 2, "factor": 0.5}, "factor=0.5"),
        ({"first": 1, "ceiling": 2, "jitter": 1.5}, "jitter=1.5"),
    ],
)
def test_arguments_out_of_bounds(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        backoff(**arguments)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_wait_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="a wait before repeat 2 of"):
        waited(lambda repeat, random: seconds, 2, Random(1))
    assert waited(lambda repeat, random: 1.5 * repeat, 2, Random(1)) == 3.0


@pytest.mark.parametrize(
    ("error", "get", "post"),
    [
        (ResolveError("x"), True, True),
        (ConnectError("x"), True, True),
        (FetchTimeout("x"), True, False),
        (ProxyError("x"), True, True),  # not connected, not served
        (ProxyError("x", status=403, response=Response("http://a.example/", 403)), True, True),
        (ProtocolError("x"), True, False),
        (TruncatedBody("x"), True, False),
        (TLSError("x"), False, False),
        (UnsupportedScheme("x"), False, False),
        (BodyTooLarge("x"), False, False),
        (DecodeError("x"), False, False),
        (AddressRefused("x"), False, False),
        (OperatorError("x", KeyError()), False, False),
    ],
)
def test_which_errors_are_transient(error: Exception, get: bool, post: bool) -> None:
    assert transient(Failed(Request("http://a.example/"), error)) is get
    assert transient(Failed(Request("http://a.example/", method="POST"), error)) is post


@pytest.mark.parametrize(
    ("statuses", "get", "post"),
    [
        ((408, 429, 503, 522), True, True),
        ((500, 502, 504, 524), True, False),
        ((200, 204, 301, 304, 400, 401, 403, 404, 410, 501, 505), False, False),
    ],
)
def test_which_statuses_are_transient(statuses: tuple[int, ...], get: bool, post: bool) -> None:
    for status in statuses:
        for method, expected in (("GET", get), ("PUT", get), ("POST", post), ("PATCH", post)):
            request = Request("http://a.example/", method=method)
            assert transient(Response(request.url, status, request=request)) is expected, (status, method)


def test_what_was_never_tried_is_not_transient() -> None:
    assert not transient(Dropped(Request("http://a.example/"), "robots.txt"))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        ("Sun Nov  6 08:50:37 1994", 60.0),
        ("Sun, 06 Nov 1994 09:50:37 +0100", 60.0),
        ("Sun, 06 Nov 1994 08:49:00 GMT", 0.0),
        ("Sun, 99 Nov 1994 08:50:37 GMT", 0.0),
        ("Sun, 06 Nov 99999999 08:50:37 GMT", 0.0),
        ("-5", 0.0),
        ("nan", 0.0),
        ("1e9", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        ("9" * 5000, float("inf")),
    ],
)
def test_retry_after_in_both_forms(value: str, seconds: float) -> None:
    assert retry_after(value, NOW) == seconds
