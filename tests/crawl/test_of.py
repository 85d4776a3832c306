"""`Crawl.of(MySpider)`: a cold description, of which every run makes a spider of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
from reactivex import operators as rx

from streamcrawl import Crawl, Request, Response, Summary, core
from streamcrawl import operators as ops
from streamcrawl.core import Failed, ItemId
from streamcrawl.errors import FlowError, SinkError
from streamcrawl.events import Notice, RunFinished
from streamcrawl.spiders import Crawler, Spider, is_spider_class
from streamcrawl.streams.sink import SinkOperator
from streamcrawl.testing import FakeFetch, run_virtual

SITE = {
    "http://a.test/": "<a href='/1'>1</a> <a href='http://b.test/'>b</a> <a href='http://www.c.test/'>c</a>",
    "http://a.test/1": "<a href='/'>back</a>",
    "http://b.test/": "b",
    "http://www.c.test/": "c",
}


def fetching(crawl: Crawl[Any], site: Mapping[str, Any] = SITE, **changes: Any) -> Crawl[Any]:
    fetch = changes.pop("fetch", None) or FakeFetch(site)
    return crawl.replace(download=ops.download(*ops.default_layers(robots_txt=None), fetch=fetch), **changes)


def run(crawl: Crawl[Any]) -> tuple[Summary, list[Any]]:
    async def main() -> tuple[Summary, list[Any]]:
        items: list[Any] = []
        return await crawl.start(items.append), items

    return run_virtual(main)


class Links(Spider):
    name = "links"
    start_urls = ["http://a.test/"]  # noqa: RUF012 - as people write it
    made: ClassVar[list[Links]] = []
    ended: ClassVar[list[str]] = []

    def __init__(self, tag: str = "none", **arguments: Any) -> None:
        super().__init__(**arguments)
        self.tag = tag
        self.pages = 0
        self.made.append(self)

    def parse(self, page: Response) -> Iterator[Any]:
        self.pages += 1
        yield {"url": page.url, "tag": self.tag, "pages": self.pages}
        yield from page.follow_all(css="a")

    def closed(self, reason: str) -> None:
        self.ended.append(f"{reason} after {self.pages}")


@pytest.fixture(autouse=True)
def _forget() -> None:
    Links.made.clear()
    Links.ended.clear()


def urls(items: list[Any]) -> list[str]:
    return sorted(item["url"] for item in items)


def test_every_run_makes_a_spider_of_its_own() -> None:
    crawl = fetching(Crawl.of(Links, tag="x"))
    assert Links.made == []
    for _ in range(2):
        summary, items = run(crawl)
        assert urls(items) == ["http://a.test/", "http://a.test/1"]
        assert [(item["tag"], item["pages"]) for item in items] == [("x", 1), ("x", 2)]
        assert summary.balanced
        assert summary.counts.dropped == {"off-site": 2, "duplicate": 1}
    assert len(Links.made) == 2
    assert Links.ended == ["finished after 2", "finished after 2"]


def test_runs_at_the_same_time_share_nothing() -> None:
    crawl = fetching(Crawl.of(Links), fetch=FakeFetch(SITE, latency=1.0))

    async def main() -> list[list[Any]]:
        return list(await asyncio.gather(crawl.collect(), crawl.collect()))

    one, other = run_virtual(main)
    assert [item["pages"] for item in one] == [item["pages"] for item in other] == [1, 2]


def test_lists_of_the_class_are_not_shared() -> None:
    class Growing(Links):
        name = "growing"
        allowed_domains = ["a.test"]  # noqa: RUF012 - as people write it

        def parse(self, page: Response) -> Iterator[Any]:
            self.allowed_domains.append("b.test")
            self.start_urls.append("http://b.test/")
            yield from super().parse(page)

    crawl = fetching(Crawl.of(Growing))
    for _ in range(2):
        assert urls(run(crawl)[1]) == ["http://a.test/", "http://a.test/1", "http://b.test/"]
    assert (Growing.allowed_domains, Growing.start_urls) == (["a.test"], ["http://a.test/"])


def test_allowed_domains_are_the_scope_unless_the_crawl_has_another() -> None:
    class Domains(Links):
        allowed_domains = ["a.test", "c.test"]  # noqa: RUF012 - as people write it

    assert urls(run(fetching(Crawl.of(Domains)))[1]) == ["http://a.test/", "http://a.test/1", "http://www.c.test/"]
    assert len(run(fetching(Crawl.of(Domains), scope="any"))[1]) == 4
    assert len(run(fetching(Crawl.of(Domains), scope="host"))[1]) == 2
    assert len(run(fetching(Crawl.of(Domains, allowed_domains=["b.test"])))[1]) == 2  # its start is asked for anyway
    assert len(run(fetching(Crawl.of(Links), scope="any"))[1]) == 4


def test_a_spider_that_does_not_call_its_parents_init() -> None:
    class Careless(Spider):
        name = "careless"

        def __init__(self, tag: str) -> None:
            self.tag = tag

        async def start(self) -> AsyncIterator[Any]:
            yield "http://a.test/"

        def parse(self, page: Response) -> Iterator[Any]:
            yield {"url": page.url, "tag": self.tag}
            yield from page.follow_all(css="a")

    summary, items = run(fetching(Crawl.of(Careless, tag="x")))
    assert (urls(items), summary.error) == (["http://a.test/", "http://a.test/1"], None)


def test_items_operators_follow() -> None:
    def later(item: dict[str, Any]) -> bool:
        return bool(item["pages"] > 1)

    crawl = fetching(Crawl.of(Links)).pipe(rx.filter(later), ops.on_item(lambda item: {"only": item["url"]}))
    assert run(crawl)[1] == [{"only": "http://a.test/1"}]


def test_layers_download_callback_and_start_may_be_replaced() -> None:
    found: list[Any] = []

    def other(page: Response) -> None:
        found.append(page.url)

    chain = {"/": "<a href='/1'>", "/1": "<a href='/2'>", "/2": ""}
    summary, items = run(fetching(Crawl.of(Links), chain, layers=(ops.depth(limit=1),), limit_pages=3))
    assert (len(items), summary.counts.dropped) == (2, {"depth limit": 1})
    run(fetching(Crawl.of(Links), start="http://b.test/", callback=other))
    assert found == ["http://b.test/"]
    plain = Crawl("http://b.test/").pipe(ops.download(), ops.scrape(print))
    run(fetching(plain, callback=other))
    assert found == ["http://b.test/"] * 2
    with pytest.raises(FlowError, match=r"no scrape\(\) to replace"):
        Crawl("http://b.test/").replace(layers=())
    with pytest.raises(TypeError, match=r"takes ops\.download"):
        plain.replace(download=FakeFetch({}))


def test_the_description_can_be_looked_at() -> None:
    crawl = Crawl.of(Links, tag="x")
    assert repr(crawl) == "<Crawl of Links(tag='x'), 2 operators>"
    assert "start: Links.start" in crawl.graph()
    assert "callback: Links.parse" in crawl.graph()
    with pytest.raises(FlowError, match=r"Links\(tag='x'\) has no spider yet"):
        crawl.pipes.scrape.callback(None)  # type: ignore[union-attr]


def test_all_ways_to_run_it() -> None:
    crawl = fetching(Crawl.of(Links))
    assert crawl.run().items == 2

    async def main() -> list[list[Any]]:
        asked = [item async for item in crawl]
        return [asked, await crawl.collect(), await crawl.items().pipe(rx.to_list())]

    assert [urls(items) for items in asyncio.run(main())] == [["http://a.test/", "http://a.test/1"]] * 3
    assert len(Links.made) == len(Links.ended) == 4


# -- the crawler -------------------------------------------------------------------------------------------------------


def test_a_spider_is_made_of_what_the_crawler_has() -> None:
    told: list[Any] = []

    class Knowing(Links):
        custom_settings = {"MINE": 5}  # noqa: RUF012 - as people write it

        @classmethod
        def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
            assert (crawler.spider, crawler.run) == (None, None)
            crawler.stats.set_value("made", 1)
            crawler.events.on(RunFinished, told.append)
            spider = super().from_crawler(crawler, *args, tag=f"{crawler.settings['MINE']}", **kwargs)
            assert spider.crawler is crawler
            return spider

        def parse(self, page: Response) -> Any:
            assert self.crawler.spider is self
            assert self.crawler.run is not None
            self.crawler.stats.inc_value("mine")
            self.crawler.stats.max_value("most", len(page.body))
            return {"url": page.url, "tag": self.tag, "mine": self.settings["MINE"]}

    crawl = fetching(Crawl.of(Knowing))
    every: list[Any] = []
    crawl.events.on(RunFinished, every.append)
    crawl.events.on(Notice, every.append)
    summary, items = run(crawl)
    assert items == [{"url": "http://a.test/", "tag": "5", "mine": 5}]
    assert {key: summary.stats[key] for key in ("made", "mine", "most")} == {
        "made": 1,
        "mine": 1,
        "most": len(SITE["http://a.test/"]),
    }
    assert [event.reason for event in told] == ["finished"]
    assert [getattr(event, "text", "") for event in every] == [
        "settings of 'links' that nothing but the spider reads: MINE",
        "",
    ]
    assert told[0].run == every[1].run != ""


def test_settings_that_are_options_of_the_crawl() -> None:
    class Slow(Links):
        custom_settings = {"DOWNLOAD_DELAY": 2, "RANDOMIZE_DOWNLOAD_DELAY": False}  # noqa: RUF012 - as people write it

        @classmethod
        def update_settings(cls, settings: Any) -> None:
            super().update_settings(settings)
            settings.update(
                {"CONCURRENT_REQUESTS": 3, "CLOSESPIDER_PAGECOUNT": 0, "CLOSESPIDER_ITEMCOUNT": 7, "JOBDIR": "j"}
            )

    options = Crawl.of(Slow).options
    assert (options.delay, options.jitter, options.concurrency) == (2, 0, 3)
    assert (options.limit_pages, options.limit_items, options.job) == (None, 7, Path("j"))
    assert Crawl.of(Slow).replace(delay=1).options.delay == 1
    with pytest.raises(
        FlowError, match="Bad: the setting CONCURRENT_REQUESTS is 0; it must be a whole number, 1 or more"
    ):
        Crawl.of(type("Bad", (Links,), {"custom_settings": {"CONCURRENT_REQUESTS": 0}}))


# -- start -------------------------------------------------------------------------------------------------------------


class Given(Spider):
    name = "given"

    def parse(self, page: Response) -> Any:
        return {"url": page.url}


def test_an_asynchronous_start_gives_urls_requests_and_items() -> None:
    class Own(Given):
        async def start(self) -> AsyncIterator[Any]:
            await asyncio.sleep(1)
            yield "http://a.test/"
            yield Request("http://b.test/", callback=self.other)
            yield {"url": "an item"}

        def other(self, page: Response) -> Any:
            return {"url": f"other {page.url}"}

    summary, items = run(fetching(Crawl.of(Own)))
    assert urls(items) == ["an item", "http://a.test/", "other http://b.test/"]
    assert summary.counts.offered.start == 2


def test_a_start_that_goes_on_from_the_inherited_one() -> None:
    class More(Given):
        start_urls = ["http://a.test/"]  # noqa: RUF012 - as people write it

        async def start(self) -> AsyncIterator[Any]:
            async for request in super().start():
                yield request
            yield "http://b.test/"

    assert urls(run(fetching(Crawl.of(More)))[1]) == ["http://a.test/", "http://b.test/"]


@pytest.mark.parametrize("how", ["start_requests", "sync start", "list"])
def test_starts_of_other_kinds(how: str) -> None:
    def generator(self: Any) -> Iterator[Any]:
        yield Request("http://a.test/")
        yield {"url": self.tag}

    def several(self: Any) -> list[Any]:
        return ["http://a.test/", {"url": self.tag}]

    body: dict[str, dict[str, Any]] = {
        "start_requests": {"start_requests": generator},
        "sync start": {"start": generator},
        "list": {"start": several},
    }
    assert urls(run(fetching(Crawl.of(type("Own", (Given,), body[how]), tag="x")))[1]) == ["http://a.test/", "x"]


def test_a_start_that_forgot_to_yield() -> None:
    async def start(self: Any) -> None: ...

    summary, _ = run(fetching(Crawl.of(type("Own", (Given,), {"start": start}))))
    assert "Own.start() gives nothing: an async def that has no yield" in str(summary.error)


def test_a_million_start_urls_are_taken_as_they_are_wanted() -> None:
    given = 0

    class Endless(Given):
        def start_requests(self) -> Iterator[Request]:
            nonlocal given
            while True:
                given += 1
                yield Request(f"http://a.test/{given}")

    crawl = fetching(Crawl.of(Endless), fetch=FakeFetch({}, latency=1.0), limit_pages=None)

    async def main() -> None:
        run = crawl.start()
        await asyncio.sleep(10)
        run.stop(now=True)
        await run

    run_virtual(main)
    assert 20 < given < 500


# -- the end -----------------------------------------------------------------------------------------------------------


def test_closed_may_be_a_coroutine_and_comes_after_the_last_flush(tmp_path: Path) -> None:
    feed = tmp_path / "items.jsonl"
    seen: list[Any] = []

    class Closing(Given):
        start_urls = ["http://a.test/"]  # noqa: RUF012 - as people write it

        async def closed(self, reason: str) -> None:
            await asyncio.sleep(5)
            seen.append((reason, feed.read_text()))

    run(fetching(Crawl.of(Closing)).pipe(ops.feed(str(feed))))
    assert seen == [("finished", '{"url":"http://a.test/"}\n')]


@pytest.mark.parametrize("reason", ["stopped", "failed", "limit of 1 item"])
def test_closed_is_told_why(reason: str) -> None:
    def refuse(item: Any) -> None:
        raise OSError("gone")

    crawl = fetching(Crawl.of(Links), limit_items=1 if reason.startswith("limit") else None)

    async def main() -> None:
        run = crawl.start(on_item=refuse if reason == "failed" else None)
        if reason == "stopped":
            run.stop()
        await run

    run_virtual(main)
    assert [each.rpartition(" after ")[0] for each in Links.ended] == [reason]


def test_what_closed_raises_is_told() -> None:
    class Raising(Given):
        start_urls = ["http://a.test/"]  # noqa: RUF012 - as people write it

        def closed(self, reason: str) -> None:
            raise OSError("no more")

    crawl = fetching(Crawl.of(Raising))
    told: list[Notice] = []
    crawl.events.on(Notice, told.append)
    summary, items = run(crawl)
    assert (summary.error, len(items)) == (None, 1)
    assert [(notice.level, notice.text) for notice in told] == [("warning", "while closing: no more")]


# -- jobs --------------------------------------------------------------------------------------------------------------


class Counting(Spider):
    """Follows a chain of pages, and counts them in its state."""

    name = "counting"
    start_urls = ["http://a.test/0"]  # noqa: RUF012 - as people write it

    def parse(self, page: Response) -> Iterator[Any]:
        self.state["pages"] = self.state.get("pages", 0) + 1
        yield {"n": page.text, "pages": self.state["pages"], "of": id(self)}
        yield Request(f"http://a.test/{int(page.text) + 1}", callback=self.onward, errback=self.no_more)

    def onward(self, page: Response) -> Any:
        return self.parse(page)

    def no_more(self, failed: Failed) -> Any:
        return {"n": "end", "pages": self.state["pages"], "of": id(self)}


def test_a_job_goes_on_with_the_methods_and_the_state_of_a_new_spider(tmp_path: Path) -> None:
    site = {f"/{n}": str(n) for n in range(10)}
    crawl = fetching(Crawl.of(Counting), site, job=tmp_path / "job")
    found: list[Any] = []
    for limit in (3, 4, None):
        summary, items = run(crawl.replace(limit_pages=limit))
        assert summary.error is None
        found.append(items)
    last: list[Any] = [(items[-1]["n"], items[-1]["pages"]) for items in found]
    assert last == [("2", 3), ("6", 7), ("end", 10)]
    assert [len({item["of"] for item in items}) for items in found] == [1, 1, 1]
    assert run(crawl)[0].reason == "already finished"


@pytest.mark.parametrize("again", [False, True])
def test_what_closed_writes_into_the_state_is_kept(tmp_path: Path, again: bool) -> None:
    """Whether the run ended early or went to its end."""
    ends: list[Any] = []

    class Noting(Counting):
        async def closed(self, reason: str) -> None:
            await asyncio.sleep(1)
            ends.append(self.state.get("ends", []))
            self.state["ends"] = [*ends[-1], f"{reason} after {self.state['pages']}"]

    site = {f"/{n}": str(n) for n in range(5)}
    crawl = fetching(Crawl.of(Noting), site, job=tmp_path / "job")
    for limit in (2, 1, None):
        assert run(crawl.replace(limit_pages=limit))[0].error is None
    assert ends == [[], ["limit of 2 pages after 2"], ["limit of 2 pages after 2", "limit of 1 page after 3"]]
    if again:
        summary, _ = run(crawl.replace(recrawl=0.0))
        assert summary.error is None
        assert ends[-1][-1] == "finished after 5"


def test_the_state_is_as_of_the_last_commit_when_the_storage_is_lost(tmp_path: Path) -> None:
    class Noting(Counting):
        def closed(self, reason: str) -> None:
            self.state["closed"] = reason

    class Lost:
        async def accept(self, item: Any, item_id: ItemId) -> None: ...

        async def flush(self) -> None:
            if flushes.pop():
                raise OSError("the disk is gone")

        async def close(self) -> None: ...

    class Losing(SinkOperator):
        def open(self, run: core.Run, token: Any = None) -> Lost:
            return Lost()

    site = {f"/{n}": str(n) for n in range(5)}
    crawl = fetching(Crawl.of(Noting), site, job=tmp_path / "job").pipe(Losing())
    flushes = [True, False]
    summary, _ = run(crawl)
    assert isinstance(summary.error, SinkError)
    flushes = [False] * 9
    states: list[Any] = []

    class Looking(Counting):
        def parse(self, page: Response) -> Iterator[Any]:
            states.append(self.state.get("closed"))
            return super().parse(page)

    again = fetching(Crawl.of(Looking), site, job=tmp_path / "job").pipe(Losing())
    assert run(again)[0].error is None
    assert states == [None] * 5


def test_the_state_is_there_when_the_run_is() -> None:
    class Early(Given):
        start_urls = ["http://a.test/"]  # noqa: RUF012 - as people write it

        @classmethod
        def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
            spider = super().from_crawler(crawler, *args, **kwargs)
            spider.state["x"] = 1
            return spider

    with pytest.raises(FlowError, match="state is there once the run has begun"):
        run(fetching(Crawl.of(Early)))


# -- what people get wrong ---------------------------------------------------------------------------------------------


def spider(**body: Any) -> type[Spider]:
    return type("Wrong", (Spider,), {"name": "wrong", "parse": Given.parse, **body})


def of_a_tag(self: Any, tag: str) -> None: ...


def of_some_tag(self: Any, tag: str = "") -> None: ...


def of_nothing(self: Any) -> None: ...


def no_spider(cls: Any, crawler: Crawler) -> None: ...


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (spider(name=""), {}, r'Wrong has no name: write name = "…" in the class'),
        (type("Wrong", (Spider,), {"name": "w"}), {}, r"Wrong has no parse\(\): it takes the responses"),
        (spider(start_urls="http://a.test/"), {}, r"Wrong\.start_urls is the text 'http://a\.test/': make it a list"),
        (spider(allowed_domains="a.test"), {}, r"Wrong\.allowed_domains is the text 'a\.test': make it a list"),
        (
            spider(allowed_domains=["http://a.test/"]),
            {},
            r"Wrong\.allowed_domains: not a domain name: 'http://a\.test/'",
        ),
        (spider(allowed_domains=["a.test:8080"]), {}, r"not a domain name: 'a\.test:8080' .*no scheme, port"),
        (spider(allowed_domains=[None]), {}, r"Wrong\.allowed_domains"),
        (spider(__init__=of_a_tag), {"tga": 1}, r"Wrong\(tga=1\) cannot be made: missing a required arg"),
        (spider(__init__=of_some_tag), {"tga": 1}, r"got an unexpected keyword argument 'tga'"),
    ],
)
def test_what_is_wrong_with_the_class_is_told_at_once(kind: type[Spider], arguments: Any, message: str) -> None:
    with pytest.raises(FlowError, match=message) as raised:
        Crawl.of(kind, **arguments)
    assert "\n" not in str(raised.value)


def bad_init(self: Any) -> None:
    raise KeyError("nothing")


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (spider(), {"start_urls": "http://a.test/"}, r"Wrong\.start_urls is the text"),
        (spider(), {"allowed_domains": ["*.a.test"]}, r"allowed_domains: not a domain name: '\*\.a\.test'"),
        (spider(), {"start": 5}, r"Wrong\(start=5\): start is a method of the spider; rename one of them"),
        (spider(__init__=bad_init), {}, r"Wrong\(\) cannot be made: KeyError: 'nothing'"),
        (spider(name="", __init__=of_nothing), {}, r"Wrong has no name"),
        (spider(from_crawler=classmethod(no_spider)), {}, r"Wrong\.from_crawler\(\) gave None"),
    ],
)
def test_what_is_wrong_with_the_spider_is_told_when_it_is_made(kind: Any, arguments: Any, message: str) -> None:
    crawl = fetching(Crawl.of(kind, **arguments))
    with pytest.raises(FlowError, match=message) as raised:
        run(crawl)
    assert "\n" not in str(raised.value)


def test_start_url_without_an_s() -> None:
    summary, _ = run(fetching(Crawl.of(spider(start_url="http://a.test/"))))
    assert "Wrong has no start_urls, but start_url: did you miss the 's'?" in str(summary.error)


def test_what_is_no_class_of_spiders() -> None:
    with pytest.raises(TypeError, match=r"takes the class, Links: every run makes a spider of its own"):
        Crawl.of(Links())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"takes a class of spiders, and <class 'int'> is none"):
        Crawl.of(int)  # type: ignore[type-var,arg-type,unused-ignore]
    assert is_spider_class(Links)
    assert not any(is_spider_class(each) for each in (Spider, int, Links(), spider(name=""), None))


def test_a_spider_may_be_named_by_an_argument(caplog: pytest.LogCaptureFixture) -> None:
    named: list[str] = []

    class Nameless(Spider):
        start_urls = ["http://a.test/"]  # noqa: RUF012 - as people write it

        def parse(self, page: Response) -> None:
            named.append(self.name)
            self.log("seen", logging.INFO)

    with caplog.at_level(logging.INFO):
        run(fetching(Crawl.of(Nameless, name="given")))
    assert named == ["given"]
    assert [(record.name, record.message) for record in caplog.records if record.message == "seen"] == [
        ("given", "seen")
    ]
