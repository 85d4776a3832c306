"""Feeds to an object store, in parts and whole, whose crawl is killed again and again."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from pyarrow import parquet  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]
from store_servers import s3_server

from streamcrawl.testing.site import Arrival, Reply, serve

Begin = Callable[..., "subprocess.Popen[str]"]
Write = Callable[[str, str], Path]

PAGES = 900
ITEMS = 7
KILLS = 4

FLOW = """
from streamcrawl import Crawl, operators as ops

def parse(page):
    number = int(page.url.rpartition("/")[2])
    for n in range({items}):
        yield {{"page": number, "n": n, "text": f"{{number * n}}" * 500}}
    yield from page.follow_all(css="a")

storage = {{"key": "key", "secret": "secret", "endpoint_url": "{store}"}}
crawl = Crawl("{site}/0", concurrency=4).pipe(
    ops.download(*ops.default_layers(robots_txt=None)),
    ops.scrape(parse),
    ops.feed("s3://pages/parts/{{part:04}}.jsonl", part_items=600, storage=storage),
    ops.feed("s3://pages/parts/%(batch_time)s.json.gz", part_items=1500, storage=storage),
    ops.feed("s3://pages/whole.jsonl", storage=storage),
    ops.feed("s3://pages/whole.jsonl.gz", storage=storage),
    ops.feed("whole.jsonl.gz"),
    ops.feed("whole.parquet"),
)
"""


def pages(arrival: Arrival) -> Reply:
    """A tree of pages."""
    n = int(arrival.path.strip("/"))
    return "".join(f'<a href="/{k}">{k}</a>' for k in (2 * n + 1, 2 * n + 2) if k < PAGES)


@pytest.fixture
def store() -> Iterator[tuple[str, Any]]:
    with s3_server("pages") as server:
        yield server.url, server.client


def test_every_item_once(store: tuple[str, Any], begin: Begin, write: Write, folder: Path) -> None:
    url, client = store
    random = Random(7)
    with serve(pages) as site:
        flow = FLOW.format(site=site.url, store=url, items=ITEMS)
        write("flow.py", flow)
        for _ in range(KILLS):
            killed = begin("run", "flow.py", "--job", "job", "--quiet")
            until = len(site.arrivals) + random.randrange(1, 250)
            while len(site.arrivals) < until and killed.poll() is None:
                threading.Event().wait(0.01)
            killed.kill()
            killed.communicate()
            assert killed.returncode == -signal.SIGKILL, "it was killed within the crawl"
        process = begin("run", "flow.py", "--job", "job", "--quiet")
        _, told = process.communicate(timeout=100)
        assert process.returncode == 0, told
    expected = Counter((page, n) for page in range(PAGES) for n in range(ITEMS))
    listed = [each["Key"] for each in client.list_objects_v2(Bucket="pages")["Contents"]]
    bodies = {name: client.get_object(Bucket="pages", Key=name)["Body"].read() for name in listed}
    parts = [name for name in listed if name.endswith(".jsonl") and name.startswith("parts/")]
    assert parts == [f"parts/{n:04}.jsonl" for n in range(1, len(parts) + 1)]
    assert found(line for name in parts for line in lines(bodies[name])) == expected
    timed = [json.loads(gzip.decompress(bodies[name])) for name in listed if name.endswith(".json.gz")]
    assert len(timed) == -(-PAGES * ITEMS // 1500)
    assert found(item for part in timed for item in part) == expected
    for body in bodies["whole.jsonl"], gzip.decompress(bodies["whole.jsonl.gz"]):
        assert found(lines(body)) == expected
    assert found(lines(gzip.decompress((folder / "whole.jsonl.gz").read_bytes()))) == expected
    assert found(cast("Any", parquet).read_table(folder / "whole.parquet").to_pylist()) == expected
    assert not client.list_multipart_uploads(Bucket="pages").get("Uploads")


def lines(body: bytes) -> Iterator[dict[str, Any]]:
    return map(json.loads, body.splitlines())


def found(items: Iterable[dict[str, Any]]) -> Counter[tuple[int, int]]:
    return Counter((item["page"], item["n"]) for item in items)
