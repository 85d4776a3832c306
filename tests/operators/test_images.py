"""images: pictures of items."""

from __future__ import annotations

import asyncio
import hashlib
import re
import struct
import threading
import zlib
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from media_made import ID, SITE, Fetching, accepted, encoded, gradient, html, named, of, png
from PIL import Image

from streamcrawl import Crawl, Request, Response
from streamcrawl import operators as ops
from streamcrawl.core import LEASE, Lease
from streamcrawl.errors import ConnectError, ItemRefused, SinkError
from streamcrawl.events import Notice
from streamcrawl.media.media import OpenMedia
from streamcrawl.media.room import Room
from streamcrawl.operators.images import images
from streamcrawl.testing.site import Answer, DemoSite, serve


def test_a_picture_is_stored_and_reported(tmp_path: Path) -> None:
    url = SITE + "/a.png"
    item = {"name": "A", "image_urls": [url]}
    sink = images(tmp_path, thumbs={"small": (20, 20), "big": (600, 600)})
    changed, run = accepted(sink, {"/a.png": png()}, of(item))

    assert item == {"name": "A", "image_urls": [url]}, "the item itself is not touched"
    stored = (tmp_path / "full" / named(url)).read_bytes()
    assert changed["images"] == [
        {
            "url": url,
            "path": f"full/{named(url)}",
            "checksum": hashlib.md5(stored).hexdigest(),
            "status": "downloaded",
            "width": 60,
            "height": 30,
            "thumbs": {name: f"thumbs/{name}/{named(url)}" for name in ("small", "big")},
        }
    ]
    assert list(changed["images"][0])[:4] == ["url", "path", "checksum", "status"]
    sizes = {
        str(path.relative_to(tmp_path)): Image.open(BytesIO(path.read_bytes())).size for path in tmp_path.rglob("*.jpg")
    }
    assert sizes == {
        f"full/{named(url)}": (60, 30),
        f"thumbs/small/{named(url)}": (20, 10),
        f"thumbs/big/{named(url)}": (60, 30),
    }
    assert all(request.dont_filter for request in run.requests_made)
    assert (run.stats["file_count"], run.stats["file_status_count/downloaded"]) == (1, 1)


def test_every_failure_is_in_the_report(tmp_path: Path) -> None:
    answers = {
        "/refused": ConnectError("connection refused"),
        "/robots": "robots.txt",
        "/text": html("<p>Please log in"),
        "/empty": b"",
        "/tiny": png(3, 3),
        "/good": png(),
    }
    urls = [SITE + path for path in ("/refused", "/robots", "/missing", "/text", "/empty", "/tiny", "/good")]
    changed, run = accepted(images(tmp_path, min_width=10), answers, of({"image_urls": urls}))
    reports = changed["images"]
    assert [report["url"] for report in reports] == urls
    assert [report["status"] for report in reports] == ["failed"] * 6 + ["downloaded"]
    errors = [report.get("error", "") for report in reports]
    assert errors[:3] == ["connection refused", "robots.txt", "HTTP status 404"]
    assert errors[3:] == [
        "no picture that can be read: of no known format (text/html)",
        "empty body",
        "3x3 pixels, less than 10x0",
        "",
    ]
    assert (run.stats["file_status_count/failed"], run.stats["file_count"]) == (6, 1)
    assert all(body.closed for body in run.bodies)


def test_a_store_that_fails_is_in_the_report(tmp_path: Path) -> None:
    async def work(opened: OpenMedia, _: Fetching) -> Any:
        (tmp_path / "full").write_text("in the way")
        return await opened.accept({"image_urls": [SITE + "/a"]}, ID)

    changed, _ = accepted(images(tmp_path), {"/a": png()}, work)
    assert changed["images"][0]["status"] == "failed"
    assert "cannot write full/" in changed["images"][0]["error"]


