"""Pictures: any that Pillow reads, in the format that is wanted, with thumbnails. Pillow is imported with the first."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from math import prod
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from streamcrawl.media.modes import BYTES, on_white, plain

if TYPE_CHECKING:
    from PIL.Image import Image

Size = tuple[int, int]
Format: TypeAlias = Literal["jpeg", "png", "webp", "avif", "keep"]
"""What a picture is stored as; "keep": as it came."""

READ = ("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "TIFF", "WEBP")
"""Formats that are read. Others that Pillow knows start programs (EPS), or are never a picture of a web page."""

EXTENSIONS = {
    "avif": ".avif",
    "bmp": ".bmp",
    "gif": ".gif",
    "ico": ".ico",
    "jpeg": ".jpg",
    "jpeg2000": ".jp2",
    "pcx": ".pcx",
    "png": ".png",
    "ppm": ".ppm",
    "qoi": ".qoi",
    "tiff": ".tif",
    "webp": ".webp",
}
WRITTEN = ("jpeg", "png", "webp", "avif")
THUMBS = {"gif": "png", "ico": "png"}
"""Formats of thumbnails, where pictures keep theirs and it is not one that is written; "jpeg" for all others."""

SAVED: dict[str, dict[str, Any]] = {"png": {"compress_level": 6}, "webp": {"method": 4}, "avif": {"speed": 8}}

ORIENTATION = 0x0112
"""The Exif tag; from 5 on, width and height are swapped."""
TILE_WIDTH, TILE_LENGTH = 322, 323
"""The tags of TIFF."""
ICON = 2 * 1024 * 1024
"""Pixels of an icon at most, with its mask; by their format icons have 256x256."""
SMALL = 128 * 1024
"""Pixels of a picture that is encoded within a millisecond or two."""
GAP = 1.5
"""A picture is reduced in whole steps to so many times its thumbnail at least, and resampled then. That differs from
resampling all of it by 0.1 of 255 (RMS, at 270 pixels)."""
PROFILE = 4096
"""Bytes of a colour profile that thumbnails carry."""


class BadPictureError(ValueError):
    """No picture, a broken one, too small or too large; the text says which."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be made of a picture.

    Args:
        format: Of the picture.
        thumbs: (width, height) in pixels that each fits into.
        thumbs_format: None: that of the picture.
        min_width: In pixels, upright.
        max_pixels: Width times height.
        quality: Of JPEG, WebP and AVIF, 1 to 100.
        edit: Changes the decoded picture before it and its thumbnails are written.
    """

    format: Format = "jpeg"
    thumbs: tuple[Size, ...] = ()
    thumbs_format: Format | None = None
    min_width: int = 0
    min_height: int = 0
    max_pixels: int = 64_000_000
    quality: int = 85
    edit: Callable[[Image], Image] | None = None


ANY = Wanted()


class Encoded(NamedTuple):
    data: bytes
    kind: str
    """A key of EXTENSIONS."""


class Picture(NamedTuple):
    """A picture as it is stored, and its thumbnails in the order asked for."""

    data: bytes
    kind: str
    width: int
    height: int
    thumbs: tuple[Encoded, ...]


class Opened(NamedTuple):
    """A picture of which the head was read."""

    image: Image
    body: bytes
    size: Size
    kept: bool
    """Whether the bytes stay as they are, so that it is decoded for its thumbnails only."""
    cost: int
    """Bytes that decoding it takes at most, roughly."""


def convert(body: bytes, wanted: Wanted = ANY) -> Picture:
    """The picture as it is wanted, upright, the first frame of an animation. What is so already keeps its bytes.

    In JPEG it has the mode RGB, and what is transparent is white. Thumbnails keep the proportions; nothing is enlarged.

    Args:
        body: A file of one of the formats READ.

    Raises: BadPictureError. Call it in a thread: it takes milliseconds.
    """
    return finish(look(body, wanted), wanted)


def look(body: bytes, wanted: Wanted) -> Opened:
    """Read a picture's head; nothing is decoded. Raises: BadPictureError."""
    with _told():
        _check_icon(body)
        image = _opened(body)
        size, turned = image.size, _turned(image) > 1
        _check_pixels(size, wanted)
        _check_pixels(_tile(image), wanted)
        kept = _keeps(image, wanted, turned=turned)
        if kept and image.format in ("JPEG", "MPO"):
            _draft(image, wanted.thumbs)
        return Opened(image, body, size, kept, _cost(image, turned=turned))


