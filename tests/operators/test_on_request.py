"""Tests of ops.on_request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from through import Spy, piped, through

from streamcrawl import Crawl
from streamcrawl.core import Again, Dropped, Failed, Request
from streamcrawl.errors import Drop
from streamcrawl.events import Notice
from streamcrawl.operators.download import download
from streamcrawl.operators.on_request import OnRequest, on_request
from streamcrawl.operators.scrape import scrape
from streamcrawl.response import Response
from streamcrawl.testing.fake_fetch import FakeFetch
from streamcrawl.testing.virtual_time import run_virtual

URL = "http://a.example/"


def fetch() -> FakeFetch:
    return FakeFetch({"/": "home", "/other": "other"})


def as_layer(fn: OnRequest, *requests: Request | str, to: FakeFetch) -> list[Any]:
    return through(on_request(fn), to=requests or [URL], fetch=to)


def in_a_pipe(fn: OnRequest, *requests: Request | str, to: FakeFetch) -> list[Any]:
    made = [Request(each) if isinstance(each, str) else each for each in requests or [URL]]
    return piped(on_request(fn), download(on_request(lambda request: None), fetch=to), to=made)


def nothing(request: Request) -> None:
    return None


def nothing_of(page: Response) -> None:
    return None


def changed(request: Request) -> Request:
    return request.replace(url=request.url + "other")


def from_scratch(request: Request) -> Request:
    return Request("http://b.example/")


def answered(request: Request) -> Response:
    return Response(request.url, 418, body=b"short cut")


def refused(request: Request) -> Dropped:
    return Dropped(request, "not today")


def refused_by_drop(request: Request) -> None:
    raise Drop("not today")


def failed(request: Request) -> Failed:
    return Failed(request, OSError("no"))


def raising(request: Request) -> None:
    raise KeyError("boom")


def nonsense(request: Request) -> Any:
    return 42


TYPE_ERROR = (
    f"OperatorError: operator on_request: TypeError: gave 42 for <GET {URL}>: neither None nor a Request nor an outcome"
)

CASES: list[tuple[Callable[[Request], Any], str, list[str]]] = [
    (nothing, f"<Response 200 {URL}>", [URL]),
    (changed, f"<Response 200 {URL}other>", [URL + "other"]),
    (from_scratch, "<Response 200 http://b.example/>", ["http://b.example/"]),
    (answered, f"<Response 418 {URL}>", []),
    (refused, f"<Dropped {URL}: not today>", []),
    (refused_by_drop, f"<Dropped {URL}: not today>", []),
    (failed, f"<Failed {URL}: OSError: no>", []),
    (raising, f"<Failed {URL}: OperatorError: operator on_request: KeyError: 'boom'>", []),
    (
        nonsense,
        f"<Failed {URL}: {TYPE_ERROR}>",
        [],
    ),
]


@pytest.mark.parametrize("drive", [as_layer, in_a_pipe])
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(("fn", "expected", "sent"), CASES, ids=[case[0].__name__ for case in CASES])
def test_what_the_function_gives(
    drive: Any, asynchronous: bool, fn: Callable[[Request], Any], expected: str, sent: list[str]
) -> None:
    async def later(request: Request) -> Any:
        await asyncio.sleep(3)
        return fn(request)

    site = fetch()
    (outcome,) = drive(later if asynchronous else fn, to=site)
    assert repr(outcome) == expected
    assert site.urls == sent


def test_again_is_sent_again() -> None:
    def once(request: Request) -> Again | None:
        return Again(request, request.origin.replace(url=URL + "other"), "moved") if request.url == URL else None

    (outcome,) = as_layer(once, to=fetch())
    assert outcome.url == URL + "other"


@pytest.mark.parametrize("drive", [as_layer, in_a_pipe])
def test_the_outcome_keeps_the_callback_of_its_request(drive: Any) -> None:
    request = Request(URL, cb_kwargs={"n": 1})
    (outcome,) = drive(answered, request, to=fetch())
    assert outcome.request.cb_kwargs == {"n": 1}
    assert outcome.body == b"short cut"


@pytest.mark.parametrize("drive", [as_layer, in_a_pipe])
def test_an_answered_request_is_not_shown(drive: Any) -> None:
    request = Request(URL, answer=Response(URL, 201))
    (outcome,) = drive(raising, request, to=fetch())
    assert outcome.status == 201


@pytest.mark.parametrize("drive", [as_layer, in_a_pipe])
def test_coroutines_run_at_once_and_one_failure_is_one_failure(drive: Any) -> None:
    async def slow(request: Request) -> None:
        await asyncio.sleep(60)
        if request.url.endswith("3"):
            raise ValueError("three")

    site = FakeFetch({f"/{n}": str(n) for n in range(8)})
    outcomes = drive(slow, *(f"{URL}{n}" for n in range(8)), to=site)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Failed", *["Response"] * 7]
    assert set(site.times) == {60.0}


def test_a_coroutine_from_a_callable_object() -> None:
    class Waits:
        async def __call__(self, request: Request) -> Request:
            await asyncio.sleep(1)
            return changed(request)

    for drive in (as_layer, in_a_pipe):
        (outcome,) = drive(Waits(), to=fetch())
        assert outcome.url == URL + "other"


def test_the_lease_stays_with_a_request_from_scratch() -> None:
    spy = Spy()
    through(on_request(from_scratch), to=[URL], fetch=fetch(), spy=spy)
    (sent,) = spy.sent
    assert sent.lease is not None
    assert sent.lease.request.url == URL


def test_what_only_scrapy_reads_in_meta_is_told_once() -> None:
    def proxied(request: Request) -> None:
        request.meta["proxy"] = "http://127.0.0.1:1"
        request.meta["mine"] = 1

    told: list[str] = []

    async def main() -> None:
        crawl = Crawl(["http://a.test/", "http://a.test/other"]).pipe(
            download(on_request(proxied), fetch=fetch()), scrape(nothing_of)
        )
        run = crawl.start()
        run.events.on(Notice, lambda notice: told.append(notice.text))
        await run

    run_virtual(main())
    (text,) = [text for text in told if "meta" in text]
    assert text.startswith("on_request(…): meta['proxy'] does nothing here; give request.replace(proxy=")
