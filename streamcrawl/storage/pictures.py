"""Pictures: any that Pillow reads, as JPEG. Pillow is imported with the first."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL.Image import Image

QUALITY = 85
ORIENTATION = 0x0112
"""The Exif tag; from 5 on, width and height are swapped."""
MAX_PIXELS = 64_000_000
"""Of a picture, decoded: 192 MB in RGB. Some kilobytes of PNG can hold far more."""

Size = tuple[int, int]


class BadPictureError(ValueError):
    """No picture, a broken one, too small or too large; the text says which."""


class Picture(NamedTuple):
    """A picture as JPEG, and its thumbnails in the order asked for."""

    data: bytes
    width: int
    height: int
    thumbs: tuple[bytes, ...]


def convert(body: bytes, thumbs: Iterable[Size] = (), *, min_width: int = 0, min_height: int = 0) -> Picture:
    """The picture as JPEG in RGB, upright, what is transparent on white. What is such a JPEG already keeps its bytes.

    Args:
        body: A file in a format that Pillow reads; of an animation, the first frame.
        thumbs: (width, height) in pixels that each fits into; proportions are kept, nothing is enlarged.

    Raises: BadPictureError. Call it in a thread: it takes milliseconds.
    """
    from PIL import Image as Images
    from PIL import ImageOps

    try:
        with Images.open(BytesIO(body)) as image:
            orientation = image.getexif().get(ORIENTATION, 1)
            _check(image.size, min_width, min_height, turned=orientation >= 5)
            image.load()
            keep = image.format == "JPEG" and image.mode == "RGB" and orientation == 1
            flat = _on_white(ImageOps.exif_transpose(image))
    except BadPictureError:
        raise
    except Exception as error:  # Pillow's decoders raise of everything for a broken file
        raise BadPictureError(f"no picture that can be read: {error}") from error
    return Picture(body if keep else _jpeg(flat), flat.width, flat.height, tuple(_thumb(flat, size) for size in thumbs))


def _check(size: Size, min_width: int, min_height: int, *, turned: bool) -> None:
    width, height = reversed(size) if turned else size
    if width * height > MAX_PIXELS:
        raise BadPictureError(f"{width}x{height} pixels, more than {MAX_PIXELS} in all")
    if width < min_width or height < min_height:
        raise BadPictureError(f"{width}x{height} pixels, less than {min_width}x{min_height}")


def _on_white(image: Image) -> Image:
    from PIL import Image as Images

    if image.mode == "RGB":
        return image
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Images.new("RGBA", image.size, (255, 255, 255, 255))
        return Images.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _thumb(image: Image, size: Size) -> bytes:
    from PIL.Image import Resampling

    small = image.copy()
    small.thumbnail(size, Resampling.LANCZOS, reducing_gap=2.0)
    return _jpeg(small)


def _jpeg(image: Image) -> bytes:
    out = BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
