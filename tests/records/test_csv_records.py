"""CSV feeds: rows in whichever pieces they come, encodings, and what ends a feed."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcrawl import Headers, Response
from streamcrawl.core import RUN
from streamcrawl.errors import TruncatedBody
from streamcrawl.events import Notice
from streamcrawl.records import BrokenFeed, csv_records
from streamcrawl.streams.local import LocalRun

URL = "http://feeds.test/all.csv"
Row = dict[str, str]


class Pieces:
    """A streamed body in pieces of so many bytes, which may break off."""

    def __init__(self, body: bytes, size: int, error: Exception | None = None) -> None:
        self._body = body
        self._size = size
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self._body), self._size):
            yield self._body[at : at + self._size]
        if self._error is not None:
            raise self._error

    async def aclose(self) -> None: ...


def page(body: bytes, size: int | None = None, media: str = "text/csv", error: Exception | None = None) -> Response:
    headers = Headers({"Content-Type": media})
    if size is None:
        return Response(URL, headers=headers, body=body)
    stream: Any = Pieces(body, size, error)
    return Response(URL, headers=headers, stream=stream)


def rows(feed: Response, **options: Any) -> tuple[list[Row], str]:
    """The rows, and the error that ended the feed."""
    found: list[Row] = []

    async def read() -> None:
        async for row in csv_records(feed, **options):
            found.append(row)  # noqa: PERF401 - those before an error count

    try:
        asyncio.run(read())
    except (BrokenFeed, TruncatedBody) as error:
        return found, str(error)
    return found, ""


@pytest.mark.parametrize("size", [None, 1, 2, 3, 5, 1000])
@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("a,b\n1,2\n3,4\n", {}, [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
        ("a,b\r\n1,2\r\n\r\n3,4", {}, [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
        ("a,b\r1,2\r3,4\r", {}, [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
        ('a,b\r\n1,"x\r\n""y"",\n\r z"\r\n', {}, [{"a": "1", "b": 'x\r\n"y",\n\r z'}]),
        ("a;b\n'1;\n';2\n", {"delimiter": ";", "quotechar": "'"}, [{"a": "1;\n", "b": "2"}]),
        ("1,2\n", {"headers": ["x", "y"]}, [{"x": "1", "y": "2"}]),
        ("a\tb\n1\t\n", {"delimiter": "\t"}, [{"a": "1", "b": ""}]),
        ("a,b\n5\" disk,3'\nlast,one\n", {}, [{"a": '5" disk', "b": "3'"}, {"a": "last", "b": "one"}]),
        ("a\u2028b,c\n1\x0b2,\x85\n", {}, [{"a\u2028b": "1\x0b2", "c": "\x85"}]),
        ("a,b\n", {}, []),
        ("", {}, []),
        ("\n\n", {}, []),
    ],
)
def test_rows(text: str, options: dict[str, Any], expected: list[Row], size: int | None) -> None:
    assert rows(page(text.encode(), size), **options) == (expected, "")


def cells() -> st.SearchStrategy[str]:
    return st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8) | st.sampled_from(
        ['"', '""', ",", "\r", "\n", "\r\n", 'a"b', "", " "]
    )


@given(
    st.lists(st.lists(cells(), min_size=2, max_size=2), max_size=8), st.sampled_from(["\n", "\r\n"]), st.integers(1, 9)
)
@settings(deadline=None, max_examples=150)
def test_what_the_standard_library_writes_is_read_the_same_however_it_is_cut(
    lines: list[list[str]], end: str, size: int
) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([["x", "y"], *lines])
    wanted = [{"x": x, "y": y} for x, y in lines]
    assert rows(page(out.getvalue().encode(), size)) == (wanted, "")


@given(st.text(st.sampled_from('ab,"\r\n'), max_size=60), st.integers(1, 7))
@settings(deadline=None, max_examples=200)
def test_pieces_make_no_difference_for_broken_rows_either(text: str, size: int) -> None:
    whole = rows(page(text.encode()), ragged="fill")
    assert rows(page(text.encode(), size), ragged="fill") == whole


TEXT = "name,price\nKäse,5 €\n"
EXPECTED = [{"name": "Käse", "price": "5 €"}]


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (TEXT.encode(), "text/csv"),
        (TEXT.encode("utf-8-sig"), "text/csv; charset=latin-1"),
        (TEXT.encode("utf-16"), "text/csv"),
        (TEXT.encode("utf-16-le"), "text/csv; charset=utf-16le"),
        (TEXT.encode("cp1252"), "text/csv; charset=iso-8859-1"),
        (TEXT.encode("cp1252"), "text/csv"),
        (gzip.compress(TEXT.encode(), mtime=0), "application/gzip"),
    ],
)
@pytest.mark.parametrize("size", [None, 1, 64])
def test_encodings_and_gzip(body: bytes, media: str, size: int | None) -> None:
    assert rows(page(body, size, media)) == (EXPECTED, "")


def test_an_encoding_that_shows_late() -> None:
    body = b"name,price\n" + b"plain,1\n" * 20_000 + "Käse,5 €\n".encode("cp1252") * 50
    found, error = rows(page(body, 1000))
    assert error == ""
    assert found[0] == {"name": "plain", "price": "1"}
    assert found[-1] == EXPECTED[0]
    russian = "имя,цена\n" + "Сыр с дырками,пять рублей\n" * 20
    assert rows(page(russian.encode("cp1251"), 100))[0][0] == {"имя": "Сыр с дырками", "цена": "пять рублей"}


@pytest.mark.parametrize(
    ("ragged", "expected", "error"),
    [
        ("skip", [{"a": "1", "b": "2"}], ""),
        ("fill", [{"a": "1", "b": "2"}, {"a": "short", "b": ""}], ""),
        ("error", [{"a": "1", "b": "2"}], f"{URL}: a row of 1 fields where there are 2 (after 1 records)"),
    ],
)
def test_rows_of_another_length(ragged: str, expected: list[Row], error: str) -> None:
    assert rows(page(b"a,b\n1,2\nshort\nl,o,ng\n"), ragged=ragged) == (expected, error)


def test_rows_that_are_left_out_are_counted_and_told_once() -> None:
    told: list[str] = []

    async def main() -> int:
        run = LocalRun(asyncio.get_running_loop())
        run.events.on(Notice, lambda notice: told.append(notice.text))
        RUN.set(run)
        assert [row async for row in csv_records(page(b"a,b\n1\n2\n3,4\n"))] == [{"a": "3", "b": "4"}]
        return int(run.stats["csv/rows_skipped"])

    assert asyncio.run(main()) == 2
    assert told == [f"{URL}: a row of 1 fields where there are 2 was left out; so will others"]


def test_a_column_that_is_there_twice_is_told() -> None:
    told: list[str] = []

    async def main() -> list[Row]:
        run = LocalRun(asyncio.get_running_loop())
        run.events.on(Notice, lambda notice: told.append(notice.text))
        RUN.set(run)
        return [row async for row in csv_records(page(b"a,b,a\n1,2,3\n4,5,6\n"))]

    assert asyncio.run(main()) == [{"a": "3", "b": "2"}, {"a": "6", "b": "5"}]
    assert told == [f"{URL}: there are several columns 'a', and the last one counts"]
    with pytest.raises(ValueError, match="'a' is there twice"):
        csv_records(page(b""), headers=["a", "a"])


def test_a_quoted_field_without_an_end() -> None:
    body = b'a,b\n1,2\n\n3,"x\ny,z\n' + b"4,5\n" * 100
    for size in (None, 1, 50):
        assert rows(page(body, size)) == (
            [{"a": "1", "b": "2"}],
            f"{URL}: a quoted field that has no end begins in the row of line 4 (after 1 records)",
        )


def test_a_body_that_breaks_off_gives_whole_rows_and_its_error() -> None:
    broken = page(b"a,b\n1,2\n3,4", 3, error=TruncatedBody("the connection was lost"))
    assert rows(broken) == ([{"a": "1", "b": "2"}], "the connection was lost")


@pytest.mark.parametrize("body", [b"a\n" + b"x" * 300_000, b'a\n"' + b"x\n" * 150_000, b'a\n"' + b'""\n' * 100_000])
def test_a_row_that_is_too_long(body: bytes) -> None:
    for size in (None, 1000):
        found, error = rows(page(body, size), max_record=200_000)
        assert found == []
        assert error == f"{URL}: a row of more than 200000 characters begins in line 2 (after 0 records)"


def test_fields_beyond_the_limit_of_the_standard_library_which_stays_as_it_was() -> None:
    before = csv.field_size_limit()
    field = 'y"\r\n' * 100_000
    body = b'a,b\n1,"' + field.replace('"', '""').encode() + b'"\n3,4\n'
    start = time.process_time()
    assert rows(page(body, 4096)) == ([{"a": "1", "b": field}, {"a": "3", "b": "4"}], "")
    assert time.process_time() - start < 5  # a long row is not read anew with each piece
    assert csv.field_size_limit() == before < len(field)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"delimiter": ""}, "delimiter=''"),
        ({"delimiter": "||"}, r"delimiter='\|\|'"),
        ({"delimiter": "\n"}, "no line break"),
        ({"quotechar": ","}, "both ','"),
        ({"headers": []}, "a list of names"),
        ({"headers": "ab"}, "a list of names"),
        ({"ragged": "maybe"}, "one of skip, fill, error"),
        ({"max_record": 0}, "1 or more"),
        ({"encoding": "nonsense"}, "no such encoding"),
    ],
)
def test_arguments_are_checked_at_once(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        csv_records(page(b""), **options)
