"""Where the whole records of a feed end: for a feed that is appended to, and may have been cut off."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import StringIO, TextIOWrapper
from typing import BinaryIO, NamedTuple

import msgspec

CHUNK = 1 << 20


class Tail(NamedTuple):
    """How the feed goes on: cut at `end`, then `add` written."""

    end: int
    add: bytes = b""


def jsonl_tail(file: BinaryIO) -> Tail:
    """The end of the last whole line. A last line without line end is whole if it is JSON, else it is left out."""
    size = file.seek(0, 2)
    start = _last_line(file, size)
    if start == size:
        return Tail(size)
    file.seek(start)
    line = file.read()
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Tail(start)
    return Tail(size, b"\n")


def _last_line(file: BinaryIO, size: int) -> int:
    """Where the text after the last line end starts."""
    at = size
    while at > 0:
        start = max(0, at - CHUNK)
        file.seek(start)
        found = file.read(at - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        at = start
    return 0


def csv_tail(file: BinaryIO, *, quote: str = '"', delimiter: str = ",") -> Tail:
    """The end of the last whole row. A last row without line end is whole if it has all its columns.

    The whole file is read: a line end within quotes is none.
    """
    end, quoted = _last_row(file, quote.encode())
    size = file.seek(0, 2)
    if end == size:
        return Tail(size)
    if quoted or end == 0:
        return Tail(end)
    columns = csv_columns(file, quote=quote, delimiter=delimiter)
    newline = _line_end(file, end)
    file.seek(end)
    rest = file.read()
    text = StringIO(rest.decode("utf-8", "replace"), newline="")
    row = next(csv.reader(text, quotechar=quote, delimiter=delimiter), ())
    if len(row) != len(columns):
        return Tail(end)
    return Tail(size, b"\n" if rest.endswith(b"\r") else newline)


def _last_row(file: BinaryIO, quote: bytes) -> tuple[int, bool]:
    """(where the row after the last line end starts, whether the file ends within quotes)."""
    end = at = 0
    quoted = False
    for chunk in _chunks(file):
        for nth, piece in enumerate(chunk.split(quote)):
            if nth:
                quoted = not quoted
                at += 1
            found = -1 if quoted else piece.rfind(b"\n")
            if found >= 0:
                end = at + found + 1
            at += len(piece)
    return end, quoted


def _line_end(file: BinaryIO, end: int) -> bytes:
    """The line end before `end`."""
    file.seek(max(0, end - 2))
    return b"\r\n" if file.read(2) == b"\r\n" else b"\n"


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while chunk := file.read(CHUNK):
        yield chunk


def csv_columns(file: BinaryIO, *, encoding: str = "utf-8", quote: str = '"', delimiter: str = ",") -> tuple[str, ...]:
    """The names in the first row; empty for an empty file."""
    file.seek(0)
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    text = TextIOWrapper(file, encoding=encoding, errors="replace", newline="")
    try:
        return tuple(next(csv.reader(text, quotechar=quote, delimiter=delimiter), ()))
    finally:
        text.detach()
