"""Crawls with a job: stopped in any way, they go on to what an undisturbed crawl gives."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import chdir
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from reactivex import operators as rx

from streamcrawl import Crawl, Headers, Request, Response, fetch
from streamcrawl import operators as ops
from streamcrawl.core import ItemId, Run
from streamcrawl.crawl.summary import Summary
from streamcrawl.errors import ConnectError, FlowError, JobError, NotStorable, SinkError
from streamcrawl.events import Notice, PageDiffers
from streamcrawl.frontier.overview import overview, retry_failed
from streamcrawl.streams.sink import SinkOperator
from streamcrawl.testing import run_virtual
from streamcrawl.testing.virtual_time import START

PAGES = 40
ITEMS = 3


@dataclass
class Web:
    """A tree of pages, and what was asked of it."""

    asked: list[Request] = field(default_factory=list[Request])
    bodies: dict[int, str] = field(default_factory=dict[int, str])
    etags: bool = False

    async def __call__(self, request: Request) -> Response:
        self.asked.append(request)
        await asyncio.sleep(0.3)
        n = number(request.url)
        links = "".join(f'<a href="/{k}">x</a>' for k in (3 * n + 1, 3 * n + 2, 3 * n + 3) if k < PAGES)
        body = self.bodies.get(n, "") + links
        headers = Headers({"Content-Type": "text/html"} | ({"ETag": f'"{hash(body)}"'} if self.etags else {}))
        if self.etags and request.headers.get("If-None-Match") == headers["ETag"]:
            return Response(request.url, status=304, headers=headers, request=request)
        return Response(request.url, headers=headers, body=body.encode(), request=request)

    @property
    def urls(self) -> list[str]:
        return [request.url for request in self.asked]


def number(url: str) -> int:
    return int(url.rpartition("/")[2] or 0)


def parse(page: Any) -> Iterator[Any]:
    for k in range(ITEMS):
        yield {"page": number(page.url), "k": k}
    yield from page.follow_all(css="a")


async def parse_slowly(page: Any) -> Any:
    for k in range(ITEMS):
        yield {"page": number(page.url), "k": k}
        await asyncio.sleep(0.5)
    for request in page.follow_all(css="a"):
        yield request


WHOLE = Counter((n, k) for n in range(PAGES) for k in range(ITEMS))


def read(path: Path | str = "items.jsonl") -> Counter[tuple[int, int]]:
    import json

    lines = Path(path).read_text().splitlines()
    return Counter((item["page"], item["k"]) for item in map(json.loads, lines))


def crawl(
    web: Any, *operators: Any, callback: Any = parse, start: Any = "http://a.test/0", **options: Any
) -> Crawl[Any]:
    layers = ops.default_layers(robots_txt=None)
    given: dict[str, Any] = {"job": "job", "concurrency": 4, **options}
    rest: Any = operators or (ops.feed("items.jsonl"),)
    made: Crawl[Any] = Crawl(start, **given).pipe(ops.download(*layers, fetch=web), ops.scrape(callback), *rest)
    return made


HOURS = count(1)


def ran(made: Crawl[Any], meanwhile: Callable[[Any], None] | None = None) -> tuple[Summary, list[str]]:
    """The run's summary and what it told."""
    told: list[str] = []

    async def main() -> Summary:
        run = made.start()
        run.events.on(Notice, lambda notice: told.append(notice.text))
        if meanwhile is not None:
            meanwhile(run)
        return await run

    return run_virtual(main(), start=START + 3600 * next(HOURS)), told


def at(seconds: float, act: Callable[[Any], None]) -> Callable[[Any], None]:
    def later(run: Any) -> None:
        asyncio.get_running_loop().call_later(seconds, act, run)

    return later


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path) -> Iterator[None]:
    with chdir(tmp_path):
        yield


# -- going on ---------------------------------------------------------------------------------------------------------


def stopped_twice(run: Any) -> None:
    at(1.0, lambda run: run.stop())(run)
    at(1.4, lambda run: run.stop(now=True))(run)


