"""http_error: which statuses reach the callback."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from typing import Any, Literal

import pytest

from streamcrawl import Crawl
from streamcrawl import operators as ops
from streamcrawl.core import Dropped, Failed, Request, ScrapeInput, Start
from streamcrawl.errors import ConnectError, HttpError
from streamcrawl.operators.http_error import http_error
from streamcrawl.response import Response
from streamcrawl.streams.local import LocalRun
from streamcrawl.streams.scrape_layer import NamedScrapeLayer
from streamcrawl.testing import FakeFetch, run_virtual
from streamcrawl.testing import page as page_

URL = "http://a.example/"


@pytest.fixture
def run() -> Iterator[LocalRun]:
    loop = asyncio.new_event_loop()
    yield LocalRun(loop)
    loop.close()


def given(run: LocalRun, layer: NamedScrapeLayer, page: ScrapeInput) -> ScrapeInput:
    hook = layer.make(run).input
    assert hook is not None
    return hook(page)


def page(status: int, statuses: Collection[int] | Literal["any"] = ()) -> Response:
    return Response(URL, status, request=Request(URL, statuses=statuses))


@pytest.mark.parametrize(
    ("status", "passes"),
    [(199, False), (200, True), (204, True), (299, True), (300, False), (304, False), (404, False), (500, False)],
)
def test_success_passes(run: LocalRun, status: int, passes: bool) -> None:
    response = page(status)
    result = given(run, http_error(), response)
    if passes:
        assert result is response
        assert run.stats == {}
    else:
        assert isinstance(result, Failed)
        assert result.request is response.request
        assert isinstance(result.error, HttpError)
        assert (result.error.status, result.error.response) == (status, response)
        assert str(result.error) == f"HTTP status {status} from {URL}"
        assert run.stats == {
            "httperror/response_ignored_count": 1,
            f"httperror/response_ignored_status_count/{status}": 1,
        }


@pytest.mark.parametrize(
    ("allow", "statuses", "passes"),
    [
        ((404,), (), True),
        ([403, 404], (), True),
        ((403,), (), False),
        ("any", (), True),
        ((), (404,), True),
        ((), "any", True),
        ((), (403,), False),
        ((403,), (404,), True),
    ],
)
def test_who_asks_for_a_status_gets_it(
    run: LocalRun, allow: Collection[int] | Literal["any"], statuses: Collection[int] | Literal["any"], passes: bool
) -> None:
    result = given(run, http_error(allow=allow), page(404, statuses))
    assert isinstance(result, Response) is passes


def parse(response: Response) -> None: ...


class Spider:
    def parse(self, response: Response) -> None: ...

    def parse_missing(self, response: Response) -> None: ...


class Unhashable:
    __hash__ = None  # type: ignore[assignment]  # as that of a dataclass with eq

    def __call__(self, response: Response) -> None: ...


def test_single_callbacks_may_want_more(run: LocalRun) -> None:
    spider = Spider()
    layer = http_error(allow=[403], callbacks={spider.parse_missing: [404, 410], parse: "any"})
    table: list[tuple[Any, int, bool]] = [
        (spider.parse_missing, 404, True),
        (spider.parse_missing, 403, True),
        (spider.parse_missing, 500, False),
        (spider.parse, 404, False),
        (Spider().parse_missing, 404, False),
        (parse, 500, True),
        (Unhashable(), 404, False),
        (None, 404, False),
        (None, 403, True),
    ]
    for callback, status, passes in table:
        request = Request(URL, callback=callback)
        given_ = given(run, layer, Response(URL, status, request=request))
        assert isinstance(given_, Response) is passes, (callback, status)


@pytest.mark.parametrize(
    "other", [Start(), Failed(Request(URL), ConnectError("refused")), Dropped(Request(URL), "robots.txt")]
)
def test_what_is_no_response_passes(run: LocalRun, other: ScrapeInput) -> None:
    assert given(run, http_error(), other) is other


@pytest.mark.parametrize(("allow", "said"), [("all", "'all'"), ((404, 4040), "4040"), ((0,), "0")])
def test_arguments_are_checked_when_built(allow: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        http_error(allow=allow)


@pytest.mark.parametrize(("statuses", "said"), [("all", "callbacks='all'"), ((404, 4040), "callbacks=….*4040")])
def test_those_of_callbacks_too(statuses: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        http_error(callbacks={parse: statuses})


def test_the_errback_gets_it_with_the_response() -> None:
    def lost(failed: Failed) -> dict[str, Any]:
        assert isinstance(failed.error, HttpError)
        assert isinstance(failed.error.response, Response)
        return {"status": failed.error.status, "text": failed.error.response.text}

    crawl = Crawl([URL, Request(f"{URL}x", errback=lost)]).pipe(
        ops.download(fetch=FakeFetch({"/x": page_(status=410)})), ops.scrape(parse, errback=None)
    )

    async def main() -> Any:
        items: list[Any] = []
        return await crawl.start(on_item=items.append), items

    summary, items = run_virtual(main)
    assert items == [{"status": 410, "text": ""}]
    assert summary.failed == 2
    assert summary.stats["httperror/response_ignored_count"] == 2
    assert summary.stats["httperror/response_ignored_status_count/404"] == 1


def test_what_is_allowed_is_fixed_when_built(run: LocalRun) -> None:
    allow = [404]
    layer = http_error(allow=allow)
    allow.clear()
    assert isinstance(given(run, layer, page(404)), Response)
