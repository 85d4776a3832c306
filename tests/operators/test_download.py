"""Requests become outcomes: which layers, which fetch, and used alone with and without a loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import reactivex
from reactivex import Observable
from reactivex import operators as rx

from streamcrawl import Crawl, Dropped, Failed, Request, Response
from streamcrawl import operators as ops
from streamcrawl.core import Layer, Outcome, Run, Stage
from streamcrawl.errors import ConnectError, LawBroken
from streamcrawl.operators.download import Download
from streamcrawl.streams.layer import Hooks, layer
from streamcrawl.testing import Answer, FakeFetch, page, run_virtual
from streamcrawl.transport import Wire

URL = "http://a.test/"
SITE: dict[str, Answer] = {
    "/robots.txt": page("User-agent: *\nDisallow: /private"),
    "/": page("home"),
    "/old": page(status=301, headers={"Location": "/"}),
    "/flaky": [page(status=503), page("well")],
    "/down": ConnectError("refused"),
}


def made(*layers: Layer, **options: Any) -> Download:
    download = ops.download(*layers, **options)
    assert isinstance(download, Download)
    return download


def of(*starts: Any) -> Observable[Any]:
    return reactivex.from_iterable(starts)


def names(download: Download) -> list[str]:
    return [str(getattr(each, "name", each)) for each in download.layers]


def test_without_layers_it_has_the_default_ones_and_with_layers_exactly_these() -> None:
    assert names(made()) == [str(getattr(each, "name", "")) for each in ops.default_layers()]
    own = layer("own", lambda run: Hooks())
    assert names(made(own, ops.redirect())) == ["own", "redirect"]
    assert isinstance(made().fetch, Wire)


@pytest.mark.parametrize("odd", [None, 3, "retry", [ops.retry()]])
def test_what_is_no_layer_is_told_when_it_is_built(odd: Any) -> None:
    with pytest.raises(TypeError, match=r"download\(\) takes layers, and .* is none") as raised:
        ops.download(ops.retry(), odd)
    assert repr(odd) in str(raised.value)


# -- alone ------------------------------------------------------------------------------------------------------------


def without_loop(pipe: Observable[Any]) -> tuple[list[Any], list[Exception]]:
    out: list[Any] = []
    errors: list[Exception] = []
    pipe.subscribe(out.append, errors.append)
    return out, errors


def within_loop(pipe: Observable[Any]) -> tuple[list[Any], list[Exception]]:
    async def main() -> tuple[list[Any], list[Exception]]:
        out: list[Any] = []
        errors: list[Exception] = []
        over = asyncio.Event()

        def fail(error: Exception) -> None:
            errors.append(error)
            over.set()

        pipe.subscribe(out.append, fail, over.set)
        assert out == []
        await over.wait()
        return out, errors

    return run_virtual(main())


Way = Callable[[Observable[Any]], tuple[list[Any], list[Exception]]]
WAYS = pytest.mark.parametrize("way", [without_loop, within_loop])


@WAYS
def test_alone_with_a_fetch_of_ones_own(way: Way) -> None:
    asked: list[str] = []

    async def fetch(request: Request) -> Response:
        asked.append(request.url)
        await asyncio.sleep(0)
        return Response(request.url, body=b"my own")

    request = Request(URL, meta={"n": 1})
    out, errors = way(of(request).pipe(ops.download(fetch=fetch)))
    assert errors == []
    assert [(response.text, response.request.url, response.meta) for response in out] == [("my own", URL, {"n": 1})]
    assert asked == [f"{URL}robots.txt", URL]


@WAYS
def test_alone_it_follows_redirects_and_obeys_robots(way: Way) -> None:
    fetch = FakeFetch(SITE)
    starts = of(f"{URL}old", f"{URL}private", "nowhere")
    out, errors = way(starts.pipe(ops.download(fetch=fetch)))
    assert errors == []
    assert sorted(type(outcome).__name__ for outcome in out) == ["Dropped", "Failed", "Response"]
    (response,) = [outcome for outcome in out if isinstance(outcome, Response)]
    assert (response.text, response.request.via) == ("home", (f"{URL}old",))


@WAYS
def test_alone_nothing_comes_of_nothing(way: Way) -> None:
    assert way(reactivex.empty().pipe(ops.download(fetch=FakeFetch({})))) == ([], [])


@WAYS
def test_alone_an_error_of_the_source_goes_through(way: Way) -> None:
    out, errors = way(reactivex.throw(OSError("gone")).pipe(ops.download(fetch=FakeFetch({}))))
    assert (out, [str(error) for error in errors]) == ([], ["gone"])


@WAYS
def test_alone_it_stands_in_a_bigger_program(way: Way) -> None:
    fetch = FakeFetch(SITE)

    def told(outcome: Outcome) -> Observable[str]:
        return reactivex.of(outcome.request.url, type(outcome).__name__)

    program: Observable[Any] = of("", "down").pipe(
        rx.map(lambda path: Request(f"{URL}{path}")),
        ops.download(*ops.default_layers(robots_txt=None, retry=None), fetch=fetch),
        rx.flat_map(told),
        rx.to_list(),
    )
    out, errors = way(program)
    assert errors == []
    assert sorted(out[0]) == sorted([URL, "Response", f"{URL}down", "Failed"])


def test_alone_each_subscription_is_a_run_of_its_own() -> None:
    fetch = FakeFetch({"/": [page("first"), page("second")]})
    pipe = of(URL).pipe(ops.download(ops.redirect(), fetch=fetch))
    texts = [way(pipe)[0][0].text for way in (without_loop, within_loop)]
    assert texts == ["first", "second"]


def test_alone_a_retry_waits_in_virtual_time() -> None:
    fetch = FakeFetch(SITE)
    out, _ = within_loop(of(f"{URL}flaky").pipe(ops.download(ops.retry(), fetch=fetch)))
    assert [outcome.text for outcome in out] == ["well"]
    first, second = fetch.times
    assert second - first >= 0.5


def test_alone_disposing_ends_it() -> None:
    async def main() -> None:
        fetch = FakeFetch({}, latency=60.0)
        out: list[Any] = []
        subscription = of(URL).pipe(ops.download(ops.redirect(), fetch=fetch)).subscribe(out.append)
        await asyncio.sleep(1.0)
        assert fetch.active == 1
        subscription.dispose()
        await asyncio.sleep(100.0)
        assert (fetch.active, out) == (0, [])

    run_virtual(main())


def test_alone_what_a_subscriber_raises_is_not_lost() -> None:
    def broken(outcome: Any) -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        of(URL).pipe(ops.download(ops.redirect(), fetch=FakeFetch(SITE))).subscribe(broken)


# -- in a crawl -------------------------------------------------------------------------------------------------------


def text(page: Response) -> dict[str, str]:
    return {"text": page.text}


def crawl(*layers: Layer, fetch: Any, starts: Any = URL) -> tuple[Any, list[Any]]:
    async def main() -> tuple[Any, list[Any]]:
        out: list[Any] = []
        flow = Crawl(starts).pipe(ops.download(*layers, fetch=fetch), ops.scrape(text))
        summary = await flow.start(on_item=out.append)
        return summary, out

    return run_virtual(main())


class Described:
    """A description of a fetch, opened for each run."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.closed = 0

    def open(self, run: Run) -> Described:
        self.runs.append(run)
        return self

    async def __call__(self, request: Request) -> Response:
        return Response(request.url, body=b"opened", request=request)

    async def aclose(self) -> None:
        self.closed += 1