STOPS: dict[str, dict[str, Any]] = {
    "stopped": {"meanwhile": at(1.4, lambda run: run.stop())},
    "stopped at once": {"meanwhile": at(1.4, lambda run: run.stop(now=True))},
    "stopped, then at once": {"meanwhile": stopped_twice},
    "failed": {"meanwhile": at(1.4, lambda run: run.fail(RuntimeError("a bug")))},
    "limit of pages": {"limit_pages": 7},
    "limit of items": {"limit_items": 16},
}


@pytest.mark.parametrize("callback", [parse, parse_slowly])
@pytest.mark.parametrize("how", STOPS)
def test_what_was_stopped_goes_on(how: str, callback: Any) -> None:
    web = Web()
    options = dict(STOPS[how])
    meanwhile = options.pop("meanwhile", None)
    first, _ = ran(crawl(web, callback=callback, **options), meanwhile)
    assert first.reason != "finished"
    assert 0 < len(web.asked) < PAGES
    assert read() - WHOLE == Counter()
    second, _ = ran(crawl(web, callback=callback))
    assert (second.reason, second.error) == ("finished", None)
    assert second.balanced
    assert second.counts.offered.start == 0
    assert read() == WHOLE
    assert set(web.urls) == {f"http://a.test/{n}" for n in range(PAGES)}


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 10])
def test_limits_in_a_row_bring_it_all(limit: int) -> None:
    web = Web()
    reasons = [ran(crawl(web, limit_pages=limit))[0].reason for _ in range(PAGES // limit + 2)]
    assert reasons[-1] == "already finished"
    assert read() == WHOLE
    assert len(web.asked) == PAGES


async def looking_on(item: dict[str, Any]) -> dict[str, Any]:
    await fetch("http://a.test/0")
    return item


def test_a_limit_is_reached_while_something_is_still_fetched() -> None:
    web = Web()
    feed = ops.feed("items.jsonl")
    summary, _ = ran(crawl(web, ops.map_async(looking_on), feed, limit_pages=1))
    assert summary.reason == "limit of 1 page"
    assert read() == Counter((0, k) for k in range(ITEMS))


def test_a_finished_job_says_so_and_leaves_everything_as_it_is() -> None:
    web = Web()
    ran(crawl(web))
    before = Path("items.jsonl").stat().st_mtime_ns, len(web.asked)
    summary, told = ran(crawl(web))
    assert (summary.reason, summary.ok, summary.error) == ("already finished", True, None)
    assert [text for text in told if "job job is finished" in text]
    assert (Path("items.jsonl").stat().st_mtime_ns, len(web.asked)) == before


def test_a_retry_is_not_sent_twice_when_the_run_is_cut_short() -> None:
    class Busy(Web):
        async def __call__(self, request: Request) -> Response:
            if not request.attempt and number(request.url) == 1:
                return Response(request.url, status=503, request=request)
            return await super().__call__(request)

    web = Busy()
    ran(crawl(web, start=["http://a.test/1", "http://a.test/2"], limit_items=1))
    ran(crawl(web, start=["http://a.test/1", "http://a.test/2"]))
    assert max(read().values()) == 1
    assert Counter(web.urls)["http://a.test/1"] == 1


@pytest.mark.parametrize("how", ["removed", "emptied", "cut", "overwritten"])
def test_fingerprints_that_somebody_spoiled_are_made_anew(how: str) -> None:
    web = Web()
    ran(crawl(web, limit_pages=20))
    file = Path("job/seen.0")
    size = file.stat().st_size
    if how == "removed":
        file.unlink()
    else:
        file.write_bytes({"emptied": bytes(size), "cut": b"", "overwritten": b"\x07" * size}[how])
    ran(crawl(web))
    assert read() == WHOLE
    assert len(web.asked) == PAGES


def test_two_runs_on_one_job_are_refused() -> None:
    async def main() -> tuple[Summary, Summary]:
        one = crawl(Web()).start()
        two = crawl(Web(), ops.feed("other.jsonl")).start()
        return await one, await two

    one, two = run_virtual(main())
    assert one.error is None
    assert isinstance(two.error, JobError)
    assert "in use by another run of this process" in str(two.error)
    assert read() == WHOLE
    assert not Path("other.jsonl").exists()


@pytest.mark.parametrize("start", ["a list", "a generator", "a set", "an async generator"])
def test_the_start_goes_on_where_it_was(start: str) -> None:
    urls = [f"http://{n}.test/{n + 1000}" for n in range(30)]

    async def later() -> Any:
        for url in urls:
            await asyncio.sleep(0.05)
            yield url

    def made() -> Any:
        return {"a list": urls, "a generator": iter(urls), "a set": set(urls), "an async generator": later()}[start]

    web = Web()
    ran(crawl(web, start=made()), at(1.5, lambda run: run.stop()))
    assert 0 < len(web.asked) < 30
    ran(crawl(web, start=made()))
    assert Counter(web.urls) == Counter(urls)


def test_another_body_of_a_page_under_way_is_told() -> None:
    web = Web()
    ran(crawl(web, callback=parse_slowly), at(1.1, lambda run: run.stop(now=True)))
    web.bodies = dict.fromkeys(range(PAGES), "<p>changed</p>")
    differing: list[str] = []

    def differs(event: PageDiffers) -> None:
        differing.append(event.request.url)

    ran(crawl(web, callback=parse_slowly), lambda run: run.events.on(PageDiffers, differs))
    assert differing == ["http://a.test/0"]
    assert read() == WHOLE


def parse_edited(page: Any) -> Iterator[Any]:
    yield from parse(page)
    yield None


def test_another_version_of_the_flow_is_told() -> None:
    web = Web()
    ran(crawl(web, limit_pages=3))
    _, told = ran(crawl(web, limit_pages=3))
    assert told == []
    _, told = ran(crawl(web, rx.map(lambda item: item), ops.feed("items.jsonl"), callback=parse_edited))
    changed = next(text for text in told if "another version of this flow" in text)
    assert "pipe was download | scrape | feed(items.jsonl), is download | scrape | map(" in changed
    assert "callback was parse, is parse_edited" in changed


def test_a_sink_that_the_flow_has_no_more_is_told() -> None:
    web = Web()
    ran(crawl(web, limit_pages=3))
    _, told = ran(crawl(web, ops.feed("others.jsonl")))
    assert [text for text in told if "was writing to feed(items.jsonl), and this flow does not" in text]


# -- what a job cannot keep -------------------------------------------------------------------------------------------


def unstorable(page: Any) -> Iterator[Any]:
    yield {"page": number(page.url), "k": 0}

    def local(page: Any) -> None: ...

    yield Request("http://a.test/1", callback=local)


def test_a_request_that_cannot_be_stored_ends_the_run_and_nothing_is_lost() -> None:
    web = Web()
    summary, _ = ran(crawl(web, callback=unstorable))
    assert isinstance(summary.error, NotStorable)
    assert "<GET http://a.test/1>" in str(summary.error)
    assert "local" in str(summary.error)
    ran(crawl(web))
    assert read() == WHOLE


def test_without_a_job_it_may_be_anything() -> None:
    web = Web()
    summary, _ = ran(crawl(web, callback=unstorable, job=None, memory="16MB"))
    assert summary.error is None
    assert web.urls == ["http://a.test/0", "http://a.test/1"]


def test_an_operator_that_loses_pages_ends_the_run() -> None:
    summary, _ = ran(crawl(Web(), rx.delay(1.0), ops.feed("items.jsonl")))
    assert isinstance(summary.error, FlowError)
    assert "delay" in str(summary.error)
    assert "ops.at_most_once" in str(summary.error)
    assert not Path("job").exists()
    summary, _ = ran(crawl(Web(), ops.at_most_once(rx.delay(1.0)), ops.feed("items.jsonl")))
    assert summary.error is None
    assert read() == WHOLE


# -- sinks ------------------------------------------------------------------------------------------------------------


class Taking(SinkOperator):
    """A user's sink: it keeps what it is given, and cannot take anything back."""

    def __init__(self, seconds: float = 0.0, fails_at: int | None = None) -> None:
        self.seconds, self.fails_at = seconds, fails_at
        self.given: list[tuple[ItemId, Any]] = []

    def open(self, run: Run, token: Any = None) -> Taking:
        return self

    async def accept(self, item: Any, item_id: ItemId) -> None:
        await asyncio.sleep(self.seconds)
        if self.fails_at is not None and len(self.given) >= self.fails_at:
            raise OSError("its disk is gone")
        self.given.append((item_id, item))

    async def flush(self) -> None: ...

    async def close(self) -> None: ...


def test_a_sink_of_the_users_gets_everything_with_ids_that_stay() -> None:
    web, sink = Web(), Taking(0.05)
    ran(crawl(web, sink, callback=parse_slowly), at(2.2, lambda run: run.stop(now=True)))
    assert sink.given
    ran(crawl(web, sink, callback=parse_slowly))
    by_id = {item_id: (item["page"], item["k"]) for item_id, item in sink.given}
    assert all(by_id[item_id] == (item["page"], item["k"]) for item_id, item in sink.given)
    assert Counter(by_id.values()) == WHOLE


@pytest.mark.parametrize("before", [True, False])
def test_a_sink_that_fails_loses_nothing_and_others_hold_nothing_twice(before: bool) -> None:
    web, failing, mended = Web(), Taking(0.01, fails_at=20), Taking(0.01)
    feed = ops.feed("items.jsonl")
    summary, _ = ran(crawl(web, *((feed, failing) if before else (failing, feed))))
    assert isinstance(summary.error, SinkError)
    ran(crawl(web, *((feed, mended) if before else (mended, feed))))
    assert read() == WHOLE
    ids = {item_id: (item["page"], item["k"]) for item_id, item in (*failing.given, *mended.given)}
    assert Counter(ids.values()) == WHOLE


def troubled(page: Any) -> Iterator[Any]:
    """Links of which one is refused, with an errback that gives an item."""
    yield from parse(page)
    for k in range(2):
        yield Request(
            f"http://elsewhere.test/{number(page.url)}/{k}", errback=told_of, cb_kwargs={"of": page.url, "k": k}
        )


def told_of(refused: Any, of: str, k: int) -> Iterator[Any]:
    yield {"page": number(of), "k": 100 + k}


def test_what_errbacks_give_for_refused_links_belongs_to_the_page() -> None:
    web = Web()
    wanted = WHOLE + Counter((n, 100 + k) for n in range(PAGES) for k in range(2))
    sink = Taking(0.02)
    ran(crawl(web, ops.feed("items.jsonl"), sink, callback=troubled), at(1.4, lambda run: run.stop(now=True)))
    ran(crawl(web, ops.feed("items.jsonl"), sink, callback=troubled))
    assert read() == wanted
    assert Counter((item["page"], item["k"]) for item in dict(sink.given).values()) == wanted


class Flaky(Web):
    """Page 2 fails until it is mended."""

    mended = False

    async def __call__(self, request: Request) -> Response:
        if number(request.url) == 2 and not self.mended:
            raise ConnectError("refused")
        return await super().__call__(request)


def given_up(failed: Any) -> Iterator[Any]:
    yield from ({"page": 2, "k": 200 + k} for k in range(5))


def test_what_an_errback_gave_does_not_stand_for_what_the_page_gives() -> None:
    web = Flaky()
    start = [Request("http://a.test/2", errback=given_up)]
    layers = ops.default_layers(robots_txt=None, retry=None)
    made: Crawl[Any] = Crawl(start, job="job").pipe(
        ops.download(*layers, fetch=web), ops.scrape(parse), ops.feed("items.jsonl")
    )
    ran(made)
    assert read() == Counter((2, 200 + k) for k in range(5))
    assert retry_failed("job") == 1
    web.mended = True
    ran(made)
    assert read() & WHOLE == WHOLE & read()
    assert [read()[2, k] for k in (0, 1, 2, 200, 204)] == [1] * 5


def breaking(page: Any) -> Iterator[Any]:
    for k, output in enumerate(parse(page)):
        if number(page.url) == 2 and k == 2:
            raise ValueError("page 2")
        yield output


def test_a_page_whose_callback_broke_goes_on_after_what_it_gave() -> None:
    web = Web()
    summary, _ = ran(crawl(web, callback=breaking))
    assert summary.counts.callback_errors == 1
    assert overview("job").failed == 1
    assert retry_failed("job") == 1
    ran(crawl(web))
    assert read() == WHOLE


def test_the_job_removed_under_the_run_is_told() -> None:
    summary, _ = ran(crawl(Web()), at(1.1, lambda run: shutil.rmtree("job")))
    assert isinstance(summary.error, JobError)
    assert "removed or replaced" in str(summary.error)


def test_a_feed_cut_by_somebody_is_told() -> None:
    web = Web()
    ran(crawl(web, limit_pages=10))
    Path("items.jsonl").write_text("")
    summary, _ = ran(crawl(web))
    assert isinstance(summary.error, SinkError)
    assert "items.jsonl" in str(summary.error)
    assert "was changed since the job stopped" in str(summary.error)


# -- what is remembered -----------------------------------------------------------------------------------------------


class Noting(Taking):
    """Counts in the job what it was given, and notes by page."""

    def open(self, run: Run, token: Any = None) -> Noting:
        self.run = run
        return self

    async def accept(self, item: Any, item_id: ItemId) -> None:
        state = self.run.state("noting")
        state["count"] = state.get("count", 0) + 1
        extent = self.run.extent
        if extent is not None:
            extent.leases[0].remember("pages", str(item["page"]), item["k"])


def test_the_run_remembers_from_session_to_session() -> None:
    web = Web()
    seen: list[dict[str, Any]] = []

    def look(run: Any) -> None:
        at(0.1, lambda run: seen.append(dict(run.state("noting"))))(run)

    ran(crawl(web, Noting(), limit_pages=10))
    ran(crawl(web, Noting()), look)
    assert seen == [{"count": 30}]


# -- recrawl ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("etags", [True, False])
def test_a_recrawl_brings_what_has_changed(etags: bool) -> None:
    web = Web(etags=etags)
    ran(crawl(web))
    assert read() == WHOLE
    web.bodies[5] = "<p>new</p>"
    web.asked.clear()
    summary, told = ran(crawl(web, recrawl=0.0))
    assert [text for text in told if f"{PAGES} requests are asked again" in text]
    assert len(web.asked) == PAGES
    assert summary.counts.dropped["not modified" if etags else "unchanged"] == PAGES - 1
    assert read() == Counter((5, k) for k in range(ITEMS))
    assert summary.balanced
    summary, _ = ran(crawl(web))
    assert summary.reason == "already finished"


def test_a_recrawl_asks_only_for_what_is_old_enough() -> None:
    web = Web()
    ran(crawl(web))
    web.asked.clear()
    summary, _ = ran(crawl(web, recrawl=86_400.0))
    assert web.asked == []
    assert summary.reason == "already finished"
    assert read() == WHOLE


def test_a_clock_that_was_set_back_is_told_and_waits_are_moved_with_it() -> None:
    async def failing(request: Request) -> Response:
        return Response(request.url, status=503, headers=Headers({"Retry-After": "50"}), request=request)

    async def stopped() -> None:
        run = crawl(failing).start()
        asyncio.get_running_loop().call_later(5.0, run.stop)
        await run

    async def goes_on() -> tuple[float, list[str]]:
        told: list[str] = []
        run = crawl(Web()).start()
        run.events.on(Notice, lambda notice: told.append(notice.text))
        await run
        return asyncio.get_running_loop().time(), told

    run_virtual(stopped())
    seconds, told = run_virtual(goes_on(), start=START - 86_400)
    assert "the clock is 864" in told[0]
    assert 40 < seconds < 80
    assert read() == WHOLE


def test_a_recrawl_needs_a_job() -> None:
    with pytest.raises(ValueError, match="it needs a job"):
        crawl(Web(), job=None, recrawl=5.0)
