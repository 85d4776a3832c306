"""The body of a response on its way in: limits, decoding and counting, whole or chunk by chunk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

from streamcrawl.core import Request, Run
from streamcrawl.errors import FetchError, FetchTimeout
from streamcrawl.headers import Headers
from streamcrawl.streams.counting import count
from streamcrawl.transport.decoding import Decoder, allowance, is_part, plan, too_large

FREE = 256 * 1024
"""Bytes of a body that need no reservation, and what is reserved at a time."""


class Intake:
    """Takes a body as it comes, gives it decoded, and stops at the limit. No input or output of its own.

    Args:
        url: For error messages.
        limit: Bytes, decoded.
        decoder: None if there is nothing to undo.
    """

    __slots__ = ("_decoder", "_url", "_wire_limit", "limit", "size", "wire_size")

    def __init__(self, url: str, limit: int, decoder: Decoder | None = None) -> None:
        self._url = url
        self._decoder = decoder
        self.limit = limit
        # Coded data that decodes to nothing (empty gzip members) must not go on for ever either.
        self._wire_limit = limit if decoder is None else allowance(limit)
        self.wire_size = 0
        self.size = 0

    @property
    def coded(self) -> bool:
        """Whether there is something to undo."""
        return self._decoder is not None

    def expect(self, length: str | None) -> None:
        """Judge the body by its Content-Length, before it comes. Raises: BodyTooLarge."""
        if length is not None and length.isdecimal():
            size = int(length[:19])  # enough to be over any limit
            if size > self._wire_limit:
                raise too_large(self._url, self.limit, size)

    def take(self, chunk: bytes) -> Iterable[bytes]:
        """What `chunk` decodes to, as it is asked for. Raises: BodyTooLarge, DecodeError."""
        self.wire_size += len(chunk)
        if self.wire_size > self._wire_limit:
            raise too_large(self._url, self.limit)
        if self._decoder is None:
            self.size = self.wire_size
            return (chunk,)
        return self._decoded(chunk, self._decoder)

    def _decoded(self, chunk: bytes, decoder: Decoder) -> Iterator[bytes]:
        for piece in decoder.feed(chunk):
            self.size = decoder.size
            yield piece

    def end(self) -> None:
        """Say that the body has ended. Raises: TruncatedBody."""
        if self._decoder is not None:
            self._decoder.finish()


def intake(request: Request, status: int, headers: Headers, limit: int, *, decompress: bool) -> tuple[Intake, Headers]:
    """The Intake for a response's body, and the header fields that hold once it has been read.

    Raises: BodyTooLarge if Content-Length is over the limit, DecodeError.
    """
    url = shown(request.url)
    # RFC 9110 §6.4.1: these have no body, and their header fields describe one that would have been.
    if request.method == "HEAD" or status in (204, 304):
        return Intake(url, limit), headers
    codings: tuple[str, ...] = ()
    bare = headers
    length = headers.get("content-length")
    if decompress and length != "0" and "content-encoding" in headers and not is_part(status, headers):
        codings, bare = plan(headers)
    made = Intake(url, limit, Decoder(codings, limit, url) if codings else None)
    made.expect(length)
    return made, bare


def count_decoded(run: Run, size: int) -> None:
    """Count a whole body that was decoded to `size` bytes."""
    count(run.stats, "httpcompression/response_count")
    count(run.stats, "httpcompression/response_bytes", size)


async def read_whole(
    chunks: AsyncIterator[bytes], taking: Intake, request: Request, run: Run, clock: asyncio.Timeout | None = None
) -> bytes:
    """Read to the end. Past FREE bytes each further FREE are reserved first; `clock` stands still meanwhile."""
    parts: list[bytes] = []
    reserved = FREE
    async for chunk in chunks:
        for piece in taking.take(chunk):
            parts.append(piece)
            while taking.size > reserved:
                await reserve(run, request, clock)
                reserved += FREE
    taking.end()
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def reserve(run: Run, request: Request, clock: asyncio.Timeout | None) -> None:
    """Reserve FREE more bytes. A wait for memory is not the server's fault, so it does not count for the timeout."""
    if clock is None or (until := clock.when()) is None:
        await run.reserve(request, FREE)
        return
    loop = asyncio.get_running_loop()
    left = until - loop.time()
    clock.reschedule(None)
    try:
        await run.reserve(request, FREE)
    finally:
        clock.reschedule(loop.time() + left)


