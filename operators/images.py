"""Pictures of items, into a store."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from streamcrawl.core import Run
from streamcrawl.media.media import OpenMedia
from streamcrawl.media.open_images import ImagesKind, Pictures, ThumbPath
from streamcrawl.media.options import Common, Failures, FilePath, GetMediaRequests, ItemCompleted, MediaDownloaded
from streamcrawl.media.pictures import Format, Wanted
from streamcrawl.storage.store import StoreMaker, place_of
from streamcrawl.streams.sink import SinkOperator

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Images(SinkOperator):
    """The description of a sink for pictures. `images()` makes it."""

    concurrency: ClassVar[int] = 16
    repeats: ClassVar[bool] = True

    options: Common
    pictures: Pictures

    @property
    def name(self) -> str:
        """What messages and graphs call it."""
        return f"images({getattr(self.options.store, 'name', self.options.store)})"

    def open(self, run: Run, token: Any = None) -> OpenMedia:
        """Open it for one run. Raises: SinkError naming the store and the reason."""
        store = self.options.store.open()
        return OpenMedia(self.options, ImagesKind(self.options, self.pictures, store), store, run)


def images(
    store: str | os.PathLike[str] | StoreMaker,
    *,
    thumbs: Mapping[str, tuple[int, int]] | None = None,
    format: Format = "jpeg",
    thumbs_format: Format | None = None,
    quality: int = 85,
    min_width: int = 0,
    min_height: int = 0,
    max_pixels: int = 64_000_000,
    decode_memory: int | None = None,
    threads: int | None = None,
    urls_field: str = "image_urls",
    result_field: str = "images",
    expires: float | None = 90,
    failures: Failures = "report",
    digest: str = "md5",
    redirects: bool = True,
    referer: str = "strict-origin-when-cross-origin",
    skip: Collection[str] = (),
    max_size: int | None = None,
    index: bool = True,
    storage: Mapping[str, Any] | None = None,
    acl: str | None = None,
    headers: Mapping[str, str] | None = None,
    file_path: FilePath | None = None,
    thumb_path: ThumbPath | None = None,
    get_media_requests: GetMediaRequests | None = None,
    media_downloaded: MediaDownloaded | None = None,
    convert_image: Callable[[Image], Image] | None = None,
    item_completed: ItemCompleted | None = None,
) -> Images:
    """Fetch the pictures that an item names into a store, with thumbnails, and say in the item what became of them.

    Args:
        thumbs: Thumbnails by name: the (width, height) in pixels that each fits into.
        format: "jpeg" (RGB, what is transparent on white), "png", "webp", "avif", or "keep": as it came.
        thumbs_format: Likewise, for thumbnails; None: that of the picture.
        quality: Of JPEG, WebP and AVIF that is written, 1 to 100.
        min_width: In pixels; a picture that is narrower, upright, counts as failed.
        min_height: In pixels; likewise.
        max_pixels: Width times height; a larger picture counts as failed and is not decoded.
        decode_memory: Bytes for decoded pictures that need no more than that, together. Larger ones have six
            times as many beside them; one that needs more goes alone. None: 8 MiB for each thread.
        threads: In which pictures are converted; None: one for each processor.
        thumb_path: (request, name, response, item) -> path in the store; None: thumbs/<name>/<SHA-1 of the URL>.jpg.
        convert_image: Changes the decoded picture, before it and its thumbnails are written. Called in a thread.
        store, urls_field, result_field, expires, failures, digest, redirects, referer, skip, max_size, index, storage,
            acl, headers, file_path, get_media_requests, media_downloaded, item_completed: As `files` takes them.

    What needs no change keeps its bytes. A report has width, height and the thumbnails' paths too.

    Emits: A copy of each item with the result field, when all its pictures are stored or have failed. One in, one out.
    Raises: ValueError for bad arguments, when built. SinkError if the store cannot be written to, before the first
        request, or if it is lost.
    """
    for label, number in (("min_width", min_width), ("min_height", min_height)):
        if number < 0:
            raise ValueError(f"{label}={number}: 0 pixels or more")
    for label, least in (("max_pixels", max_pixels), ("decode_memory", decode_memory), ("threads", threads)):
        if least is not None and least < 1:
            raise ValueError(f"{label}={least}: 1 or more")
    if not 1 <= quality <= 100:
        raise ValueError(f"quality={quality}: 1 to 100")
    for label, name in (("format", format), ("thumbs_format", thumbs_format)):
        if name is not None and name not in get_args(Format):
            raise ValueError(f"{label}={name!r}: one of {', '.join(get_args(Format))}")
    sizes = tuple((name, _size(name, size)) for name, size in (thumbs or {}).items())
    bounds = tuple(size for _, size in sizes)
    wanted = Wanted(format, bounds, thumbs_format, min_width, min_height, max_pixels, quality, convert_image)
    common = Common(
        place_of(store, storage, acl, headers),
        urls_field,
        result_field,
        expires,
        failures,
        digest,
        redirects,
        referer,
        tuple(skip),
        max_size,
        index,
        file_path,
        get_media_requests,
        media_downloaded,
        item_completed,
    )
    return Images(common, Pictures(wanted, sizes, thumb_path, threads, decode_memory))


def _size(name: str, size: tuple[int, int]) -> tuple[int, int]:
    if not name or name in (".", "..") or "\\" in name or Path(name).name != name:
        raise ValueError(f"thumbs: the name {name!r} is to be the name of a folder")
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"thumbs: {name!r} is {size!r}: (width, height), 1 pixel or more each")
    return size[0], size[1]
