"""Pillow's modes to the two that every format has: RGB, and RGBA for what is transparent."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from PIL.Image import Image

BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""A pixel in memory; in all other modes it has 4."""

WHITE = (255, 255, 255)
ROWS = 64
"""Of a picture, put on white at a time."""


def on_white(image: Image) -> Image:
    """In RGB; what is transparent on white. An image in RGBA is used up for it: its memory becomes the other's."""
    image = plain(image)
    if image.mode == "RGB":
        return image
    for top in range(0, image.height, ROWS):
        _flatten(image, (0, top, image.width, min(top + ROWS, image.height)))
    return _without_alpha(image)


def _flatten(image: Image, box: tuple[int, int, int, int]) -> None:
    """Put a part of an image in RGBA on white, in its place."""
    from PIL import Image as Images

    part = image.crop(box)
    extrema = cast("tuple[tuple[int, int], ...]", part.getextrema())
    if extrema[3][0] < 255:
        white = Images.new("RGB", part.size, WHITE)
        white.paste(part, (0, 0), part)
        image.paste(white, box)


def _without_alpha(image: Image) -> Image:
    """The same pixels in RGB, which Pillow keeps in four bytes too: without a copy, if this Pillow can do that."""
    try:
        core = cast("Any", image.im)
        core.setmode("RGB")
        made: Image = cast("Any", image)._new(core)
    except (AttributeError, ValueError):
        return image.convert("RGB")
    return made


def plain(image: Image) -> Image:
    """In RGB, or in RGBA if anything of it may be transparent. The same object if it is so already."""
    if image.mode in ("RGBA", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        # The upper byte of each; plain conversion would make white of all that is above 255.
        return _linear(image, 1 / 256, 0.0, "L").convert("RGB")
    if image.mode in ("I", "F"):
        return _scaled(image).convert("RGB")
    if image.mode in ("La", "RGBa"):
        return image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode == "CMYK":
        return _managed(image, image.info.get("icc_profile")) or image.convert("RGB")
    if image.mode == "LAB":
        return _managed(image, None) or image.convert("RGB")
    return image.convert("RGB")


def _scaled(image: Image) -> Image:
    """Whole numbers of 32 bits, or fractions: which of them is white is nowhere said, so the range tells."""
    low, high = cast("tuple[float, float]", image.getextrema())
    # The narrowest of the ranges that such files have.
    ranges = (1.0, 255.0) if image.mode == "F" else (255.0, 65535.0)
    low, top = next(((0.0, most) for most in ranges if low >= 0 and high <= most), (low, high))
    scale = 255 / (top - low) if top > low else 1.0
    return _linear(image, scale, -low * scale).convert("L")


def _linear(image: Image, scale: float, more: float, mode: str | None = None) -> Image:
    untyped: Any = image  # Pillow's annotations stop halfway here
    made: Image = untyped.point(partial(_times, scale, more), mode)
    return made


def _times(scale: float, more: float, value: Any) -> Any:
    return value * scale + more


def _managed(image: Image, profile: Any) -> Image | None:
    """By its colour profile; None if that cannot be done."""
    try:
        from PIL import ImageCms

        cms: Any = ImageCms
        source = BytesIO(profile) if profile else cms.createProfile("LAB") if image.mode == "LAB" else None
        if source is None:
            return None
        made: Image | None = cms.profileToProfile(image, source, cms.createProfile("sRGB"), outputMode="RGB")
        return made
    except Exception:  # a broken profile is no reason to do without the picture
        return None
