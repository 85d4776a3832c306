"""Items into a file, to a server, into an object store or to standard output."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from streamcrawl.core import Item
from streamcrawl.feeds.choosing import ItemClasses
from streamcrawl.feeds.compression import Codec
from streamcrawl.feeds.describing import described
from streamcrawl.feeds.feed import Feed
from streamcrawl.feeds.format import FeedFormat
from streamcrawl.feeds.names import UriParams
from streamcrawl.feeds.opening import Mode
from streamcrawl.operators.sqlite import sqlite
from streamcrawl.storage.objects import Storage

__all__ = ["Feed", "feed"]


def feed(
    uri: str | os.PathLike[str],
    *,
    format: str | FeedFormat | None = None,
    mode: Mode = "overwrite",
    fields: Mapping[str, str] | Iterable[str] | str | None = None,
    encoding: str = "utf-8",
    indent: int = 0,
    format_options: Mapping[str, Any] | None = None,
    item_classes: ItemClasses | None = None,
    item_filter: Callable[[Item], bool] | type[Any] | str | None = None,
    store_empty: bool = True,
    compress: str | Codec | None = "auto",
    compress_level: int | None = None,
    durable: bool = False,
    part_items: int | None = None,
    part_bytes: int | None = None,
    part_seconds: float | None = None,
    uri_params: UriParams | str | None = None,
    storage: Mapping[str, Any] | Storage | None = None,
) -> Feed:
    """Write every item to a file, a server or an object store, and pass it on.

    Args:
        uri: A path, a `file:` URI, "-" for standard output, or what fsspec writes to ("s3://bucket/items.jsonl").
            Missing folders are made. `{part}` or `{part:05}` in it makes a feed in parts, numbered from 1; `{time}`,
            `{part_time}`, `{name}` and those of `uri_params` are replaced too, also as `%(batch_id)05d`, `%(time)s`.
        format: "jsonl", "json", "csv", "xml", "msgpack", "pickle", "marshal", "parquet", "arrow", "sqlite", or a
            description of one; None: by the extension, "jsonl" for "-".
        mode: "overwrite" or "append".
        fields: Which fields are written, and in this order; a mapping gives them other names. None: all.
        encoding: Of text formats.
        indent: Spaces by which JSON and XML are indented; 0: an item a line.
        format_options: What else the format takes, such as {"delimiter": ";"}.
        item_classes: Classes of the items that are written, or their import paths; None: of all.
        item_filter: A function that is true for items that are written, a class whose objects have `accepts(item)`, or
            the import path of one.
        store_empty: Whether a feed with no items is stored.
        compress: "gzip", "bz2", "xz", "zstd", a Codec, None, or "auto": by the extension.
        compress_level: As the codec has it.
        durable: Whether a flush waits for the disk, so that even a power cut loses nothing that is safe.
        part_items: Items in a part.
        part_bytes: Bytes after which a part is whole; 64 MiB where no other limit is given.
        part_seconds: Seconds from a part's first item until it is whole.
        uri_params: Values for parameters in the URI, or a function that is given those known and gives further ones.
        storage: What fsspec's file system takes, such as {"endpoint_url": …}; or a Storage.

    JSON Lines, CSV, MessagePack, pickle and marshal can be read while they grow and hold whole records only; JSON and
    XML grow in `<name>.part` beside their target, which they replace at the end of the run. Parts, Parquet and Arrow
    files, and what goes to other places than this machine, are written to a file of the job (of the system's temporary
    folder, without one), and stored when they are whole. A list, as `batch` makes it, is taken as several items.

    Emits: Each item, once the feed has taken it.
    Raises: ValueError for arguments that do not fit one another, when built. SinkError if it cannot be opened,
        before the first request.
    Source: https://jsonlines.org, RFC 8259 (JSON), RFC 4180 (CSV), https://www.w3.org/TR/xml/ and those of the formats.
    """
    return described(
        os.fspath(uri),
        format=format,
        mode=mode,
        fields=fields,
        encoding=encoding,
        indent=indent,
        format_options=format_options,
        item_classes=item_classes,
        item_filter=item_filter,
        store_empty=store_empty,
        compress=compress,
        compress_level=compress_level,
        durable=durable,
        limits=(part_items, part_bytes, part_seconds),
        uri_params=uri_params,
        storage=storage,
        sqlite=sqlite,
    )
