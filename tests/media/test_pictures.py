"""Pictures of every kind into the format that is wanted."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import media_made
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_made import encoded
from PIL import Image, ImageCms, ImageDraw
from PIL.Image import DecompressionBombWarning

from streamcrawl.media.pictures import BadPictureError, Format, Wanted, convert, fitted, look

ORIENTATION = 0x0112


def opened(data: bytes, kind: str = "JPEG") -> Image.Image:
    image = Image.open(BytesIO(data))
    assert image.format == kind
    if kind == "JPEG":
        assert image.mode == "RGB"
    return image


def near(pixel: Any, wanted: tuple[int, ...], far: int = 12) -> bool:
    return all(abs(one - other) < far for one, other in zip(pixel, wanted, strict=True))


def turned(kind: str, orientation: int = 6, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded("RGB", (1, 2, 3), kind, exif=exif, **options)


def gradient(mode: str, size: tuple[int, int] = (64, 64)) -> Image.Image:
    return media_made.gradient(size).convert(mode)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


CMS: Any = ImageCms  # its annotations are not complete


def lab() -> bytes:
    rgb = Image.new("RGB", (40, 20), (200, 30, 30))
    profiles = CMS.createProfile("sRGB"), CMS.createProfile("LAB")
    return saved(CMS.profileToProfile(rgb, *profiles, outputMode="LAB"), "TIFF")


def srgb() -> bytes:
    profile: bytes = CMS.ImageCmsProfile(CMS.createProfile("sRGB")).tobytes()
    return profile


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (encoded("RGB", (200, 30, 30)), (200, 30, 30)),
        (encoded("RGB", (200, 30, 30), transparency=(200, 30, 30)), (255, 255, 255)),
        (encoded("RGBA", (200, 30, 30, 0)), (255, 255, 255)),
        (encoded("RGBA", (0, 0, 0, 128)), (127, 127, 127)),
        (encoded("RGBA", (200, 30, 30, 255)), (200, 30, 30)),
        (encoded("LA", (0, 0)), (255, 255, 255)),
        (encoded("LA", (0, 128)), (127, 127, 127)),
        (encoded("L", 90), (90, 90, 90)),
        (encoded("L", 90, transparency=90), (255, 255, 255)),
        (encoded("L", 90, "JPEG"), (90, 90, 90)),
        (encoded("1", 1), (255, 255, 255)),
        (encoded("P", 0, transparency=0), (255, 255, 255)),
        (encoded("P", 0), (0, 0, 0)),
        (encoded("CMYK", (0, 0, 0, 0), "JPEG"), (255, 255, 255)),
        (encoded("CMYK", (0, 255, 255, 0), "TIFF"), (255, 0, 0)),
        (encoded("I;16", 65535), (255, 255, 255)),
        (encoded("I;16", 32768), (128, 128, 128)),
        (encoded("I;16", 300), (1, 1, 1)),
        (encoded("I", 200, "TIFF"), (200, 200, 200)),
        (encoded("I", 32768, "TIFF"), (128, 128, 128)),
        (encoded("F", 0.5, "TIFF"), (127, 127, 127)),
        (encoded("F", 90.0, "TIFF"), (90, 90, 90)),
        (encoded("F", float("nan"), "TIFF"), (0, 0, 0)),
        (encoded("YCbCr", (90, 128, 128), "TIFF"), (90, 90, 90)),
        (lab(), (200, 30, 30)),
        (encoded("P", 0, "GIF"), (0, 0, 0)),
        (encoded("RGB", (9, 90, 200), "WEBP", lossless=True), (9, 90, 200)),
        (encoded("RGBA", (9, 90, 200, 0), "WEBP", lossless=True), (255, 255, 255)),
        (encoded("RGB", (9, 90, 200), "AVIF", quality=100), (9, 90, 200)),
        (encoded("RGB", (9, 90, 200), "BMP"), (9, 90, 200)),
        (encoded("RGB", (9, 90, 200), "ICO", (32, 32)), (9, 90, 200)),
        (encoded("RGB", (9, 90, 200), "PPM"), (9, 90, 200)),
    ],
)
def test_every_mode_becomes_rgb_on_white(body: bytes, wanted: tuple[int, int, int]) -> None:
    picture = convert(body, Wanted(thumbs=((10, 10),)))
    image = opened(picture.data)
    assert picture.kind == "jpeg"
    assert (picture.width, picture.height) == image.size
    assert near(image.getpixel((20, 10)), wanted), image.getpixel((20, 10))
    small = opened(picture.thumbs[0].data)
    assert near(small.getpixel((4, 2)), wanted), small.getpixel((4, 2))


def test_16_bits_keep_their_shades() -> None:
    deep = Image.new("I;16", (64, 32), 20_000)
    for x in range(32, 64):
        for y in range(32):
            deep.putpixel((x, y), 40_000)
    image = opened(convert(saved(deep)).data)
    assert near(image.getpixel((8, 8)), (78, 78, 78))
    assert near(image.getpixel((56, 8)), (156, 156, 156))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 100, "subsampling": 0}])
def test_a_jpeg_keeps_its_bytes(options: dict[str, Any]) -> None:
    body = saved(gradient("RGB", (800, 600)), "JPEG", comment=b"by us", **options)
    picture = convert(body, Wanted(thumbs=((50, 50), (270, 270))))
    assert picture.data == body
    assert (picture.width, picture.height) == (800, 600)
    assert [opened(thumb.data).size for thumb in picture.thumbs] == [(50, 38), (270, 202)]
    assert near(opened(picture.thumbs[1].data).getpixel((10, 101)), (127, 127, 127))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_turned_picture_is_set_upright(kind: str) -> None:
    picture = convert(turned(kind), Wanted(min_height=40, thumbs=((10, 10),)))
    assert (picture.width, picture.height) == opened(picture.data).size == (20, 40)
    assert opened(picture.data).getexif().get(ORIENTATION) is None
    assert opened(picture.thumbs[0].data).size == (5, 10)


@pytest.mark.parametrize("orientation", [0, 1, 9, 700])
def test_an_orientation_that_says_nothing(orientation: int) -> None:
    body = turned("JPEG", orientation)
    assert convert(body).data == body


def test_exif_data_behind_the_pixels_of_a_png() -> None:
    body = turned("PNG")
    at = body.index(b"eXIf") - 4
    length = int.from_bytes(body[at : at + 4], "big") + 12
    late = body[:at] + body[at + length :]
    end = late.index(b"IEND") - 4
    body = late[:end] + body[at : at + length] + late[end:]
    assert convert(body).width == 20


def test_broken_exif_data_are_no_reason() -> None:
    body = encoded("RGB", (1, 2, 3), "JPEG", exif=b"Exif\0\0nonsense")
    assert convert(body).data == body


def test_nothing_that_the_file_said_of_itself_is_written() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    body = encoded("RGB", (1, 2, 3), "PNG", exif=exif)
    kinds: tuple[Format, ...] = ("jpeg", "webp", "avif")
    for kind in kinds:
        assert b"secret" not in convert(body, Wanted(format=kind)).data


def test_a_colour_profile_goes_along_where_it_fits() -> None:
    profile = srgb()
    body = encoded("RGB", (1, 2, 3), "PNG", icc_profile=profile)
    picture = convert(body, Wanted(thumbs=((5, 5),)))
    assert opened(picture.data).info["icc_profile"] == profile
    assert "icc_profile" in opened(picture.thumbs[0].data).info
    grey = convert(encoded("L", 5, "PNG", icc_profile=profile))
    assert "icc_profile" not in opened(grey.data).info, "that of a grey picture says nothing of RGB"
    large = convert(encoded("RGB", 5, "PNG", icc_profile=profile + bytes(5000)), Wanted(thumbs=((5, 5),)))
    assert "icc_profile" not in opened(large.thumbs[0].data).info


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_of_an_animation_the_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (40, 20), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    body = saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
    image = opened(convert(body).data)
    assert near(image.getpixel((20, 10)), (250, 0, 0), 20)
    assert convert(body, Wanted(format="keep")).data == body, "kept, it still moves"


# -- formats ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "avif"])
def test_other_formats_keep_transparency_where_they_have_it(kind: Any) -> None:
    picture = convert(encoded("RGBA", (200, 30, 30, 0), "TIFF"), Wanted(format=kind, thumbs=((10, 10),)))
    assert picture.kind == kind
    assert [thumb.kind for thumb in picture.thumbs] == [kind]
    for data in (picture.data, picture.thumbs[0].data):
        image = opened(data, kind.upper())
        pixel: Any = image.convert("RGBA").getpixel((2, 2))
        assert pixel[3] == (255 if kind == "jpeg" else 0)


@pytest.mark.parametrize("kind", ["png", "webp", "avif"])
def test_what_has_the_format_already_keeps_its_bytes(kind: Any) -> None:
    body = encoded("RGBA", (200, 30, 30, 90), kind.upper())
    assert convert(body, Wanted(format=kind)).data == body


@pytest.mark.parametrize(
    ("kind", "thumb"),
    [
        ("JPEG", "jpeg"),
        ("PNG", "png"),
        ("WEBP", "webp"),
        ("AVIF", "avif"),
        ("GIF", "png"),
        ("TIFF", "jpeg"),
        ("BMP", "jpeg"),
    ],
)
def test_kept_as_it_came(kind: str, thumb: str) -> None:
    body = saved(gradient("P" if kind == "GIF" else "RGB"), kind)
    picture = convert(body, Wanted(format="keep", thumbs=((8, 8),)))
    assert (picture.data, picture.kind) == (body, kind.lower())
    assert picture.thumbs[0].kind == thumb
    assert opened(picture.thumbs[0].data, thumb.upper()).size == (8, 8)
    jpeg = convert(body, Wanted(format="keep", thumbs=((8, 8),), thumbs_format="jpeg"))
    assert jpeg.thumbs[0].kind == "jpeg"


@pytest.mark.parametrize(("kind", "becomes"), [("JPEG", "jpeg"), ("PNG", "png"), ("WEBP", "webp")])
def test_kept_but_set_upright(kind: str, becomes: str) -> None:
    picture = convert(turned(kind), Wanted(format="keep"))
    assert (picture.kind, picture.width, picture.height) == (becomes, 20, 40)
    assert opened(picture.data, becomes.upper()).size == (20, 40)


def test_quality() -> None:
    body = saved(Image.effect_noise((200, 200), 60))
    sizes = [len(convert(body, Wanted(quality=quality)).data) for quality in (10, 50, 95)]
    assert sizes == sorted(sizes)
    assert sizes[2] > 2 * sizes[0]


def test_a_large_picture_is_encoded_like_a_small_one() -> None:
    body = saved(gradient("RGB", (700, 700)))
    image = opened(convert(body).data)
    assert image.size == (700, 700)
    assert near(image.getpixel((350, 350)), (127, 127, 127))


def test_whoever_edits_sees_what_the_file_said_of_itself() -> None:
    seen: list[dict[str | tuple[int, int], Any]] = []

    def look_at(image: Image.Image) -> Image.Image:
        assert image.mode == "RGB"
        seen.append(image.info)
        return image

    for mode, transparent in (("RGB", None), ("RGBA", None), ("P", 0), ("RGB", (1, 2, 3))):
        body = saved(Image.new(mode, (20, 20)), dpi=(100, 100), transparency=transparent)
        convert(body, Wanted(edit=look_at))
    assert [round(each["dpi"][0]) for each in seen] == [100] * 4
    assert not any("transparency" in each for each in seen)


def test_edited() -> None:
    def mark(image: Image.Image) -> Image.Image:
        assert image.mode == "RGB"
        ImageDraw.Draw(image).rectangle((0, 0, 9, 9), fill=(0, 0, 0))
        return image.crop((0, 0, 20, 20))

    body = encoded("RGB", (250, 250, 250), "JPEG")
    picture = convert(body, Wanted(edit=mark, thumbs=((10, 10),)))
    assert (picture.width, picture.height) == (20, 20)
    assert near(opened(picture.data).getpixel((4, 4)), (0, 0, 0))
    assert near(opened(picture.thumbs[0].data).getpixel((1, 1)), (0, 0, 0))


# -- sizes ------------------------------------------------------------------------------------------------------------


def test_thumbnails_fit_and_are_never_enlarged() -> None:
    body = encoded("RGBA", (1, 2, 3, 0), size=(400, 100))
    picture = convert(body, Wanted(thumbs=((40, 40), (1000, 1000), (40, 40))))
    assert [opened(thumb.data).size for thumb in picture.thumbs] == [(40, 10), (400, 100), (40, 10)]
    assert near(opened(picture.thumbs[0].data).getpixel((20, 5)), (255, 255, 255))


@given(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), st.tuples(st.integers(1, 500), st.integers(1, 500)))
def test_what_fits(size: tuple[int, int], bounds: tuple[int, int]) -> None:
    width, height = fitted(size, bounds)
    assert 1 <= width <= min(size[0], bounds[0])
    assert 1 <= height <= min(size[1], bounds[1])
    assert width == size[0] or height == size[1] or width == bounds[0] or height == bounds[1]


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_thin_and_tiny_ones(size: tuple[int, int]) -> None:
    for kind in ("PNG", "JPEG"):
        picture = convert(encoded("RGB", (200, 0, 0), kind, size), Wanted(thumbs=((50, 50), (10, 10))))
        assert (picture.width, picture.height) == size
        assert all(max(opened(thumb.data).size) <= 50 for thumb in picture.thumbs)


@pytest.mark.parametrize(("least", "fits"), [((40, 20), True), ((41, 0), False), ((0, 21), False)])
def test_least_sizes(least: tuple[int, int], *, fits: bool) -> None:
    body = encoded("RGB", 0)
    wanted = Wanted(min_width=least[0], min_height=least[1])
    if fits:
        assert convert(body, wanted).width == 40
    else:
        with pytest.raises(BadPictureError, match=f"40x20 pixels, less than {least[0]}x{least[1]}"):
            convert(body, wanted)


def test_too_many_pixels_are_not_decoded() -> None:
    for body in (encoded("RGB", 0), encoded("RGB", 0)[:-20]):
        with pytest.raises(BadPictureError, match="40x20 pixels, more than 799 in all"):
            look(body, Wanted(max_pixels=799))


@pytest.mark.filterwarnings(f"error::{DecompressionBombWarning.__module__}.{DecompressionBombWarning.__name__}")
@pytest.mark.parametrize("size", [(30_000, 30_000), (10_000, 10_000)])
def test_a_picture_of_a_few_bytes_that_claims_to_be_huge(size: tuple[int, int]) -> None:
    with pytest.raises(BadPictureError, match=f"{size[0]}x{size[1]} pixels, more than 64000000 in all"):
        convert(claiming(size))


def claiming(size: tuple[int, int]) -> bytes:
    """A PNG that says that it has this size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(10_000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + rows + chunk(b"IEND", b"")


def icon(body: bytes) -> bytes:
    """An icon that says that it has 16x16 pixels."""
    return struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(body), 22) + body


