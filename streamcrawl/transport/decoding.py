"""Content codings undone while the bytes come, so that a bomb stops at the limit and not at the end of memory."""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from typing import Any, Protocol, TypeAlias

from streamcrawl.errors import BodyTooLarge, DecodeError, TruncatedBody
from streamcrawl.headers import Headers

STEP = 64 * 1024
"""Bytes that a codec gives at once, at most (brotli: some more)."""

MAX_CODINGS = 5
"""A body coded more often than this is an attack, not a page."""

ZSTD_WINDOW_LOG = 23
"""RFC 9659 §3: in HTTP a window is 8 MB at most."""

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC, SKIPPABLE_MAGIC = b"\x28\xb5\x2f\xfd", b"\x2a\x4d\x18"
"""How a zstd frame begins, and a skippable one after a byte from 0x50 to 0x5F. Source: RFC 8878 §3.1."""

BROTLI_STEP = 4 * 1024
"""Bytes in which the end of a brotli stream is looked for."""

BROTLI_KEPT = 256 * 1024
"""Bytes of a brotli body, coded, up to which they are kept to go through them again."""

_PART = re.compile(r"bytes +0-([0-9]{1,18})/([0-9]{1,18})", re.IGNORECASE)

Broken: TypeAlias = "type[Exception] | tuple[type[Exception], ...]"


class Codec(Protocol):
    """One content coding, undone."""

    broken: Broken
    """What `feed` raises if the data is not of this coding."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give what `data` decodes to, in pieces of about STEP bytes."""
        ...

    def complete(self) -> bool:
        """Whether the data may end here."""
        ...


