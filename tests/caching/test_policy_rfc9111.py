"""The RFC 9111 policy as pure functions: the arithmetic of age and freshness, and every decision."""

from __future__ import annotations

import socket
import ssl
from typing import Any
from urllib.error import HTTPError, URLError

import aiohttp
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl.breaker import HostGivenUp
from streamcrawl.caching import Entry, Replay, Rfc9111
from streamcrawl.caching.policy import Asked, Found, Missing, Send, Serve
from streamcrawl.caching.rfc9111_fields import directives, format_date
from streamcrawl.caching.rfc9111_freshness import HEURISTIC, Heuristic, current_age, lifetime, may_store
from streamcrawl.core import Failed, Request
from streamcrawl.errors import (
    AddressRefused,
    BodyTooLarge,
    ConnectError,
    FetchError,
    InvalidURL,
    OperatorError,
    TLSError,
)
from streamcrawl.headers import Headers
from streamcrawl.response import Response

T = 1_893_456_000.0  # 2030-01-01
URL = "http://a.example/page"
POLICY = Rfc9111()
GUESS = Heuristic(0.1, 7 * 86_400.0)
spans = st.floats(0, 1e8, allow_nan=False)


def entry(status: int = 200, **changes: Any) -> Entry:
    """An entry that came at T. Header names are given as keywords, with _ for -."""
    headers = {name.replace("_", "-"): value for name, value in changes.items()}
    headers.setdefault("date", format_date(T))
    return Entry(
        url=URL, status=status, headers=tuple(headers.items()), body=b"0123456789", request_time=T, response_time=T
    )


def request(cache: Any = "default", method: str = "GET", **headers: str) -> Request:
    pairs = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(URL, method=method, headers=Headers(pairs), cache=cache)


def find(stored: Entry, after: float, asked: Request | None = None) -> Found:
    return POLICY.find(asked or request(), [stored], T + after)


def served(stored: Entry, after: float, asked: Request | None = None) -> bool:
    return isinstance(find(stored, after, asked), Serve)


# -- age and freshness -------------------------------------------------------------------------------------------------


@given(age=st.integers(0, 10**6), delay=spans, skew=st.integers(-(10**6), 10**6), after=spans)
def test_the_age_is_that_of_the_rfc(age: int, delay: float, skew: int, after: float) -> None:
    """RFC 9111 §4.2.3, word by word."""
    headers = Headers({"Date": format_date(T - skew), "Age": str(age)})
    stored = Entry(url=URL, headers=headers.pairs(), request_time=T - delay, response_time=T)
    apparent_age = max(0, T - (T - skew))
    corrected_initial_age = max(apparent_age, age + (T - (T - delay)))
    expected = corrected_initial_age + (T + after - T)
    assert current_age(stored, headers, T + after) == pytest.approx(expected)


@given(st.integers(0, 10**6), spans, spans)
def test_what_is_stale_does_not_get_fresh_by_waiting(max_age: int, sooner: float, more: float) -> None:
    stored = entry(cache_control=f"max-age={max_age}")
    if not served(stored, sooner):
        assert not served(stored, sooner + more)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_it_is_fresh_while_it_is_younger_than_its_lifetime(max_age: int, after: int) -> None:
    assert served(entry(cache_control=f"max-age={max_age}"), after) == (after < max_age)


@given(st.integers(-(10**6), 10**6))
def test_a_clock_that_is_wrong_at_the_server_never_makes_it_younger(skew: int) -> None:
    headers = Headers({"Date": format_date(T + skew)})
    stored = Entry(url=URL, headers=headers.pairs(), request_time=T, response_time=T)
    assert current_age(stored, headers, T + 5) >= 5


