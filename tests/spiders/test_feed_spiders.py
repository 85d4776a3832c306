"""XMLFeedSpider and CSVFeedSpider: over a real server on loopback, and one response at a time."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from feed_server import serving, size_of
from parsel import Selector

from streamcrawl import Crawl, Drop, Headers, Request, Response, Summary
from streamcrawl import operators as ops
from streamcrawl.errors import CallbackError, FlowError
from streamcrawl.events import CallbackFailed, ItemFailed
from streamcrawl.records import BrokenFeed
from streamcrawl.spiders import CSVFeedSpider, FeedSpider, XMLFeedSpider
from streamcrawl.testing import FakeFetch, run_virtual

BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "feeds_in.py"


class Products(XMLFeedSpider):
    name = "products"
    itertag = "product"
    namespaces = (("g", "urn:goods"),)

    def parse_node(self, response: Response, selector: Selector, /, **kwargs: Any) -> Any:
        return {"id": selector.attrib["id"], "price": selector.xpath("g:price/text()").get(), **kwargs}


class Rows(CSVFeedSpider):
    name = "rows"

    def parse_row(self, response: Response, row: dict[str, str], /, **kwargs: Any) -> Any:
        yield {"id": row["id"], "price": row["price"]}


def at_once(n: int, random: Random) -> float:
    return 0.0


def served(kind: type[FeedSpider], *paths: str, **arguments: Any) -> tuple[Summary, list[Any], list[Any]]:
    """A crawl of feeds on loopback: its summary, its items, and what was told of failures."""

    async def main() -> tuple[Summary, list[Any], list[Any]]:
        items: list[Any] = []
        told: list[Any] = []
        async with serving() as address:
            crawl = Crawl.of(kind, start_urls=[address + path for path in paths], **arguments)
            layers = ops.default_layers(retry=ops.retry(times=1, wait=at_once))
            run = crawl.replace(download=ops.download(*layers)).start(items.append)
            for event in (CallbackFailed, ItemFailed):
                run.events.on(event, told.append)
            return await run, items, told

    summary, items, told = asyncio.run(main())
    assert summary.balanced
    return summary, items, told


def expected(count: int) -> list[dict[str, str]]:
    return [{"id": str(n), "price": f"{n % 1000}.{n % 100:02}"} for n in range(count)]


@pytest.mark.parametrize(
    ("kind", "path"), [(Products, "/xml"), (Products, "/xml.gz"), (Rows, "/csv"), (Rows, "/csv.gz")]
)
def test_every_record_of_a_streamed_feed_is_an_item(kind: type[FeedSpider], path: str) -> None:
    summary, items, told = served(kind, f"{path}/1500")
    assert items == expected(1500)
    assert told == []
    assert summary.pages == 1


@pytest.mark.parametrize("iterator", ["xml", "html"])
def test_the_other_iterators_read_the_feed_as_a_whole(iterator: str) -> None:
    class Html(Products):
        def parse_node(self, response: Response, selector: Selector, /, **kwargs: Any) -> Any:
            return {"id": selector.attrib["id"], "stock": selector.css("stock::text").get()}

    _, items, told = served(Html, "/xml/300", iterator=iterator)
    assert items == [{"id": str(n), "stock": str(n % 7)} for n in range(300)]
    assert told == []


@pytest.mark.parametrize(("kind", "path"), [(Products, "/xml"), (Rows, "/csv")])
def test_a_feed_that_breaks_off_gives_what_came_and_the_error(kind: type[FeedSpider], path: str) -> None:
    summary, items, told = served(kind, f"{path}/1000?break=150000")
    assert items == expected(len(items))
    assert 300 < len(items) < 999
    assert [type(each) for each in told] == [CallbackFailed]
    assert "/1000" in str(told[0].error)
    assert summary.counts.pages == 1


def test_a_feed_of_which_nothing_came_is_asked_for_again() -> None:
    summary, items, told = served(Rows, "/csv/1000?break=10")
    assert items == []
    assert type(told[-1]) is CallbackFailed
    assert summary.stats["retry/count"] == 1


FEED = "<r>" + "".join(f"<item><n>{n}</n></item>" for n in range(5)) + "</r>"


class Numbers(XMLFeedSpider):
    name = "numbers"
    start_urls = ["https://feeds.test/all.xml"]  # noqa: RUF012 - as people write it

    def parse_node(self, response: Response, selector: Selector, /, **kwargs: Any) -> Any:
        return {"n": int(selector.xpath("n/text()").get("0"))}


def crawled(kind: type[FeedSpider], body: str | bytes = FEED, **arguments: Any) -> tuple[Summary, list[Any]]:
    fetch = FakeFetch(
        {"/all.xml": Response("https://feeds.test/all.xml", body=body.encode() if isinstance(body, str) else body)}
    )
    crawl = Crawl.of(kind, **arguments).replace(download=ops.download(fetch=fetch))

    async def main() -> tuple[Summary, list[Any]]:
        items: list[Any] = []
        return await crawl.start(items.append), items

    return run_virtual(main)


def numbers(*values: int) -> list[dict[str, int]]:
    return [{"n": value} for value in values]


def test_process_results_sees_what_each_record_gave() -> None:
    class Odd(Numbers):
        def process_results(self, response: Response, results: Iterable[Any], /) -> Any:
            return [item | {"url": response.url} for item in results if item["n"] % 2]

    assert crawled(Odd)[1] == [{"n": n, "url": "https://feeds.test/all.xml"} for n in (1, 3)]


def generator(spider: Any, response: Response, selector: Selector) -> Any:
    yield {"n": 1}
    yield {"n": 2}


async def coroutine(spider: Any, response: Response, selector: Selector) -> Any:
    await asyncio.sleep(1)
    return [{"n": 1}, {"n": 2}]


async def async_generator(spider: Any, response: Response, selector: Selector) -> AsyncIterator[Any]:
    yield {"n": 1}
    await asyncio.sleep(1)
    yield {"n": 2}


def several(spider: Any, response: Response, selector: Selector) -> Any:
    return [{"n": 1}, {"n": 2}]


def nothing(spider: Any, response: Response, selector: Selector) -> None: ...


@pytest.mark.parametrize("parse_node", [generator, coroutine, async_generator, several, nothing])
def test_what_parse_node_may_be(parse_node: Any) -> None:
    kind: type[FeedSpider] = type("Own", (Numbers,), {"parse_node": parse_node})
    summary, items = crawled(kind)
    assert items == numbers(1, 2) * (0 if parse_node is nothing else 5)
    assert summary.stats.get("items_failed", 0) == 0


def test_a_record_that_cannot_be_parsed_is_its_own_failure() -> None:
    class Picky(Numbers):
        def parse_node(self, response: Response, selector: Selector, /, **kwargs: Any) -> Any:
            n = int(selector.xpath("n/text()").get(""))
            if n == 3:
                raise Drop("three")
            return {"n": n}

    summary, items = crawled(
        Picky, "<r><item><n>1</n></item><item><n>x</n></item><item><n>3</n></item><item><n>4</n></item></r>"
    )
    assert items == numbers(1, 4)
    assert summary.stats["items_failed"] == 1
    assert summary.stats["items_dropped/three"] == 1


def test_a_process_results_that_forgets_to_return_is_told() -> None:
    class Forgetful(Numbers):
        def process_results(self, response: Response, results: Iterable[Any], /) -> Any:
            list(results)

    summary, items = crawled(Forgetful)
    assert items == []
    assert summary.stats["items_failed"] == 5


def test_adapt_response_may_be_plain_and_gets_the_whole_feed() -> None:
    class Adapted(Numbers):
        def adapt_response(self, response: Response, /) -> Any:
            return response.replace(body=response.body.replace(b"&nbsp;", b" ").replace(b"<n>", b"<n>1"))

    body = FEED.replace("<r>", "<r>&nbsp;")
    summary, items = crawled(Adapted, body)
    assert items == numbers(10, 11, 12, 13, 14)
    assert [request.stream for request in Adapted().start_requests()] == [False]
    assert summary.stats.get("items_failed", 0) == 0


def test_adapt_response_may_be_async_and_say_the_encoding() -> None:
    class Adapted(XMLFeedSpider):
        name = "adapted"
        start_urls = ["https://feeds.test/all.xml"]  # noqa: RUF012 - as people write it

        async def adapt_response(self, response: Response, /) -> Response:
            await response.read()
            return response.replace(encoding="koi8-r")

        def parse_node(self, response: Response, selector: Selector, /, **kwargs: Any) -> Any:
            return {"text": selector.xpath("text()").get()}

    _, items = crawled(Adapted, "<r><item>мир</item></r>".encode("koi8-r"))
    assert items == [{"text": "мир"}]
    assert [request.stream for request in Adapted().start_requests()] == [True]
    _, items = crawled(Numbers, "<r><item><n>7</n></item></r>".encode("utf-16"), encoding="utf-16")
    assert items == numbers(7)


def test_an_adapt_response_that_gives_no_response_is_told() -> None:
    class Wrong(Numbers):
        def adapt_response(self, response: Response, /) -> Any:
            return None

    summary, items = crawled(Wrong)
    assert items == []
    assert summary.counts.callback_errors == 1


def test_records_may_give_requests_and_the_callback_its_arguments() -> None:
    class Linking(Numbers):
        def parse_node(self, response: Response, selector: Selector, /, **kwargs: Any) -> Any:
            if kwargs:
                return {"n": kwargs["base"] + int(selector.xpath("n/text()").get("0"))}
            return Request(f"{response.url}?again", stream=True, dont_filter=True, cb_kwargs={"base": 100})

    fetch = FakeFetch({"/all.xml": FEED, "/all.xml?again": FEED})
    crawl = Crawl.of(Linking).replace(download=ops.download(fetch=fetch))
    items = run_virtual(crawl.collect())
    assert items == numbers(100, 101, 102, 103, 104) * 5


def test_a_spider_by_itself_raises_what_a_record_raises() -> None:
    async def read() -> list[Any]:
        page = Response("https://feeds.test/", body=b"<r><item/></r>", headers=Headers({"content-type": "text/xml"}))
        return [each async for each in Picky()._parse(page)]  # pyright: ignore[reportPrivateUsage] - what scrape() calls

    class Picky(Numbers):
        def parse_node(self, response: Response, selector: Selector, /, **kwargs: Any) -> Any:
            raise LookupError("no price")

    with pytest.raises(LookupError, match="no price"):
        asyncio.run(read())


@pytest.mark.parametrize(
    ("kind", "attributes", "text"),
    [
        (XMLFeedSpider, {}, r"has no parse_node\(\)"),
        (CSVFeedSpider, {}, r"has no parse_row\(\)"),
        (Products, {"iterator": "regex"}, "iterator is 'regex': one of iternodes, xml, html"),
        (Products, {"itertag": "a b"}, "itertag.*'a b'"),
        (Products, {"max_record": 0}, "max_record is 0"),
        (Rows, {"delimiter": "::"}, "delimiter='::'"),
        (Rows, {"ragged": "no"}, "ragged='no'"),
        (Rows, {"headers": []}, "a list of names"),
    ],
)
def test_a_spider_that_cannot_work_is_told_when_the_crawl_is_made(
    kind: type[FeedSpider], attributes: dict[str, Any], text: str
) -> None:
    made = type("Own", (kind,), {"name": "own", "start_urls": ["https://feeds.test/"], **attributes})
    with pytest.raises(FlowError, match=text):
        run_virtual(Crawl.of(made).replace(download=ops.download(fetch=FakeFetch({}))).collect())


def test_the_error_of_a_broken_feed_names_it() -> None:
    errors: list[Exception] = []
    fetch = FakeFetch({"/all.xml": "<r><item><n>1</n></item><item>"})

    async def main() -> list[Any]:
        items: list[Any] = []
        run = Crawl.of(Numbers).replace(download=ops.download(fetch=fetch)).start(items.append)
        run.events.on(CallbackFailed, lambda event: errors.append(event.error))
        await run
        return items

    assert run_virtual(main) == numbers(1)
    assert isinstance(errors[0], BrokenFeed)
    assert not isinstance(errors[0], CallbackError)
    assert "https://feeds.test/all.xml: " in str(errors[0])
    assert "after 1 records" in str(errors[0])


@pytest.mark.parametrize("kind", ["xml", "csv"])
def test_memory_does_not_grow_with_the_feed(kind: str) -> None:
    """A small version of tests/benchmarks/feeds_in.py; whole, this XML feed takes 300 MB."""
    count = 60_000
    assert size_of(kind, count) > 10_000_000
    server = subprocess.Popen(
        [sys.executable, BENCHMARK.parent.parent / "feed_server.py"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        url = f"{server.stdout.readline().strip()}/{kind}/{count}"
        command = [sys.executable, str(BENCHMARK), "--read", kind, url]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout)
    finally:
        server.terminate()
        server.communicate()
    assert found["records"] == count
    assert found["peak_rss"] < 100_000_000