def test_a_fetch_with_open_is_opened_and_closed_once_a_run() -> None:
    fetch = Described()
    for _ in range(2):
        summary, out = crawl(fetch=fetch)
        assert (out, summary.error) == ([{"text": "opened"}], None)
    assert len(set(map(id, fetch.runs))) == 2
    assert fetch.closed == 2


def test_a_fetch_that_cannot_be_opened_fails_the_crawl() -> None:
    class Broken(Described):
        def open(self, run: Run) -> Described:
            raise ValueError("no such proxy")

    summary, out = crawl(fetch=Broken())
    assert (str(summary.error), out) == ("no such proxy", [])


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (KeyError("a bug"), "operator fetch: KeyError: 'a bug'"),
        (None, "fetch returned None, a NoneType, and not a Response"),
    ],
)
def test_what_is_wrong_with_a_fetch_is_its_requests_failure(answer: Any, text: str) -> None:
    async def fetch(request: Request) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    outcomes, _ = within_loop(of(URL).pipe(ops.download(ops.redirect(), fetch=fetch)))
    assert [type(outcome) for outcome in outcomes] == [Failed]
    assert text in str(outcomes[0].error)


def test_a_response_of_ones_own_fetch_is_one_of_the_request_that_was_sent() -> None:
    async def fetch(request: Request) -> Response:
        return Response("http://elsewhere.test/", request=Request("http://elsewhere.test/"), body=b"x")

    request = Request(URL, meta={"n": 1})
    (response,), _ = within_loop(of(request).pipe(ops.download(ops.redirect(), fetch=fetch)))
    assert (response.request.url, response.meta, response.url) == (URL, {"n": 1}, "http://elsewhere.test/")


def test_a_layer_that_emits_what_it_was_not_given_stops_the_run() -> None:
    def stranger(stage: Stage) -> Stage:
        def staged(requests: Observable[Request]) -> Observable[Outcome]:
            return stage(requests).pipe(rx.map(lambda _: Dropped(Request(URL), "made up")))

        return staged

    summary, _ = crawl(stranger, fetch=FakeFetch(SITE))
    assert isinstance(summary.error, LawBroken)
    assert "whose request is not one that it was given" in str(summary.error)


def test_a_layer_that_emits_twice_stops_the_run() -> None:
    def both(outcome: Outcome) -> Observable[Outcome]:
        return reactivex.of(outcome, outcome)

    def twice(stage: Stage) -> Stage:
        return lambda requests: stage(requests).pipe(rx.flat_map(both))

    summary, _ = crawl(twice, fetch=FakeFetch(SITE), starts=f"{URL}down")
    assert isinstance(summary.error, LawBroken)
    assert "a second outcome for one request" in str(summary.error)


class RotatingAgents:
    """As a project of Scrapy has it."""

    def process_request(self, request: Request, spider: Any) -> None: ...


@pytest.mark.parametrize("given", [RotatingAgents, RotatingAgents()])
def test_a_downloader_middleware_of_scrapy_is_no_layer(given: Any) -> None:
    with pytest.raises(
        TypeError, match=r"RotatingAgents.* is a downloader .*does is a function in ops\.on_request\(…\)"
    ):
        ops.download(*ops.default_layers(), given)
