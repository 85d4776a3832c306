"""The header fields of a request on its way out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

from streamcrawl.headers import Headers

FRAMING = frozenset({"content-length", "transfer-encoding"})
"""The transport frames the body itself."""


Fields: TypeAlias = list[tuple[str, str]]
"""(Name, value), repeated fields apart, in order."""


def fields_of(headers: Headers) -> tuple[Fields, set[str]]:
    """Header fields that are the request's own, and their names in lower case.

    Raises: ValueError for a name that is not ASCII, and for a value that has no bytes (a lone surrogate).
    """
    fields: Fields = []
    names: set[str] = set()
    for pair in headers.pairs():
        key = in_ascii(pair[0]).lower()
        if key not in FRAMING:
            names.add(key)
            fields.append((pair[0], in_bytes(pair[1])))
    return fields, names


def in_ascii(text: str) -> str:
    """The text, if it is ASCII. Raises: ValueError."""
    if not text.isascii():
        text.encode("ascii")
    return text


def in_bytes(text: str) -> str:
    """The text, if it can be written. Raises: ValueError."""
    if not text.isascii():
        encoded(text)
    return text


def size_of(method: str, target: int, fields: Iterable[tuple[str, str]]) -> int:
    """Bytes of a request's head in HTTP/1.1; `target`: of the request target. Source: RFC 9112 §2.1, §3."""
    size = len(method) + target + 14
    for name, value in fields:
        size += len(name) + (len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))) + 4
    return size


_NOT_SENT = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")


def field_value(name: str, value: str) -> str:
    """A field's value as it is sent: blanks around it are no part of it.

    Raises: ValueError, which shows no value, for characters that no field may have.
    Source: RFC 9110 §5.5.
    """
    wrong = _NOT_SENT.search(value)
    if wrong is not None:
        what = "no line breaks, no control characters, no lone surrogates"
        raise ValueError(f"header {name}: its value has {wrong[0]!r} in it: {what}")
    return value.strip(" \t")


def as_text(raw: Sequence[tuple[bytes, bytes]]) -> Fields:
    """Header fields in bytes as text. Raises: ValueError for a name that is not ASCII."""
    return [(name.decode("ascii"), value.decode("latin-1")) for name, value in raw]


def as_bytes(fields: Fields) -> list[tuple[bytes, bytes]]:
    """Header fields as they are on the wire. Raises: ValueError for a name that is not ASCII."""
    return [(name.encode("ascii"), encoded(value)) for name, value in fields]


def encoded(value: str) -> bytes:
    """A field's value as it goes out: what came in by way of Latin-1 leaves as the same bytes."""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8")


def split_credentials(url: str) -> tuple[str, bytes | None]:
    """The URL without `user:password@`, and these, decoded. Source: RFC 3986 §3.2.1, RFC 7617 §2.1 (UTF-8)."""
    if "@" not in url:
        return url, None
    start = url.find("://") + 3
    end = min((at for mark in "/?#" if (at := url.find(mark, start)) >= 0), default=len(url))
    userinfo, sign, host = url[start:end].rpartition("@")
    if not sign:
        return url, None
    user, _, password = userinfo.partition(":")
    return url[:start] + host + url[end:], b":".join((unquote_to_bytes(user), unquote_to_bytes(password)))
