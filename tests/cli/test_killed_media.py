"""A crawl that stores files and pictures, killed again and again: nothing lost, nothing doubled, nothing half."""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

from media_made import gradient
from PIL import Image

from streamcrawl.testing.site import Answer, Arrival, Reply, serve

Begin = Callable[..., "subprocess.Popen[str]"]
Write = Callable[[str, str], Path]

PAGES = 90
KILLS = 5
WHEN = 15, 60
"""After so many requests; in all that is less than the crawl makes, so that there is always something left to do."""

FLOW = """
from streamcrawl import Crawl, operators as ops

def parse(page):
    number = int(page.url.rpartition("/")[2])
    yield {{
        "page": number,
        "image_urls": [page.urljoin(f"/picture/{{number}}.png"), page.urljoin(f"/picture/{{number % 7}}.jpg")],
        "file_urls": [page.urljoin(f"/file/{{number % 30}}.bin"), page.urljoin("/missing")],
    }}
    yield from page.follow_all(css="a")

crawl = Crawl("{site}/page/0", concurrency=4).pipe(
    ops.download(*ops.default_layers(robots_txt=None)),
    ops.scrape(parse),
    ops.images("pictures", thumbs={{"small": (50, 50)}}),
    ops.files("files", digest="sha256"),
    ops.feed("items.jsonl"),
)
"""


@cache
def picture(number: int, kind: str) -> bytes:
    out = BytesIO()
    size = (100 + number * 7, 400)
    gradient(size).convert("RGB").save(out, kind)
    return out.getvalue()


@cache
def body(number: int) -> bytes:
    return Random(number).randbytes(50_000 + number * 90_000)


class Site:
    """Answers, until so many requests have come: then it says so, and holds still until the crawl is killed."""

    def __init__(self) -> None:
        self.left = 0
        self.reached = threading.Event()
        self.killed = threading.Event()

    def expect(self, arrivals: int) -> None:
        self.reached.clear()
        self.killed.clear()
        self.left = arrivals

    def __call__(self, arrival: Arrival) -> Reply:
        self.left -= 1
        if self.left == 0:
            self.reached.set()
            self.killed.wait(60)  # however busy the machine is, no more than that is done before
        return answer(arrival)


def answer(arrival: Arrival) -> Reply:
    kind, _, name = arrival.path[1:].partition("/")
    number = int(name.partition(".")[0] or 0) if kind != "missing" else 0
    if kind == "page":
        return "".join(f'<a href="/page/{k}">{k}</a>' for k in (2 * number + 1, 2 * number + 2) if k < PAGES)
    if kind == "picture":
        return picture(number, "PNG" if name.endswith("png") else "JPEG")
    if kind == "file":
        whole = body(number)
        return Answer(chunks=[whole[at : at + 65536] for at in range(0, len(whole), 65536)], pause=0.001)
    return 404


def test_nothing_lost_nothing_doubled_nothing_half(begin: Begin, write: Write) -> None:
    random = Random(5)
    site = Site()
    with serve(site) as server:
        flow = write("flow.py", FLOW.format(site=server.url))
        for _ in range(KILLS):
            site.expect(random.randrange(*WHEN))
            process = begin("run", "flow.py", "--job", "job", "--quiet")
            assert site.reached.wait(60), "it was to take more requests than that"
            process.kill()
            process.communicate()
            site.killed.set()
            check_whole(flow.parent)
        process = begin("run", "flow.py", "--job", "job", "--quiet")
        _, told = process.communicate(timeout=100)
        assert process.returncode == 0, told
    folder = flow.parent
    items = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    assert Counter(item["page"] for item in items) == Counter(range(PAGES))
    for item in items:
        check_item(item, folder)
    check_whole(folder)
    left = [path for store in ("pictures", "files") for path in (folder / store).rglob(".*")]
    assert left == [], "what was half done is gone"
    assert len(list((folder / "pictures" / "full").iterdir())) == PAGES + 7
    assert len(list((folder / "files" / "full").iterdir())) == 30


def check_item(item: dict[str, Any], folder: Path) -> None:
    one, two = item["images"]
    assert {one["status"], two["status"]} <= {"downloaded", "uptodate"}
    assert (one["width"], one["height"]) == (100 + item["page"] * 7, 400)
    for report in (one, two):
        assert hashlib.md5((folder / "pictures" / report["path"]).read_bytes()).hexdigest() == report["checksum"]
        assert (folder / "pictures" / report["thumbs"]["small"]).exists()
    file, missing = item["files"]
    assert (folder / "files" / file["path"]).read_bytes() == body(item["page"] % 30)
    assert file["checksum"] == hashlib.sha256(body(item["page"] % 30)).hexdigest()
    assert missing["error"] == "HTTP status 404"


def check_whole(folder: Path) -> None:
    """Every file under its own name is whole, at any moment; and where a picture is, its thumbnail is."""
    for path in (folder / "pictures" / "full").glob("*"):
        with Image.open(path) as image:
            image.load()
        assert (folder / "pictures" / "thumbs" / "small" / path.name).exists()
    sizes = {50_000 + number * 90_000 for number in range(30)}
    assert all(path.stat().st_size in sizes for path in (folder / "files" / "full").glob("*"))
