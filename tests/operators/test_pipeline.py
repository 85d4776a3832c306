"""pipeline: items step by step."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import reactivex as rx
from reactivex import operators

from streamcrawl import Crawl, Drop, Response
from streamcrawl import operators as ops
from streamcrawl.errors import FlowError
from streamcrawl.events import ItemDropped, ItemFailed, Notice
from streamcrawl.spiders import Spider
from streamcrawl.testing import FakeFetch, run_virtual

BARE = ops.default_layers(robots_txt=None)


def parse(page: Response) -> Iterator[dict[str, int]]:
    for n in range(6):
        yield {"n": n}


def crawled(*operators: Any, crawl: Crawl[Any] | None = None) -> tuple[list[Any], list[Any], Any]:
    """The items, the events of items lost, and the summary."""
    whole = crawl or Crawl("http://a.test/").pipe(ops.download(*BARE, fetch=FakeFetch({"/": ""})), ops.scrape(parse))
    items: list[Any] = []
    told: list[Any] = []

    async def main() -> Any:
        run = whole.pipe(*operators).start(on_item=items.append)
        for kind in (ItemDropped, ItemFailed, Notice):
            run.events.on(kind, told.append)
        return await run

    return items, told, run_virtual(main)


def double(item: dict[str, int]) -> dict[str, int]:
    return {**item, "twice": item["n"] * 2}


async def slow(item: dict[str, int]) -> dict[str, int]:
    await asyncio.sleep(6.0 - item["n"])
    return {**item, "slow": 1}


def mark(item: dict[str, int]) -> None:
    item["marked"] = 1


def test_steps_in_their_order_plain_and_async() -> None:
    items, _, _ = crawled(ops.pipeline(double, slow, mark, limit=1))
    assert items == [{"n": n, "twice": 2 * n, "slow": 1, "marked": 1} for n in range(6)]
    items, _, _ = crawled(ops.pipeline(slow))
    assert [item["n"] for item in items] == [5, 4, 3, 2, 1, 0], "what is ready first goes on first"


class Numbered:
    """Opened and closed, async; numbers what it sees."""

    log: list[str]

    def __init__(self) -> None:
        self.seen = 0

    async def open_spider(self) -> None:
        await asyncio.sleep(3)
        self.log.append("open")

    def process_item(self, item: dict[str, int]) -> dict[str, int]:
        assert self.log
        self.seen += 1
        self.log.append(f"item {self.seen}")
        return {**item, "nth": self.seen}

    async def close_spider(self) -> None:
        self.log.append("closed")


def test_each_run_has_an_object_of_its_own_opened_before_and_closed_after() -> None:
    Numbered.log = []
    pipe = ops.pipeline(Numbered)
    for _ in range(2):
        items, _, _ = crawled(pipe)
        assert sorted(item["nth"] for item in items) == [1, 2, 3, 4, 5, 6]
    once = ["open", *(f"item {n}" for n in range(1, 7)), "closed"]
    assert Numbered.log == once * 2


def test_what_is_dropped_and_what_fails_is_told_and_loses_nothing_else() -> None:
    def picky(item: dict[str, int]) -> None:
        if item["n"] == 1:
            raise Drop("no ones")
        if item["n"] == 2:
            raise KeyError("two")

    async def picky_later(item: dict[str, int]) -> None:
        if item["n"] == 3:
            raise Drop("no threes")

    items, told, summary = crawled(ops.pipeline(picky, picky_later))
    assert [item["n"] for item in items] == [0, 4, 5]
    dropped = {event.reason: event.item["n"] for event in told if isinstance(event, ItemDropped)}
    assert dropped == {"no ones": 1, "no threes": 3}
    (failed,) = [event for event in told if isinstance(event, ItemFailed)]
    assert failed.item == {"n": 2}
    assert str(failed.error).endswith("KeyError: 'two'")
    assert "pipeline(" in str(failed.error)
    assert summary.error is None


class Shop(Spider):
    name = "shop"
    start_urls = ["http://a.test/"]  # noqa: RUF012 - as spiders have it
    currency = "EUR"

    def parse(self, response: Response) -> Iterator[dict[str, int]]:
        yield from parse(response)


class Priced:
    def open_spider(self, spider: Shop) -> None:
        self.currency = spider.currency

    def process_item(self, item: dict[str, Any], spider: Shop) -> dict[str, Any]:
        return {**item, "currency": self.currency, "by": spider.name}


def test_a_step_may_ask_for_the_spider() -> None:
    crawl = Crawl.of(Shop, currency="CHF").replace(download=ops.download(*BARE, fetch=FakeFetch({"/": ""})))
    items, _, _ = crawled(ops.pipeline(Priced()), crawl=crawl)
    assert items[0] == {"n": 0, "currency": "CHF", "by": "shop"}


def test_one_that_cannot_be_opened_ends_the_run() -> None:
    class Broken:
        def open_spider(self) -> None:
            raise OSError("no database")

        def process_item(self, item: Any) -> None: ...

    _, _, summary = crawled(ops.pipeline(Broken))
    assert isinstance(summary.error, FlowError)
    assert str(summary.error) == "pipeline(Broken) cannot be opened: Broken: OSError: no database"


def test_with_no_crawl_around_it() -> None:
    found: list[Any] = []
    rx.of({"n": 1}, {"n": 2}).pipe(ops.pipeline(double)).subscribe(found.append)
    assert found == [{"n": 1, "twice": 2}, {"n": 2, "twice": 4}]
    log: list[str] = []
    rx.of({"n": 1}).pipe(ops.pipeline(Logged("a", log, wait=0.001))).subscribe(found.append)
    assert (log, len(found)) == (["open a", "close a"], 3)


@pytest.mark.parametrize(
    ("steps", "limit", "said"),
    [
        ((), 1, "needs a step"),
        ((double,), 0, "1 or more"),
        ((dict,), 1, "neither a function nor has it a method process_item"),
        ((5,), 1, "5 is neither a function"),
        ((Priced(), "operators.test_pipeline.Nothing"), 1, "'operators.test_pipeline.Nothing' cannot be imported"),
        (("Priced",), 1, "'Priced' cannot be imported"),
        (({double: "first"},), 1, "has the number 'first': a number, or None"),
        (({double: True},), 1, "has the number True"),
        (({double: None},), 1, "needs a step"),
        ((partial(Shop, n=1),), 1, "neither a function"),
    ],
)
def test_arguments_are_checked_when_built(steps: tuple[Any, ...], limit: int, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        ops.pipeline(*steps, limit=limit)


def test_its_name_tells_the_steps() -> None:
    assert getattr(ops.pipeline(Numbered, Priced(), double), "name", "") == "pipeline(Numbered, Priced, double)"


# ---- objects of classes


class Taxed:
    """Made with an argument, and told of the run."""

    def __init__(self, rate: float, currency: str = "") -> None:
        self.rate, self.currency = rate, currency

    @classmethod
    def from_run(cls, run: Any, rate: float) -> Taxed:
        run.stats["taxed/made"] += 1
        return cls(rate, getattr(run.spider, "currency", "none"))

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        return {**item, "gross": item["n"] * self.rate, "currency": self.currency}


class Counted:
    """As Scrapy's pipelines are made."""

    def __init__(self, stats: Any, limit: int, spider: Any) -> None:
        self.stats, self.limit, self.spider = stats, limit, spider

    @classmethod
    def from_crawler(cls, crawler: Any) -> Counted:
        return cls(crawler.stats, crawler.settings.get("AT_MOST", 2), crawler.spider)

    def process_item(self, item: dict[str, Any], _spider: Any) -> dict[str, Any]:
        assert _spider is self.spider
        self.stats.inc_value("counted")
        if item["n"] >= self.limit:
            raise Drop("too many")
        return item


