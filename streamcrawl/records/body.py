"""The body of a feed on its way in: in small pieces, gzip undone, as characters."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncIterator, Callable, Iterator

from w3lib.encoding import http_content_type_encoding, read_bom, resolve_encoding

from streamcrawl.encoding import NO_CHARACTERS
from streamcrawl.errors import FetchError
from streamcrawl.response import Response
from streamcrawl.transport.body import shown
from streamcrawl.transport.decoding import GZIP_MAGIC, Decoder

STEP = 64 * 1024
"""Bytes that are parsed at once, at most; after so many, others get a turn."""

HEAD = 1024
"""Bytes that are looked at to find out the encoding."""

ENOUGH = 32
"""Bytes outside of ASCII; of fewer, guessing an encoding makes anything."""

LEGACY = (
    *("cp1252", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r"),
    *("shift_jis", "euc_jp", "euc_kr", "gb18030", "big5"),
)
"""Encodings of the web that are told apart by what they say; others would only be taken for one of these."""

MAX_SIZE = 1 << 34
"""Bytes that a gzipped feed may decode to, unless `Request.max_size` says so: it is the end of bombs, not of feeds."""

Declared = Callable[[bytes], str | None]
"""What the first bytes of a body say of its encoding."""


def checked_encoding(name: str | None) -> str | None:
    """The Python name of an encoding. Raises: ValueError if there is none of this name."""
    known = None if name is None else known_encoding(name)
    if name is not None and known is None:
        raise ValueError(f"encoding={name!r}: no such encoding")
    return known


def known_encoding(label: str | None) -> str | None:
    """The Python name for an encoding's label; None if nobody knows it."""
    name = None if label is None else resolve_encoding(label)
    if name is None or name in NO_CHARACTERS:
        return None
    try:
        return name if codecs.lookup(name)._is_text_encoding else None
    except LookupError:
        return None


async def pieces(page: Response) -> AsyncIterator[bytes]:
    """The body in pieces of at most STEP bytes, streamed or not; gunzipped if it is a gzip file.

    Raises: FetchError where the body breaks off.
    """
    source = _slices(page.body) if page.stream is None else page.stream
    decoder: Decoder | None = None
    head = b""
    since = 0
    begun = False
    async for chunk in source:
        if not begun:
            head += chunk
            if len(head) < len(GZIP_MAGIC):
                continue
            chunk, begun = head, True
            if chunk.startswith(GZIP_MAGIC):
                decoder = Decoder(("gzip",), page.request.max_size or MAX_SIZE, shown(page.url))
        for part in (chunk,) if decoder is None else decoder.feed(chunk):
            for piece in _cut(part):
                yield piece
                since += len(piece)
                if since >= STEP:  # what comes from memory, or unpacked, comes without a pause
                    since = 0
                    await asyncio.sleep(0)
    if decoder is not None:
        decoder.finish()
    elif not begun and head:
        yield head


async def _slices(body: bytes) -> AsyncIterator[bytes]:
    for piece in _cut(body):
        yield piece


def _cut(data: bytes) -> Iterator[bytes]:
    if len(data) <= STEP:
        yield data
        return
    for at in range(0, len(data), STEP):
        yield data[at : at + STEP]


async def characters(page: Response, encoding: str | None, declared: Declared) -> AsyncIterator[str]:
    """The body as text, piece by piece. What cannot be decoded becomes U+FFFD.

    Args:
        page: Its body is read.
        encoding: A Python name if it is known better than the feed knows.
        declared: Asked if neither a byte-order mark nor Content-Type tells.

    Raises: FetchError where the body breaks off.
    Source: RFC 7303 §3 (byte-order mark, then charset, then declaration), WHATWG Encoding Standard (labels).
    """
    decoding: Decoding | None = None
    head = b""
    error: FetchError | None = None
    try:
        async for piece in pieces(page):
            if decoding is not None:
                yield decoding.text(piece)
                continue
            head += piece
            if len(head) >= HEAD:
                decoding = Decoding(head, page.headers.get("content-type"), encoding, declared)
                yield decoding.text(head)
    except FetchError as raised:
        error = raised  # after what came before it
    if decoding is None:
        decoding = Decoding(head, page.headers.get("content-type"), encoding, declared)
        yield decoding.text(head)
    if error is not None:
        raise error
    yield decoding.text(b"", end=True)


class Decoding:
    """Bytes to characters, for one feed. With nothing said it is UTF-8, until that turns out to be wrong."""

    __slots__ = ("_decoder", "_skip", "name")

    def __init__(self, head: bytes, content_type: str | None, encoding: str | None, declared: Declared) -> None:
        marked, mark = read_bom(head)
        name = marked or encoding or known_encoding(http_content_type_encoding(content_type))
        name = name or known_encoding(declared(head))
        self.name = name or "utf-8"
        self._skip = len(mark) if mark else 0
        self._decoder = codecs.getincrementaldecoder(self.name)("replace" if name else "strict")

    def text(self, data: bytes, end: bool = False) -> str:
        """What these bytes, and those that were held back before, say."""
        if self._skip:
            data, self._skip = data[self._skip :], 0
        try:
            return self._decoder.decode(data, end)
        except UnicodeDecodeError:
            data = self._decoder.getstate()[0] + data
            self.name = _detected(data)
            self._decoder = codecs.getincrementaldecoder(self.name)("replace")
            return self._decoder.decode(data, end)


def _detected(data: bytes) -> str:
    if sum(byte > 0x7F for byte in data) < ENOUGH:
        return "cp1252"  # what the HTML Standard takes where nothing is said
    from charset_normalizer import from_bytes  # here, because it is slow to import and rarely needed

    best = from_bytes(data[:16384], cp_isolation=list(LEGACY)).best()
    return known_encoding(best.encoding if best is not None else None) or "cp1252"
