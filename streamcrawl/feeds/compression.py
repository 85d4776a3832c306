"""Compression: gzip, bz2, xz and zstd, in members that are read one after the other as if they were one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, BinaryIO, Protocol

from streamcrawl.arguments import telling

CHUNK = 1 << 18


class Compressor(Protocol):
    """One member."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes:
        """What is left of it, and its end."""
        ...


class Decompressor(Protocol):
    @property
    def eof(self) -> bool:
        """Whether the member's end was read."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What stood after it."""
        ...

    def decompress(self, data: bytes, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Codec:
    """A way to compress.

    Args:
        name: What `feed(compress=…)` calls it.
        extensions: Of the files that it is taken for.
        compressor: Begins a member, at a level; None: the usual one.
        decompressor: Reads one; None: what it wrote cannot be appended to.
        levels: (least, most).
        member: Bytes, not yet compressed, after which a member is whole: more are hardly smaller, fewer are safe
            earlier.
    """

    name: str
    extensions: tuple[str, ...]
    compressor: Callable[[int | None], Compressor]
    decompressor: Callable[[], Decompressor] | None
    levels: tuple[int, int]
    member: int = 1 << 20


def zstd() -> Any:
    """The module, which is Python's own since 3.14."""
    return import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


def _gzip(level: int | None) -> Compressor:
    """Source: RFC 1952. With no name and no date: the same items are the same bytes."""
    import zlib

    return zlib.compressobj(6 if level is None else level, zlib.DEFLATED, 31)


def _gunzip() -> Any:
    import zlib

    return zlib.decompressobj(31)


def _bz2(level: int | None) -> Compressor:
    import bz2

    return bz2.BZ2Compressor(9 if level is None else level)


def _bunzip2() -> Decompressor:
    import bz2

    return bz2.BZ2Decompressor()


def _xz(level: int | None) -> Compressor:
    import lzma

    return lzma.LZMACompressor(preset=level)


def _unxz() -> Decompressor:
    import lzma

    return lzma.LZMADecompressor()


def _zstd(level: int | None) -> Compressor:
    """Source: RFC 8878."""
    made: Compressor = zstd().ZstdCompressor(level)
    return made


def _unzstd() -> Decompressor:
    made: Decompressor = zstd().ZstdDecompressor()
    return made


CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        each.name: each
        for each in (
            Codec("gzip", (".gz",), _gzip, _gunzip, (0, 9), member=1 << 18),
            Codec("bz2", (".bz2",), _bz2, _bunzip2, (1, 9)),
            Codec("xz", (".xz",), _xz, _unxz, (0, 9)),
            Codec("zstd", (".zst", ".zstd"), _zstd, _unzstd, (-131072, 22)),
        )
    }
)
telling(Codec)  # those above are right, and annotations are dear to read while the package is imported


def codec_for(uri: str, path: PurePosixPath, compress: str | Codec | None) -> tuple[Codec | None, PurePosixPath]:
    """The codec of a feed, and its path without the codec's extension. Raises: ValueError.

    Args:
        compress: Its name; "auto": by the extension; None: none.
    """
    named = next((each for each in CODECS.values() if path.suffix.lower() in each.extensions), None)
    if compress == "auto":
        return named, path if named is None else path.with_suffix("")
    codec = CODECS.get("xz" if compress == "lzma" else compress) if isinstance(compress, str) else compress
    if codec is None and compress is not None:
        raise ValueError(f"feed {uri!r}: compress={compress!r}: one of auto, {', '.join(CODECS)}, or None")
    given = codec is not None and path.suffix.lower() in codec.extensions
    return codec, path.with_suffix("") if given or (codec is None and named is not None) else path


def check_level(codec: Codec | None, level: int | None) -> None:
    """Raises: ValueError."""
    if level is None:
        return
    if codec is None:
        raise ValueError(
            f"compress_level={level!r}: nothing is compressed; give compress=, or an extension such as .gz"
        )
    least, most = codec.levels
    if isinstance(level, bool) or not least <= level <= most:
        raise ValueError(f"compress_level={level!r}: {least} to {most} for {codec.name}")


def last_member(file: BinaryIO, decompressor: Callable[[], Decompressor]) -> tuple[int, bytes]:
    """What a compressed file has of whole members: where the last one ends, and the beginning of the text within."""
    file.seek(0)
    end, head = 0, b""
    data = file.read(CHUNK)
    while data:
        reader, text = decompressor(), b""
        try:
            while data and not reader.eof:
                plain = reader.decompress(data)
                text += plain[: max(0, CHUNK - len(text))]
                data = b"" if reader.eof else file.read(CHUNK)
        except Exception:  # each codec has its own error for what is no member
            break
        if not reader.eof:
            break
        data = reader.unused_data
        end = file.tell() - len(data)
        head += text[: max(0, CHUNK - len(head))]
        data = data or file.read(CHUNK)
    return end, head
