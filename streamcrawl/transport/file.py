"""`file:` URLs: regular files, read in a thread."""

from __future__ import annotations

import asyncio
import mimetypes
import os
import stat
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

from streamcrawl.core import Request, Run
from streamcrawl.errors import FetchError, FetchTimeout
from streamcrawl.headers import Headers
from streamcrawl.response import Response
from streamcrawl.transport.body import FREE, Intake, StreamedBody, shown
from streamcrawl.transport.decoding import too_large

if TYPE_CHECKING:
    from streamcrawl.transport.wire import Wire

P = ParamSpec("P")
T = TypeVar("T")

CHUNK = 256 * 1024
PACKED = {
    "br": "application/x-brotli",
    "bzip2": "application/x-bzip2",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
}
"""A packed file is given as it is: its name says nothing about a Content-Encoding."""


@dataclass(frozen=True, slots=True)
class FileTransport:
    """Reads files of this machine. Whether a page may lead to one is the scope's business."""

    wire: Wire
    run: Run

    async def __call__(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            raise FetchError(f"{shown(request.url)}: {request.method} is not possible on a file")
        path = path_of(request.url)
        started = self.run.monotonic()
        limit, seconds = self.wire.max_size_of(request), self.wire.timeout_of(request)
        info = await in_time(path, seconds, os.stat, path)
        check(path, info, limit, request)
        body, stream = b"", None
        if request.method == "GET" and request.stream:
            chunks = chunks_of(path)
            stream = StreamedBody(
                str(path),
                chunks,
                Intake(str(path), limit),
                chunks.aclose,
                lambda error: unreadable(path, error),
                seconds,
            )
        elif request.method == "GET":
            if info.st_size > FREE:
                await self.run.reserve(request, info.st_size - FREE)
            body = await in_time(path, seconds, read, path, limit)
        return Response(
            request.url,
            headers=headers_of(path, info),
            body=body,
            request=request,
            protocol="file",
            latency=self.run.monotonic() - started,
            wire_size=len(body),
            stream=stream,
        )

    async def aclose(self) -> None:
        """Nothing is kept open."""


def path_of(url: str) -> Path:
    """The local path of a `file:` URL. Raises: FetchError if it names another machine. Source: RFC 8089 §2."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise FetchError(f"{shown(url)}: a file of the machine {parts.netloc!r} cannot be read; use file:///path")
    path = url2pathname(parts.path)
    if not path or "\0" in path:
        raise FetchError(f"{shown(url)}: no path in the file URL")
    return Path(path)


def check(path: Path, info: os.stat_result, limit: int, request: Request) -> None:
    """Raises: FetchError if it is no regular file (a device or a pipe may never end), BodyTooLarge."""
    if stat.S_ISDIR(info.st_mode):
        raise FetchError(f"{path} is a directory, not a file")
    if not stat.S_ISREG(info.st_mode):
        raise FetchError(f"{path} is not a regular file")
    if info.st_size > limit and request.method != "HEAD":
        raise too_large(str(path), limit, info.st_size)


def headers_of(path: Path, info: os.stat_result) -> Headers:
    """What a server would say about the file."""
    kind, packed = mimetypes.guess_type(path.name)
    if packed is not None:
        kind = PACKED.get(packed)
    return Headers(
        (
            ("Content-Type", kind or "application/octet-stream"),
            ("Content-Length", str(info.st_size)),
            ("Last-Modified", formatdate(info.st_mtime, usegmt=True)),
        )
    )


def read(path: Path, limit: int) -> bytes:
    """The whole file; it may have grown since it was looked at. Raises: BodyTooLarge."""
    with path.open("rb") as file:
        body = file.read(limit + 1)
    if len(body) > limit:
        raise too_large(str(path), limit)
    return body


async def chunks_of(path: Path) -> AsyncGenerator[bytes]:
    """The file in chunks."""
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk
    finally:
        file.close()


async def in_time(path: Path, seconds: float, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do blocking `work` on the file in a thread. Raises: FetchError, FetchTimeout."""
    clock = asyncio.timeout(seconds)
    try:
        async with clock:
            return await asyncio.to_thread(work, *args, **kwargs)
    except (OSError, ValueError) as error:
        if clock.expired():
            raise FetchTimeout(f"{path} could not be read within {seconds:g} s") from error
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> FetchError:
    """The error for a file that cannot be read."""
    return FetchError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}")
