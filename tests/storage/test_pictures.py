"""Pictures to JPEG."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from streamcrawl.storage import pictures
from streamcrawl.storage.pictures import BadPictureError, convert


def encoded(mode: str, colour: Any, kind: str = "PNG", size: tuple[int, int] = (40, 20), **options: Any) -> bytes:
    out = BytesIO()
    Image.new(mode, size, colour).save(out, kind, **options)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    assert (image.format, image.mode) == ("JPEG", "RGB")
    return image


def near(pixel: Any, wanted: tuple[int, int, int]) -> bool:
    return all(abs(one - other) < 12 for one, other in zip(pixel, wanted, strict=True))


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (encoded("RGB", (200, 30, 30)), (200, 30, 30)),
        (encoded("RGBA", (200, 30, 30, 0)), (255, 255, 255)),
        (encoded("RGBA", (0, 0, 0, 128)), (127, 127, 127)),
        (encoded("LA", (0, 0)), (255, 255, 255)),
        (encoded("L", 90), (90, 90, 90)),
        (encoded("1", 1), (255, 255, 255)),
        (encoded("P", 0, transparency=0), (255, 255, 255)),
        (encoded("CMYK", (0, 0, 0, 0), "JPEG"), (255, 255, 255)),
        (encoded("P", 0, "GIF"), (0, 0, 0)),
        (encoded("RGB", (9, 90, 200), "WEBP", lossless=True), (9, 90, 200)),
    ],
)
def test_every_mode_becomes_rgb_on_white(body: bytes, wanted: tuple[int, int, int]) -> None:
    picture = convert(body)
    image = opened(picture.data)
    assert (picture.width, picture.height) == image.size == (40, 20)
    assert near(image.getpixel((20, 10)), wanted), image.getpixel((20, 10))


def test_a_jpeg_keeps_its_bytes() -> None:
    body = encoded("RGB", (1, 2, 3), "JPEG")
    assert convert(body).data == body


def test_a_turned_picture_is_set_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = convert(encoded("RGB", (1, 2, 3), "JPEG", exif=exif), min_height=40)
    assert (picture.width, picture.height) == opened(picture.data).size == (20, 40)
    assert opened(picture.data).getexif().get(0x0112) is None


def test_thumbnails_fit_and_are_never_enlarged() -> None:
    picture = convert(encoded("RGBA", (1, 2, 3, 0), size=(400, 100)), [(40, 40), (1000, 1000)])
    assert [opened(thumb).size for thumb in picture.thumbs] == [(40, 10), (400, 100)]
    assert near(opened(picture.thumbs[0]).getpixel((20, 5)), (255, 255, 255))


@pytest.mark.parametrize(("least", "fits"), [((40, 20), True), ((41, 0), False), ((0, 21), False)])
def test_least_sizes(least: tuple[int, int], *, fits: bool) -> None:
    body = encoded("RGB", 0)
    if fits:
        assert convert(body, min_width=least[0], min_height=least[1]).width == 40
    else:
        with pytest.raises(BadPictureError, match=f"40x20 pixels, less than {least[0]}x{least[1]}"):
            convert(body, min_width=least[0], min_height=least[1])


def test_too_many_pixels_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 799)
    with pytest.raises(BadPictureError, match="40x20 pixels, more than 799 in all"):
        convert(encoded("RGB", 0))


@pytest.mark.parametrize("body", [b"", b"<html>no picture</html>", encoded("RGB", 0)[:60], b"\x89PNG\r\n\x1a\n"])
def test_broken_pictures(body: bytes) -> None:
    with pytest.raises(BadPictureError, match="no picture that can be read"):
        convert(body)


@given(st.data())
def test_nothing_but_bad_picture_error_is_raised(data: st.DataObject) -> None:
    body = bytearray(encoded("RGB", (5, 6, 7), data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP"]))))
    for _ in range(data.draw(st.integers(1, 5))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = convert(bytes(body), [(10, 10)])
    except BadPictureError:
        return
    assert opened(picture.data).size == (picture.width, picture.height)
