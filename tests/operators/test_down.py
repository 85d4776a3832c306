"""A reactivex operator on requests on their way down."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import reactivex
from reactivex import Observable
from reactivex import operators as rx
from through import through

from streamcrawl import Crawl, Drop, Dropped, Failed, Headers, Request, Response, Summary
from streamcrawl import operators as ops
from streamcrawl.core import Outcome
from streamcrawl.errors import LawBroken
from streamcrawl.testing import FakeFetch, check_layer, page, run_virtual

SITE = {"/": page("home"), "/1": page("one"), "/private/2": page("two")}
URLS = ["http://a.test/", "http://a.test/1", "http://a.test/private/2"]


def text(page: Response) -> dict[str, str]:
    return {"text": page.text}


def crawl(*layers: Any, starts: Any = URLS, fetch: Any = None) -> tuple[Summary, list[str]]:
    async def main() -> tuple[Summary, list[str]]:
        flow = Crawl(starts).pipe(ops.download(*layers, fetch=fetch or FakeFetch(SITE)), ops.scrape(text))
        out: list[Any] = []
        summary = await flow.start(on_item=out.append)
        return summary, sorted(item["text"] for item in out)

    return run_virtual(main())


def public(request: Request) -> bool:
    return "/private/" not in request.url


def test_what_it_swallows_is_dropped_with_its_name() -> None:
    fetch = FakeFetch(SITE)
    outcomes = through(ops.down(rx.filter(public)), to=URLS, fetch=fetch)
    (dropped,) = [outcome for outcome in outcomes if isinstance(outcome, Dropped)]
    assert dropped.request.url == URLS[2]
    line = public.__code__.co_firstlineno
    assert dropped.reason == f"swallowed by down(filter(public at test_down.py:{line}))"
    assert len(outcomes) == 3
    assert URLS[2] not in fetch.urls


def test_what_it_changes_goes_down_and_the_outcome_is_of_the_request_as_it_was() -> None:
    fetch = FakeFetch(SITE)
    add = ops.down(rx.map(lambda request: request.replace(headers=Headers({"X": "1"}))))
    (outcome,) = through(add, to=[URLS[0]], fetch=fetch)
    assert isinstance(outcome, Response)
    assert fetch.log[0][1].headers.get("X") == "1"
    assert len(outcome.request.headers) == 0


@pytest.mark.parametrize(("error", "kind"), [(KeyError("author"), Failed), (Drop("not today"), Dropped)])
def test_what_it_raises_is_that_requests_outcome(error: Exception, kind: type) -> None:
    def picky(request: Request) -> Request:
        if request.url == URLS[1]:
            raise error
        return request

    outcomes = {
        outcome.request.url: outcome for outcome in through(ops.down(rx.map(picky)), to=URLS, fetch=FakeFetch(SITE))
    }
    assert len(outcomes) == 3
    found = outcomes[URLS[1]]
    assert isinstance(found, kind)
    if isinstance(found, Failed):
        assert "operator down(map(picky at test_down.py:" in str(found.error)
        assert "KeyError: 'author'" in str(found.error)
    elif isinstance(found, Dropped):
        assert found.reason == "not today"


def test_a_request_made_from_scratch_stands_for_the_one_that_came() -> None:
    summary, texts = crawl(ops.down(rx.map(lambda _: Request(URLS[1]))), starts=URLS[0])
    assert (texts, summary.balanced, summary.error) == (["one"], True, None)


def test_asynchronous_work_goes_through_map_async() -> None:
    async def sign(request: Request) -> Request:
        await asyncio.sleep(1.0)
        if not public(request):
            raise Drop("private")
        return request.replace(headers=Headers({"X": "signed"}))

    fetch = FakeFetch(SITE)
    summary, texts = crawl(ops.down(ops.map_async(sign, 2)), fetch=fetch)
    assert texts == ["home", "one"]
    assert {request.headers.get("X") for _, request in fetch.log} == {"signed"}
    assert (summary.dropped, summary.balanced) == (1, True)


def twice(request: Request) -> Observable[Request]:
    return reactivex.of(request, request)


def url_of(request: Request) -> str:
    return request.url


def test_answered_requests_go_by() -> None:
    seen: list[str] = []
    answered = Request(URLS[0], answer=Response(URLS[0], body=b"known"))
    fetch = FakeFetch(SITE)
    outcomes = through(
        ops.down(rx.do_action(lambda request: seen.append(request.url))), to=[answered, URLS[1]], fetch=fetch
    )
    assert seen == [URLS[1]]
    assert fetch.urls == [URLS[1]]
    assert sorted(_text(outcome) for outcome in outcomes) == ["known", "one"]


def _text(outcome: Outcome) -> str:
    assert isinstance(outcome, Response)
    return outcome.text


@pytest.mark.parametrize(
    ("operator", "text"),
    [
        (rx.flat_map(twice), "a second output"),
        (rx.delay(1.0), "with no input in hand; use ops.map_async"),
        (rx.map(url_of), "a str, where requests go down"),
    ],
    ids=["twice", "later", "other"],
)
def test_one_that_is_not_one_for_one_stops_the_run_and_is_named(operator: Any, text: str) -> None:
    async def starts() -> Any:
        yield URLS[0]
        await asyncio.sleep(10.0)
        yield URLS[1]

    summary, _ = crawl(ops.down(operator), starts=starts())
    assert isinstance(summary.error, LawBroken)
    assert "down(" in str(summary.error)
    assert text in str(summary.error)
    assert summary.balanced


def test_one_that_completes_ends_the_run() -> None:
    summary, texts = crawl(ops.down(rx.take(2)))
    assert len(texts) == 2
    assert summary.reason.startswith("down(take")
    assert summary.balanced


def test_it_keeps_the_laws() -> None:
    assert check_layer(lambda: ops.down(rx.filter(public)), seeds=range(2)).offered > 0
    assert (
        check_layer(lambda: ops.down(rx.map(lambda request: request.replace(priority=1))), seeds=range(2)).offered > 0
    )
