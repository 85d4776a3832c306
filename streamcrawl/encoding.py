"""Which characters the bytes of a page are."""

from __future__ import annotations

import codecs
from functools import lru_cache

from w3lib.encoding import (
    html_body_declared_encoding,
    html_to_unicode,
    http_content_type_encoding,
    read_bom,
    resolve_encoding,
)

NO_CHARACTERS = ("", "idna", "punycode", "undefined")
"""What names no encoding of text, though Python has a codec of that name."""

WIDE = ("utf-16", "utf-32")


CHUNK = 8192
"""Bytes that are looked at together: the characters that come of them stay in the fastest memory."""


def declares_utf8(body: bytes, content_type: str | None) -> bool:
    """Whether `decode` takes it for UTF-8 because it is declared to be that, and without a byte-order mark."""
    if read_bom(body)[0] is not None:
        return False
    return (_in_header(content_type or "") or _in_page(body)) == "utf-8"


SHORT = 1024
"""Bytes of what is remembered: the beginning of a page, or a field."""


def _in_header(content_type: str) -> str | None:
    return _of_header(content_type) if len(content_type) <= SHORT else http_content_type_encoding(content_type)


def _in_page(body: bytes) -> str | None:
    """What the page itself declares. Pages of a site begin alike, up to the tag that says it: that is looked up."""
    declared = 0 if body.startswith(b"<?xml") else body.find(b"charset", 0, SHORT)
    end = body.find(b">", declared, SHORT) + 1 if declared >= 0 else 0
    return (_of_beginning(body[:end]) if end else None) or html_body_declared_encoding(body)


_of_header = lru_cache(maxsize=256)(http_content_type_encoding)
_of_beginning = lru_cache(maxsize=256)(html_body_declared_encoding)


def is_utf8(body: bytes) -> bool:
    """Whether all of it can be decoded."""
    if body.isascii():
        return True
    view = memoryview(body)
    begin = 0
    try:
        while begin < len(view):  # a character that a chunk cuts in two is left for the next one
            begin += codecs.utf_8_decode(view[begin : begin + CHUNK], "strict", begin + CHUNK >= len(view))[1]
    except UnicodeDecodeError:
        return False
    return True


def decode(body: bytes, content_type: str | None, explicit: str | None = None) -> tuple[str, str]:
    """(encoding, text): explicit, byte-order mark, Content-Type, declaration in the page, detection.

    Never fails: what cannot be decoded becomes U+FFFD.
    Source: WHATWG Encoding Standard (labels), HTML Standard "determining the character encoding".
    """
    if explicit is not None:
        name = resolve_encoding(explicit)
        if name is not None and name not in NO_CHARACTERS:
            try:
                return name, body.decode(name, "replace")
            except (LookupError, UnicodeError):
                pass  # a codec of Python's that is none of characters, such as "hex"
    try:
        name, text = html_to_unicode(content_type, body, default_encoding="utf-8", auto_detect_fun=_detect)
    except (LookupError, UnicodeError):  # the page names such a codec: it says nothing
        name, text = "", ""
    if name in NO_CHARACTERS or (name.startswith(WIDE) and not _is_wide(body, content_type)):
        name = _detect(body) or "utf-8"
        return name, body.decode(name, "replace")
    return name, text


def _is_wide(body: bytes, content_type: str | None) -> bool:
    """Whether anything but the page's own declaration says that it is UTF-16 or UTF-32.

    A declaration that could be read as ASCII cannot be right about that: the HTML Standard takes it for UTF-8.
    """
    return read_bom(body)[0] is not None or (http_content_type_encoding(content_type) or "").startswith(WIDE)


def _detect(body: bytes) -> str | None:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        from charset_normalizer import from_bytes  # here, because it is slow to import and rarely needed

        best = from_bytes(body[:16384]).best()
        return resolve_encoding(best.encoding) if best is not None else "cp1252"
    return "utf-8"
