"""Items into a file or to standard output."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from streamcrawl.core import Run
from streamcrawl.feeds.formats import FORMATS, FormatName, format_of
from streamcrawl.feeds.opened import Mode, OpenFeed, open_feed
from streamcrawl.storage.paths import local_path
from streamcrawl.streams.sink import SinkOperator

STDOUT = "-"


@dataclass(frozen=True, slots=True)
class Feed(SinkOperator):
    """A feed's description: where, and how. `feed()` makes it."""

    uri: str
    format: FormatName
    mode: Mode
    fields: tuple[str, ...] | None
    durable: bool

    @property
    def name(self) -> str:
        """What messages and graphs call it."""
        return f"feed({self.uri})"

    @property
    def target(self) -> str:
        """The same for two feeds that would write over one another."""
        path = self._path()
        return STDOUT if path is None else os.path.realpath(path)

    def open(self, run: Run, token: Any = None) -> OpenFeed:
        """Open it for one run. Raises: SinkError naming the path and the reason."""
        return open_feed(
            self.uri,
            self._path(),
            self.format,
            run,
            mode=self.mode,
            fields=self.fields,
            durable=self.durable,
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
) -> Feed:
    """Write every item to a file, and pass it on.

    Args:
        uri: A path, a `file:` URI, or "-" for standard output. Missing folders are made.
        format: "jsonl" (an object a line), "json" (one array) or "csv"; None: by the extension, "jsonl" for "-".
        mode: "overwrite" or "append". A JSON array cannot be appended to.
        fields: Which fields are written, and in this order; None: all; for CSV those of the first item.
        durable: Whether a flush waits for the disk, so that even a power cut loses nothing that is safe.

    JSON Lines and CSV can be read while they grow and hold whole records only; a JSON array grows in `<name>.part`
    beside its target, which it replaces at the end of the run. A list, as `batch` makes it, is taken as several items.

    Emits: Each item, once the feed has taken it.
    Raises: ValueError for an unknown format, extension, mode or scheme, when built. SinkError if it cannot be
        opened, before the first request.
    Source: https://jsonlines.org, RFC 8259 (JSON), RFC 4180 (CSV).
    """
    name = os.fspath(uri)
    if format is None:
        format = "jsonl" if name == STDOUT else format_of(name, _path_of(name).suffix)
    elif format not in FORMATS:
        raise ValueError(f"format={format!r}: one of {', '.join(FORMATS)}")
    if name != STDOUT:
        _path_of(name)
    if mode not in get_args(Mode):
        raise ValueError(f"mode={mode!r}: one of {', '.join(get_args(Mode))}")
    if mode == "append" and format == "json":
        raise ValueError(
            f"feed {name!r}: a JSON array cannot be appended to; use JSON Lines (.jsonl), or mode='overwrite'"
        )
    return Feed(name, format, mode, _columns(fields), durable)


def _path_of(uri: str) -> Path:
    path = local_path(uri)
    if path is None:
        scheme = uri.partition(":")[0]
        raise ValueError(
            f"feed {uri!r}: {scheme}: is not written to yet, a later version brings it; give a path or a file: URI"
        )
    return path


def _columns(fields: Iterable[str] | None) -> tuple[str, ...] | None:
    if fields is None:
        return None
    columns: tuple[Any, ...] = (fields,) if isinstance(fields, str) else tuple(fields)
    if not columns or len(set(columns)) < len(columns) or not all(isinstance(name, str) and name for name in columns):
        raise ValueError(f"fields={fields!r}: distinct names of fields, at least one")
    return columns