class _Inflate:
    """gzip (several members, anything behind the last is ignored), or deflate with the zlib wrapper or without."""

    broken: Broken = zlib.error

    def __init__(self, gzip: bool) -> None:
        self._gzip = gzip
        self._engine: Any = None
        self._head = b""
        self._members = 0
        self._over = False
        self._skipping = False
        """The present frame is a skippable one, behind another."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        while not self._over:
            if self._engine is None:
                data, self._head = self._head + data, b""
                if len(data) < 2:
                    self._head = data
                    return
                self._engine = self._begin(data[:2])
                continue
            engine = self._engine
            out = engine.decompress(data, STEP)
            if out:
                yield out
            if engine.eof:
                data, self._engine, self._over = engine.unused_data, None, not self._gzip
                self._members += 1
                continue
            data = engine.unconsumed_tail
            # A full step may leave output behind although the input is used up.
            if not data and len(out) < STEP:
                return

    def _begin(self, magic: bytes) -> Any:
        if self._gzip:
            self._over = self._members > 0 and magic != GZIP_MAGIC
            return None if self._over else zlib.decompressobj(31)
        # RFC 1950 §2.2: method 8, and the first two bytes divide by 31. Many servers send bare RFC 1951 data.
        wrapped = magic[0] & 0x0F == 8 and int.from_bytes(magic, "big") % 31 == 0
        return zlib.decompressobj(15 if wrapped else -15)

    def complete(self) -> bool:
        return self._engine is None and self._members > 0


class _Brotli:
    """One stream; anything behind it is ignored, if the whole is no longer than `BROTLI_KEPT`.

    The engine fails on data that goes on behind the stream's end, and loses what it had decoded of it. So the coded
    data is kept, as far as it is short, to go through it again.
    """

    def __init__(self) -> None:
        brotli: Any = import_module("brotli")  # it has no types
        self.broken: Broken = brotli.error
        self._make: Callable[[], Any] = brotli.Decompressor
        self._engine: Any = brotli.Decompressor()
        self._kept: list[bytes] = []
        self._size = 0
        self._given = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._engine.is_finished():
            return
        self._size += len(data)
        if self._size <= BROTLI_KEPT:
            self._kept.append(data)
        else:
            self._kept.clear()
        try:
            for out in _unpacked(self._engine, data):
                self._given += len(out)
                yield out
        except self.broken:
            if not self._kept:
                raise
            yield from self._again(b"".join(self._kept))

    def _again(self, coded: bytes) -> Iterator[bytes]:
        """What has not been given yet, up to the end of the stream. Raises: what `broken` says, if there is none."""
        sound, engine, skipped = self._sound(coded), self._make(), self._given
        parts = (coded[at : at + 1] for at in range(sound, len(coded)))
        for part in (coded[:sound], *parts):
            for out in _unpacked(engine, part):
                if new := out[skipped:]:
                    yield new
                skipped = max(0, skipped - len(out))
            if engine.is_finished():
                self._engine = engine
                return

    def _sound(self, coded: bytes) -> int:
        """How many bytes, in steps, the engine takes."""
        engine = self._make()
        for at in range(0, len(coded), BROTLI_STEP):
            try:
                for _ in _unpacked(engine, coded[at : at + BROTLI_STEP]):
                    pass
            except self.broken:
                return at
        return len(coded)

    def complete(self) -> bool:
        return bool(self._engine.is_finished())


def _unpacked(engine: Any, data: bytes) -> Iterator[bytes]:
    """All that a brotli engine gives for `data`."""
    while True:
        out: bytes = engine.process(data, output_buffer_limit=STEP)
        if out:
            yield out
        # It takes more data while it still has output that there was no room for.
        if engine.is_finished() or (engine.can_accept_more_data() and len(out) < STEP):
            return
        data = b""


class _Zstd:
    """One frame or several, skippable ones too; anything behind the last is ignored."""

    def __init__(self) -> None:
        self._zstd: Any = zstd()
        # A window over the limit is a ValueError of the header's parser in some builds, a ZstdError in others.
        self.broken: Broken = (self._zstd.ZstdError, ValueError)
        self._engine: Any = None
        self._head: bytes = b""
        self._frames = 0
        self._over = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        while not self._over:
            if self._engine is None:
                data, self._head = self._head + data, b""
                if not data:
                    return
                self._skipping = bool(self._frames) and data[1:4] == SKIPPABLE_MAGIC
                if self._frames:
                    self._over = not _may_begin_frame(data[:4])
                    if self._over or len(data) < 4:
                        self._head = b"" if self._over else data
                        return
                window = {self._zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
                self._engine = self._zstd.ZstdDecompressor(options=window)
            out: bytes = self._engine.decompress(data, STEP)
            if out:
                yield out
            if self._engine.eof:
                unused: bytes = self._engine.unused_data
                data, self._engine = unused, None
                self._frames += 1
            elif self._engine.needs_input:
                return
            else:
                data = b""

    def complete(self) -> bool:
        # Of a skippable frame nothing is lost.
        if self._engine is not None:
            return self._skipping
        return not (self._head and ZSTD_MAGIC.startswith(self._head))


def _may_begin_frame(start: bytes) -> bool:
    """Whether these 1 to 4 bytes are the first of a zstd frame."""
    return ZSTD_MAGIC.startswith(start) or (0x50 <= start[0] <= 0x5F and SKIPPABLE_MAGIC.startswith(start[1:]))


def zstd() -> Any:
    """Python 3.14's zstd module or its backport: other bindings cannot bound what one call gives."""
    return import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


CODECS: dict[str, Callable[[], Codec]] = {
    "br": _Brotli,
    "deflate": partial(_Inflate, False),
    "gzip": partial(_Inflate, True),
    "x-gzip": partial(_Inflate, True),
    "zstd": _Zstd,
}
"""Codings that can be undone. Source: RFC 9110 §8.4.1, RFC 7932, RFC 8878."""


def codings_of(headers: Headers) -> tuple[str, ...]:
    """What Content-Encoding lists, in the order it was applied; `identity` left out."""
    field = headers.get("content-encoding")
    if not field:
        return ()
    names = (name.strip().lower() for name in field.split(","))
    return tuple(name for name in names if name and name != "identity")


def plan(headers: Headers) -> tuple[tuple[str, ...], Headers]:
    """The codings that can be undone, outermost first, and the header fields that then hold.

    From the right up to the first unknown coding; what is left stays in Content-Encoding.
    """
    codings = codings_of(headers)
    keep = len(codings)
    while keep and codings[keep - 1] in CODECS:
        keep -= 1
    undone = tuple(reversed(codings[keep:]))
    if not undone:
        return (), headers if codings else headers.without("content-encoding")
    bare = headers.without("content-encoding", "content-length")
    return undone, bare.add("Content-Encoding", ", ".join(codings[:keep])) if keep else bare


