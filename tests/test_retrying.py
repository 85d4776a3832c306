"""get_retry_request: from a callback, once more, exactly once, and no further."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from random import Random
from typing import Any

import pytest

from streamcrawl import Crawl, Failed, Request, Response
from streamcrawl import operators as ops
from streamcrawl.core import RUN, Dropped
from streamcrawl.errors import ConnectError
from streamcrawl.events import Notice
from streamcrawl.retrying import get_retry_request
from streamcrawl.streams.local import LocalRun
from streamcrawl.testing.fake_fetch import FakeFetch, page
from streamcrawl.testing.virtual_time import run_virtual

A = "http://a.example"
CAPTCHA = page("captcha")


def soon(repeat: int, random: Random) -> float:
    return float(repeat)


def run_of(flow: Crawl[Any], told: list[str] | None = None) -> Any:
    async def main() -> Any:
        run = flow.start()
        if told is not None:
            add = told.append
            run.events.on(Notice, lambda notice: add(f"{notice.level}: {notice.text}"))
        return await run

    return run_virtual(main)


def crawl(fetch: Any, callback: Any, errback: Any = None, start: Any = f"{A}/", **retry: Any) -> Crawl[Any]:
    layers = ops.default_layers(robots_txt=None, retry=ops.retry(wait=soon, **retry))
    return Crawl(start, seed=1).pipe(ops.download(*layers, fetch=fetch), ops.scrape(callback, errback=errback))


def solve(response: Response) -> Iterator[Any]:
    if b"captcha" in response.body:
        again = get_retry_request(response.request, reason="captcha", stats_key="captcha")
        yield again or {"lost": response.url}
    else:
        yield {"url": response.url, "attempt": response.request.attempt}


def test_a_page_is_asked_for_until_it_comes() -> None:
    fetch = FakeFetch({"/": [CAPTCHA, CAPTCHA, page("well")]})
    items: list[Any] = []
    flow = crawl(fetch, solve).pipe(ops.on_item(items.append))
    summary = run_of(flow)
    assert items == [{"url": f"{A}/", "attempt": 2}]
    assert [at - fetch.times[0] for at in fetch.times] == [0, 1, 3]
    assert [request.priority for _, request in fetch.log] == [0, -1, -2]
    counted = {key: value for key, value in summary.stats.items() if key.startswith(("captcha/", "retry/"))}
    assert counted == {"captcha/count": 2, "captcha/reason_count/captcha": 2}
    assert summary.counts.dropped == {}


def test_none_when_no_repeat_is_left() -> None:
    told: list[str] = []
    items: list[Any] = []
    fetch = FakeFetch({"/": CAPTCHA})
    summary = run_of(crawl(fetch, solve, times=3, give_up_level="info").pipe(ops.on_item(items.append)), told)
    assert items == [{"lost": f"{A}/"}]
    assert len(fetch.log) == 4
    assert summary.stats["captcha/max_reached"] == 1
    assert told == [f"info: captcha: gave up {A}/ after 4 tries: captcha"]


@pytest.mark.parametrize(
    ("start", "tries"), [(Request(f"{A}/", max_retries=0), 1), (Request(f"{A}/", max_retries=5), 6)]
)
def test_a_request_may_say_how_often(start: Request, tries: int) -> None:
    fetch = FakeFetch({"/": CAPTCHA})
    run_of(crawl(fetch, solve, start=start))
    assert len(fetch.log) == tries


def test_without_the_layer_it_has_its_own_measure() -> None:
    fetch = FakeFetch({"/": CAPTCHA})
    layers = ops.default_layers(robots_txt=None, retry=None)
    run_of(Crawl(f"{A}/").pipe(ops.download(*layers, fetch=fetch), ops.scrape(solve)))
    assert len(fetch.log) == 3


def test_where_it_redirects_to_is_asked_like_any_hop() -> None:
    """What is let in although it was seen is that request, and not what it leads to."""
    site: dict[str, Any] = {
        "/": page(links=["/seen", "/wall"]),
        "/seen": "seen",
        "/wall": [CAPTCHA, page(status=302, headers={"Location": "/seen"})],
    }
    fetch = FakeFetch(site)

    def callback(response: Response) -> Iterator[Any]:
        yield from solve(response)
        yield from response.follow_all(css="a")

    summary = run_of(crawl(fetch, callback))
    assert fetch.hits == {f"{A}/": 1, f"{A}/seen": 1, f"{A}/wall": 2}
    assert summary.counts.dropped == {"duplicate": 1}


def test_a_request_with_dont_filter_of_its_own_keeps_it() -> None:
    site: dict[str, Any] = {"/": [CAPTCHA, page(status=302, headers={"Location": "/to"})], "/to": "here"}
    fetch = FakeFetch(site)
    start = [Request(f"{A}/to"), Request(f"{A}/", dont_filter=True)]
    run_of(crawl(fetch, solve, start=start))
    assert fetch.hits[f"{A}/to"] == 2


def test_from_an_errback() -> None:
    fetch = FakeFetch({"/": [page(status=418), ConnectError("refused"), page("well")]})
    seen: list[Any] = []

    def errback(outcome: Failed | Dropped) -> Request | None:
        assert isinstance(outcome, Failed)
        seen.append(type(outcome.error).__name__)
        return get_retry_request(outcome.request, reason=outcome.error, priority=5)

    summary = run_of(crawl(fetch, seen.append, errback, times=2))
    assert [getattr(each, "status", each) for each in seen] == ["HttpError", 200]
    assert [request.priority for _, request in fetch.log] == [0, 5, 4]
    assert summary.stats["retry/reason_count/HttpError"] == 1


def test_a_class_of_errors_is_a_reason_too_and_the_rest_of_the_request_stays() -> None:
    runs: list[LocalRun] = []

    async def main() -> None:
        run = LocalRun(asyncio.get_running_loop())
        runs.append(run)
        token = RUN.set(run)
        request = Request(f"{A}/", meta={"mine": 1}, skip=("scope",), attempt=1)
        again = get_retry_request(request, reason=KeyError, times=2, wait=lambda n, random: 7.0)
        assert again is not None
        assert (again.meta, again.attempt, again.not_before - run.now()) == ({"mine": 1}, 2, 7.0)
        assert get_retry_request(again, times=2) is None
        RUN.reset(token)

    run_virtual(main)
    assert runs[0].stats["retry/reason_count/KeyError"] == 1


def test_outside_of_a_run_it_says_so() -> None:
    with pytest.raises(RuntimeError, match="inside a crawl's callbacks"):
        get_retry_request(Request(A))


def test_arguments_are_checked() -> None:
    async def main() -> None:
        token = RUN.set(LocalRun(asyncio.get_running_loop()))
        with pytest.raises(ValueError, match="times=-1"):
            get_retry_request(Request(A), times=-1)
        RUN.reset(token)

    run_virtual(main)


PAGES = 30


def once_each(response: Response) -> Iterator[Any]:
    yield {"page": response.url, "attempt": response.request.attempt}
    again = get_retry_request(response.request, times=1, reason="to see it twice")
    if again is not None:
        yield again
    yield from response.follow_all(css="a")


@pytest.mark.parametrize("stop_after", [0.5, 1.5, 2.5, 4.5, 6.5])
def test_in_a_job_that_is_cut_short_it_is_let_in_exactly_once(tmp_path: Path, stop_after: float) -> None:
    site = {f"/{n}": page(links=[f"/{2 * n + 1}", f"/{2 * n + 2}"]) for n in range(PAGES)}
    layers = ops.default_layers(robots_txt=None, retry=ops.retry(wait=soon))

    def flow() -> Crawl[Any]:
        fetch = FakeFetch(site, latency=0.3)
        made: Crawl[Any] = Crawl(f"{A}/0", job="job", concurrency=4).pipe(
            ops.download(*layers, fetch=fetch), ops.scrape(once_each), ops.feed("items.jsonl")
        )
        return made

    async def main() -> None:
        run = flow().start()
        run.loop.call_later(stop_after, lambda: run.stop(now=True))
        await run

    with chdir(tmp_path):
        run_virtual(main)
        run_of(flow())
        items = [json.loads(line) for line in Path("items.jsonl").read_text().splitlines()]
    found = Counter((item["page"], item["attempt"]) for item in items)
    assert found == Counter((f"{A}/{n}", attempt) for n in range(PAGES) for attempt in (0, 1))


def test_a_retry_that_fails_on_the_wire_is_repeated_by_the_layer() -> None:
    fetch = FakeFetch({"/": [CAPTCHA, page(status=503), page("well")]})
    items: list[Any] = []
    run_of(crawl(fetch, solve).pipe(ops.on_item(items.append)))
    assert items == [{"url": f"{A}/", "attempt": 2}]


@pytest.mark.parametrize(
    ("argument", "hint"), [({"spider": None}, "leave it out"), ({"max_retry_times": 3}, "there is times=…")]
)
def test_what_scrapys_function_takes_besides_is_told(argument: dict[str, Any], hint: str) -> None:
    from streamcrawl.mistakes import said

    with pytest.raises(TypeError) as raised:
        get_retry_request(Request("http://a.test/"), **argument)
    (name,) = argument
    assert f"get_retry_request() takes no {name!r}; {hint}" in said(raised.value)
