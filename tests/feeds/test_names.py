"""Parameters in the URIs of feeds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streamcrawl import Crawl, Response
from streamcrawl.errors import SinkError
from streamcrawl.feeds.names import of_part, of_run
from streamcrawl.operators.download import download
from streamcrawl.operators.feed import feed
from streamcrawl.spiders import Spider
from streamcrawl.streams.local import LocalRun
from streamcrawl.testing import FakeFetch, run_virtual

AT = 1_700_000_000.25
RUN: Any = SimpleNamespace(spider=None)
SPIDER: Any = SimpleNamespace(spider=SimpleNamespace(name="books", site="a.test"))


@pytest.mark.parametrize(
    ("uri", "filled"),
    [
        ("s3://b/{name}/{time}.jsonl", "s3://b/tea/2023-11-14T22-13-20+00-00.jsonl"),
        ("s3://b/%(name)s/%(time)s.jsonl", "s3://b/tea/2023-11-14T22-13-20+00-00.jsonl"),
        ("{time:%Y/%m}/items.csv", "2023/11/items.csv"),
        ("%(n)05d-{n:04}-{n}.csv", "00007-0007-7.csv"),
        ("a%20b-{part}.csv", "a%20b-{part}.csv"),
        ("{part_time}-%(batch_id)d.csv", "{part_time}-%(batch_id)d.csv"),
    ],
)
def test_of_a_run(uri: str, filled: str) -> None:
    assert of_run(uri, RUN, AT, {"name": "tea", "n": 7}) == filled


def test_of_parts() -> None:
    assert of_part("{part:03}/{part_time:%H%M}.csv", 12, AT) == "012/2213.csv"
    assert of_part("%(batch_id)03d/%(batch_time)s.csv", 12, AT) == "012/2023-11-14T22-13-20.250000+00-00.csv"


def test_of_a_spider() -> None:
    assert of_run("%(name)s-%(site)s.csv", SPIDER, AT, None) == "books-a.test.csv"
    assert of_run("%(name)s.csv", SPIDER, AT, {"name": "mine"}) == "mine.csv"


class Shop(Spider):
    name = "shop"
    start_urls = ["http://a.test/"]  # noqa: RUF012 - as spiders have it

    def parse(self, response: Response) -> Iterator[dict[str, int]]:
        yield {"n": 1}


def scrapys(known: dict[str, Any], spider: Any) -> Mapping[str, Any]:
    return {**known, "kind": spider.kind.upper()}


def test_of_the_spider_of_a_crawl(tmp_path: Path) -> None:
    """Its name, its attributes and arguments; a function may take it as Scrapy's do."""
    crawl = Crawl.of(Shop, kind="tea").replace(download=download(fetch=FakeFetch({"/": "", "/robots.txt": ""})))
    feeds = (
        feed(f"{tmp_path}/%(name)s/{{kind}}-%(batch_id)d.jsonl"),
        feed(f"{tmp_path}/%(kind)s.csv", uri_params=scrapys),
    )

    async def main() -> Any:
        return await crawl.pipe(*feeds).start()

    assert run_virtual(main).error is None
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")) == [
        "TEA.csv",
        "shop/tea-1.jsonl",
    ]


def test_a_function_is_given_what_is_known() -> None:
    def params(known: dict[str, Any]) -> Mapping[str, Any]:
        return {"title": known["name"].title(), "year": known["time"].year}

    assert of_run("%(title)s-{year}.csv", SPIDER, AT, params) == "Books-2023.csv"


def test_what_has_no_value_is_told_before_the_first_request(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(SinkError, match=r"no value for colour in its name: give uri_params=\{'colour': …\}"):
            feed(tmp_path / "{colour}.csv").open(LocalRun(asyncio.get_running_loop()))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"uri": "%(time)d.csv"}, r"%\(time\)d: "),
        ({"uri": "{part:x}.csv"}, r"\{part:x\}: invalid literal"),
        ({"uri": "%(batch_id)q.csv"}, "unsupported format character"),
        ({"uri": "a.csv", "uri_params": "nowhere.to.be.found"}, "uri_params='nowhere.to.be.found': cannot be imported"),
    ],
)
def test_forms_are_checked_when_built(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        feed(**arguments)


def test_the_time_is_that_of_the_job(tmp_path: Path) -> None:
    """When the job goes on, its feed does, and no other begins."""
    sink = feed(tmp_path / "{time}.jsonl")

    async def main() -> None:
        run = LocalRun(asyncio.get_running_loop())
        opened: Any = sink.open(run)
        opened.accept({"n": 1}, (0, 0, 0))
        token = await opened.flush()
        await opened.close()
        await asyncio.sleep(100)
        opened = sink.open(run, token)
        opened.accept({"n": 2}, (0, 0, 0))
        await opened.close()

    run_virtual(main)
    (path,) = tmp_path.iterdir()
    assert path.read_text() == '{"n":1}\n{"n":2}\n'