@pytest.mark.parametrize(
    "body",
    [
        icon(claiming((8_000, 7_000))),
        icon(struct.pack("<IiiHHIIiiII", 40, 8_000, 7_000, 1, 32, 0, 0, 0, 0, 0, 0)),
        icon(struct.pack("<IHHHH", 12, 8_000, 7_000, 1, 24)),
    ],
    ids=["PNG", "DIB", "core"],
)
def test_an_icon_with_something_huge_in_it(body: bytes) -> None:
    with pytest.raises(BadPictureError, match="an icon of 8000x7000 pixels, more than 2097152 in all"):
        look(body, Wanted())


def test_an_icon_with_several_pictures_gives_the_largest() -> None:
    picture = convert(saved(gradient("RGBA", (256, 256)), "ICO", sizes=[(16, 16), (256, 256), (48, 48)]))
    assert (picture.width, picture.height) == (256, 256)


def test_a_tile_that_is_larger_than_the_picture() -> None:
    size = 16_000
    tags = ((256, 1), (257, 1), (258, 8), (259, 8), (262, 1), (277, 1), (322, size), (323, size), (324, 134), (325, 9))
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    body = b"II*\0" + struct.pack("<IH", 8, len(tags)) + fields + bytes(4) + zlib.compress(bytes(1))
    with pytest.raises(BadPictureError, match=f"{size}x{size} pixels, more than 64000000 in all"):
        look(body, Wanted())
    assert look(body, Wanted(max_pixels=size**2)).cost >= size**2