LIFETIMES: list[tuple[int, dict[str, str], float]] = [
    (200, {"cache_control": "max-age=60"}, 60),
    (200, {"cache_control": "max-age=60", "expires": "0"}, 60),
    (200, {"cache_control": "max-age=0", "expires": format_date(T + 60)}, 0),
    (200, {"cache_control": "s-maxage=60"}, 0),  # for shared caches
    (200, {"cache_control": "s-maxage=60, max-age=5"}, 5),
    (200, {"cache_control": "max-age=abc", "expires": format_date(T + 60)}, 0),
    (200, {"expires": format_date(T + 60)}, 60),
    (200, {"expires": format_date(T + 60), "date": format_date(T + 50)}, 10),
    (200, {"expires": format_date(T + 60), "date": "foo"}, 60),
    (200, {"expires": format_date(T - 60)}, 0),
    (200, {"expires": "0"}, 0),
    (200, {"last_modified": format_date(T - 1000)}, 100),
    (200, {"last_modified": format_date(T - 10**9)}, 7 * 86_400),
    (200, {"last_modified": format_date(T + 1000)}, 0),
    (200, {}, 0),
    (403, {"last_modified": format_date(T - 1000)}, 0),
    (403, {"last_modified": format_date(T - 1000), "cache_control": "public"}, 100),
    (403, {"cache_control": "max-age=60"}, 60),
    (301, {}, 7 * 86_400),
    (308, {}, 7 * 86_400),
    (302, {}, 0),
]


@pytest.mark.parametrize(("status", "headers", "expected"), LIFETIMES)
def test_lifetimes(status: int, headers: dict[str, str], expected: float) -> None:
    stored = entry(status, **headers)
    fields = Headers(stored.headers)
    assert lifetime(stored, fields, directives(fields), GUESS) == expected


# -- what is stored ----------------------------------------------------------------------------------------------------

STORED: list[tuple[int, dict[str, str], bool]] = [
    (200, {"Cache-Control": "max-age=60"}, True),
    (200, {"Cache-Control": "max-age=60, private"}, True),
    (200, {"Cache-Control": "max-age=60, no-store"}, False),
    (200, {"Cache-Control": "No-StOrE", "ETag": '"a"'}, False),
    (200, {"Cache-Control": "max-age=60, no-store, must-understand"}, True),
    (599, {"Cache-Control": "max-age=60, no-store, must-understand"}, False),
    (599, {"Cache-Control": "max-age=60, must-understand"}, False),
    (599, {"Cache-Control": "max-age=60"}, True),
    (200, {"Cache-Control": "no-cache"}, False),  # it could never be given out
    (200, {"Cache-Control": "no-cache", "ETag": '"a"'}, True),
    (200, {"ETag": '"a"'}, True),
    (200, {"Last-Modified": format_date(T - 60)}, True),
    (200, {}, False),
    (200, {"Cache-Control": "max-age=0"}, False),
    (200, {"Cache-Control": "max-age=0, stale-if-error=60"}, True),
    (200, {"Cache-Control": "max-age=60", "Vary": "*"}, False),
    (206, {"Cache-Control": "max-age=60"}, False),
    (304, {"Cache-Control": "max-age=60"}, False),
    (500, {"Cache-Control": "max-age=60"}, True),
    (403, {"ETag": '"a"'}, False),
    (404, {"ETag": '"a"'}, True),
]


@pytest.mark.parametrize(("status", "headers", "expected"), STORED)
def test_what_is_stored(status: int, headers: dict[str, str], expected: bool) -> None:
    settled = POLICY.settle(Asked(request(), b"k", None, T), Response(URL, status, Headers(headers)), T)
    assert (settled.fill is not None) is expected


def test_always_store_and_what_it_does_not_override() -> None:
    policy = Rfc9111(always_store=True)
    asked = Asked(request(), b"k", None, T)
    assert policy.settle(asked, Response(URL, 200), T).fill is not None
    for status, headers in ((200, {"Cache-Control": "no-store"}), (206, {}), (304, {}), (200, {"Vary": "*"})):
        assert policy.settle(asked, Response(URL, status, Headers(headers)), T).fill is None


def test_directives_of_the_response_may_be_passed_over() -> None:
    policy = Rfc9111(ignore_directives=["No-Store", "no-cache"])
    answer = Response(URL, 200, Headers({"Cache-Control": "no-store, no-cache, max-age=60"}))
    fill = policy.settle(Asked(request(), b"k", None, T), answer, T).fill
    assert fill is not None
    assert isinstance(policy.find(request(), [fill], T + 1), Serve)
    assert isinstance(policy.find(request(cache_control="no-cache"), [fill], T + 1), Send)  # those of a request hold


