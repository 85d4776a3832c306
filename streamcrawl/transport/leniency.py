"""Answers that are not quite HTTP/1, taken as browsers take them: how a head is mended, and where a message ends.

Nothing of this runs for an answer that the parser takes as it is.
"""

from __future__ import annotations

import re

HEAD_SIZE = 256 * 1024
"""Bytes of status line and header fields together, as much as browsers take."""

END = re.compile(rb"\n\r?\n")
STATUS = re.compile(rb"[ \t]*HTTP/1\.([0-9])[ \t]+([0-9]{3})(?![0-9])[ \t]*([^\r\n]*)", re.IGNORECASE)
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
LINE = re.compile(rb"\r?\n")

Fields = list[tuple[bytes, bytes]]


def final(heard: bytes) -> bytes:
    """What came, without line breaks and informational answers (100, 102, 103) before the final one."""
    while True:
        heard = heard.lstrip(b"\r\n")
        status = STATUS.match(heard)
        if status is None or not status[2].startswith(b"1") or status[2] == b"101":
            return heard
        end = END.search(heard)
        if end is None:
            return heard
        heard = heard[end.end() :]


def promising(heard: bytes) -> bool:
    """Whether the beginning of an answer may be that of a page that can be mended."""
    if b"\n" in heard:
        return STATUS.match(heard) is not None
    return b"HTTP/1.".startswith(heard.lstrip(b" \t")[:7].upper())


def mended(head: bytes) -> bytes | None:
    """Status line and header fields as they were meant; None if they cannot be told.

    Lines without a colon, and those whose name is no token, are left out; space before the colon does not count. One
    length that is told several times is one length. `Transfer-Encoding: chunked` goes before any Content-Length. A CR
    that ends no line is a space.

    Source: RFC 9112 §2.2, §5.1, §6.3; the Fetch standard ("extract a length").
    """
    first, *lines = LINE.split(head)
    status = STATUS.fullmatch(first)
    if status is None:
        return None
    version, code, phrase = status.groups()
    fields = _framed(_fields(lines))
    if fields is None:
        return None
    start = b"HTTP/1.%d %s %s" % (version != b"0", code, phrase)
    return b"\r\n".join((start, *(name + b": " + value for name, value in fields), b"", b""))


def _fields(lines: list[bytes]) -> Fields:
    fields: Fields = []
    kept = False
    for line in lines:
        if line[:1] in (b" ", b"\t"):  # it goes on with the line before
            if kept:
                name, value = fields[-1]
                fields[-1] = name, value + b" " + line.replace(b"\r", b" ").strip(b" \t")
            continue
        name, colon, value = line.replace(b"\r", b" ").partition(b":")
        name = name.rstrip(b" \t")
        kept = bool(colon) and TOKEN.fullmatch(name) is not None
        if kept:
            fields.append((name, value.strip(b" \t")))
    return fields


def _framed(fields: Fields) -> Fields | None:
    """With no more than one word about where the body ends; None if there are several that differ."""
    codings = b",".join(value for name, value in fields if name.lower() == b"transfer-encoding").lower()
    lengths = [value for name, value in fields if name.lower() == b"content-length"]
    if not lengths:
        return fields
    others = [field for field in fields if field[0].lower() != b"content-length"]
    if codings.rpartition(b",")[2].strip() == b"chunked":
        return others
    if codings and codings.strip() != b"identity":
        return None
    told = {each.strip() for value in lengths for each in value.split(b",")}
    if len(told) > 1 or not all(each.isdigit() for each in told):
        return None
    return [field for field in others if field[0].lower() != b"transfer-encoding"] + [(b"Content-Length", told.pop())]