# -- what is none -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>no picture</html>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        encoded("RGB", 0)[:60],
        b"\x89PNG\r\n\x1a\n",
        saved(gradient("RGB", (300, 300)), "JPEG")[:2000],
        saved(gradient("RGB", (300, 300)), "JPEG", progressive=True)[:2000],
        saved(gradient("RGB", (300, 300)), "WEBP")[:200],
        encoded("P", 0, "GIF", (300, 300))[:30],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"GIF89a",
        b"\0\0\1\0",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_broken_pictures(body: bytes) -> None:
    for wanted in (Wanted(), Wanted(thumbs=((10, 10),)), Wanted(format="keep")):
        with pytest.raises(BadPictureError, match=r"no picture that can be read: ."):
            convert(body, wanted)


@given(st.data())
def test_nothing_but_bad_picture_error_is_raised(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "ICO"]))
    body = bytearray(encoded("RGB", (5, 6, 7), kind))
    for _ in range(data.draw(st.integers(1, 5))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = convert(bytes(body), Wanted(thumbs=((10, 10),)))
    except BadPictureError:
        return
    assert opened(picture.data).size == (picture.width, picture.height)


# -- memory -----------------------------------------------------------------------------------------------------------


def test_what_decoding_costs() -> None:
    def cost(body: bytes) -> int:
        return look(body, Wanted(thumbs=((50, 50),))).cost

    size = (1000, 1000)
    assert cost(saved(gradient("RGB", size))) == 4_000_000
    assert cost(saved(gradient("RGBA", size))) == 8_000_000
    assert cost(saved(gradient("L", size))) == 5_000_000
    assert cost(saved(Image.new("I;16", size))) == 8_000_000
    assert cost(saved(gradient("RGB", size), transparency=(1, 2, 3))) == 12_000_000
    assert look(saved(Image.new("LA", size)), Wanted(format="keep", thumbs=((50, 50),))).cost == 12_000_000
    assert cost(turned("JPEG", size=size)) == 8_000_000
    assert cost(saved(gradient("RGB", size), "JPEG")) < 200_000, "for a thumbnail a JPEG is decoded small"
    assert cost(saved(gradient("RGB", size), "JPEG", progressive=True)) > 3_000_000, "but all of it is there first"