@given(st.integers(100, 999), st.sampled_from(["", "no-store", "must-understand", "no-store, must-understand"]))
def test_what_is_forbidden_is_never_stored(status: int, says: str) -> None:
    found = directives(Headers({"Cache-Control": says}))
    if may_store(status, found):
        assert status >= 200
        assert status not in (206, 304)
        assert "no-store" not in found or ("must-understand" in found and status < 599)


def test_a_response_without_a_date_gets_one() -> None:
    answer = Response(URL, 200, Headers({"Cache-Control": "max-age=60"}))
    fill = POLICY.settle(Asked(request(), b"k", None, T), answer, T).fill
    assert fill is not None
    assert dict(fill.headers)["Date"] == format_date(T)


# -- what a request may ask --------------------------------------------------------------------------------------------

ASKS: list[tuple[str, float, bool]] = [
    ("", 30, True),
    ("", 61, False),
    ("no-cache", 30, False),
    ("max-age=0", 1, False),
    ("max-age=20", 30, False),
    ("max-age=40", 30, True),
    ("max-age=x", 30, False),
    ("min-fresh=40", 30, False),
    ("min-fresh=20", 30, True),
    ("max-stale", 10_000, True),
    ("max-stale=10", 65, True),
    ("max-stale=10", 75, False),
    ("nothing-to-see-here", 30, True),
]


@pytest.mark.parametrize(("asks", "after", "expected"), ASKS)
def test_what_a_request_may_ask(asks: str, after: float, expected: bool) -> None:
    assert served(entry(cache_control="max-age=60"), after, request(cache_control=asks)) is expected


def test_pragma_counts_where_there_is_no_cache_control() -> None:
    stored = entry(cache_control="max-age=60")
    assert not served(stored, 1, request(pragma="no-cache"))
    assert served(stored, 1, request(pragma="no-cache", cache_control="x"))
    assert served(stored, 1, request(pragma="else"))


@pytest.mark.parametrize("says", ["must-revalidate", "no-cache"])
def test_max_stale_does_not_override_the_server(says: str) -> None:
    assert not served(entry(cache_control=f"max-age=60, {says}"), 61, request(cache_control="max-stale"))


MODES: list[tuple[str, float, bool]] = [
    ("default", 30, True),
    ("default", 90, False),
    ("no-cache", 30, False),
    ("force-cache", 90, True),
    ("only-if-cached", 90, True),
]


@pytest.mark.parametrize(("mode", "after", "expected"), MODES)
def test_cache_modes(mode: str, after: float, expected: bool) -> None:
    assert served(entry(cache_control="max-age=60"), after, request(mode)) is expected


def test_immutable_overrides_a_revalidation_but_no_more() -> None:
    stored = entry(cache_control="max-age=60, immutable")
    assert served(stored, 30, request("no-cache"))
    assert not served(stored, 90, request("no-cache"))
    assert not served(stored, 30, request(cache_control="no-cache"))


def test_no_cache_and_reload_say_so_to_the_caches_beyond() -> None:
    found = find(entry(cache_control="max-age=60"), 1, request("no-cache"))
    assert isinstance(found, Send)
    assert found.request.headers["cache-control"] == "max-age=0"
    again = POLICY.find(request("reload"), [], T)
    assert isinstance(again, Send)
    assert (again.request.headers["cache-control"], again.request.headers["pragma"]) == ("no-cache", "no-cache")
    assert not POLICY.answers(request("reload"))


def test_only_if_cached_with_nothing_stored() -> None:
    assert POLICY.find(request(cache_control="only-if-cached"), [], T) == Missing(gateway_timeout=True)
    assert POLICY.find(request("only-if-cached"), [], T) == Missing(gateway_timeout=False)


@pytest.mark.parametrize("asked", [request("no-store"), request(cache_control="no-store"), request(method="OPTIONS")])
def test_what_is_left_alone(asked: Request) -> None:
    assert POLICY.key(asked) is None


