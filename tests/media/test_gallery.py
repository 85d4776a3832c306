"""The page of what a store holds."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_made import SITE, accepted, named, of, png
from PIL import Image
from store_servers import s3_server

from streamcrawl.media.gallery import Entry, embedded, entries, in_bytes, page, relative
from streamcrawl.operators.files import files
from streamcrawl.operators.images import images
from streamcrawl.storage.store import Place


class Read(HTMLParser):
    """The tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str, attribute: str) -> list[str]:
        return [
            attributes[attribute] or "" for name, attributes in self.tags if name == tag and attribute in attributes
        ]


def looked(place: Place) -> list[Entry]:
    async def work() -> list[Entry]:
        store = place.look()
        try:
            return await entries(store)
        finally:
            await store.close()

    return asyncio.run(work())


def test_what_is_in_a_store(tmp_path: Path) -> None:
    urls = [SITE + "/a.png", SITE + "/b.png"]
    accepted(
        images(tmp_path, thumbs={"small": (5, 5), "big": (30, 30)}),
        {"/a.png": png(), "/b.png": png(90, 90)},
        of({"image_urls": urls}),
    )
    accepted(files(tmp_path), {"/c.pdf": b"%PDF"}, of({"file_urls": SITE + "/c.pdf"}))
    (tmp_path / "full" / "by hand.jpg").write_bytes(png())
    (tmp_path / "gallery.html").write_text("an earlier page")
    found = {entry.path: entry for entry in looked(Place(str(tmp_path)))}
    picture = found[f"full/{named(urls[0])}"]
    assert (picture.url, picture.width, picture.height) == (urls[0], 60, 30)
    assert picture.thumb == f"thumbs/big/{named(urls[0])}"
    assert found[f"full/{named(SITE + '/c.pdf', '.pdf')}"].thumb == ""
    assert (found["full/by hand.jpg"].url, found["full/by hand.jpg"].thumb) == ("", "full/by hand.jpg")
    assert len(found) == 4, "no thumbnail, no index, no page"


def test_to_look_makes_nothing(tmp_path: Path) -> None:
    assert looked(Place(str(tmp_path / "nothing"))) == []
    assert not (tmp_path / "nothing").exists()


def test_a_store_elsewhere_with_embedded_pictures() -> None:
    with s3_server("pictures") as server:
        place = Place("s3://pictures/a", server.storage)
        urls = [SITE + "/a.png", SITE + "/large.png"]
        answers = {"/a.png": png(), "/large.png": png(900, 900, mode="RGB", colour=0), "/c": b"x"}
        accepted(images("s3://pictures/a", storage=server.storage), answers, of({"image_urls": urls}))
        accepted(files("s3://pictures/a", storage=server.storage), answers, of({"file_urls": SITE + "/c"}))

        async def work() -> tuple[list[Entry], dict[str, str], str]:
            store = place.look()
            found = await entries(store)
            gone = Entry("full/gone.jpg", 5, 0.0, thumb="full/gone.jpg")
            pictures = await embedded(store, [*(entry for entry in found if entry.thumb), gone])
            url = store.url("full/x y.jpg")
            await store.close()
            return found, pictures, url

        found, pictures, url = asyncio.run(work())
        assert url == f"{server.url}/pictures/a/full/x%20y.jpg"
    assert {entry.url for entry in found} == {*urls, SITE + "/c"}
    assert sorted(pictures) == sorted(f"full/{named(each)}" for each in urls)
    assert all(picture.startswith("data:image/jpeg;base64,") for picture in pictures.values())


def test_of_a_large_picture_a_small_one_is_embedded(tmp_path: Path) -> None:
    noise = Image.effect_noise((700, 350), 90).convert("RGB")
    noise.putalpha(200)
    noise.save(tmp_path / "noise.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "noise.png").read_bytes()[:100_000])

    async def work() -> dict[str, str]:
        store = Place(str(tmp_path)).look()
        try:
            return await embedded(store, await entries(store))
        finally:
            await store.close()

    pictures = asyncio.run(work())
    assert list(pictures) == ["noise.png"], "what cannot be read is left out"
    kind, _, data = pictures["noise.png"].partition(",")
    with Image.open(BytesIO(b64decode(data))) as small:
        assert (kind, small.format, small.size) == ("data:image/jpeg;base64", "JPEG", (240, 120))


EVIL = '"><script>alert(1)</script>'


def test_everything_is_escaped_and_no_link_runs_anything() -> None:
    shown = [
        Entry(f"full/{EVIL}.jpg", 5, 0.0, f"https://a.example/{EVIL}", thumb="x"),
        Entry("full/b.jpg", 5, 0.0, "javascript:alert(1)"),
        Entry("full/c.jpg", 5, 0.0, "data:text/html,<script>alert(1)</script>"),
        Entry("full/d.jpg", 5, 0.0, "https://[broken"),
        Entry(f"full/e.{EVIL[:4]}", 5, 0.0),
    ]
    links = {entry.path: relative(entry.path, "..") for entry in shown}
    text = page(EVIL, shown, 9, links, {shown[0].path: relative(shown[0].path, ".")})
    read = Read(text)
    assert [name for name, _ in read.tags if name in ("script", "link", "iframe", "object")] == []
    assert not any(name.startswith("on") for _, attributes in read.tags for name in attributes)
    outside = [link for link in read.all("a", "href") if ":" in link]
    assert outside == [f"https://a.example/{EVIL}", "https://[broken"]
    assert [source for source in read.all("img", "src") if not source.startswith("./full/")] == []
    assert EVIL in read.text
    assert "the newest 5 of 9 files" in "".join(read.text)


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_whatever_the_texts_the_page_has_its_form(title: str, path: str, url: str) -> None:
    entry = Entry(f"full/{path}", 5, 1e9, url)
    read = Read(page(title, [entry], 1, {entry.path: "x"}, {}))
    figure = [name for name, _ in read.tags if name not in ("meta", "title", "style")]
    assert figure[:8] == ["html", "head", "body", "header", "h1", "p", "main", "figure"]
    assert len(figure) <= 16


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (34_567, "35 kB"),
        (3_400_000, "3.4 MB"),
        (2**50, "1125.9 TB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert in_bytes(size) == text
