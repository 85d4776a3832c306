"""How an entry lies in a store: a head with a checksum over everything, and the body, compressed where that pays."""

from __future__ import annotations

import struct
import threading
import zlib
from hashlib import blake2b
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from streamcrawl.caching.entry import CorruptEntry, Entry, Vary, decode_entry, encode_entry

Compression: TypeAlias = Literal["zstd", "gzip"] | None

_MAGIC = b"scS\x01"
"""What it is, and the version of its form."""

_START = struct.Struct("<4s16s")
"""Magic number; checksum of all that follows, the body included."""
_REST = struct.Struct("<B16sdIQQ")
"""Codec; which variant; when it was put; bytes of head, of body as it lies here, of body as it was."""
_FIXED = _START.size + _REST.size

_PLAIN, _GZIP, _ZSTD = range(3)
_ZSTD_LEVEL = 1
_GZIP_LEVEL = 6
_GZIP_WINDOW = 31

_SAMPLE = 64 * 1024
"""Bytes of a large body that are compressed on trial."""
_LEAST = 64
"""Bytes of body below which nothing is won."""

_own = threading.local()

_to_bytes = msgspec.msgpack.Encoder().encode

Bytes: TypeAlias = bytes | memoryview


class Packed(NamedTuple):
    """An entry in bytes: `head` and `body`, one after the other."""

    variant: bytes
    """16 bytes that stand for the entry's `vary`."""
    stored: float
    """When it was put; seconds since the epoch."""
    head: Bytes
    body: Bytes

    @property
    def size(self) -> int:
        """Bytes of both."""
        return len(self.head) + len(self.body)


def variant_of(vary: Vary) -> bytes:
    """16 bytes that stand for one variant of a key."""
    return blake2b(_to_bytes(vary), digest_size=16).digest() if vary else _NO_VARY


_NO_VARY = bytes(16)


def pack(entry: Entry, stored: float, compress: Compression) -> Packed:
    """The entry as it is to be written. Takes a while for a large body: call it in a thread.

    Args:
        stored: When it is put, in seconds since the epoch.
        compress: What the body is compressed with, unless it comes with a Content-Encoding or does not shrink.
    """
    inner = encode_entry(entry.replace(body=b""))
    codec, body = _compressed(entry, compress)
    variant = variant_of(entry.vary)
    rest = _REST.pack(codec, variant, stored, len(inner), len(body), len(entry.body))
    return Packed(variant, stored, b"".join((_START.pack(_MAGIC, _checksum(rest, inner, body)), rest, inner)), body)


def unpack(head: Bytes, body: Bytes) -> Entry:
    """The entry that `pack` made these of.

    Raises: CorruptEntry if they are not, to the last bit, what it made.
    """
    if len(head) < _FIXED:
        raise CorruptEntry(f"a stored response whose head has {len(head)} bytes")
    magic, checksum = _START.unpack_from(head)
    if magic != _MAGIC:
        raise CorruptEntry(f"a stored response that begins with {magic!r} and not with {_MAGIC!r}")
    view = memoryview(head)
    if checksum != _checksum(view[_START.size : _FIXED], view[_FIXED:], body):
        raise CorruptEntry(f"a stored response of {len(head) + len(body)} bytes does not fit its checksum")
    codec, _, _, _, _, length = _REST.unpack_from(head, _START.size)
    entry = decode_entry(bytes(view[_FIXED:]))
    return entry.replace(body=_original(codec, body, length))


def split(data: Bytes) -> tuple[list[Packed], bool]:
    """The packed entries that lie one after the other in `data`, and whether that is all there is.

    What they hold is not looked at: `unpack` does. False if the last of them is cut off, or followed by something else.
    """
    found: list[Packed] = []
    view = memoryview(data)
    begin = 0
    while begin < len(view):
        if len(view) - begin < _FIXED or bytes(view[begin : begin + len(_MAGIC)]) != _MAGIC:
            return found, False
        _, variant, stored, head, body, _ = _REST.unpack_from(view, begin + _START.size)
        middle = begin + _FIXED + head
        end = middle + body
        if end > len(view):
            return found, False
        found.append(Packed(variant, stored, view[begin:middle], view[middle:end]))
        begin = end
    return found, True


def _checksum(rest: Bytes, inner: Bytes, body: Bytes) -> bytes:
    checksum = blake2b(rest, digest_size=16)
    checksum.update(inner)
    checksum.update(body)
    return checksum.digest()


def _compressed(entry: Entry, compress: Compression) -> tuple[int, bytes]:
    body = entry.body
    if compress is None or len(body) < _LEAST or _coded(entry):
        return _PLAIN, body
    squeeze = _zstd if compress == "zstd" else _gzip
    if len(body) > 2 * _SAMPLE and not _pays(_SAMPLE, squeeze(memoryview(body)[:_SAMPLE])):
        return _PLAIN, body
    small = squeeze(body)
    if not _pays(len(body), small):
        return _PLAIN, body
    return (_ZSTD if compress == "zstd" else _GZIP), small


def _pays(before: int, after: bytes) -> bool:
    return len(after) < before - before // 16


def _coded(entry: Entry) -> bool:
    return any(
        name.lower() == "content-encoding" and value.strip().lower() not in ("", "identity")
        for name, value in entry.headers
    )


def _zstd(data: Bytes) -> bytes:
    from streamcrawl.transport.decoding import zstd

    compressor = getattr(_own, "zstd", None)
    if compressor is None:
        # Kept, one for each thread: to make one costs more than to compress a page.
        compressor = _own.zstd = zstd().ZstdCompressor(level=_ZSTD_LEVEL)
    return bytes(compressor.compress(data, compressor.FLUSH_FRAME))


def _gzip(data: Bytes) -> bytes:
    return zlib.compress(data, _GZIP_LEVEL, _GZIP_WINDOW)


def _original(codec: int, body: Bytes, length: int) -> bytes:
    """The body as it was. `length` bounds what is made of it."""
    if codec == _PLAIN:
        whole = bytes(body)  # bytes are given back as they are
    elif codec == _GZIP:
        engine = zlib.decompressobj(_GZIP_WINDOW)
        try:
            whole = engine.decompress(body, length)
        except zlib.error as error:
            raise CorruptEntry(f"a stored body that is no gzip: {error}") from error
    elif codec == _ZSTD:
        whole = _from_zstd(body, length)
    else:
        raise CorruptEntry(f"a stored body that is compressed in a way unknown here, number {codec}")
    if len(whole) != length:
        raise CorruptEntry(f"a stored body of {len(whole)} bytes, where {length} were put")
    return whole


def _from_zstd(body: Bytes, length: int) -> bytes:
    from streamcrawl.transport.decoding import zstd

    module = zstd()
    try:
        return bytes(module.ZstdDecompressor().decompress(body, length))
    except module.ZstdError as error:
        raise CorruptEntry(f"a stored body that is no zstd: {error}") from error
