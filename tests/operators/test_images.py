"""images: pictures of items."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from media_made import ID, SITE, Fetching, accepted, encoded, html, named, of, png
from PIL import Image

from streamcrawl import Crawl, Request, Response
from streamcrawl import operators as ops
from streamcrawl.core import LEASE, Lease
from streamcrawl.errors import ConnectError, ItemRefused, SinkError
from streamcrawl.events import Notice
from streamcrawl.media.media import OpenMedia
from streamcrawl.operators.images import images
from streamcrawl.testing.site import DemoSite


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
        }
    ]
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
        "/text": b"no picture",
        "/tiny": png(3, 3),
        "/good": png(),
    }
    urls = [SITE + path for path in ("/refused", "/robots", "/missing", "/text", "/tiny", "/good")]
    changed, run = accepted(images(tmp_path, min_width=10), answers, of({"image_urls": urls}))
    reports = changed["images"]
    assert [report["url"] for report in reports] == urls
    assert [report["status"] for report in reports] == ["failed"] * 5 + ["downloaded"]
    errors = [report.get("error", "") for report in reports]
    assert errors[:3] == ["connection refused", "robots.txt", "HTTP status 404"]
    assert "no picture that can be read" in errors[3]
    assert errors[4:] == ["3x3 pixels, less than 10x0", ""]
    assert run.stats["file_status_count/failed"] == 5


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
    assert told == ["images: items of the class Bare have no field 'images' for their pictures"]


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