def test_a_class_is_made_of_the_run_with_the_arguments_of_a_partial() -> None:
    items, _, summary = crawled(ops.pipeline(partial(Taxed, rate=2.0)))
    assert items[3] == {"n": 3, "gross": 6.0, "currency": "none"}
    assert summary.stats["taxed/made"] == 1
    assert getattr(ops.pipeline(partial(Taxed, 1.2)), "name", "") == "pipeline(Taxed)"
    with pytest.raises(
        TypeError, match=r"Taxed\.from_run\(\): missing a required argument: 'rate'.*functools.partial\(Taxed"
    ):
        ops.pipeline(Taxed)


def test_from_crawler_is_given_stats_settings_and_spider() -> None:
    items, told, summary = crawled(ops.pipeline(Counted))
    assert [item["n"] for item in items] == [0, 1]
    assert summary.stats["counted"] == 6
    assert {event.reason for event in told} == {"too many"}

    class Most(Shop):
        custom_settings: ClassVar[Mapping[str, Any] | None] = {"AT_MOST": 4}

    crawl = Crawl.of(Most).replace(download=ops.download(*BARE, fetch=FakeFetch({"/": ""})))
    items, _, summary = crawled(ops.pipeline(Counted), crawl=crawl)
    assert [item["n"] for item in items] == [0, 1, 2, 3]
    assert summary.stats["counted"] == 6
    assert summary.stats["items_dropped/too many"] == 2


def test_one_that_cannot_be_made_ends_the_run() -> None:
    class Half:
        @classmethod
        def from_crawler(cls, crawler: Any) -> Half:
            raise KeyError("DATABASE")

        def process_item(self, item: Any) -> None: ...

    _, _, summary = crawled(ops.pipeline(Half))
    assert str(summary.error) == "pipeline(Half) cannot be made: Half: KeyError: 'DATABASE'"


def test_numbers_say_the_order_and_import_paths_are_taken() -> None:
    steps = {mark: 900, f"{__name__}.double": 300, partial(Taxed, 2.0): 800, slow: None}
    pipe = ops.pipeline(steps, mark)
    assert getattr(pipe, "name", "") == "pipeline(double, Taxed, mark, mark)"
    items, _, _ = crawled(pipe)
    assert list(items[1]) == ["n", "twice", "gross", "currency", "marked"]


