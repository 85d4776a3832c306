"""The rows of a CSV feed, given while the feed comes."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Literal, TypeAlias, get_args

from streamcrawl.core import RUN
from streamcrawl.events import Notice
from streamcrawl.records.body import characters, checked_encoding
from streamcrawl.records.broken import BrokenFeed
from streamcrawl.response import Response
from streamcrawl.transport.body import shown

MAX_RECORD = 16 * 1024 * 1024

Ragged: TypeAlias = Literal["skip", "fill", "error"]
"""What is done with a row that has not as many fields as there are names."""


def csv_records(
    page: Response,
    *,
    delimiter: str = ",",
    quotechar: str = '"',
    headers: Iterable[str] | None = None,
    encoding: str | None = None,
    ragged: Ragged = "skip",
    max_record: int = MAX_RECORD,
) -> AsyncIterator[dict[str, str]]:
    """Each row of a CSV feed by the names of its columns, as soon as it has come.

    The page may be one with `stream=True`: memory holds one row and the piece of the feed that is being read. Empty
    lines are passed over. A field in quotes may have line breaks, which are kept as they are.

    Args:
        page: Its body is read to its end; a gzip file is unpacked.
        delimiter: One character between two fields.
        quotechar: One character around fields that hold a delimiter or a line break; doubled, it stands for itself.
        headers: Names of the columns; None: the first row has them.
        encoding: If it is known better than the feed knows: else byte-order mark, Content-Type, UTF-8 where it is that.
        ragged: A row with more or fewer fields than names is left out, counted in `csv/rows_skipped` and told
            ("skip"); short ones are filled up with "" ("fill"); or the feed is broken ("error").
        max_record: Characters that one row may have.

    Emits: dicts of text, in the order of the rows.
    Raises: ValueError when called; while it is iterated, after the last whole row: BrokenFeed if a quoted field has no
        end, or a row is too long; FetchError if the body cannot be had to its end: then the last line is none.
    Source: RFC 4180.
    """
    for name, value in (("delimiter", delimiter), ("quotechar", quotechar)):
        if len(value) != 1 or value in "\r\n":
            raise ValueError(f"{name}={value!r}: one character, and no line break")
    if delimiter == quotechar:
        raise ValueError(f"delimiter and quotechar are both {delimiter!r}")
    if ragged not in get_args(Ragged):
        raise ValueError(f"ragged={ragged!r}: one of {', '.join(get_args(Ragged))}")
    if max_record < 1:
        raise ValueError(f"max_record={max_record}: characters, 1 or more")
    names = None if headers is None else list(headers)
    if isinstance(headers, str) or names == []:
        raise ValueError(f"headers={headers!r}: a list of names")
    if names is not None and len(set(names)) < len(names):
        raise ValueError(f"headers={headers!r}: {_twice(names)!r} is there twice")
    rows = Rows(delimiter, quotechar, max_record)
    return _records(page, rows, names, checked_encoding(encoding), ragged)


async def _records(
    page: Response, rows: Rows, names: list[str] | None, encoding: str | None, ragged: Ragged
) -> AsyncIterator[dict[str, str]]:
    given = 0
    async for found in _rows(page, rows, encoding):
        for row in found:
            if len(row) != (0 if names is None else len(names)):
                if not row:
                    continue
                if names is None:
                    names = row
                    if len(set(names)) < len(names):
                        _tell(page, f"there are several columns {_twice(names)!r}, and the last one counts")
                    continue
                if ragged == "error":
                    raise BrokenFeed(shown(page.url), f"a row of {len(row)} fields where there are {len(names)}", given)
                if ragged == "skip" or len(row) > len(names):
                    _skipped(page, row, names)
                    continue
                row = [*row, *[""] * (len(names) - len(row))]
            if names is not None and row:
                yield dict(zip(names, row, strict=True))
                given += 1
        if rows.why is not None:
            raise BrokenFeed(shown(page.url), rows.why, given)


async def _rows(page: Response, rows: Rows, encoding: str | None) -> AsyncIterator[list[list[str]]]:
    async for text in characters(page, encoding, lambda head: None):
        yield rows.feed(text)
    yield rows.end()


def _skipped(page: Response, row: list[str], names: list[str]) -> None:
    run = RUN.get(None)
    if run is None:
        return
    count = run.stats["csv/rows_skipped"] = run.stats.get("csv/rows_skipped", 0) + 1
    if count == 1:
        _tell(page, f"a row of {len(row)} fields where there are {len(names)} was left out; so will others")


def _tell(page: Response, text: str) -> None:
    run = RUN.get(None)
    if run is not None and run.events.wants(Notice):
        run.events.emit(Notice(text=f"{shown(page.url)}: {text}", level="warning"))


def _twice(names: list[str]) -> str:
    return next(name for name, count in Counter(names).items() if count > 1)


class Rows:
    """Text in pieces to rows, by the standard library's reader: a row goes out when all of its lines are there."""

    __slots__ = ("_again", "_held", "_limit", "_line", "_make", "_pending", "_quote", "_size", "_tail", "why")

    def __init__(self, delimiter: str, quotechar: str, limit: int) -> None:
        self._make = partial(csv.reader, delimiter=delimiter, quotechar=quotechar)
        self._quote = quotechar
        self._limit = limit
        self._held = ""
        """A carriage return that the next piece may make a line feed of."""
        self._tail: list[str] = []
        """The beginning of a line."""
        self._pending: list[str] = []
        """The lines of a row whose last one has not come."""
        self._size = 0
        """Characters in the two."""
        self._again = 0
        """How many there have to be before the reader is asked again: a long row is not read anew with each piece."""
        self._line = 1
        """The number of the first pending line."""
        self.why: str | None = None
        """What is wrong with the feed."""

    def feed(self, text: str) -> list[list[str]]:
        """The rows that are complete now."""
        text = self._held + text
        self._held = "\r" if text.endswith("\r") else ""
        if self._held:
            text = text[:-1]
        self._size += len(text)
        cut = max(text.rfind("\n"), text.rfind("\r")) + 1
        rows: list[list[str]] = []
        if cut:
            whole = "".join((*self._tail, text[:cut]))
            self._tail = [text[cut:]]
            lines = list(io.StringIO(whole, newline=""))
            if self._pending and (self._size < self._again or self._quote not in whole):
                self._pending += lines
            else:
                rows = self._read(lines)
        else:
            self._tail.append(text)
        if self._size > self._limit and self.why is None:
            self.why = f"a row of more than {self._limit} characters begins in line {self._line}"
        return rows

    def end(self) -> list[list[str]]:
        """The rest, when no more text comes."""
        rest = "".join(self._tail) + self._held
        rows = self._read([rest] if rest else [])
        if self._pending and self.why is None:
            self.why = f"a quoted field that has no end begins in the row of line {self._line}"
        return rows

    def _read(self, lines: list[str]) -> list[list[str]]:
        rows: list[list[str]] = []
        dry: list[bool] = []
        lines = self._pending + lines
        reader = self._make(chain(lines, _ran_dry(dry)))
        done = 0
        before = csv.field_size_limit(
            self._limit
        )  # the reader has no other way to be told; nothing else runs meanwhile
        try:
            for row in reader:
                if dry:
                    break
                rows.append(row)
                done = reader.line_num
        except csv.Error as error:
            self.why = f"{error}, in line {self._line + reader.line_num - 1}"
        finally:
            csv.field_size_limit(before)
        self._line += done
        self._pending = lines[done:]
        self._size = sum(map(len, self._pending)) + sum(map(len, self._tail))
        self._again = 2 * self._size
        return rows


def _ran_dry(told: list[bool]) -> Iterator[str]:
    """The end of the lines that are there, noted when the reader comes to it."""
    told.append(True)
    yield from ()