def test_a_get_with_a_body_is_left_alone() -> None:
    assert POLICY.key(Request(URL, body=b"query")) is None


def test_keys() -> None:
    key = POLICY.key(Request(URL))
    assert key == POLICY.key(Request(URL + "#part")) == POLICY.key(Request(URL, method="HEAD"))
    others = [
        Request(URL + "?b=1&a=2"),
        Request(URL + "?a=2&b=1"),
        Request(URL, cookiejar="me"),
        Request(URL, fingerprint_headers=("A",), headers=Headers({"A": "1"})),
        Request(URL, fingerprint_headers=("A",), headers=Headers({"A": "2"})),
    ]
    assert len({key, *map(POLICY.key, others)}) == 6


# -- validation --------------------------------------------------------------------------------------------------------


def test_a_stale_response_is_asked_about_with_its_validators() -> None:
    stored = entry(cache_control="max-age=60", etag='"a"', last_modified=format_date(T - 5))
    found = find(stored, 61, request(if_none_match='"mine"'))
    assert isinstance(found, Send)
    assert found.request.headers["if-none-match"] == '"a"'
    assert found.request.headers["if-modified-since"] == format_date(T - 5)


def test_a_304_renews_it() -> None:
    stored = entry(cache_control="max-age=60", etag='"a"', age="50", x="1")
    answer = Response(URL, 304, Headers({"X": "2", "Cache-Control": "max-age=100"}))
    settled = POLICY.settle(Asked(request(), b"k", stored, T), answer, T + 61)
    assert settled.stat == "revalidate"
    assert settled.put is not None
    assert dict(settled.put.headers)["X"] == "2"
    assert settled.put.body == stored.body
    assert served(settled.put, 61 + 99)
    assert not served(settled.put, 61 + 100)


def test_a_304_to_a_condition_of_the_request_is_its_own() -> None:
    stored = entry(cache_control="max-age=60")  # nothing to ask by
    settled = POLICY.settle(Asked(request(if_none_match='"b"'), b"k", stored, T), Response(URL, 304), T + 61)
    assert settled.serve is None
    assert settled.put is None


def test_a_304_that_forbids_storing_is_given_out_and_forgotten() -> None:
    stored = entry(cache_control="max-age=60", etag='"a"')
    answer = Response(URL, 304, Headers({"Cache-Control": "no-store"}))
    settled = POLICY.settle(Asked(request(), b"k", stored, T), answer, T + 61)
    assert settled.serve is not None
    assert (settled.put, settled.forget) == (None, (b"k",))


def test_a_page_that_may_no_longer_be_stored_is_forgotten() -> None:
    stored = entry(cache_control="max-age=60")
    answer = Response(URL, 200, Headers({"Cache-Control": "no-store"}))
    assert POLICY.settle(Asked(request(), b"k", stored, T), answer, T + 61).forget == (b"k",)
    part = Response(URL, 206, Headers({"Content-Range": "bytes 0-1/10"}))
    assert POLICY.settle(Asked(request(range="bytes=0-1"), b"k", stored, T), part, T + 61).forget == ()


@pytest.mark.parametrize(
    ("name", "new", "kept"),
    [("etag", '"a"', True), ("etag", '"b"', False), ("content-length", "9", False), ("x", "2", True)],
)
def test_the_answer_to_a_head_renews_or_invalidates(name: str, new: str, kept: bool) -> None:
    stored = entry(cache_control="max-age=60", etag='"a"', content_length="10")
    answer = Response(URL, 200, Headers({"Cache-Control": "max-age=60", name: new}))
    settled = POLICY.settle(Asked(request(method="HEAD"), b"k", stored, T), answer, T + 61)
    assert settled.serve is None
    assert settled.put is not None
    assert settled.put.invalidated is not kept
    assert served(settled.put, 62) is kept


# -- stale, when the server fails --------------------------------------------------------------------------------------

