"""Text as bytes, in any encoding that Python knows, a record at a time."""

from __future__ import annotations

import codecs
from collections.abc import Callable


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """As JSON escapes what an encoding does not have.

    Source: RFC 8259 §7.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = "".join(error.object[error.start : error.end]).encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[n : n + 2].hex()}" for n in range(0, len(units), 2)), error.end


codecs.register_error("streamcrawl.json", _escaped)


def known(encoding: str) -> str:
    """The encoding's usual name. Raises: ValueError."""
    try:
        found = codecs.lookup(encoding)
    except LookupError:
        raise ValueError(f"encoding={encoding!r}: no encoding that Python knows") from None
    if not getattr(found, "_is_text_encoding", True):
        raise ValueError(f"encoding={encoding!r}: no encoding of text")
    return found.name


def like_ascii(encoding: str) -> bool:
    """Whether ASCII is written as ASCII, so that the end of a line can be found in the bytes."""
    return '\r\n"'.encode(encoding).endswith(b'\r\n"')


def writer(encoding: str, errors: str, *, begun: bool) -> Callable[[str], bytes]:
    """Text to bytes; a byte order mark stands before the first, and not before others."""
    mark = "".encode(encoding)
    first = not begun

    def write(text: str) -> bytes:
        nonlocal first
        data = text.encode(encoding, errors)
        if not mark or first:
            first = False
            return data
        return data[len(mark) :]

    return write
