"""JSON: an object a line, or one array."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

import msgspec

from streamcrawl.core import Item
from streamcrawl.feeds.charsets import known, like_ascii, writer
from streamcrawl.feeds.format import FeedFormat, Notice, Settings, allow
from streamcrawl.feeds.tails import Tail, jsonl_tail
from streamcrawl.feeds.values import encoder, fields_of, named

OPTIONS = ("default", "ensure_ascii", "sort_keys")


class _Json:
    """What both have in common: an item as JSON text, in the feed's encoding."""

    __slots__ = ("_encode", "_text", "begun", "fields")

    def __init__(
        self,
        fields: Mapping[str, str] | Iterable[str] | None = None,
        *,
        begun: bool = False,
        encoding: str = "utf-8",
        ensure_ascii: bool = False,
        sort_keys: bool = False,
        default: Any = None,
    ) -> None:
        self.fields = named(fields)
        self.begun = begun
        self._encode = encoder(sort_keys=sort_keys, default=default)
        encoding = "ascii" if ensure_ascii else known(encoding)
        self._text = None if encoding == "utf-8" else writer(encoding, "streamcrawl.json", begun=begun)

    @property
    def state(self) -> bool | None:
        return self.begun or None

    def _written(self, data: bytes) -> bytes:
        return data if self._text is None else self._text(data.decode())


class JsonLines(_Json):
    """One JSON object a line.

    Source: https://jsonlines.org
    """

    __slots__ = ()

    def record(self, item: Item) -> bytes:
        data = self._encode(fields_of(item, self.fields)) + b"\n"
        if self._text is None:
            return data
        self.begun = True
        return self._text(data.decode())

    @property
    def state(self) -> bool | None:
        return (self.begun or None) if self._text is not None else None

    def end(self) -> bytes:
        return b""


class JsonArray(_Json):
    """One JSON array, an object a line, or indented; valid only with its end.

    Args:
        begun: Whether records were written before, by a run that is resumed.
        indent: Spaces; 0: an object a line.
    """

    __slots__ = ("_indent",)

    def __init__(
        self, fields: Mapping[str, str] | Iterable[str] | None = None, *, indent: int = 0, **options: Any
    ) -> None:
        super().__init__(fields, **options)
        self._indent = indent

    def record(self, item: Item) -> bytes:
        data = self._encode(fields_of(item, self.fields))
        if self._indent:
            data = msgspec.json.format(data, indent=self._indent)
        before = b",\n" if self.begun else b"[\n"
        self.begun = True
        return self._written(before + data)

    def end(self) -> bytes:
        return self._written(b"\n]\n" if self.begun else b"[]\n")


def _options(settings: Settings) -> dict[str, Any]:
    return {"encoding": settings.encoding, **settings.options}


def _lines(settings: Settings, state: Any, notice: Notice) -> JsonLines:
    return JsonLines(settings.fields, begun=bool(state), **_options(settings))


def _array(settings: Settings, state: Any, notice: Notice) -> JsonArray:
    return JsonArray(settings.fields, begun=bool(state), indent=settings.indent, **_options(settings))


def _tail(file: BinaryIO, settings: Settings) -> tuple[Tail, bool]:
    tail = jsonl_tail(file)
    return tail, tail.end > 0


def _check_lines(settings: Settings) -> None:
    allow(settings, "JSON Lines", *OPTIONS, encoding=True)
    if not like_ascii(settings.encoding):
        raise ValueError(f"encoding={settings.encoding!r}: JSON Lines are read line by line, as ASCII has them")


def _check_array(settings: Settings) -> None:
    allow(settings, "JSON", *OPTIONS, indent=True, encoding=True)
    if settings.indent > 16:
        raise ValueError(f"indent={settings.indent!r}: 16 spaces at most")


JSONL = FeedFormat("jsonl", (".jsonl", ".jl", ".ndjson"), _lines, tail=_tail, check=_check_lines)
JSON = FeedFormat("json", (".json",), _array, ended=True, check=_check_array)