FAILED = Failed(request(), ConnectError("down"))
BUSY = Response(URL, 503)
STALE: list[tuple[str, dict[str, str], Any, float, bool]] = [
    ("max-age=60", {}, FAILED, 61, False),  # nobody allows it
    ("max-age=60, stale-if-error=30", {}, FAILED, 61, True),
    ("max-age=60, stale-if-error=30", {}, FAILED, 91, False),
    ("max-age=60, stale-if-error=30", {}, BUSY, 61, True),
    ("max-age=60, stale-if-error=30", {}, Response(URL, 404), 61, False),
    ("max-age=60, stale-if-error=30", {}, Failed(request(), AddressRefused("private")), 61, False),
    ("max-age=60, stale-if-error=30", {}, Failed(request(), TLSError("expired")), 61, False),
    ("max-age=60, stale-if-error=30", {}, Failed(request(), FetchError("odd")), 61, False),
    ("max-age=60", {"cache_control": "stale-if-error=30"}, FAILED, 61, True),
    ("max-age=60, must-revalidate", {"cache_control": "stale-if-error=30"}, FAILED, 61, False),
    ("max-age=60, must-revalidate, stale-if-error=30", {}, FAILED, 61, False),
    ("no-cache, stale-if-error=30", {}, FAILED, 1, False),
    ("max-age=60, stale-if-error=30", {"cache_control": "no-cache"}, FAILED, 61, False),
]


@pytest.mark.parametrize(("says", "asks", "outcome", "after", "expected"), STALE)
def test_stale_if_error(says: str, asks: dict[str, str], outcome: Any, after: float, expected: bool) -> None:
    stored = entry(cache_control=says, etag='"a"')
    settled = POLICY.settle(Asked(request(**asks), b"k", stored, T), outcome, T + after)
    assert (settled.stat == "errorrecovery") is expected
    assert (settled.serve == Serve(stored, stale=True)) is expected


def opened(path: str) -> OSError:
    """What `open` raises."""
    try:
        with open(path):  # noqa: PTH123 - as a fetch of a user's does
            raise AssertionError(path)
    except OSError as error:
        return error


ASKED = httpx.Request("GET", URL)
RAISED: list[tuple[Exception, bool]] = [
    (OSError("the line is dead"), True),
    (ConnectionResetError(104, "reset"), True),
    (TimeoutError(), True),
    (socket.gaierror(-2, "no such name"), True),
    (EOFError("0 bytes of 10"), True),
    (URLError(ConnectionRefusedError(111, "refused")), True),
    (httpx.ConnectError("refused"), True),
    (httpx.ReadTimeout("slow"), True),
    (aiohttp.ServerDisconnectedError(), True),
    (httpx.HTTPStatusError("busy", request=ASKED, response=httpx.Response(503)), True),
    (HTTPError(URL, 502, "bad gateway", None, None), True),  # type: ignore[arg-type]
    (httpx.HTTPStatusError("gone", request=ASKED, response=httpx.Response(410)), False),
    (HTTPError(URL, 404, "not found", None, None), False),  # type: ignore[arg-type]
    (ssl.SSLCertVerificationError(1, "expired"), False),
    (httpx.InvalidURL("no host"), False),
    (httpx.UnsupportedProtocol("gopher"), False),
    (httpx.StreamConsumed(), False),
    (aiohttp.InvalidURL("http://"), False),
    (opened("/no/such/file"), False),
    (PermissionError(13, "denied", "/etc/shadow"), False),
    (OSError(28, "no space left on device"), False),
    (OSError(24, "too many open files"), False),
    (ssl.SSLError("made by hand"), False),
    (TypeError("'int' object is not callable"), False),
    (KeyError("url"), False),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), False),
    (RuntimeError("what it awaited was cancelled"), False),
]


@pytest.mark.parametrize(("error", "expected"), RAISED, ids=lambda each: type(each).__name__)
def test_what_a_fetch_of_the_user_s_raises_counts_if_it_is_about_the_server(error: Exception, expected: bool) -> None:
    policy, stored = Rfc9111(stale_if_error=float("inf")), entry(cache_control="max-age=60")
    failed = Failed(request(), OperatorError("fetch", error))
    assert (policy.settle(Asked(request(), b"k", stored, T), failed, T + 61).serve is not None) is expected