class Logged:
    """Says what is done with it."""

    def __init__(self, name: str, log: list[str], wrong: str = "", wait: float = 0.0) -> None:
        self.name, self.log, self.wrong, self.wait = name, log, wrong, wait

    def _does(self, what: str) -> Any:
        async def later() -> None:
            await asyncio.sleep(self.wait)
            now()

        def now() -> None:
            self.log.append(f"{what} {self.name}")
            if self.wrong == what:
                raise OSError(f"{what}: gone")

        return later() if self.wait else now()

    def open_spider(self) -> Any:
        return self._does("open")

    def process_item(self, item: Any) -> None: ...

    def close_spider(self, spider: Any) -> Any:
        return self._does("close")


@pytest.mark.parametrize("wait", [0.0, 2.0])
def test_what_was_opened_is_closed_and_nothing_else(wait: float) -> None:
    log: list[str] = []
    steps = [Logged("a", log), Logged("b", log, "open", wait), Logged("c", log)]
    items, told, summary = crawled(ops.pipeline(*steps))
    assert str(summary.error).endswith("cannot be opened: Logged: OSError: open: gone")
    assert log == ["open a", "open b", "close a"]
    assert items == []
    assert all(isinstance(each, ItemFailed) and each.error.__cause__ is not None for each in told)


def test_an_error_while_closing_is_told_and_keeps_no_other_from_it() -> None:
    log: list[str] = []
    steps = [Logged("a", log), Logged("b", log, "close", 1.0), Logged("c", log, "close")]
    items, told, _ = crawled(ops.pipeline(*steps))
    assert len(items) == 6
    assert log == ["open a", "open b", "open c", "close c", "close b", "close a"]
    (notice,) = told
    assert notice.text.endswith("cannot be closed: Logged: OSError: close: gone; Logged: OSError: close: gone")


def test_what_opens_at_once_is_open_before_the_first_request() -> None:
    log: list[str] = []

    async def site(request: Any) -> Response:
        log.append("request")
        return Response(request.url, request=request)

    crawl: Crawl[Any] = Crawl("http://a.test/").pipe(ops.download(*BARE, fetch=site), ops.scrape(parse))
    crawled(ops.pipeline(Logged("a", log)), crawl=crawl)
    assert log == ["open a", "request", "close a"]


# ---- in a job


def test_items_of_one_that_could_not_be_opened_come_when_the_job_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log: list[str] = []
    crawl = Crawl("http://a.test/", job="job").pipe(ops.download(*BARE, fetch=FakeFetch({"/": ""})), ops.scrape(parse))
    _, told, summary = crawled(ops.pipeline(Logged("a", log, "open", 5.0)), ops.feed("a.jsonl"), crawl=crawl)
    assert isinstance(summary.error, FlowError)
    assert len(told) == 6
    _, told, summary = crawled(ops.pipeline(Logged("a", log, wait=5.0)), ops.feed("a.jsonl"), crawl=crawl)
    assert summary.error is None
    assert [json.loads(line) for line in Path("a.jsonl").read_text().splitlines()] == [{"n": n} for n in range(6)]


def test_several_items_of_one_keep_their_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a job that is stopped in the middle, whatever stands before and after the pipeline."""
    monkeypatch.chdir(tmp_path)
    site = FakeFetch({f"/{n}": "" for n in range(12)})

    def halves(item: dict[str, int]) -> Any:
        return rx.of(*({**item, "half": half} for half in range(2)))

    def many(page: Response) -> Iterator[dict[str, int]]:
        yield from ({"page": int(page.url.rpartition("/")[2]), "n": n} for n in range(6))

    begun: Crawl[Any] = Crawl([f"http://a.test/{n}" for n in range(12)], job="job", concurrency=2)
    crawl = begun.pipe(ops.download(*BARE, fetch=site), ops.scrape(many))
    pipe = (operators.flat_map(halves), ops.pipeline(slow), ops.batch(5), ops.feed("a.jsonl"))
    for stop in (4, 5, None):
        _, _, summary = crawled(*pipe, crawl=crawl.replace(limit_pages=stop))
        assert summary.error is None
    found = [json.loads(line) for line in Path("a.jsonl").read_text().splitlines()]
    keys = [(item["page"], item["n"], item["half"]) for item in found]
    assert sorted(keys) == [(page, n, half) for page in range(12) for n in range(6) for half in range(2)]


class Stored:
    def __init__(self, place: str, table: str) -> None: ...

    def process_item(self, item: Any, spider: Any) -> Any:
        return item


@pytest.mark.parametrize("given", [Stored, Stored("a", "b")])
def test_a_pipeline_straight_in_a_pipe_is_told_where_it_belongs(given: Any) -> None:
    with pytest.raises(TypeError, match=r"Stored.* is an item pipeline: write ops\.pipeline\(…\) with it"):
        Crawl("http://a.test/").pipe(ops.download(), ops.scrape(parse), given)
