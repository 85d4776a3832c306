"""Pictures in one run: converted in threads, stored with their thumbnails."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath
from typing import TypeAlias

from streamcrawl.core import Item, Request
from streamcrawl.media.memory import LARGE, Memory, give_back, keep_apart
from streamcrawl.media.options import Common, Report, Unusable, named, title, told
from streamcrawl.media.pictures import (
    EXTENSIONS,
    THUMBS,
    WRITTEN,
    BadPictureError,
    Encoded,
    Opened,
    Picture,
    Size,
    Wanted,
    finish,
    look,
)
from streamcrawl.processors import processors
from streamcrawl.response import Response
from streamcrawl.storage.paths import local_path
from streamcrawl.storage.s3 import CHECKSUM
from streamcrawl.storage.store import Meta, Stat, Store

ThumbPath: TypeAlias = Callable[[Request, str, "Response | None", Item], str]
"""(request, name of the thumbnail, response, item) -> path in the store."""

HELD = 8 * 1024 * 1024
"""Bytes of pictures as they came, in hand at once, beside one that is larger; the servers of others wait."""
EACH = 8 * 1024 * 1024
"""Bytes of decoded pictures for each thread."""
LARGER = 6
"""Times as many bytes have those pictures together of which one needs more than all of that."""
UNKNOWN = 256 * 1024
"""Bytes that a picture of unknown length is taken to have, and how it grows."""

_KINDS = {extension: kind for kind, extension in EXTENSIONS.items()} | {
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".tiff": "tiff",
}


@dataclass(frozen=True, slots=True)
class Pictures:
    """The arguments of `images` that `files` has not; see there."""

    wanted: Wanted
    thumbs: tuple[tuple[str, Size], ...]
    thumb_path: ThumbPath | None
    threads: int | None
    memory: int | None


class ImagesKind:
    """What `images` does with one picture."""

    name = "images"

    def __init__(self, options: Common, pictures: Pictures, store: Store) -> None:
        self._options = options
        self._pictures = pictures
        self._store = store
        self._count = pictures.threads or processors()
        limit = pictures.memory or self._count * EACH
        self._memory = Memory(limit, LARGER * limit)
        self._threads: ThreadPoolExecutor | None = None
        self._held = Memory(HELD)

    # -- paths -----------------------------------------------------------------------------------------------------

    def places(self, request: Request, item: Item) -> tuple[str, ...]:
        hook = self._options.file_path
        if hook is not None:
            path = named(hook, request, None, item)
            return () if path is None else (path,)
        kind = self._pictures.wanted.format
        name = f"full/{title(request.url)}"
        if kind != "keep":
            return (name + EXTENSIONS[kind],)
        likely = _kind_of(request.url) or "jpeg"
        return tuple(name + EXTENSIONS[each] for each in sorted(EXTENSIONS, key=lambda each: each != likely))

    def _thumb(self, request: Request, name: str, kind: str, response: Response | None, item: Item) -> str:
        hook = self._pictures.thumb_path
        if hook is None:
            return f"thumbs/{name}/{title(request.url)}{EXTENSIONS[kind]}"
        try:
            path = hook(request, name, response, item)
        except Exception as error:
            raise Unusable(f"thumb_path: {told(error)}") from error
        if not isinstance(path, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
            raise Unusable(f"thumb_path gave {path!r}: a path is needed")
        return path

    # -- what is there already -------------------------------------------------------------------------------------

    async def found(self, path: str, stat: Stat, request: Request, item: Item) -> Report | None:
        kind = _thumb_kind(self._pictures.wanted, _kind_of(path) or "jpeg")
        paths = {name: self._thumb(request, name, kind, None, item) for name, _ in self._pictures.thumbs}
        if not all(await asyncio.gather(*map(self._store.stat, paths.values()))):
            return None  # a size that is new, for example
        size = _told_size(stat) or await asyncio.to_thread(_size_of_file, self._store.url(path))
        report: Report = {} if size is None else {"width": size[0], "height": size[1]}
        if paths:
            report["thumbs"] = paths
        return report

    # -- a new one -------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def taken(self, response: Response) -> AsyncGenerator[Response]:
        """With its body, which is not read before there is room for it."""
        length = response.headers.get("content-length") or ""
        held = int(length) if length.isascii() and length.isdecimal() and len(length) < 12 else UNKNOWN
        async with self._held.of(held):
            more = 0
            try:
                body = BytesIO()
                if response.stream is not None:
                    async for chunk in response.stream:
                        body.write(chunk)
                        if body.tell() > held + more:
                            self._held.room.grow(UNKNOWN)
                            more += UNKNOWN
                    response = response.replace(body=body.getvalue(), stream=None)
                yield response
            finally:
                if more:
                    self._held.room.give(more)

    async def keep(self, request: Request, response: Response, item: Item) -> Report:
        if not response.body:
            raise Unusable("empty body")
        try:
            picture, checksum = await self._converted(response.body)
        except BadPictureError as error:
            kind = (response.headers.get("content-type") or "").partition(";")[0].strip().lower()
            raise Unusable(f"{error} ({kind})" if kind and not kind.startswith("image/") else str(error)) from error
        return await self._stored(request, response, item, picture, checksum)

    async def _converted(self, body: bytes) -> tuple[Picture, str]:
        if self._threads is None:
            keep_apart()
            self._threads = ThreadPoolExecutor(self._count, thread_name_prefix="images")
        loop = asyncio.get_running_loop()
        # Not in the threads that convert: what is decoded next is decided by what it costs.
        opened = await loop.run_in_executor(None, look, body, self._pictures.wanted)
        async with self._memory.of(opened.cost):
            return await loop.run_in_executor(self._threads, self._convert, opened)

    def _convert(self, opened: Opened) -> tuple[Picture, str]:
        if opened.cost >= LARGE:
            give_back()
        try:
            picture = finish(opened, self._pictures.wanted)
        finally:
            if opened.cost >= LARGE:
                give_back()
        return picture, hashlib.new(self._options.digest, picture.data, usedforsecurity=False).hexdigest()

    async def _stored(
        self, request: Request, response: Response, item: Item, picture: Picture, checksum: str
    ) -> Report:
        hook = self._options.file_path
        path = f"full/{title(request.url)}{EXTENSIONS[picture.kind]}"
        if hook is not None:
            path = named(hook, request, response, item) or ""
        if not path:
            raise Unusable("file_path gave None for a response: a path is needed")
        thumbs = {
            name: self._thumb(request, name, thumb.kind, response, item)
            for (name, _), thumb in zip(self._pictures.thumbs, picture.thumbs, strict=True)
        }
        for name, thumb in zip(thumbs.values(), picture.thumbs, strict=True):
            await self._store.put(name, thumb.data, _meta(thumb))
        fields = {
            "width": str(picture.width),
            "height": str(picture.height),
            CHECKSUM + self._options.digest: checksum,
        }
        # Last, so that where it is, its thumbnails are.
        await self._store.put(path, picture.data, _meta(Encoded(picture.data, picture.kind), fields))
        report: Report = {"path": path, "checksum": checksum, "width": picture.width, "height": picture.height}
        if thumbs:
            report["thumbs"] = thumbs
        return report

    async def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None


def _kind_of(path: str) -> str | None:
    return _KINDS.get(PurePosixPath(path.partition("?")[0]).suffix.lower())


def _thumb_kind(wanted: Wanted, kind: str) -> str:
    """What the thumbnails of a picture of this kind are."""
    small = kind if wanted.thumbs_format in (None, "keep") else str(wanted.thumbs_format)
    return small if small in WRITTEN else THUMBS.get(small, "jpeg")


def _meta(encoded: Encoded, fields: dict[str, str] | None = None) -> Meta:
    kind = {"ico": "x-icon", "jpeg2000": "jp2"}.get(encoded.kind, encoded.kind)
    return Meta(f"image/{kind}", fields or {})


def _told_size(stat: Stat) -> Size | None:
    width, height = stat.fields.get("width", ""), stat.fields.get("height", "")
    return (int(width), int(height)) if width.isdecimal() and height.isdecimal() else None


def _size_of_file(url: str) -> Size | None:
    """Of a picture on this machine; None for others, and for what is none."""
    path = local_path(url)
    if path is None:
        return None
    from PIL import Image as Images

    try:
        with Images.open(path) as image:
            return image.size
    except Exception:  # the report does without it
        return None
