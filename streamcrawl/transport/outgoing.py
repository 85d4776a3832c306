"""The header fields of a request on its way out."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from streamcrawl.headers import Headers

FRAMING = frozenset({"content-length", "transfer-encoding"})
"""The transport frames the body itself."""


def fields_of(headers: Headers) -> tuple[list[tuple[bytes, bytes]], set[str]]:
    """Header fields as httpx takes them, and their names in lower case."""
    fields: list[tuple[bytes, bytes]] = []
    names: set[str] = set()
    for name, value in headers.pairs():
        key = name.lower()
        if key not in FRAMING:
            names.add(key)
            fields.append((name.encode("ascii"), encoded(value)))
    return fields, names


def encoded(value: str) -> bytes:
    """A field's value as it goes out: what came in by way of Latin-1 leaves as the same bytes."""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8")


def split_credentials(url: str) -> tuple[str, bytes | None]:
    """The URL without `user:password@`, and these, decoded. Source: RFC 3986 §3.2.1, RFC 7617 §2.1 (UTF-8)."""
    start = url.find("://") + 3
    end = min((at for mark in "/?#" if (at := url.find(mark, start)) >= 0), default=len(url))
    userinfo, sign, host = url[start:end].rpartition("@")
    if not sign:
        return url, None
    user, _, password = userinfo.partition(":")
    return url[:start] + host + url[end:], b":".join((unquote_to_bytes(user), unquote_to_bytes(password)))