def test_a_picture_wanted_by_several_is_fetched_once(tmp_path: Path) -> None:
    async def work(opened: OpenMedia, run: Fetching) -> list[Any]:
        run.gate.clear()
        items = [{"n": number, "image_urls": [SITE + "/a", SITE + f"/{number}"]} for number in range(5)]
        tasks = [asyncio.create_task(opened.accept(item, ID)) for item in items]
        while run.at_once < 6:
            await asyncio.sleep(0)
        run.gate.set()
        return await asyncio.gather(*tasks)

    changed, run = accepted(images(tmp_path), {"/a": png()}, work)
    assert run.asked[SITE + "/a"] == 1
    assert run.most == 6, "all pictures were asked for at once"
    assert [[report["status"] for report in item["images"]] for item in changed] == [["downloaded", "failed"]] * 5


def test_another_takes_over_when_who_fetches_is_cancelled(tmp_path: Path) -> None:
    async def work(opened: OpenMedia, run: Fetching) -> Any:
        run.gate.clear()
        item = {"image_urls": [SITE + "/a"]}
        first = asyncio.create_task(opened.accept(item, ID))
        while not run.at_once:
            await asyncio.sleep(0)
        second = asyncio.create_task(opened.accept(item, ID))
        await asyncio.sleep(0)
        first.cancel()
        run.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await second

    changed, run = accepted(images(tmp_path), {"/a": png()}, work)
    assert changed["images"][0]["status"] == "downloaded"
    assert run.asked[SITE + "/a"] == 2


def test_pictures_are_fetched_for_the_lease_of_the_item(tmp_path: Path) -> None:
    lease = Lease(7, Request(SITE), SITE, lambda lease: None)

    async def work(opened: OpenMedia, _: Fetching) -> None:
        LEASE.set(lease)
        await opened.accept({"image_urls": [SITE + "/a", SITE + "/b"]}, ID)

    _, run = accepted(images(tmp_path), {}, work)
    assert run.parents == [lease, lease]


@dataclass(frozen=True, slots=True)
class Thing:
    image_urls: list[str]
    images: list[Any] = field(default_factory=list[Any])


@dataclass
class Bare:
    pics: str


def test_objects_get_the_field_they_have(tmp_path: Path) -> None:
    changed, _ = accepted(images(tmp_path), {"/a": png()}, of(Thing([SITE + "/a"])))
    assert isinstance(changed, Thing)
    assert changed.images[0]["status"] == "downloaded"


def test_an_object_without_the_field_passes_and_that_is_told_once(tmp_path: Path) -> None:
    told: list[str] = []
    item = Bare(SITE + "/a")

    async def work(opened: OpenMedia, run: Fetching) -> list[Any]:
        run.events.on(Notice, lambda notice: told.append(notice.text))
        return [await opened.accept(item, ID), await opened.accept(item, ID)]

    changed, _ = accepted(images(tmp_path, urls_field="pics"), {"/a": png()}, work)
    assert changed == [item, item]
    assert (tmp_path / "full" / named(SITE + "/a")).exists()
    assert told == ["images: items of the class Bare have no field 'images' for the reports of their files"]


@pytest.mark.parametrize("value", [None, "", [], ()])
def test_an_item_without_pictures(tmp_path: Path, value: Any) -> None:
    changed, run = accepted(images(tmp_path), {}, of({"image_urls": value}))
    assert changed == {"image_urls": value, "images": []}
    assert not run.asked


def test_the_same_url_several_times_in_an_item_is_fetched_once_and_reported_each_time(tmp_path: Path) -> None:
    changed, run = accepted(images(tmp_path), {"/a": png()}, of({"image_urls": [SITE + "/a"] * 3}))
    assert [report["status"] for report in changed["images"]] == ["downloaded"] * 3
    assert run.asked.total() == 1


def test_a_batch_is_several_items(tmp_path: Path) -> None:
    changed, _ = accepted(images(tmp_path), {"/a": png()}, of([{"image_urls": [SITE + "/a"]}, {"name": "none"}]))
    assert [len(item["images"]) for item in changed] == [1, 0]


@pytest.mark.parametrize(
    ("item", "said"), [("text", "no item: str"), ({"image_urls": 5}, "field 'image_urls' holds 5: URLs are needed")]
)
def test_what_has_no_urls(tmp_path: Path, item: Any, said: str) -> None:
    with pytest.raises(ItemRefused, match=f"images: {said}"):
        accepted(images(tmp_path), {}, of(item))


