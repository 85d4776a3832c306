"""The spider as an operator: its layers, its bad arguments, and used alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import reactivex
from reactivex import Observable

from streamcrawl import Failed, Request, Response
from streamcrawl import operators as ops
from streamcrawl.core import Done, ScrapeLayer
from streamcrawl.errors import ConnectError
from streamcrawl.operators.scrape import Scrape
from streamcrawl.streams.scrape_layer import ScrapeHooks, scrape_layer
from streamcrawl.testing import FakeFetch, page, run_virtual

URL = "http://a.test/"
DEFAULTS = ["http_error", "referer", "url_length", "depth", "copied_fields"]


def parse(response: Response) -> Iterator[Any]:
    yield {"url": response.url}
    yield from response.follow_all(css="a")


async def parse_later(response: Response) -> AsyncIterator[Any]:
    await asyncio.sleep(0.01)
    for output in parse(response):
        yield output


def made(*layers: ScrapeLayer, **options: Any) -> list[str]:
    scrape = ops.scrape(parse, *layers, **options)
    assert isinstance(scrape, Scrape)
    return [str(getattr(each, "name", each)) for each in scrape.layers]


def own(name: str) -> ScrapeLayer:
    return scrape_layer(name, lambda run: ScrapeHooks())


def test_layers_of_a_defaults_name_take_its_place_and_others_stand_inside() -> None:
    assert made() == DEFAULTS
    limited = ops.depth(limit=1)
    scrape = ops.scrape(parse, own("inner"), limited)
    assert isinstance(scrape, Scrape)
    assert scrape.layers[3] is limited
    assert made(own("inner"), ops.depth(limit=1), own("innermost")) == [*DEFAULTS, "inner", "innermost"]
    assert made(defaults=False) == []
    assert made(own("a"), ops.depth(), defaults=False) == ["a", "depth"]


@pytest.mark.parametrize(
    ("arguments", "errback"),
    [((3,), None), ((None,), None), ((parse, "depth"), None), ((parse,), "errback"), ((parse,), 0)],
)
def test_what_cannot_be_called_is_told_when_it_is_built(arguments: tuple[Any, ...], errback: Any) -> None:
    with pytest.raises(TypeError, match=r"scrape\(\) takes a callback and layers, and .* is not callable"):
        ops.scrape(*arguments, errback=errback)


class KeepCheap:
    """As a project of Scrapy has it."""

    def process_spider_output(self, response: Any, result: Any, spider: Any) -> Any:
        return result


@pytest.mark.parametrize("given", [KeepCheap, KeepCheap()])
def test_a_spider_middleware_of_scrapy_is_no_layer(given: Any) -> None:
    with pytest.raises(TypeError, match=r"KeepCheap.* is a spider middleware of Scrapy: its methods are hooks of"):
        ops.scrape(parse, given)


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
        await over.wait()
        return out, errors

    return run_virtual(main())


Way = Callable[[Observable[Any]], tuple[list[Any], list[Exception]]]
WAYS = pytest.mark.parametrize("way", [without_loop, within_loop])
HOME = Response(URL, body=b'<a href="/1">one</a><a href="/2">two</a>', request=Request(URL, depth=3))


@WAYS
@pytest.mark.parametrize("callback", [parse, parse_later])
def test_alone_it_emits_items_and_requests_through_its_layers(callback: Any, way: Way) -> None:
    out, errors = way(reactivex.of(HOME).pipe(ops.scrape(callback)))
    assert errors == []
    assert out[0] == {"url": URL}
    assert [(request.url, request.depth, request.referrer) for request in out[1:]] == [
        (f"{URL}1", 4, URL),
        (f"{URL}2", 4, URL),
    ]
    assert not any(isinstance(each, Done) for each in out)


@WAYS
def test_alone_after_download_the_two_make_a_flow(way: Way) -> None:
    fetch = FakeFetch({"/": page(links=["/1"])})
    starts: Observable[Any] = reactivex.of(URL)
    pipe = starts.pipe(ops.download(ops.redirect(), fetch=fetch), ops.scrape(parse))
    out, errors = way(pipe)
    assert errors == []
    assert [getattr(each, "url", each) for each in out] == [{"url": URL}, f"{URL}1"]


@WAYS
def test_alone_statuses_and_failures_go_to_the_errback(way: Way) -> None:
    told: list[str] = []

    def errback(failed: Any) -> dict[str, str]:
        told.append(type(failed.error).__name__)
        return {"failed": failed.request.url}

    missing = Response(URL, 404, request=Request(URL))
    source: Observable[Any] = reactivex.of(missing, Failed(Request(f"{URL}x"), ConnectError("refused")))
    out, _ = way(source.pipe(ops.scrape(parse, errback=errback)))
    assert out == [{"failed": URL}, {"failed": f"{URL}x"}]
    assert told == ["HttpError", "ConnectError"]


@WAYS
def test_alone_an_error_of_the_source_goes_through(way: Way) -> None:
    source: Observable[Any] = reactivex.concat(reactivex.of(HOME), reactivex.throw(OSError("gone")))

    def one(response: Response) -> dict[str, int]:
        return {"n": 1}

    out, errors = way(source.pipe(ops.scrape(one)))
    assert (out, [str(error) for error in errors]) == ([{"n": 1}], ["gone"])


@WAYS
def test_alone_each_subscription_is_on_its_own(way: Way) -> None:
    pipe = reactivex.of(HOME).pipe(ops.scrape(parse))
    assert [len(way(pipe)[0]) for _ in range(2)] == [3, 3]


def test_alone_disposing_ends_a_callback_under_way() -> None:
    ended: list[bool] = []

    async def endless(response: Response) -> AsyncIterator[Any]:
        try:
            while True:
                await asyncio.sleep(1.0)
                yield {"n": 1}
        finally:
            ended.append(True)

    async def main() -> None:
        out: list[Any] = []
        subscription = reactivex.of(HOME).pipe(ops.scrape(endless)).subscribe(out.append)
        await asyncio.sleep(3.5)
        subscription.dispose()
        await asyncio.sleep(10.0)
        assert (len(out), ended) == (3, [True])

    run_virtual(main())


def test_alone_what_a_subscriber_raises_is_not_lost() -> None:
    def broken(output: Any) -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        reactivex.of(HOME).pipe(ops.scrape(parse_later)).subscribe(broken)
