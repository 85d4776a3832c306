"""A spider by itself: made without a crawl, as the tests of its callbacks make it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from streamcrawl import Crawl, Drop, Request, Response
from streamcrawl import operators as ops
from streamcrawl.errors import FlowError
from streamcrawl.events import Events
from streamcrawl.spiders import Crawler, Spider, Stats
from streamcrawl.spiders.allowed_domains import AllowedDomains, allowed_domains
from streamcrawl.spiders.settings import Settings
from streamcrawl.testing import FakeFetch, run_virtual


class Plain(Spider):
    name = "plain"
    start_urls = ["http://a.test/"]  # noqa: RUF012 - as people write it

    def parse(self, page: Response) -> Any:
        self.state["seen"] = self.state.get("seen", 0) + 1
        return {"seen": self.state["seen"]}


def test_arguments_become_attributes() -> None:
    spider: Any = Plain(tag="x", start_urls=["http://b.test/"])
    assert (spider.tag, spider.name, spider.start_urls, spider.allowed_domains) == (
        "x",
        "plain",
        ["http://b.test/"],
        [],
    )
    assert Plain("other").name == "other"
    assert repr(Plain()) == "<Plain 'plain'>"
    assert Plain().start_urls is not Plain.start_urls


@pytest.mark.parametrize("name", ["parse", "start", "closed", "from_crawler"])
def test_an_argument_that_would_hide_a_method(name: str) -> None:
    with pytest.raises(ValueError, match=rf"Plain\({name}=1\): {name} is a method"):
        Plain(None, **{name: 1})


def test_no_name() -> None:
    with pytest.raises(ValueError, match='Spider has no name: write name = "…" in the class'):
        Spider()


def test_a_callback_works_without_a_crawl() -> None:
    spider, page = Plain(), Response("http://a.test/")
    assert [spider.parse(page), spider.parse(page), Plain().parse(page)] == [{"seen": 1}, {"seen": 2}, {"seen": 1}]
    assert Plain(state="CA").state == "CA"


def test_the_state_waits_for_the_run() -> None:
    crawler = Crawler(Plain, {}, Events())
    spider = Plain.from_crawler(crawler)
    with pytest.raises(RuntimeError, match=r"Plain\.state is there once the run has begun"):
        _ = spider.state
    assert repr(crawler) == "<Crawler of Plain, before its run>"


def test_settings_are_those_of_the_class_and_read_only() -> None:
    class Set(Plain):
        custom_settings = {"A": 1}  # noqa: RUF012 - as people write it

    settings = Settings({"A": 0, "B": 2})
    Set.update_settings(settings)
    crawler = Crawler(Set, settings, Events())
    settings["A"] = 9
    spider = Set.from_crawler(crawler, tag="x")
    assert spider.settings == {"A": 1, "B": 2}
    with pytest.raises(TypeError):
        spider.settings["A"] = 5


def test_the_default_start() -> None:
    async def main() -> list[Request]:
        return [request async for request in Plain().start()]

    requests = asyncio.run(main())
    assert [(request.url, request.dont_filter) for request in requests] == [("http://a.test/", False)]


def test_logging(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        Plain().log("one")
        Plain().logger.warning("%s", "two")
    assert [(record.name, record.levelname, record.message) for record in caplog.records] == [
        ("plain", "DEBUG", "one"),
        ("plain", "WARNING", "two"),
    ]


def test_parse_that_is_not_there_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"Spider has no parse\(\)"):
        Spider("x").parse(Response("http://a.test/"))


def test_stats_before_and_in_a_run() -> None:
    stats, run = Stats(), {"b": 1}
    stats.inc_value("a")
    stats["c"] = 3
    stats.adopt(run)
    stats.inc_value("a", 2)
    stats.inc_value("d", start=5)
    stats.max_value("b", 7)
    stats.min_value("b", 9)
    stats.min_value("e", 4)
    del stats["c"]
    assert run == stats.get_stats() == dict(stats) == {"a": 3, "b": 7, "d": 6, "e": 4}
    assert (stats.get_value("b"), stats.get_value("x"), stats.get_value("x", 0), len(stats)) == (7, None, 0, 4)
    assert repr(stats) == "<Stats {'b': 7, 'a': 3, 'd': 6, 'e': 4}>"


def test_scrapys_names_of_the_sums_of_a_run() -> None:
    told: dict[str, Any] = {}

    class Counted(Plain):
        def parse(self, page: Response) -> Any:
            yield from [{"n": 1}, {"n": 2}, {"n": 3}]
            yield page.follow("/")
            raise KeyError("n")

        def closed(self, reason: str) -> None:
            stats = self.crawler.stats
            told.update(stats.get_stats(), again=stats.get_value("item_scraped_count"))

    def odd(item: dict[str, int]) -> None:
        if item["n"] == 2:
            raise Drop("even")

    crawl = Crawl.of(Counted).replace(download=ops.download(fetch=FakeFetch({"/": "x"}))).pipe(ops.pipeline(odd))

    async def main() -> None:
        await crawl.start()

    run_virtual(main())
    assert (told["item_scraped_count"], told["again"], told["item_dropped_count"]) == (2, 2, 1)
    assert told["dupefilter/filtered"] == 1
    assert told["spider_exceptions/count"] == 1
    assert told["response_received_count"] == 2  # robots.txt is one
    assert Stats().get_value("item_scraped_count", 7) == 7


# -- allowed_domains ---------------------------------------------------------------------------------------------------


def judged(test: Any, *hosts: str) -> list[bool]:
    return [test(Request(f"http://{host}/", site="http://a.test")) for host in hosts]


def test_allowed_domains_are_regarded_as_they_change() -> None:
    spider = Plain(allowed_domains=["a.test"])
    test = AllowedDomains(spider)
    hosts = ("a.test", "www.a.test", "nota.test", "b.test")
    assert judged(test, *hosts) == judged(test, *hosts) == [True, True, False, False]
    spider.allowed_domains.append("b.test")
    assert judged(test, *hosts) == [True, True, False, True]
    spider.allowed_domains[0] = "nota.test"
    assert judged(test, *hosts) == [False, False, True, True]
    spider.allowed_domains = names = {"www.a.test"}  # type: ignore[assignment]
    assert judged(test, *hosts) == [False, True, False, False]
    names.add("a.test")
    assert judged(test, *hosts) == [True, True, False, False]
    spider.allowed_domains = []
    assert judged(test, *hosts) == [True, True, False, False]  # the start's host
    assert judged(test, "a.test", "c.a.test") == [True, False]
    spider.allowed_domains = ["http://a.test/"]
    with pytest.raises(ValueError, match="not a domain name"):
        judged(test, "a.test")


def test_many_allowed_domains() -> None:
    names = [f"{n}.test" for n in range(2000)]
    spider = Plain(allowed_domains=names)
    test = AllowedDomains(spider)
    assert judged(test, "5.test", "www.1999.test", "2000.test") == [True, True, False]
    names.append("2000.test")
    assert judged(test, "2000.test") == [True]


def test_a_request_may_leave_the_scope() -> None:
    test = AllowedDomains(Plain(allowed_domains=["a.test"]))
    assert test(Request("http://b.test/", skip=("scope",)))
    assert not test(Request("http://b.test/", skip=("robots_txt",)))


def test_the_scope_of_a_spider_that_is_not_there_yet() -> None:
    with pytest.raises(FlowError):
        allowed_domains(Request("http://a.test/"))