@pytest.mark.parametrize("error", [InvalidURL("http//"), AddressRefused("private"), BodyTooLarge("over 5 bytes")])
def test_what_is_wrong_with_the_request_is_told_and_not_covered(error: Exception) -> None:
    policy, stored = Rfc9111(stale_if_error=float("inf")), entry(cache_control="max-age=60")
    settled = policy.settle(Asked(request(), b"k", stored, T), Failed(request(), error), T + 61)
    assert (settled.serve, settled.stat) == (None, "")


def test_a_host_that_was_given_up_is_a_server_that_fails() -> None:
    policy, stored = Rfc9111(stale_if_error=float("inf")), entry(cache_control="max-age=60")
    given_up = Failed(request(), HostGivenUp("out of order"))
    assert policy.settle(Asked(request(), b"k", stored, T), given_up, T + 61).serve is not None


def test_stale_if_error_by_argument_holds_where_nobody_says_anything() -> None:
    policy = Rfc9111(stale_if_error=float("inf"))
    plain, strict = entry(cache_control="max-age=60"), entry(cache_control="max-age=60, must-revalidate")
    said = entry(cache_control="max-age=60, stale-if-error=5")
    after = T + 10**6
    assert policy.settle(Asked(request(), b"k", plain, T), FAILED, after).serve is not None
    assert policy.settle(Asked(request(), b"k", strict, T), FAILED, after).serve is None
    assert policy.settle(Asked(request(), b"k", said, T), FAILED, after).serve is None


def test_stale_while_revalidate() -> None:
    stored = entry(cache_control="max-age=60, stale-while-revalidate=30")
    assert find(stored, 30) == Serve(stored)
    assert find(stored, 61) == Serve(stored, stale=True, refresh=True)
    assert not served(stored, 91)
    assert not served(stored, 61, request(cache_control="max-age=600"))
    assert not served(entry(cache_control="max-age=60, stale-while-revalidate=30, must-revalidate"), 61)


# -- invalidation ------------------------------------------------------------------------------------------------------


def forgotten(method: str, status: int, **headers: str) -> set[str]:
    """Which of some pages are forgotten after an unsafe request to URL."""
    pages = {name: f"http://a.example/{name}" for name in ("page", "new", "other")}
    pages["foreign"] = "http://b.example/new"
    fields = Headers({name.replace("_", "-"): value for name, value in headers.items()})
    asked = Asked(request(method=method), b"k", None, T)
    keys = POLICY.settle(asked, Response(URL, status, fields), T).forget
    return {name for name, url in pages.items() if POLICY.key(Request(url)) in keys}


def test_unsafe_methods_invalidate() -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "M-SEARCH"):
        assert forgotten(method, 200) == {"page"}
        assert forgotten(method, 303, location="/new") == {"page", "new"}
        assert forgotten(method, 201, content_location="new") == {"page", "new"}
        assert forgotten(method, 500, location="/new") == set()
        assert forgotten(method, 404) == set()


def test_another_host_is_not_invalidated() -> None:
    assert forgotten("POST", 200, location="http://b.example/new") == {"page"}
    assert forgotten("POST", 200, location="http://[half") == {"page"}


def test_a_jar_s_post_invalidates_its_own_page_and_that_of_all() -> None:
    asked = Asked(Request(URL, method="POST", cookiejar="me"), b"k", None, T)
    keys = POLICY.settle(asked, Response(URL, 200), T).forget
    assert set(keys) == {POLICY.key(Request(URL, cookiejar="me")), POLICY.key(Request(URL))}


def test_a_post_that_brings_the_page_itself_is_stored() -> None:
    asked = Asked(request(method="POST"), b"k", None, T)
    says = {"Cache-Control": "max-age=60"}
    fill = POLICY.settle(asked, Response(URL, 200, Headers({**says, "Content-Location": "/page"})), T).fill
    assert fill is not None
    assert fill.method == "GET"
    for headers in (says, {**says, "Content-Location": "/else"}, {"Content-Location": "/page"}):
        assert POLICY.settle(asked, Response(URL, 200, Headers(headers)), T).fill is None


# -- the answer --------------------------------------------------------------------------------------------------------


