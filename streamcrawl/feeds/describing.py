"""From the arguments of `feed()` to its description: what does not fit is told here, before anything is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any, get_args
from urllib.parse import urlsplit

from streamcrawl.feeds.charsets import like_ascii
from streamcrawl.feeds.choosing import ItemClasses, chosen, loaded
from streamcrawl.feeds.compression import Codec, check_level, codec_for
from streamcrawl.feeds.feed import STDOUT, Feed
from streamcrawl.feeds.format import FeedFormat, Settings, checked
from streamcrawl.feeds.json_formats import JSONL
from streamcrawl.feeds.names import UriParams, check, has_part
from streamcrawl.feeds.opening import Manner, Mode
from streamcrawl.feeds.parts import Limits
from streamcrawl.feeds.values import Fields, named
from streamcrawl.storage.objects import Storage
from streamcrawl.storage.paths import local_path
from streamcrawl.streams.sink import SinkOperator

PART = 64 * 1024 * 1024
"""Bytes of a part where nothing is said of its size."""
SQLITE = (".sqlite", ".sqlite3", ".db")


def described(
    uri: str,
    *,
    format: str | FeedFormat | None,
    mode: Mode,
    fields: Mapping[str, str] | Iterable[str] | str | None,
    encoding: str,
    indent: int,
    format_options: Mapping[str, Any] | None,
    item_classes: ItemClasses | None,
    item_filter: Any,
    store_empty: bool,
    compress: str | Codec | None,
    compress_level: int | None,
    durable: bool,
    limits: tuple[int | None, int | None, float | None],
    uri_params: UriParams | str | None,
    storage: Mapping[str, Any] | Storage | None,
    sqlite: Callable[..., SinkOperator],
) -> Feed:
    """The description of a feed. `sqlite` makes that of a table. Raises: ValueError, TypeError."""
    path = None if uri == STDOUT else local_path(uri)
    if mode not in get_args(Mode):
        raise ValueError(f"mode={mode!r}: one of {', '.join(get_args(Mode))}")
    check(uri)
    names, wanted = named(fields), chosen(item_classes, item_filter)
    given: UriParams | None = loaded(uri_params, "uri_params") if isinstance(uri_params, str) else uri_params
    codec, named_as = codec_for(uri, _path_in(uri, path), compress)
    made = _format(uri, named_as.suffix, format)
    settings = Settings(names, encoding, indent or 0, dict(format_options or {}))
    if made is None:
        in_parts = any(each is not None for each in limits)
        return _table(uri, settings, mode, wanted, codec, in_parts, durable, given, sqlite)
    check_level(codec, compress_level)
    settings = checked(made, settings)
    _check_way(uri, path, made, codec, mode, encoding)
    manner = Manner(made, settings, codec, compress_level, durable, store_empty)
    return Feed(uri, manner, mode, _limits(uri, *limits), wanted, given, {} if storage is None else storage)


def _path_in(uri: str, path: Path | None) -> PurePosixPath:
    return PurePosixPath(urlsplit(uri).path if path is None else path.as_posix())


def _format(uri: str, suffix: str, format: str | FeedFormat | None) -> FeedFormat | None:
    """The format; None: a table of SQLite."""
    if isinstance(format, FeedFormat):
        return format
    from streamcrawl.feeds.formats import format_named, format_of

    if format is not None:
        return None if format == "sqlite" else format_named(format)
    if uri == STDOUT:
        return JSONL
    return None if suffix.lower() in SQLITE else format_of(uri, suffix)


def _check_way(uri: str, path: Path | None, format: FeedFormat, codec: Codec | None, mode: Mode, encoding: str) -> None:
    """See that the format can go there in this way."""
    if format.convert is not None and codec is not None:
        raise ValueError(
            f"feed {uri!r}: {format.name} is compressed within: format_options={{'compression': 'zstd'}}, for example"
        )
    if format.convert is not None and uri == STDOUT:
        raise ValueError(f"feed {uri!r}: {format.name} needs a file")
    if mode == "overwrite" or uri == STDOUT:
        return
    if path is None or has_part(uri):
        raise ValueError(f"feed {uri!r}: parts and stored objects cannot be appended to; use another name for each run")
    if format.tail is None:
        kind = "a JSON array" if format.name == "json" else format.name
        raise ValueError(f"feed {uri!r}: {kind} cannot be appended to; use JSON Lines (.jsonl), or mode='overwrite'")
    if not like_ascii(encoding):
        raise ValueError(f"encoding={encoding!r}: a {format.name.upper()} in it cannot be appended to")
    if codec is not None and codec.decompressor is None:
        raise ValueError(f"feed {uri!r}: what {codec.name} has compressed cannot be appended to")


def _limits(uri: str, items: int | None, size: int | None, seconds: float | None) -> Limits:
    for name, given in ("part_items", items), ("part_bytes", size):
        if given is not None and given < 1:
            raise ValueError(f"feed {uri!r}: {name}={given!r}: 1 or more")
    if seconds is not None and not (seconds > 0 and isfinite(seconds)):
        raise ValueError(f"feed {uri!r}: part_seconds={seconds!r}: a finite number of seconds, more than 0")
    limits = Limits(items, size, seconds)
    if limits and not has_part(uri):
        raise ValueError(f"feed {uri!r}: parts need their number in the name: write items-{{part}}.jsonl, for example")
    return limits if limits or not has_part(uri) else Limits(size=PART)


def _table(
    uri: str,
    settings: Settings,
    mode: Mode,
    wanted: Any,
    codec: Codec | None,
    in_parts: bool,
    durable: bool,
    params: UriParams | None,
    sqlite: Callable[..., SinkOperator],
) -> Feed:
    """A feed that is a table. `format_options`: `table` and `key`."""
    if codec is not None or in_parts or has_part(uri):
        raise ValueError(f"feed {uri!r}: a table is neither compressed nor in parts")
    options = dict(settings.options)
    if unknown := options.keys() - {"key", "table"}:
        raise ValueError(f"feed {uri!r}: SQLite has no option {', '.join(sorted(unknown))}; it takes table and key")
    fields: Fields | None = settings.fields
    columns = None if fields is None else tuple(fields.values())
    table = sqlite(uri, fields=columns, mode=mode, durable=durable, **options)
    renames = fields is not None and any(name != written for name, written in fields.items())
    kept = settings if renames else Settings(None)
    return Feed(uri, Manner(JSONL, kept), mode, wanted=wanted, params=params, table=table)
