"""Files of any kind in one run: streamed to the store while they are hashed."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import PurePosixPath
from typing import Protocol
from urllib.parse import urlsplit

from streamcrawl.core import Item, Request
from streamcrawl.media.memory import keep_apart
from streamcrawl.media.options import Common, Report, Unusable, named, title
from streamcrawl.response import Response
from streamcrawl.storage.s3 import CHECKSUM
from streamcrawl.storage.store import Meta, Stat, Store
from streamcrawl.storage.threaded import in_blocks

BLOCK = 512 * 1024
"""Bytes that are hashed at a time, in a thread, and that a file may have to be stored in one piece."""


class Hashing(Protocol):
    """As hashlib makes them."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


class FilesKind:
    """What `files` does with one file."""

    name = "files"

    def __init__(self, options: Common, store: Store) -> None:
        self._options = options
        self._store = store

    def taken(self, response: Response) -> AbstractAsyncContextManager[Response]:
        """A file is never held whole."""
        return nullcontext(response)

    def places(self, request: Request, item: Item) -> tuple[str, ...]:
        path = self._path(request, None, item)
        return () if path is None else (path,)

    async def found(self, path: str, stat: Stat, request: Request, item: Item) -> Report | None:
        return {}

    async def keep(self, request: Request, response: Response, item: Item) -> Report:
        path = self._path(request, response, item)
        if path is None:
            raise Unusable("file_path gave None for a response: a path is needed")
        hashing = hashlib.new(self._options.digest, usedforsecurity=False)
        kind = (response.headers.get("content-type") or "").strip()
        kind = kind if kind.isascii() and kind.isprintable() else ""
        blocks = in_blocks(_chunks(response), BLOCK)
        first = await anext(blocks, b"")
        if not first:
            raise Unusable("empty body")
        await _update(hashing, first)
        if len(first) < BLOCK:
            fields = {CHECKSUM + self._options.digest: hashing.hexdigest()}
            await self._store.put(path, first, Meta(kind, fields))
        else:
            keep_apart()
            await self._store.put(path, _hashed(first, blocks, hashing), Meta(kind))
        return {"path": path, "checksum": hashing.hexdigest()}

    def _path(self, request: Request, response: Response | None, item: Item) -> str | None:
        hook = self._options.file_path
        if hook is not None:
            return named(hook, request, response, item)
        return f"full/{title(request.url)}{extension(request.url)}"

    async def close(self) -> None:
        """There is nothing to close."""


async def _chunks(response: Response) -> AsyncIterator[bytes]:
    if response.stream is None:
        yield response.body
        return
    async for chunk in response.stream:
        yield chunk


async def _hashed(first: bytes, blocks: AsyncIterator[bytes], hashing: Hashing) -> AsyncIterator[bytes]:
    yield first
    del first
    async for block in blocks:
        await _update(hashing, block)
        yield block


async def _update(hashing: Hashing, block: bytes) -> None:
    if len(block) < 64 * 1024:
        hashing.update(block)
    else:  # the thread lets the loop go on meanwhile
        await asyncio.get_running_loop().run_in_executor(None, hashing.update, block)


def extension(url: str) -> str:
    """The extension of the URL's path, if a kind of file is known by it; "" else."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return ""
    suffix = PurePosixPath(path).suffix
    if not suffix[1:].isalnum() or not suffix.isascii() or len(suffix) > 10:
        return ""
    kind, coding = mimetypes.guess_type(f"x{suffix}")
    return suffix if kind or coding else ""
