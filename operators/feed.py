"""Items into a file or to standard output."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any, get_args
from urllib.parse import urlsplit

from streamcrawl.core import OpenSink, Run
from streamcrawl.feeds.formats import FORMATS, FormatName, format_of
from streamcrawl.feeds.opened import Mode, open_feed
from streamcrawl.feeds.parts import Limits, OpenParts, has_number
from streamcrawl.storage.objects import Objects
from streamcrawl.storage.paths import local_path
from streamcrawl.streams.sink import SinkOperator

STDOUT = "-"
PART = 64 * 1024 * 1024
"""Bytes of a part where nothing is said of its size."""


@dataclass(frozen=True, slots=True)
class Feed(SinkOperator):
    """A feed's description: where, and how. `feed()` makes it."""

    uri: str
    format: FormatName
    mode: Mode
    fields: tuple[str, ...] | None
    durable: bool
    limits: Limits
    storage: Mapping[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """What messages and graphs call it."""
        return f"feed({self.uri})"

    @property
    def target(self) -> str:
        """The same for two feeds that would write over one another."""
        path = self._path()
        return self.uri if path is None else os.path.realpath(path)

    def open(self, run: Run, token: Any = None) -> OpenSink:
        """Open it for one run. Raises: SinkError naming the path and the reason."""
        path = self._path()
        opened = partial(open_feed, self.uri, kind=self.format, run=run, fields=self.fields, durable=self.durable)
        if self.uri == STDOUT or (path is not None and not has_number(self.uri)):
            return opened(path=path, mode=self.mode, token=token)
        return OpenParts(
            self.uri,
            run,
            Objects(self.storage),
            lambda path, token: opened(path=path, token=token),
            limits=self.limits,
            spool=run.spool(self.uri),
            token=token,
        )

    def _path(self) -> Path | None:
        return None if self.uri == STDOUT else local_path(self.uri)


def feed(
    uri: str | os.PathLike[str],
    *,
    format: FormatName | None = None,
    mode: Mode = "overwrite",
    fields: Iterable[str] | None = None,
    durable: bool = False,
    part_items: int | None = None,
    part_bytes: int | None = None,
    part_seconds: float | None = None,
    storage: Mapping[str, Any] | None = None,
) -> Feed:
    """Write every item to a file or an object store, and pass it on.

    Args:
        uri: A path, a `file:` URI, "-" for standard output, or what fsspec writes to ("s3://bucket/items.jsonl").
            Missing folders are made. `{part}` or `{part:05}` in it makes a feed in parts, numbered from 1.
        format: "jsonl" (an object a line), "json" (one array) or "csv"; None: by the extension, "jsonl" for "-".
        mode: "overwrite" or "append". A JSON array cannot be appended to.
        fields: Which fields are written, and in this order; None: all; for CSV those of the first item.
        durable: Whether a flush waits for the disk, so that even a power cut loses nothing that is safe.
        part_items: Items in a part.
        part_bytes: Bytes after which a part is whole; 64 MiB where no other limit is given.
        part_seconds: Seconds from a part's first item until it is whole.
        storage: What fsspec's file system takes, such as {"endpoint_url": …}.

    JSON Lines and CSV can be read while they grow and hold whole records only; a JSON array grows in `<name>.part`
    beside its target, which it replaces at the end of the run. Parts, and what goes to other places than this machine,
    are written to a file of the job (of the system's temporary folder, without one), and stored when they are whole: a
    part under its number while the crawl goes on, a feed without parts at the end of the run. A list, as `batch` makes
    it, is taken as several items.

    Emits: Each item, once the feed has taken it.
    Raises: ValueError for an unknown format, extension or mode, or for limits without `{part}`, when built. SinkError
        if it cannot be opened, before the first request.
    Source: https://jsonlines.org, RFC 8259 (JSON), RFC 4180 (CSV).
    """
    name = os.fspath(uri)
    path = None if name == STDOUT else local_path(name)
    if format is None:
        format = "jsonl" if name == STDOUT else format_of(name, _suffix(name, path))
    elif format not in FORMATS:
        raise ValueError(f"format={format!r}: one of {', '.join(FORMATS)}")
    if mode not in get_args(Mode):
        raise ValueError(f"mode={mode!r}: one of {', '.join(get_args(Mode))}")
    if mode == "append" and name != STDOUT and (path is None or has_number(name)):
        raise ValueError(
            f"feed {name!r}: parts and stored objects cannot be appended to; use another name for each run"
        )
    limits = _limits(name, part_items, part_bytes, part_seconds)
    if mode == "append" and format == "json":
        raise ValueError(
            f"feed {name!r}: a JSON array cannot be appended to; use JSON Lines (.jsonl), or mode='overwrite'"
        )
    return Feed(name, format, mode, _columns(fields), durable, limits, dict(storage or {}))


def _suffix(uri: str, path: Path | None) -> str:
    return PurePosixPath(urlsplit(uri).path).suffix if path is None else path.suffix


def _limits(uri: str, items: int | None, size: int | None, seconds: float | None) -> Limits:
    for name, given in ("part_items", items), ("part_bytes", size):
        if given is not None and given < 1:
            raise ValueError(f"feed {uri!r}: {name}={given!r}: 1 or more")
    if seconds is not None and not (seconds > 0 and isfinite(seconds)):
        raise ValueError(f"feed {uri!r}: part_seconds={seconds!r}: a finite number of seconds, more than 0")
    limits = Limits(items, size, seconds)
    if limits and not has_number(uri):
        raise ValueError(f"feed {uri!r}: parts need their number in the name: write items-{{part}}.jsonl, for example")
    return limits if limits or not has_number(uri) else Limits(size=PART)


def _columns(fields: Iterable[str] | None) -> tuple[str, ...] | None:
    if fields is None:
        return None
    columns: tuple[Any, ...] = (fields,) if isinstance(fields, str) else tuple(fields)
    if not columns or len(set(columns)) < len(columns) or not all(isinstance(name, str) and name for name in columns):
        raise ValueError(f"fields={fields!r}: distinct names of fields, at least one")
    return columns
