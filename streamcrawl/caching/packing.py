"""How an entry lies in a store: a head with a checksum over everything, and the body, compressed where that pays.

A compressed body has a checksum of its own within, which is made where it is compressed; the head's covers that.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import msgspec
import zstandard

from streamcrawl.caching.entry import CorruptEntry, Entry, Vary, decode_entry, encode_entry
from streamcrawl.transport.decoding import zstd

Compression: TypeAlias = Literal["zstd", "gzip"] | None

_MAGIC = b"scS\x02"
"""What it is, and the version of its form."""
_FORMER = b"scS\x01"
"""Of the version before, which is read still: its checksum covers all of a compressed body."""

_START = struct.Struct("<4s16s")
"""Magic number; checksum of all that follows, of a compressed body the last bytes."""
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
_OWN = 8
"""Last bytes of a compressed body: CRC-32 and length (RFC 1952 §2.3.1), or 4 of XXH64 at the end (RFC 8878 §3.1)."""

_CODING = "content-encoding"
_CODING_LENGTH = len(_CODING)

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


class Draft(NamedTuple):
    """An entry of which all but its body is in bytes already: what is left to do takes a while."""

    variant: bytes
    """As `Packed` has it."""
    stored: float
    """As `Packed` has it."""
    inner: bytes
    """The entry without its body."""
    body: bytes
    coded: bool
    """The body came with a Content-Encoding."""

    @property
    def size(self) -> int:
        """Bytes of it, more or less."""
        return len(self.inner) + len(self.body)


def draft(entry: Entry, stored: float) -> Draft:
    """The entry as a thread is to be given it that packs and writes it: it does not have to look at an object then,
    for each of which it would make the loop wait.

    Args:
        stored: When it is put; seconds since the epoch.
    """
    inner = encode_entry(msgspec.structs.replace(entry, body=b""))
    return Draft(variant_of(entry.vary), stored, inner, entry.body, _has_coding(entry))


def variant_of(vary: Vary) -> bytes:
    """16 bytes that stand for one variant of a key."""
    return blake2b(_to_bytes(vary), digest_size=16).digest() if vary else _NO_VARY


_NO_VARY = bytes(16)


def pack(entry: Entry, stored: float, compress: Compression) -> Packed:
    """The entry as it is to be written; see `draft` and `pack_all`."""
    return pack_all([draft(entry, stored)], compress)[0]


def pack_all(drafts: Sequence[Draft], compress: Compression, threads: int = 1) -> list[Packed]:
    """Entries as they are to be written. Takes a while: call it in a thread.

    Args:
        compress: What bodies are compressed with, unless they come with a Content-Encoding or do not shrink.
        threads: How many may compress at once ("zstd").
    """
    bodies = [(_PLAIN, each.body) for each in drafts]
    if compress is not None:
        codec, squeeze = (_ZSTD, partial(_zstd, threads=threads)) if compress == "zstd" else (_GZIP, _gzip)
        worth = [at for at, each in enumerate(drafts) if not each.coded and _may_shrink(each.body, squeeze)]
        for at, small in zip(worth, squeeze([drafts[at].body for at in worth]), strict=True):
            if _pays(len(drafts[at].body), small):
                bodies[at] = codec, small
    return [_packed(each, codec, body) for each, (codec, body) in zip(drafts, bodies, strict=True)]


def _packed(each: Draft, codec: int, body: bytes) -> Packed:
    variant, stored, inner, whole, _ = each
    rest = _REST.pack(codec, variant, stored, len(inner), len(body), len(whole))
    start = _START.pack(_MAGIC, _checksum(_MAGIC, rest, inner, codec, body))
    return Packed(variant, stored, b"".join((start, rest, inner)), body)


def unpack(head: Bytes, body: Bytes) -> Entry:
    """The entry that `pack` made these of.

    Raises: CorruptEntry if they are not, to the last bit, what it made.
    """
    if len(head) < _FIXED:
        raise CorruptEntry(f"a stored response whose head has {len(head)} bytes")
    magic, checksum = _START.unpack_from(head)
    if magic not in (_MAGIC, _FORMER):
        raise CorruptEntry(f"a stored response that begins with {magic!r} and not with {_MAGIC!r}")
    view = memoryview(head)
    codec, _, _, _, _, length = _REST.unpack_from(head, _START.size)
    if checksum != _checksum(magic, view[_START.size : _FIXED], view[_FIXED:], codec, body):
        raise CorruptEntry(f"a stored response of {len(head) + len(body)} bytes does not fit its checksum")
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
        if len(view) - begin < _FIXED or bytes(view[begin : begin + len(_MAGIC)]) not in (_MAGIC, _FORMER):
            return found, False
        _, variant, stored, head, body, _ = _REST.unpack_from(view, begin + _START.size)
        middle = begin + _FIXED + head
        end = middle + body
        if end > len(view):
            return found, False
        found.append(Packed(variant, stored, view[begin:middle], view[middle:end]))
        begin = end
    return found, True


def _checksum(magic: bytes, rest: Bytes, inner: Bytes, codec: int, body: Bytes) -> bytes:
    checksum = blake2b(rest, digest_size=16)
    checksum.update(inner)
    checksum.update(body if codec == _PLAIN or magic == _FORMER else body[-_OWN:])
    return checksum.digest()


def _may_shrink(body: bytes, squeeze: Callable[[list[Bytes]], list[bytes]]) -> bool:
    if len(body) < _LEAST:
        return False
    return len(body) <= 2 * _SAMPLE or _pays(_SAMPLE, squeeze([memoryview(body)[:_SAMPLE]])[0])


def _pays(before: int, after: bytes) -> bool:
    return len(after) < before - before // 16


def _has_coding(entry: Entry) -> bool:
    for name, value in entry.headers:  # of every page
        if len(name) == _CODING_LENGTH and name.lower() == _CODING and value.strip().lower() not in ("", "identity"):
            return True
    return False


def _zstd(bodies: list[Bytes], *, threads: int) -> list[bytes]:
    if not bodies:
        return []
    compressor = getattr(_own, "zstd", None)
    if compressor is None:
        # Kept, one for each thread: to make one costs more than to compress a page.
        compressor = _own.zstd = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
    if len(bodies) == 1 or not hasattr(compressor, "multi_compress_to_buffer"):  # without C, as in PyPy, it is missing
        return [compressor.compress(body) for body in bodies]
    # At once: after each call the thread would wait for the interpreter, and the loop then for the thread.
    several = cast("list[bytes | bytearray | memoryview]", bodies)
    together = compressor.multi_compress_to_buffer(several, threads=threads if len(bodies) > threads else 0)
    return [together[at].tobytes() for at in range(len(bodies))]


def _gzip(bodies: list[Bytes]) -> list[bytes]:
    return [zlib.compress(body, _GZIP_LEVEL, _GZIP_WINDOW) for body in bodies]


def _original(codec: int, body: Bytes, length: int) -> bytes:
    """The body as it was. `length` bounds what is made of it."""
    if codec == _PLAIN:
        whole = bytes(body)  # bytes are given back as they are
    elif codec == _GZIP:
        whole = _undone(zlib.decompressobj(_GZIP_WINDOW), zlib.error, body, length)
    elif codec == _ZSTD:
        module = zstd()
        whole = _undone(module.ZstdDecompressor(), module.ZstdError, body, length)
    else:
        raise CorruptEntry(f"a stored body that is compressed in a way unknown here, number {codec}")
    if len(whole) != length:
        raise CorruptEntry(f"a stored body of {len(whole)} bytes, where {length} were put")
    return whole


def _undone(engine: Any, broken: type[Exception], body: Bytes, length: int) -> bytes:
    try:
        whole: bytes = engine.decompress(body, length + 1)  # not `length`: it would stop before the checksum
    except broken as error:
        raise CorruptEntry(f"a stored body that cannot be decompressed: {error}") from error
    if not engine.eof or engine.unused_data:
        raise CorruptEntry(f"a stored body whose {len(body)} compressed bytes do not end where they should")
    return whole
