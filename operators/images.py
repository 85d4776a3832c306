"""Pictures of items, into a store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from streamcrawl.core import Run
from streamcrawl.storage.images import OpenImages
from streamcrawl.storage.store import Store
from streamcrawl.streams.sink import SinkOperator


@dataclass(frozen=True, slots=True)
class Images(SinkOperator):
    """The description of a sink for pictures. `images()` makes it."""

    concurrency: ClassVar[int] = 16
    repeats: ClassVar[bool] = True

    store: str
    thumbs: tuple[tuple[str, tuple[int, int]], ...]
    urls_field: str
    result_field: str
    min_width: int
    min_height: int

    @property
    def name(self) -> str:
        """What messages and graphs call it."""
        return f"images({self.store})"

    def open(self, run: Run, token: Any = None) -> OpenImages:
        """Open it for one run. Raises: SinkError naming the folder and the reason."""
        store = Store(self.store)
        store.prepare()
        return OpenImages(self, store, run)


def images(
    store: str | os.PathLike[str],
    *,
    thumbs: Mapping[str, tuple[int, int]] | None = None,
    urls_field: str = "image_urls",
    result_field: str = "images",
    min_width: int = 0,
    min_height: int = 0,
) -> Images:
    """Fetch the pictures that an item names, store them as JPEG, and say in the item what became of them.

    Args:
        store: A folder, as path or `file:` URI, or what fsspec takes, such as "s3://bucket/prefix".
        thumbs: Thumbnails by name: the (width, height) in pixels that each fits into.
        urls_field: The item's field with the pictures' absolute URLs.
        result_field: The item's field that gets the reports. A mapping gets it, an object must have it.
        min_width: In pixels; a picture that is narrower counts as failed.
        min_height: In pixels; likewise.

    A picture goes to `full/<SHA-1 of its URL>.jpg`, its thumbnails to `thumbs/<name>/<SHA-1>.jpg`. Its report is a dict
    of url, path, checksum (MD5 of the file), status "downloaded", width and height; or url, status "failed" and error.
    Pictures are fetched through the layers of the crawl, on the place of the item's page; one that several items want
    at the same time is fetched once.

    Emits: A copy of each item with the result field, when all its pictures are stored or have failed. One in, one out.
    Raises: ValueError for a bad size or name, when built. SinkError if the folder cannot be written to, before the
        first request.
    """
    where = os.fspath(store)
    if not where:
        raise ValueError("store='': the folder or URI that pictures go to")
    for label, pixels in (("min_width", min_width), ("min_height", min_height)):
        if pixels < 0:
            raise ValueError(f"{label}={pixels}: 0 pixels or more")
    if not urls_field or not result_field:
        raise ValueError(f"urls_field={urls_field!r}, result_field={result_field!r}: names of fields")
    sizes = tuple((name, _size(name, size)) for name, size in (thumbs or {}).items())
    return Images(where, sizes, urls_field, result_field, min_width, min_height)


def _size(name: str, size: tuple[int, int]) -> tuple[int, int]:
    if not name or name in (".", "..") or "\\" in name or Path(name).name != name:
        raise ValueError(f"thumbs: the name {name!r} is to be the name of a folder")
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"thumbs: {name!r} is {size!r}: (width, height), 1 pixel or more each")
    return size[0], size[1]