class StreamedBody:
    """The body of a `Request(stream=True)`: iterate it to its end, or close it.

    Args:
        url: For error messages.
        chunks: The body as it comes.
        taking: Its limits and decoding.
        close: Gives the connection back; closes it if there was more to come.
        translate: Makes a FetchError of what reading raised, or None of what is not the wire's.
        timeout: Seconds that the server may be silent.
        done: Called once, when it is read or closed.

    Raises: FetchError to the reader, also one who goes on after `aclose`.
    """

    __slots__ = (
        "_chunks",
        "_close",
        "_closed",
        "_done",
        "_ended",
        "_pieces",
        "_taking",
        "_timeout",
        "_translate",
        "_url",
    )

    def __init__(
        self,
        url: str,
        chunks: AsyncIterator[bytes],
        taking: Intake,
        close: Callable[[], Awaitable[None]],
        translate: Callable[[Exception], FetchError | None],
        timeout: float,
        done: Callable[[StreamedBody], None] | None = None,
    ) -> None:
        self._url = url
        self._chunks = chunks
        self._taking = taking
        self._close = close
        self._translate = translate
        self._timeout = timeout
        self._done = done
        self._pieces: Iterator[bytes] = iter(())
        self._ended = False
        self._closed = False

    @property
    def size(self) -> int:
        """Bytes given to the reader so far, decoded."""
        return self._taking.size

    @property
    def wire_size(self) -> int:
        """Bytes that came over the wire so far."""
        return self._taking.wire_size

    def __aiter__(self) -> StreamedBody:
        return self

    async def __anext__(self) -> bytes:
        if self._ended:
            raise StopAsyncIteration
        if self._closed:
            raise FetchError(f"{self._url}: the body was closed before it was read to its end")
        clock: asyncio.Timeout | None = None
        try:
            while (piece := next(self._pieces, None)) is None:
                async with asyncio.timeout(self._timeout) as clock:
                    chunk = await anext(self._chunks, None)
                if chunk is None:
                    self._taking.end()
                    self._ended = True
                    break
                self._pieces = iter(self._taking.take(chunk))
        except BaseException as error:
            await self.aclose()
            if isinstance(error, FetchError) or not isinstance(error, Exception):
                raise
            if clock is not None and clock.expired():
                raise FetchTimeout(
                    f"{self._url}: nothing came for {self._timeout:g} s in the middle of the body"
                ) from error
            known = self._translate(error)
            if known is None:
                raise
            raise known from error
        if piece is None:
            await self.aclose()
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Give the connection back. What was not read is lost."""
        if self._closed:
            return
        self._closed = True
        if self._done is not None:
            self._done(self)
        await self._close()

    def __repr__(self) -> str:
        state = "read" if self._ended else "closed" if self._closed else "open"
        return f"<StreamedBody {self._url}: {state}, {self.size} bytes>"


def shown(url: str) -> str:
    """The URL as error messages have it: without credentials, and not longer than a line."""
    start = url.find("://") + 3
    if start > 2 and "@" in url:
        end = min((at for mark in "/?#" if (at := url.find(mark, start)) >= 0), default=len(url))
        url = url[:start] + url[start:end].rpartition("@")[2] + url[end:]
    return url if len(url) <= 200 else f"{url[:197]}..."


def one_line(what: object) -> str:
    """Its text on one line of at most 200 characters."""
    text = " ".join(str(what).split())
    return text if len(text) <= 200 else f"{text[:197]}..."
