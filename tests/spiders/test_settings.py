"""A spider's settings: read as Scrapy reads them, and told of where they do nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from streamcrawl import Crawl, Request, Response
from streamcrawl import operators as ops
from streamcrawl.errors import FlowError
from streamcrawl.events import Notice
from streamcrawl.spiders import Spider
from streamcrawl.spiders.settings import Settings, as_bool, options_of, unread
from streamcrawl.testing import FakeFetch, page, run_virtual


def spider(**attributes: Any) -> type[Spider]:
    def parse(self: Spider, page: Response) -> Any:
        return {"status": page.status}

    return type("Mine", (Spider,), {"name": "mine", "parse": parse, **attributes})


def starting(*requests: Request) -> type[Spider]:
    def start_requests(self: Spider) -> Iterator[Request]:
        return iter(requests)

    return spider(start_requests=start_requests)


IN_LAYERS = "write Crawl.of(…).replace(layers=(ops.depth(limit=…),))"


@pytest.mark.parametrize(
    ("name", "value", "options"),
    [
        ("DOWNLOAD_DELAY", "0.1", {"delay": 0.1}),
        ("DOWNLOAD_DELAY", 2, {"delay": 2.0}),
        ("DOWNLOAD_DELAY", None, {}),
        ("CONCURRENT_REQUESTS", "16", {"concurrency": 16}),
        ("CONCURRENT_REQUESTS", 4.0, {"concurrency": 4}),
        ("CONCURRENT_REQUESTS_PER_DOMAIN", " 3 ", {"per_host": 3}),
        ("CLOSESPIDER_PAGECOUNT", "0", {}),
        ("CLOSESPIDER_ITEMCOUNT", "7", {"limit_items": 7}),
        ("JOBDIR", "job", {"job": "job"}),
        ("JOBDIR", "", {}),
        ("RANDOMIZE_DOWNLOAD_DELAY", "False", {"jitter": 0.0}),
        ("RANDOMIZE_DOWNLOAD_DELAY", "1", {}),
    ],
)
def test_what_is_meant(name: str, value: Any, options: dict[str, Any]) -> None:
    assert options_of({name: value}, "Mine") == options


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("DOWNLOAD_DELAY", "slow", "a number of seconds, 0 or more"),
        ("DOWNLOAD_DELAY", -1, "a number of seconds, 0 or more"),
        ("DOWNLOAD_DELAY", "nan", "a number of seconds, 0 or more"),
        ("DOWNLOAD_DELAY", True, "a number of seconds, 0 or more"),
        ("CONCURRENT_REQUESTS", "0", "a whole number, 1 or more"),
        ("CONCURRENT_REQUESTS", 1.5, "a whole number, 1 or more"),
        ("CONCURRENT_REQUESTS", [16], "a whole number, 1 or more"),
        ("CLOSESPIDER_ITEMCOUNT", -1, "a whole number, 0 or more"),
        ("JOBDIR", 5, "the path of a directory"),
        ("RANDOMIZE_DOWNLOAD_DELAY", "maybe", "True or False"),
        ("CRAWLSPIDER_FOLLOW_LINKS", "maybe", "True or False"),
    ],
)
def test_what_cannot_be_meant_is_told_by_name(name: str, value: Any, what: str) -> None:
    with pytest.raises(FlowError) as told:
        Crawl.of(spider(custom_settings={name: value}))
    assert str(told.value) == f"Mine: the setting {name} is {value!r}; it must be {what}"


def test_the_methods_of_settings() -> None:
    settings = Settings({"A": "1", "B": "x,y", "C": '{"k": 1}', "D": ["z"], "E": "off", "F": None})
    assert (settings.getint("A"), settings.getfloat("A"), settings.getbool("A")) == (1, 1.0, True)
    assert (settings.getlist("B"), settings.getlist("D"), settings.getlist("F", ["w"])) == (["x", "y"], ["z"], ["w"])
    assert (settings.getdict("C"), settings.getdict("Z", {"d": 1}), settings.getdict("Z")) == ({"k": 1}, {"d": 1}, {})
    assert (settings.getbool("E", True), settings.getbool("F", True), settings.getint("Z", 3)) == (False, True, 3)
    copied = settings.copy()
    copied.set("A", "2", priority="spider")
    copied.setdefault("Z", 5)
    del copied["B"]
    assert (copied["A"], settings["A"], copied.get("Z"), "B" in copied, len(settings)) == ("2", "1", 5, False, 6)
    with pytest.raises(ValueError, match="maybe"):
        as_bool("maybe")


def test_they_are_read_only_once_the_spider_is_made() -> None:
    settings = Settings({"A": 1}, frozen=True)
    for change in (lambda: settings.set("A", 2), lambda: settings.pop("A")):
        with pytest.raises(TypeError, match=r"the setting A cannot be changed any more: update_settings\(\)"):
            change()
    assert dict(settings) == {"A": 1}


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("MINE", 1, [("info", "settings of 'mine' that nothing but the spider reads: MINE")]),
        (
            "DOWNLOAD_DELEY",
            1,
            [("warning", "'mine': there is no setting DOWNLOAD_DELEY; did you mean DOWNLOAD_DELAY?")],
        ),
        (
            "DEPTH_LIMIT",
            1,
            [("warning", "'mine': the setting DEPTH_LIMIT does nothing here, " + IN_LAYERS)],
        ),
        (
            "DNS_TIMEOUT",
            1,
            [("warning", "'mine': the setting DNS_TIMEOUT does nothing here, see docs/scrapy-settings.md")],
        ),
        ("DOWNLOAD_DELAY", 1, []),
        ("ROBOTSTXT_OBEY", True, []),
        ("HTTPCACHE_ENABLED", "False", []),
        ("TELNETCONSOLE_ENABLED", False, []),
    ],
)
def test_what_does_nothing_is_told(name: str, value: Any, told: list[tuple[str, str]]) -> None:
    assert list(unread({name: value}, (), "'mine'")) == told


def crawled(kind: type[Spider]) -> tuple[Any, list[Any], list[str]]:
    fetch = FakeFetch({"/": "<a href=/gone>", "/gone": page("", status=404)})
    told: list[str] = []
    items: list[Any] = []

    async def main() -> Any:
        run = (
            Crawl.of(kind)
            .replace(download=ops.download(*ops.default_layers(robots_txt=None), fetch=fetch))
            .start(on_item=items.append)
        )
        run.events.on(Notice, lambda notice: told.append(notice.text))
        return await run

    return run_virtual(main), items, told


GONE = "http://a.test/gone"


def test_the_statuses_that_a_spider_wants() -> None:
    assert crawled(spider(start_urls=[GONE]))[1] == []
    assert crawled(spider(start_urls=[GONE], handle_httpstatus_list=[404]))[1] == [{"status": 404}]
    assert crawled(spider(start_urls=[GONE], handle_httpstatus_list=[500]))[1] == []
    assert crawled(spider(start_urls=[GONE], handle_httpstatus_all=True))[1] == [{"status": 404}]


def test_they_may_change_while_it_runs() -> None:
    class Changing(Spider):
        name = "changing"
        start_urls = ["http://a.test/"]  # noqa: RUF012 - as people write it

        def parse(self, response: Response) -> Iterator[Any]:
            self.handle_httpstatus_list = {404}
            yield {"status": response.status}
            if response.status == 200:
                yield response.follow("/gone")

    assert crawled(Changing)[1] == [{"status": 200}, {"status": 404}]


@pytest.mark.parametrize("statuses", [404, "404", ["404"], None])
def test_statuses_that_are_none(statuses: Any) -> None:
    with pytest.raises(FlowError, match=r"Mine\.handle_httpstatus_list is .*: make it a list of numbers, \[404\]"):
        Crawl.of(spider(handle_httpstatus_list=statuses))


def test_meta_keys_of_scrapy_say_what_to_write() -> None:
    class Old(Spider):
        name = "old"

        def start_requests(self) -> Iterator[Request]:
            yield Request(GONE, self.parse, meta={"handle_httpstatus_list": [404], "download_maxsize": 5, "mine": 1})

        def parse(self, response: Response) -> None: ...

    assert crawled(Old)[2] == [
        "meta['handle_httpstatus_list'] does nothing here, write Request(statuses=…)",
        "meta['download_maxsize'] does nothing here, write Request(max_size=…)",
    ]


def test_a_start_that_gives_nothing_says_so() -> None:
    told = "the crawl's start gave nothing to ask for"
    assert crawled(spider())[2] == [f"{told}: Mine has no start_urls"]
    assert crawled(starting())[2] == [f"{told}: Mine has no start_urls"]
    assert crawled(starting(Request(GONE)))[2] == []


def test_a_start_that_gives_nothing_without_a_spider() -> None:
    told: list[str] = []

    async def main() -> Any:
        run = Crawl(()).pipe(ops.download(fetch=FakeFetch({})), ops.scrape(print)).start()
        run.events.on(Notice, lambda notice: told.append(notice.text))
        return await run

    assert run_virtual(main).reason == "finished"
    assert told == ["the crawl's start gave nothing to ask for"]
