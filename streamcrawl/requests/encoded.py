"""What a form has to say, as the body of a request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Literal, TypeAlias, cast, get_args
from urllib.parse import urlencode

from w3lib.encoding import resolve_encoding

Enctype: TypeAlias = Literal["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"]
URLENCODED: Enctype = "application/x-www-form-urlencoded"
MULTIPART: Enctype = "multipart/form-data"
ENCTYPES: tuple[Enctype, ...] = get_args(Enctype)

Value: TypeAlias = "str | int | float | Iterable[Any] | None"
FormData: TypeAlias = "Mapping[str, Value] | Iterable[tuple[str, Value]]"
"""Values by name: one, or several for a name that stands more than once; None: without that field."""

File: TypeAlias = tuple[str, bytes, str]
"""(file name, content, media type)."""
NO_FILE: File = ("", b"", "application/octet-stream")
"""What a file field says in which nothing was chosen."""


def flat(data: FormData | None) -> list[tuple[str, str | None]]:
    """(name, value) for each value."""
    if isinstance(data, (str, bytes)):
        raise TypeError(f"data={data!r}: a dict of values by name, or a list of (name, value)")
    items = cast("Iterable[tuple[str, Value]]", data.items() if isinstance(data, Mapping) else data or ())
    pairs: list[tuple[str, str | None]] = []
    for name, value in items:
        if value is None or isinstance(value, str):
            pairs.append((name, value))
        elif isinstance(value, (int, float)):
            pairs.append((name, str(value)))
        elif isinstance(value, (bytes, Mapping)) or not isinstance(value, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
            raise TypeError(f"data: {name!r} is {value!r}: give text, a number, or a list of these")
        else:
            pairs.extend((name, str(each)) for each in value)
    return pairs


def form_encoding(*labels: str | None) -> str:
    """The first of these encodings that there is, as far as a form can be in it; UTF-8 if there is none."""
    for label in labels:
        name = None if label is None else resolve_encoding(label)
        if name is not None:
            return "utf-8" if name.startswith(("utf-16", "utf-32")) else name
    return "utf-8"


def label(encoding: str) -> str:
    """The name of an encoding as browsers write it. Source: WHATWG Encoding Standard §4.2."""
    name = "UTF-8" if encoding in ("utf-8", "utf8") else encoding
    return re.sub(r"^iso8859-", "ISO-8859-", re.sub(r"^cp125", "windows-125", name))


def query(pairs: Iterable[tuple[str, str]], encoding: str) -> str:
    """Source: WHATWG URL Standard §5.2 (application/x-www-form-urlencoded serializing)."""
    text = urlencode(
        [(_lines(name), _lines(value)) for name, value in pairs],
        safe="*",
        encoding=encoding,
        errors="xmlcharrefreplace",
    )
    return text.replace("~", "%7E")


def body(
    pairs: Sequence[tuple[str, str]], files: Mapping[str, File], enctype: Enctype, encoding: str
) -> tuple[str, bytes]:
    """(Content-Type, body). Characters that the encoding has not are written as `&#NNN;`, as browsers do.

    Source: HTML Standard, "form submission algorithm"; RFC 7578.
    """
    if enctype == MULTIPART:
        return _multipart(pairs, files, encoding)
    named = [*pairs, *((name, file[0]) for name, file in files.items())]
    if enctype == URLENCODED:
        return URLENCODED, query(named, encoding).encode("ascii")
    lines = "".join(f"{_lines(name)}={_lines(value)}\r\n" for name, value in named)
    return "text/plain", lines.encode(encoding, "xmlcharrefreplace")


def _multipart(pairs: Sequence[tuple[str, str]], files: Mapping[str, File], encoding: str) -> tuple[str, bytes]:
    def encoded(text: str) -> bytes:
        return text.encode(encoding, "xmlcharrefreplace")

    parts = [(f'name="{_quoted(name)}"', "", encoded(_lines(value))) for name, value in pairs]
    for name, (filename, content, media) in files.items():
        where = f'name="{_quoted(name)}"; filename="{_quoted(filename)}"'
        parts.append((where, f"Content-Type: {_checked(media)}\r\n", content))
    whole = [encoded(f"Content-Disposition: form-data; {where}\r\n{more}\r\n") + data for where, more, data in parts]
    # Made of the content, so that the same form is the same request each time.
    digest = blake2b(b"".join(whole), digest_size=16).hexdigest()
    boundary = f"----streamcrawl{digest}"
    while any(boundary.encode() in part for part in whole):
        boundary += "-"
    mark = boundary.encode()
    content = b"".join(b"--%b\r\n%b\r\n" % (mark, part) for part in whole) + b"--%b--\r\n" % mark
    return f"{MULTIPART}; boundary={boundary}", content


def _lines(text: str) -> str:
    return re.sub(r"\r\n|\r|\n", "\r\n", text) if "\n" in text or "\r" in text else text


def _quoted(name: str) -> str:
    return _lines(name).replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _checked(media: str) -> str:
    if not media.isprintable() or not media.isascii():
        raise ValueError(f"files: the media type {media!r} cannot be sent")
    return media