def is_part(status: int, headers: Headers) -> bool:
    """Whether the body is but a part of the coded form, which cannot be decoded alone. Source: RFC 9110 §14.2."""
    if status != 206:
        return False
    match = _PART.fullmatch(headers.get("content-range") or "")
    return match is None or int(match[1]) + 1 != int(match[2])


def allowance(limit: int) -> int:
    """How long the coded form of `limit` bytes may be: codings make random data a little longer."""
    return limit + limit // 256 + 4096


class Decoder:
    """Undoes content codings piece by piece.

    Args:
        codings: Names in CODECS, outermost first, as `plan` gives them.
        limit: Bytes, decoded.
        url: For error messages.
        keep_truncated: What came of data that breaks off is kept: `finish` notes that, and raises nothing.

    Raises: DecodeError if there are more than MAX_CODINGS.
    """

    __slots__ = ("_between", "_codecs", "_fed", "_keep", "_limit", "_url", "size", "truncated")

    def __init__(self, codings: Iterable[str], limit: int, url: str, *, keep_truncated: bool = False) -> None:
        names = tuple(codings)
        if len(names) > MAX_CODINGS:
            raise DecodeError(f"{url}: the body has {len(names)} content codings, at most {MAX_CODINGS} are undone")
        self._codecs = [(name, CODECS[name]()) for name in names]
        self._between = [0] * len(names)
        self._limit = limit
        self._url = url
        self._keep = keep_truncated
        self._fed = False
        self.size = 0
        """Bytes decoded so far."""
        self.truncated = False
        """Whether the data ended before its time."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give what `data` decodes to, as it is asked for; ask for all of it before feeding on.

        Raises: DecodeError, BodyTooLarge.
        """
        self._fed = self._fed or bool(data)
        pieces: Iterable[bytes] = (data,)
        for depth, (name, codec) in enumerate(self._codecs):
            pieces = self._through(depth, name, codec, pieces)
        for piece in pieces:
            self.size += len(piece)
            if self.size > self._limit:
                raise too_large(self._url, self._limit)
            yield piece

    def _through(self, depth: int, name: str, codec: Codec, pieces: Iterable[bytes]) -> Iterator[bytes]:
        bound = allowance(self._limit)
        try:
            for piece in pieces:
                for out in codec.feed(piece):
                    # What only lies between two codings costs time as well, so it has a bound too.
                    self._between[depth] += len(out)
                    if self._between[depth] > bound:
                        raise too_large(self._url, self._limit)
                    yield out
        except codec.broken as error:
            raise DecodeError(f"{self._url}: the body cannot be decoded as {name}: {error}") from error

    def finish(self) -> None:
        """Say that the data has ended. Raises: TruncatedBody if it must not end here, unless that is kept."""
        if not self._fed:
            return
        for name, codec in self._codecs:
            if codec.complete():
                continue
            self.truncated = True
            if not self._keep:
                raise TruncatedBody(f"{self._url}: the {name} body ended before its time, after {self.size} bytes")


def too_large(url: str, limit: int, announced: int | None = None) -> BodyTooLarge:
    """The error for a body over the limit."""
    if announced is not None:
        return BodyTooLarge(f"{url}: the body is {announced} bytes long, the limit is {limit}")
    return BodyTooLarge(f"{url}: the body is over the limit of {limit} bytes; reading was stopped")


def decode_body(body: bytes, headers: Headers, *, limit: int, url: str) -> tuple[bytes, Headers]:
    """A whole body with its Content-Encoding undone, and the header fields that then hold.

    Args:
        body: As it came. An empty one is left as it is, with its header fields.
        headers: Of the response. A coding that nobody knows stays, and those it lies around.
        limit: Bytes, decoded.
        url: For error messages.

    Raises: DecodeError, TruncatedBody, BodyTooLarge.
    Source: RFC 9110 §8.4.
    """
    if not body:
        return body, headers
    codings, bare = plan(headers)
    if not codings:
        return body, bare
    decoder = Decoder(codings, limit, url)
    decoded = b"".join(decoder.feed(body))
    decoder.finish()
    return decoded, bare
