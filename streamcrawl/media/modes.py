"""Pillow's modes to the two that every format has: RGB, and RGBA for what is transparent."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from PIL.Image import Image

BYTES = {"1": 1, "L": 1, "P": 1}
"""A pixel in memory; in all other modes it has 4. One of 16 bits has 2, and 2 more on its way to 8."""

WHITE = (255, 255, 255)


def on_white(image: Image) -> Image:
    """In RGB; what is transparent on white."""
    from PIL import Image as Images

    image = plain(image)
    if image.mode == "RGB":
        return image
    white = Images.new("RGB", image.size, WHITE)
    white.paste(image, (0, 0), image)
    white.info = {name: told for name, told in image.info.items() if name != "transparency"}  # `edit` may look at it
    return white


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
