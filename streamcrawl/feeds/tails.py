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


def csv_tail(file: BinaryIO) -> Tail:
    """The end of the last whole row. A last row without line end is whole if it has all its columns.

    The whole file is read: a line end within quotes is none.
    """
    end, quoted, newline = _last_row(file)
    size = file.seek(0, 2)
    if end == size:
        return Tail(size)
    if not quoted:
        file.seek(end)
        row = next(csv.reader(StringIO(file.read().decode("utf-8", "replace"), newline="")), ())
        if len(row) == len(csv_columns(file)):
            return Tail(size, newline)
    return Tail(end)


def _last_row(file: BinaryIO) -> tuple[int, bool, bytes]:
    """(where the row after the last line end starts, whether the file ends within quotes, the line end used)."""
    end = at = 0
    quoted = False
    newline = b"\r\n"
    for chunk in _chunks(file):
        for nth, piece in enumerate(chunk.split(b'"')):
            if nth:
                quoted = not quoted
                at += 1
            found = -1 if quoted else piece.rfind(b"\n")
            if found >= 0:
                end = at + found + 1
                newline = b"\r\n" if piece[:found].endswith(b"\r") else b"\n"
            at += len(piece)
    return end, quoted, newline


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while chunk := file.read(CHUNK):
        yield chunk


def csv_columns(file: BinaryIO) -> tuple[str, ...]:
    """The names in the first row; empty for an empty file."""
    file.seek(0)
    text = TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="")
    try:
        return tuple(next(csv.reader(text), ()))
    finally:
        text.detach()
