"""The fields that a cache reads: tables from the RFCs, and that nothing makes them raise."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl.caching.rfc9111_conditions import not_modified, part_of, range_holds
from streamcrawl.caching.rfc9111_fields import (
    LONGEST,
    age_of,
    directives,
    fits,
    format_date,
    http_date,
    kept_fields,
    normalized,
    seconds,
    updated_fields,
    vary_of,
)
from streamcrawl.headers import Headers

NOW = datetime(2030, 1, 1, tzinfo=UTC).timestamp()


def fields(name: str, *lines: str) -> Headers:
    return Headers([(name, line) for line in lines])


DIRECTIVES: list[tuple[tuple[str, ...], dict[str, str | None]]] = [
    (("max-age=5, Public",), {"max-age": "5", "public": None}),
    (("MAX-AGE=5", "no-cache"), {"max-age": "5", "no-cache": None}),  # every line counts, not the last
    (('max-age="5"',), {"max-age": "5"}),  # RFC 9111 §5.2: both forms
    (("max-age='5'",), {"max-age": "'5'"}),
    (('x="max-age=9, no-store", max-age=1',), {"x": "max-age=9, no-store", "max-age": "1"}),
    (("max-age =5",), {"max-age": ""}),
    (("max-age= 5",), {"max-age": ""}),
    (("max-age=5, max-age=5",), {"max-age": "5"}),
    (("max-age=5, max-age=6",), {"max-age": ""}),  # §4.2.1: a conflict is stale
    (('no-cache="a"', 'no-cache="b"'), {"no-cache": "a,b"}),
    (('no-cache="a", no-cache',), {"no-cache": None}),  # the stricter one
    ((" , ,max-age=5,,",), {"max-age": "5"}),
    (('x="open, no-store',), {"x": '"open', "no-store": None}),  # a quote that is not closed hides nothing
    (("",), {}),
    ((), {}),
]


@pytest.mark.parametrize(("lines", "found"), DIRECTIVES)
def test_directives(lines: tuple[str, ...], found: dict[str, str | None]) -> None:
    assert directives(fields("Cache-Control", *lines)) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        *(("0", 0), ("003600", 3600), ("2147483648", LONGEST), ("99999999999", LONGEST), ("9" * 5000, LONGEST)),
        *(("", None), (None, None), ("-1", None), ("1.0", None), ("1a", None), ("\u0663", None), ("\u00b2", None)),
    ],
)
def test_seconds(value: str | None, found: int | None) -> None:
    assert seconds(value) == found


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        *(((), 0), (("7",), 7), (("7, 0",), 7), (("0, 7",), 0), (("7", "0"), 7), (("0", "7"), 0)),
        *((("abc",), 0), (("-7",), 0), (("7.0",), 0), (("7;a=b",), 7), (("9999999999",), LONGEST)),
    ],
)
def test_the_first_of_several_ages_counts(lines: tuple[str, ...], found: int) -> None:
    assert age_of(fields("Age", *lines)) == found


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "SUN, 06 NOV 1994 08:49:37 gmt",
    ],
)
def test_the_three_forms_of_a_date(text: str) -> None:
    """RFC 9110 §5.6.7, its own example."""
    assert http_date(text, NOW) == datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC).timestamp()


def test_a_year_of_two_digits_is_at_most_fifty_years_ahead() -> None:
    assert http_date("Sunday, 06-Nov-79 08:49:37 GMT", NOW) == datetime(2079, 11, 6, 8, 49, 37, tzinfo=UTC).timestamp()
    assert http_date("Sunday, 06-Nov-81 08:49:37 GMT", NOW) == datetime(1981, 11, 6, 8, 49, 37, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "0", "-1", "never", "Thu, 18 Aug 2050 02:01:18 UTC", "Thu, 18 Aug 50 02:01:18 GMT"),
        *("Thu 18 Aug 2050 02:01:18 GMT", "Thu, 18  Aug  2050 02:01:18 GMT", "Thu, 18-Aug-2050 02:01:18 GMT"),
        *("Thu, 18 Aug 2050 02.01.18 GMT", "Thu, 18 Aug 2050 2:01:18 GMT", "Thu, 31 Feb 2050 02:01:18 GMT"),
        *("Thu, 18 Xyz 2050 02:01:18 GMT", "Thu, 18 Aug 2050 25:01:18 GMT"),
    ],
)
def test_what_is_no_date(text: str | None) -> None:
    assert http_date(text, NOW) is None


@given(st.datetimes(datetime(1971, 1, 1), datetime(2999, 12, 31)))
def test_a_date_comes_back_as_it_was_written(moment: datetime) -> None:
    whole = moment.replace(microsecond=0, tzinfo=UTC)
    text = format_date(whole.timestamp())
    assert text == format_datetime(whole, usegmt=True)
    assert http_date(text, NOW) == whole.timestamp()


VARIES: list[tuple[str, list[str], list[str]]] = [
    ("foo", ["1, 2"], ["1", "2"]),
    ("foo", ["1,2"], ["  1 ,  2 "]),
    ("foo", ['"a, b"'], [' "a, b"']),
    ("accept-language", ["en, de"], ["DE,eN"]),
    ("accept", ["text/html;q=0.8, */*"], ["*/*, text/html; q=0.8"]),
    ("accept-encoding", ["gzip, br"], ["br", "gzip"]),
]


@pytest.mark.parametrize(("name", "one", "other"), VARIES)
def test_values_that_mean_the_same_are_the_same(name: str, one: list[str], other: list[str]) -> None:
    assert normalized(name, fields(name, *one)) == normalized(name, fields(name, *other)) is not None


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [("foo", "1, 2", "2, 1"), ("foo", "a", "A"), ("user-agent", "a b", "ab"), ("accept", "a/b;q=0.1", "a/b")],
)
def test_values_that_may_differ_are_not(name: str, one: str, other: str) -> None:
    assert normalized(name, fields(name, one)) != normalized(name, fields(name, other))


def test_vary_keeps_the_values_of_the_request() -> None:
    request = Headers([("Foo", "1"), ("foo", "2"), ("Other", "x")])
    assert vary_of(Headers({"Vary": "foo, BAR,"}), request) == (("bar", None), ("foo", "1,2"))
    assert vary_of(Headers(), request) == ()


@pytest.mark.parametrize("lines", [("*",), ("*, *",), ("", "*"), ("Foo, *",), ("*", "Foo")])
def test_a_star_fits_nothing(lines: tuple[str, ...]) -> None:
    assert vary_of(fields("Vary", *lines), Headers({"Foo": "1"})) is None


@given(st.dictionaries(st.sampled_from(["foo", "bar", "accept-language"]), st.text(max_size=12), max_size=3))
def test_a_request_fits_what_came_for_it(values: dict[str, str]) -> None:
    request = Headers(values)
    vary = vary_of(Headers({"Vary": "foo, bar, accept-language"}), request)
    assert vary is not None
    assert fits(vary, request, ())
    assert not fits(vary, request.set("foo", "another one"), ())


def test_the_language_that_is_liked_best_fits() -> None:
    vary = (("accept-language", "de,en"),)
    german = (("Content-Language", "de"),)
    assert fits(vary, Headers({"Accept-Language": "fr;q=0.5, de;q=1.0"}), german)
    assert not fits(vary, Headers({"Accept-Language": "fr, de;q=0.9"}), german)
    assert not fits(vary, Headers({"Accept-Language": "fr, de"}), german)  # liked equally well
    assert not fits(vary, Headers({"Accept-Language": "de;q=x, fr"}), german)
    assert not fits(vary, Headers(), german)


def test_what_is_stored_of_the_fields() -> None:
    headers = Headers(
        [
            *(("Connection", "close, X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "5"), ("Transfer-Encoding", "chunked")),
            *(("Cache-Control", 'max-age=5, no-cache="X-Secret"'), ("x-secret", "1"), ("Warning", '110 - "stale"')),
            *(("Warning", '299 - "kept"'), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")),
        ]
    )
    assert [name for name, _ in kept_fields(headers)] == ["Cache-Control", "Warning", "Set-Cookie", "Set-Cookie"]


def test_a_304_changes_fields_but_not_those_of_the_body() -> None:
    stored = (("ETag", '"a"'), ("A", "1"), ("B", "1"), ("Content-Length", "5"), ("Age", "100"))
    news = Headers([("a", "2"), ("ETag", '"a-gzip"'), ("Content-Length", "0"), ("Connection", "C"), ("C", "3")])
    found = Headers(updated_fields(stored, news))
    assert dict(found.pairs()) == {"ETag": '"a"', "B": "1", "Content-Length": "5", "a": "2"}
    assert Headers(updated_fields((("A", "1"),), Headers({"ETag": '"a"'})))["etag"] == '"a"'


NOT_MODIFIED: list[tuple[dict[str, str], dict[str, str], bool]] = [
    ({"If-None-Match": '"a"'}, {"ETag": '"a"'}, True),
    ({"If-None-Match": '"b", W/"a"'}, {"ETag": '"a"'}, True),  # compared weakly
    ({"If-None-Match": '"b"'}, {"ETag": '"a"'}, False),
    ({"If-None-Match": "*"}, {}, True),
    ({"If-None-Match": '"a"'}, {}, False),
    # If-None-Match comes first, whatever the date says.
    (
        {"If-None-Match": '"b"', "If-Modified-Since": "Tue, 01 Jan 2030 00:00:00 GMT"},
        {"ETag": '"a"', "Last-Modified": "Tue, 01 Jan 2019 00:00:00 GMT"},
        False,
    ),
    (
        {"If-Modified-Since": "Tue, 01 Jan 2019 00:00:00 GMT"},
        {"Last-Modified": "Tue, 01 Jan 2019 00:00:00 GMT"},
        True,
    ),
    (
        {"If-Modified-Since": "Tue, 01 Jan 2019 00:00:00 GMT"},
        {"Last-Modified": "Tue, 01 Jan 2019 00:00:01 GMT"},
        False,
    ),
    ({"If-Modified-Since": "yesterday"}, {"Last-Modified": "Tue, 01 Jan 2019 00:00:00 GMT"}, False),
    ({"If-Modified-Since": "Tue, 01 Jan 2019 00:00:00 GMT"}, {"Date": "Tue, 01 Jan 2019 00:00:00 GMT"}, True),
    ({}, {"ETag": '"a"'}, False),
]


@pytest.mark.parametrize(("asked", "stored", "found"), NOT_MODIFIED)
def test_conditions_that_a_cache_answers(asked: dict[str, str], stored: dict[str, str], found: bool) -> None:
    assert not_modified(Headers(asked), Headers(stored), NOW) is found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        *(("bytes=0-1", (0, 2)), ("bytes=5-", (5, 10)), ("bytes=-3", (7, 10)), ("bytes=0-99", (0, 10))),
        *(("bytes=-99", (0, 10)), ("BYTES=0-0", (0, 1)), ("bytes=10-", None), ("bytes=5-4", None)),
        *(("bytes=-", None), ("bytes=0-1,3-4", None), ("lines=0-1", None), ("", None), ("bytes=-0", None)),
        ("bytes=" + "9" * 30 + "-", None),
    ],
)
def test_ranges_of_one_part(value: str, found: tuple[int, int] | None) -> None:
    assert part_of(Headers({"Range": value}), 10) == found


def test_a_range_is_of_what_if_range_names() -> None:
    stored = Headers({"ETag": '"a"', "Last-Modified": "x"})
    assert range_holds(Headers(), stored)
    assert range_holds(Headers({"If-Range": '"a"'}), stored)
    assert range_holds(Headers({"If-Range": "x"}), stored)
    assert not range_holds(Headers({"If-Range": 'W/"a"'}), stored)
    assert not range_holds(Headers({"If-Range": '"b"'}), stored)


@given(st.lists(st.text(max_size=30), max_size=4))
def test_nothing_makes_them_raise(lines: list[str]) -> None:
    names = ("cache-control", "age", "vary", "date", "connection", "range", "if-none-match", "if-modified-since")
    headers = Headers([(name, line) for name in names for line in lines])
    found = directives(headers)
    assert all(name == name.strip().lower() and name for name in found)
    assert 0 <= age_of(headers) <= LONGEST
    http_date(headers.get("date"), NOW)
    vary_of(headers, headers)
    part_of(headers, 10)
    not_modified(headers, headers, NOW)
    assert {name.lower() for name, _ in kept_fields(headers)} <= set(names)