def test_a_folder_that_cannot_be_written_is_named_when_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match=f"cannot write {tmp_path}/file/.parts: Not a directory"):
        accepted(images(tmp_path / "file"), {}, of({}))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"store": ""}, "store=''"),
        ({"min_width": -1}, "min_width=-1: 0 pixels or more"),
        ({"min_height": -2}, "min_height=-2"),
        ({"urls_field": ""}, "names of fields"),
        ({"thumbs": {"a/b": (1, 1)}}, "the name 'a/b' is to be the name of a folder"),
        ({"thumbs": {"..": (1, 1)}}, "the name '..'"),
        ({"thumbs": {"small": (0, 5)}}, r"'small' is \(0, 5\)"),
        ({"thumbs": {"small": (5,)}}, r"'small' is \(5,\)"),
        ({"format": "gif"}, "format='gif': one of jpeg, png, webp, avif, keep"),
        ({"thumbs_format": "bmp"}, "thumbs_format='bmp'"),
        ({"quality": 0}, "quality=0: 1 to 100"),
        ({"max_pixels": 0}, "max_pixels=0: 1 or more"),
        ({"decode_memory": 0}, "decode_memory=0"),
        ({"threads": 0}, "threads=0"),
    ],
)
def test_arguments_are_checked_when_built(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        images(arguments.pop("store", "x"), **arguments)


def test_pictures_of_the_demo_shop(tmp_path: Path) -> None:
    def parse(page: Response) -> Any:
        yield {
            "name": page.css("h1::text").get(),
            "image_urls": [page.urljoin(src) for src in page.css("img::attr(src)").getall()],
        }

    with DemoSite() as shop:
        crawl = Crawl(shop.url + path for path in ("/product/1", "/product/2", "/product/3")).pipe(
            ops.download(), ops.scrape(parse), images(tmp_path / "pictures", thumbs={"small": (50, 50)})
        )
        items = asyncio.run(crawl.collect())
    reports = [report for item in items for report in item["images"]]
    assert [report["status"] for report in reports] == ["downloaded"] * 5
    assert {(report["width"], report["height"]) for report in reports} == {(160, 120)}
    assert len(list((tmp_path / "pictures" / "full").iterdir())) == 5
    assert len(list((tmp_path / "pictures" / "thumbs" / "small").iterdir())) == 5


def test_formats_and_where_they_go(tmp_path: Path) -> None:
    answers = {"/a.png": png(), "/b.gif": encoded("P", 0, "GIF"), "/c.jpg": encoded("RGB", 0, "WEBP"), "/d": png()}
    urls = [SITE + path for path in answers]
    sink = images(tmp_path, format="keep", thumbs={"small": (5, 5)})
    changed, _ = accepted(sink, answers, of({"image_urls": urls}))
    extensions = [".png", ".gif", ".webp", ".png"]
    thumbs = [".png", ".png", ".webp", ".png"]
    for url, extension, thumb, report in zip(urls, extensions, thumbs, changed["images"], strict=True):
        assert report["path"] == f"full/{named(url, extension)}"
        assert report["thumbs"] == {"small": f"thumbs/small/{named(url, thumb)}"}
        assert (tmp_path / report["thumbs"]["small"]).exists()
    assert (tmp_path / changed["images"][1]["path"]).read_bytes() == answers["/b.gif"]

    again, run = accepted(sink, {}, of({"image_urls": urls}))
    assert not run.asked
    assert [report["status"] for report in again["images"]] == ["uptodate"] * 4
    for new, old in zip(again["images"], changed["images"], strict=True):
        assert {**new, "status": "downloaded"} == old


def test_a_thumbnail_that_is_new_has_the_picture_fetched_again(tmp_path: Path) -> None:
    item = {"image_urls": [SITE + "/a"]}
    accepted(images(tmp_path, thumbs={"small": (5, 5)}), {"/a": png()}, of(item))
    changed, run = accepted(images(tmp_path, thumbs={"small": (5, 5), "big": (9, 9)}), {"/a": png()}, of(item))
    assert run.asked.total() == 1
    assert changed["images"][0]["status"] == "downloaded"
    changed, run = accepted(images(tmp_path, thumbs={"big": (9, 9)}), {}, of(item))
    assert changed["images"][0]["status"] == "uptodate"
    assert changed["images"][0]["thumbs"] == {"big": f"thumbs/big/{named(SITE + '/a')}"}


def test_paths_of_ones_own(tmp_path: Path) -> None:
    seen: list[Any] = []

    def file_path(request: Request, response: Response | None, item: Any) -> str:
        seen.append(response if response is None else response.body)
        return f"{item['name']}/{request.url.rpartition('/')[2]}.jpg"

    def thumb_path(request: Request, name: str, response: Response | None, item: Any) -> str:
        return f"{item['name']}/{name}-{request.url.rpartition('/')[2]}.jpg"

    sink = images(tmp_path, thumbs={"s": (5, 5)}, file_path=file_path, thumb_path=thumb_path)
    item = {"name": "chair", "image_urls": [SITE + "/a"]}
    changed, _ = accepted(sink, {"/a": png()}, of(item))
    assert changed["images"][0]["path"] == "chair/a.jpg"
    assert changed["images"][0]["thumbs"] == {"s": "chair/s-a.jpg"}
    assert seen == [None, png()], "before it is fetched, and with the response"
    again, run = accepted(sink, {}, of(item))
    assert (again["images"][0]["status"], run.asked.total()) == ("uptodate", 0)


def gives(value: Any) -> Any:
    """A function that gives this, or raises it."""

    def function(*arguments: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    return function


@pytest.mark.parametrize(
    ("hook", "value", "said"),
    [
        ("file_path", ZeroDivisionError("division by zero"), "file_path: ZeroDivisionError: division by zero"),
        ("file_path", 5, "file_path gave 5: a path is needed"),
        ("file_path", "../../etc/passwd", "is no path within it"),
        ("file_path", "a" * 300, "File name too long"),
        ("file_path", None, "file_path gave None for a response"),
        ("thumb_path", None, "thumb_path gave None: a path is needed"),
        ("thumb_path", KeyError("x"), "thumb_path: KeyError: 'x'"),
        ("convert_image", AttributeError("no attribute"), "no picture that can be read: no attribute"),
        ("convert_image", None, "no picture that can be read: .*None"),
    ],
)
def test_what_goes_wrong_in_a_function_of_the_user_is_that_pictures_failure(
    tmp_path: Path, hook: str, value: Any, said: str
) -> None:
    item = {"image_urls": [SITE + "/a"]}
    options: dict[str, Any] = {hook: gives(value)}
    changed, _ = accepted(images(tmp_path, thumbs={"s": (5, 5)}, **options), {"/a": png()}, of(item))
    assert changed["images"][0]["status"] == "failed"
    assert re.search(said, changed["images"][0]["error"])


def test_edited_in_a_thread(tmp_path: Path) -> None:
    threads: set[str] = set()

    def grey(image: Image.Image) -> Image.Image:
        threads.add(threading.current_thread().name)
        return image.convert("L")

    sink = images(tmp_path, convert_image=grey)
    changed, _ = accepted(sink, {"/a": encoded("RGB", (200, 0, 0), "JPEG")}, of({"image_urls": SITE + "/a"}))
    with Image.open(tmp_path / changed["images"][0]["path"]) as stored:
        pixel: Any = stored.getpixel((5, 5))
    assert len(set(pixel)) == 1
    assert all(name.startswith("images") for name in threads)


def test_bodies_are_read_when_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamcrawl.media.open_images.HELD", 600_000)
    held: list[int] = []

    class Watched(Room):
        def give(self, size: int) -> None:
            if self.limit == 600_000:
                held.append(self.used)
            super().give(size)

    monkeypatch.setattr("streamcrawl.media.memory.Room", Watched)
    work = of({"image_urls": [f"{SITE}/{n}" for n in range(12)]})
    changed, _ = accepted(images(tmp_path), {f"/{n}": png() for n in range(12)}, work)
    assert [report["status"] for report in changed["images"]] == ["downloaded"] * 12
    assert len(held) == 12
    assert max(held) <= 600_000, "two of unknown length at a time"


def test_the_sum_of_a_crawl_and_its_stats(tmp_path: Path) -> None:
    def parse(page: Response) -> Any:
        yield {"image_urls": [page.urljoin(src) for src in page.css("img::attr(src)").getall()] + [page.urljoin("/no")]}

    with DemoSite() as shop:
        crawl = Crawl(shop.url + "/product/1").pipe(
            ops.download(), ops.scrape(parse), ops.images(tmp_path, thumbs={"small": (50, 50)})
        )
        first, second = crawl.run(), crawl.run()
    assert first.balanced
    assert (first.stats["file_count"], first.stats["file_status_count/downloaded"]) == (2, 2)
    assert first.stats["file_status_count/failed"] == 1
    assert second.stats["file_status_count/uptodate"] == 2
    assert second.stats["file_count"] == 2


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def hostile() -> dict[str, tuple[Any, str]]:
    """By path: what the server sends, and what the report says; "": it is stored."""
    grey = gradient((300, 200))
    whole = saved(grey.convert("RGB"), "JPEG")
    huge = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 6, 0, 0, 0)
    huge += struct.pack(">I", zlib.crc32(huge[12:])) + b"\0\0\0\x05IDAT" + bytes(9)
    return {
        "/corrupt": (whole[:400] + bytes(400) + whole[800:], "no picture that can be read"),
        "/truncated": (whole[: len(whole) // 2], "no picture that can be read: image file is truncated"),
        "/huge": (huge, "30000x30000 pixels, more than 64000000 in all"),
        "/page": (Answer("<h1>Sold out</h1>", headers={"Content-Type": "text/html"}), "of no known format (text/html)"),
        "/empty": (Answer(b"", headers={"Content-Type": "image/png"}), "empty body"),
        "/animated": (saved(grey, "GIF", save_all=True, append_images=[grey.rotate(90)]), ""),
        "/cmyk": (saved(grey.convert("CMYK"), "JPEG"), ""),
        "/deep": (saved(grey.convert("I;16"), "PNG"), ""),
        "/palette": (saved(grey.convert("P"), "PNG", transparency=0), ""),
        "/dot": (saved(Image.new("1", (1, 1)), "PNG"), ""),
        "/" + "n" * 300 + ".png": (png(), ""),
    }


def test_hostile_pictures_in_a_crawl(tmp_path: Path) -> None:
    sent = hostile()

    def parse(page: Response) -> Any:
        for path in (*sent, "/good"):
            yield {"path": path, "image_urls": [page.urljoin(path), page.urljoin("/good")]}

    async def main(url: str) -> tuple[list[Any], Any]:
        items: list[Any] = []
        sink = ops.images(tmp_path, thumbs={"small": (50, 50)})
        crawl = Crawl(url).pipe(ops.download(*ops.default_layers(robots_txt=None)), ops.scrape(parse), sink)
        return items, await crawl.start(on_item=items.append)

    with serve({"/": "start", "/good": png(), **{path: answer for path, (answer, _) in sent.items()}}) as site:
        items, summary = asyncio.run(main(site.url))
    assert summary.balanced
    assert summary.error is None
    assert len(items) == len(sent) + 1, "no item is lost"
    for item in items:
        report, good = item["images"]
        why = sent.get(item["path"], (b"", ""))[1]
        assert good["status"] in ("downloaded", "uptodate")
        assert why in report.get("error", ""), item["path"]
        assert (report["status"] == "failed") == bool(why), (item["path"], report)
        for path in () if why else (report["path"], report["thumbs"]["small"]):
            with Image.open(tmp_path / path) as image:
                assert (image.format, image.mode) == ("JPEG", "RGB")
    failures = sum(bool(why) for _, why in sent.values())
    assert summary.stats["file_status_count/failed"] == failures == 5
    assert summary.stats["file_count"] == 2 * len(items) - failures
