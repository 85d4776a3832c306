"""A feed to an object store in parts, whose crawl is killed again and again."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, cast

import boto3  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]
import pytest
from moto.server import ThreadedMotoServer

from streamcrawl.testing.site import Arrival, Reply, serve

Begin = Callable[..., "subprocess.Popen[str]"]
Write = Callable[[str, str], Path]

PAGES = 400
ITEMS = 7

FLOW = """
from streamcrawl import Crawl, operators as ops

def parse(page):
    number = int(page.url.rpartition("/")[2])
    for n in range({items}):
        yield {{"page": number, "n": n}}
    yield from page.follow_all(css="a")

storage = {{"key": "key", "secret": "secret", "endpoint_url": "{store}"}}
crawl = Crawl("{site}/0", concurrency=4).pipe(
    ops.download(*ops.default_layers(robots_txt=None)),
    ops.scrape(parse),
    ops.feed("s3://pages/{{part:04}}.jsonl", part_items=150, storage=storage),
)
"""


def pages(arrival: Arrival) -> Reply:
    """A tree of pages."""
    n = int(arrival.path.strip("/"))
    return "".join(f'<a href="/{k}">{k}</a>' for k in (2 * n + 1, 2 * n + 2) if k < PAGES)


@pytest.fixture
def store() -> Iterator[tuple[str, Any]]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = cast("Any", boto3).client("s3", endpoint_url=url, aws_access_key_id="key", aws_secret_access_key="secret")
    client.create_bucket(Bucket="pages")
    yield url, client
    server.stop()


def test_every_item_once_in_whole_parts(store: tuple[str, Any], begin: Begin, write: Write) -> None:
    url, client = store
    random = Random(7)
    kills = 0
    with serve(pages) as site:
        flow = FLOW.format(site=site.url, store=url, items=ITEMS).replace("", "")
        write("flow.py", flow)
        for _ in range(60):
            process = begin("run", "flow.py", "--job", "job", "--quiet")
            try:
                _, told = process.communicate(timeout=1.2 + random.random() * 0.8 if kills < 8 else 60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
                continue
            assert process.returncode == 0, told
            break
    names = [each["Key"] for each in client.list_objects_v2(Bucket="pages")["Contents"]]
    found = [client.get_object(Bucket="pages", Key=name)["Body"].read() for name in names]
    parts = [[json.loads(line) for line in body.splitlines()] for body in found]
    assert kills >= 3
    assert names == [f"{n:04}.jsonl" for n in range(1, len(names) + 1)]
    assert Counter((item["page"], item["n"]) for part in parts for item in part) == Counter(
        (page, n) for page in range(PAGES) for n in range(ITEMS)
    )