def finish(opened: Opened, wanted: Wanted) -> Picture:
    """Decode it, and make of it what is wanted; what was decoded is freed. Raises: BadPictureError."""
    image, body, size, kept, _ = opened
    with _told():
        try:
            expected = image.size
            image.load()
            if image.size != expected:  # a TIFF that lay on its side stands upright now
                size = image.size
            turned = _turned(image, loaded=True)
            if image.format == "PNG":  # whose Exif data may stand behind the pixels
                kept = _keeps(image, wanted, turned=turned > 1)
            _check_least(size, wanted, swapped=turned >= 5)
            return _kept(image, size, body, wanted) if kept else _changed(image, wanted, turned=turned > 1)
        finally:
            image.close()


@contextmanager
def _told() -> Generator[None]:
    try:
        yield
    except BadPictureError:
        raise
    except Exception as error:  # Pillow's decoders raise of everything for a broken file
        raise BadPictureError(f"no picture that can be read: {str(error) or repr(error)}") from error


@cache
def _formats() -> tuple[tuple[Any, Any], ...]:
    """Those of READ that this Pillow was built with: what opens a file, and what knows one by its beginning."""
    from PIL import Image as Images

    Images.init()
    return tuple(Images.OPEN[name] for name in READ if name in Images.OPEN)


def _opened(body: bytes) -> Image:
    """As Pillow's `open`, whose own limit of pixels warns of what is refused here anyway. Raises: BadPictureError."""
    file = BytesIO(body)
    for opens, knows in _formats():
        known = not knows or knows(body[:16])
        if known is True or (known and not isinstance(known, str)):
            try:
                file.seek(0)
                image: Image = opens(file, "")
            except (SyntaxError, IndexError, TypeError, struct.error):
                continue  # it is of another format after all
            return image
    raise BadPictureError("no picture that can be read: of no known format")


def _turned(image: Image, *, loaded: bool = False) -> int:
    """The orientation that its Exif data tell, as far as they are known: nothing is decoded for it."""
    try:
        if image.format == "TIFF" or (not loaded and image.format == "PNG" and "exif" not in image.info):
            return 1  # Pillow sets a TIFF upright itself
        told = image.getexif().get(ORIENTATION, 1)
    except Exception:  # broken Exif data are no reason to do without the picture
        return 1
    return told if isinstance(told, int) and 1 <= told <= 8 else 1


def _check_pixels(size: Size, wanted: Wanted) -> None:
    if size[0] * size[1] > wanted.max_pixels:
        raise BadPictureError(f"{size[0]}x{size[1]} pixels, more than {wanted.max_pixels} in all")


def _check_icon(body: bytes) -> None:
    """Pillow decodes an icon while it opens it, whatever size the picture in it is. Raises: BadPictureError."""
    if body[:4] != b"\0\0\1\0":
        return
    for at in range(6, min(6 + 16 * int.from_bytes(body[4:6], "little"), len(body) - 15), 16):
        begin = int.from_bytes(body[at + 12 : at + 16], "little")
        head = body[begin : begin + 24]
        if head[:4] == b"\x89PNG":
            width, height = struct.unpack(">II", head[16:24])
        elif head[:1] == b"\x0c":  # BITMAPCOREHEADER
            width, height = struct.unpack("<HH", head[4:8])
        else:
            width, height = struct.unpack("<ii", head[4:12])
        if abs(width * height) > ICON:
            raise BadPictureError(f"an icon of {abs(width)}x{abs(height)} pixels, more than {ICON} in all")


def _tile(image: Image) -> Size:
    """Of a TIFF in tiles, which may be larger than it is: the size of one, for that much is decoded at once."""
    if image.format != "TIFF":
        return (0, 0)
    tags: Any = image
    return int(tags.tag_v2.get(TILE_WIDTH, 0)), int(tags.tag_v2.get(TILE_LENGTH, 0))


def _check_least(size: Size, wanted: Wanted, *, swapped: bool) -> None:
    width, height = reversed(size) if swapped else size
    if width < wanted.min_width or height < wanted.min_height:
        raise BadPictureError(f"{width}x{height} pixels, less than {wanted.min_width}x{wanted.min_height}")


def _kind(image: Image) -> str:
    kind = (image.format or "").lower()
    return {"mpo": "jpeg", "dib": "bmp"}.get(kind, kind)


def _keeps(image: Image, wanted: Wanted, *, turned: bool) -> bool:
    """Whether the bytes stay as they are."""
    kind = _kind(image)
    if wanted.edit is not None or (turned and kind in WRITTEN):
        return False
    if wanted.format == "keep":
        return True
    return kind == wanted.format and (kind != "jpeg" or image.mode == "RGB")


def _draft(image: Image, thumbs: tuple[Size, ...]) -> None:
    """Have a JPEG decoded no larger than twice the largest thumbnail: its own pixels are not needed."""
    most = max((max(size) for size in thumbs), default=1) * 2
    width, height = image.size
    scale = max(most / max(width, height), 1 / 64)
    image.draft(None, (max(1, int(width * scale)), max(1, int(height * scale))))


