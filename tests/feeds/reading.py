"""Feeds of every format, compressed or not, read back with the libraries that others read them with."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import marshal
import pickle
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree as Xml

import msgpack  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]

from streamcrawl.feeds.compression import zstd

FORMATS = ("jsonl", "json", "csv", "xml", "msgpack", "pickle", "marshal", "parquet", "arrow", "sqlite")
ENDINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
}


def unpacked(path: Path) -> bytes:
    """What is within."""
    if path.suffix == ".zst":
        with zstd().open(path) as file:
            data: bytes = file.read()
        return data
    return ENDINGS.get(path.suffix, bytes)(path.read_bytes())


def items_in(path: Path) -> list[dict[str, Any]]:
    """The items of a whole feed."""
    kind = (path.with_suffix("") if path.suffix in (*ENDINGS, ".zst") else path).suffix.lstrip(".")
    if kind == "sqlite":
        with closing(sqlite3.connect(path)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute("SELECT * FROM items ORDER BY rowid")]
    if kind in ("parquet", "arrow"):
        return _columns(path, kind)
    return READERS[kind](unpacked(path))


def _columns(path: Path, kind: str) -> list[dict[str, Any]]:
    from pyarrow import ipc, parquet  # type: ignore[import-untyped] # pyright: ignore

    found: list[dict[str, Any]]
    if kind == "parquet":
        found = cast("Any", parquet).read_table(path).to_pylist()
    else:
        with path.open("rb") as file:
            found = cast("Any", ipc).open_file(file).read_all().to_pylist()
    return found


def _xml(data: bytes) -> list[dict[str, Any]]:
    return [{field.tag: field.text for field in item} for item in Xml.fromstring(data)]


def _json_lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def _csv(data: bytes) -> list[dict[str, Any]]:
    return [*csv.DictReader(io.StringIO(data.decode(), newline=""))]


def _msgpack(data: bytes) -> list[dict[str, Any]]:
    return [*cast("Any", msgpack).Unpacker(io.BytesIO(data))]


def _marshal(data: bytes) -> list[dict[str, Any]]:
    return _pickles(data, cast("Any", marshal).load)


def _pickles(data: bytes, load: Any = pickle.load) -> list[dict[str, Any]]:
    file = io.BytesIO(data)
    found: list[dict[str, Any]] = []
    while file.tell() < len(data):
        found.append(load(file))
    return found


READERS: dict[str, Callable[[bytes], list[dict[str, Any]]]] = {
    "jsonl": _json_lines,
    "json": json.loads,
    "csv": _csv,
    "xml": _xml,
    "msgpack": _msgpack,
    "pickle": _pickles,
    "marshal": _marshal,
}