def test_an_answer_has_its_age_and_a_flag() -> None:
    stored = entry(cache_control="max-age=60", age="5")
    answer = POLICY.answer(Serve(stored), request(), T + 10.9)
    assert (answer.headers["age"], answer.flags, answer.body) == ("15", ("cached",), b"0123456789")
    assert POLICY.answer(Serve(stored, stale=True), request(), T).flags == ("cached", "stale")


def test_a_head_is_answered_without_the_body() -> None:
    answer = POLICY.answer(Serve(entry(content_length="10")), request(method="HEAD"), T)
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "10")


def test_who_has_it_already_gets_a_304() -> None:
    stored = entry(etag='"a"', content_type="text/html", expires="x")
    answer = POLICY.answer(Serve(stored), request(if_none_match='"a"'), T)
    assert (answer.status, answer.body) == (304, b"")
    assert {name.lower() for name in answer.headers} == {"etag", "expires", "date", "age"}


def test_a_part_of_what_is_stored() -> None:
    stored = entry(cache_control="max-age=60", etag='"a"')
    asked = request(range="bytes=2-4")
    assert served(stored, 1, asked)
    answer = POLICY.answer(Serve(stored), asked, T + 1)
    assert (answer.status, answer.body) == (206, b"234")
    assert answer.headers["content-range"] == "bytes 2-4/10"
    assert answer.headers["content-length"] == "3"
    assert POLICY.answer(Serve(stored), request(range="bytes=2-4", if_range='"b"'), T).status == 200


@pytest.mark.parametrize(
    "asked",
    [request(range="bytes=20-"), request(range="bytes=0-1,4-5"), request(if_match='"a"'), request(range="x=1-2")],
)
def test_what_a_cache_cannot_answer_goes_to_the_server_as_it_is(asked: Request) -> None:
    found = find(entry(cache_control="max-age=60", etag='"a"'), 1, asked)
    assert isinstance(found, Send)
    assert found.request is asked


# -- arguments, and the policy that replays ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [{"heuristic": 1.5}, {"heuristic": -0.1}, {"heuristic_max": -1}, {"stale_if_error": -1}],
)
def test_wrong_arguments(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        Rfc9111(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="several names"):
        Rfc9111(ignore_directives="no-store")


def test_replay_gives_out_for_ever_and_stores_all_that_is_whole() -> None:
    policy = Replay()
    stored = entry(cache_control="no-store", status=500)
    assert policy.find(request(), [stored], T + 1e9) == Serve(stored)
    assert policy.find(request("only-if-cached"), [], T) == Missing()
    for status in (200, 301, 404, 500):
        answer = Response(URL, status, Headers({"Cache-Control": "no-store"}))
        assert policy.settle(Asked(request(), b"k", None, T), answer, T).fill is not None
    for status in (206, 304):
        assert policy.settle(Asked(request(), b"k", None, T), Response(URL, status), T).fill is None
    assert policy.settle(Asked(request(), b"k", None, T), FAILED, T).serve is None
    assert policy.key(request(range="bytes=0-1")) is None
    assert not policy.answers(request("reload"))
    assert policy.key(Request(URL + "?a=1&b=2")) == policy.key(Request(URL + "?b=2&a=1"))
    assert policy.key(request(method="POST")) != policy.key(request())


@pytest.mark.parametrize("policy", [Replay(), Rfc9111()])
def test_what_is_given_out_has_the_date_when_it_came_if_the_server_sent_none(policy: Any) -> None:
    answer = Response(URL, 200, Headers({"Cache-Control": "max-age=60"}))
    dated = Response(URL, 200, Headers({"Cache-Control": "max-age=60", "date": format_date(T - 5)}))
    for sent, date in ((answer, T), (dated, T - 5)):
        fill = policy.settle(Asked(request(), b"k", None, T), sent, T).fill
        assert fill is not None
        given = policy.answer(Serve(fill), request(), T + 30)
        assert given.headers.getall("date") == [format_date(date)]
    assert "date" not in answer.headers


def test_heuristic_statuses_are_those_of_rfc_9110_without_parts() -> None:
    assert frozenset((200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501)) == HEURISTIC