def _cost(image: Image, *, turned: bool) -> int:
    """Bytes that decoding it takes at most, roughly: the picture, its copies on the way, the decoder's own."""
    pixels, pixel = max(image.width * image.height, prod(_tile(image))), BYTES.get(image.mode, 4)
    size = float(pixel * (2 if turned else 1))
    if image.mode != "RGB" or image.has_transparency_data:
        # What is transparent is put on white, or multiplied by it to be made smaller.
        size += 4 if image.mode == "RGBA" or not image.has_transparency_data else 8
    if image.format in ("WEBP", "AVIF", "JPEG2000"):
        size += 8
    if image.info.get("progressive"):
        size += _coefficients(image)
    return int(pixels * size)


def _coefficients(image: Image) -> float:
    """Bytes a pixel of a progressive JPEG: all of it is there before the first pixel is, whatever size is drafted."""
    scale: int = (getattr(image, "decoderconfig", None) or (1,))[0]
    layers: list[Any] = getattr(image, "layer", [])
    samples = [layer[1] * layer[2] for layer in layers]
    return 2 * max(scale, 1) ** 2 * (sum(samples) / max(samples) if samples and max(samples) else 3)


def _kept(image: Image, size: Size, body: bytes, wanted: Wanted) -> Picture:
    """Its own bytes, and thumbnails."""
    kind = _kind(image)
    return Picture(
        body, kind, *size, _thumbs(plain(image), size, wanted, kind, _profile(image)) if wanted.thumbs else ()
    )


def _changed(image: Image, wanted: Wanted, *, turned: bool) -> Picture:
    from PIL import ImageOps

    kind = _kind(image) if wanted.format == "keep" else wanted.format
    if kind not in WRITTEN:
        kind = THUMBS.get(kind, "jpeg")
    profile = _profile(image)
    upright = ImageOps.exif_transpose(image) if turned else image
    clear = on_white(upright) if kind == "jpeg" else plain(upright)
    del upright
    if wanted.edit is not None:
        clear = plain(wanted.edit(clear))
    data = _encoded(clear, kind, wanted.quality, profile)
    return Picture(data, kind, *clear.size, _thumbs(clear, clear.size, wanted, kind, profile))


def _profile(image: Image) -> bytes | None:
    """Its colour profile, if that still fits when it is in RGB."""
    profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA", "P") else None
    return profile if isinstance(profile, bytes) else None


def _thumbs(image: Image, size: Size, wanted: Wanted, kind: str, profile: bytes | None) -> tuple[Encoded, ...]:
    small = kind if wanted.thumbs_format in (None, "keep") else str(wanted.thumbs_format)
    if small not in WRITTEN:
        small = THUMBS.get(small, "jpeg")
    if len(profile or b"") > PROFILE:
        profile = None
    scaled = _scaled(image, [fitted(size, bounds) for bounds in wanted.thumbs])
    return tuple(Encoded(_encoded(each, small, wanted.quality, profile), small) for each in scaled)


def _scaled(image: Image, sizes: list[Size]) -> list[Image]:
    """Each size of the smallest larger one that is at least twice as large, so that a large picture is read once."""
    from PIL.Image import Resampling

    made: dict[Size, Image] = {}
    for size in sorted(set(sizes), reverse=True):
        sources = [each for each in made.values() if each.width >= 2 * size[0] and each.height >= 2 * size[1]]
        source = sources[-1] if sources else image
        untyped: Any = source  # Pillow's annotations name numpy here, which need not be there
        made[size] = source if source.size == size else untyped.resize(size, Resampling.LANCZOS, reducing_gap=GAP)
    return [made[size] for size in sizes]


def fitted(size: Size, bounds: Size) -> Size:
    """The largest size of the same proportions within the bounds, and not larger than it is."""
    scale = min(bounds[0] / size[0], bounds[1] / size[1], 1.0)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _encoded(image: Image, kind: str, quality: int, profile: bytes | None) -> bytes:
    if kind == "jpeg":
        image = on_white(image)
    image.info = {}  # what the file said of itself: comments, Exif data, the place where it was taken
    options: dict[str, Any] = dict(SAVED.get(kind, {}))
    if kind != "png":
        options["quality"] = quality
    if profile:
        options["icc_profile"] = profile
    if kind == "jpeg" and image.width * image.height > SMALL:
        # Into memory Pillow encodes in pieces of 64 KiB and lets no other thread go on meanwhile.
        with _file() as file:
            image.save(file, "JPEG", **options)
            file.seek(0)
            return file.read()
    out = BytesIO()
    image.save(out, kind.upper(), **options)
    return out.getvalue()


def _file() -> IO[bytes]:
    """A file that is in memory, if the system has such."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("picture"), "w+b", buffering=0)  # noqa: PTH123 - it has no path
    return TemporaryFile(buffering=0)
