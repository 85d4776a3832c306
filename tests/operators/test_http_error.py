"""http_error: which statuses reach the callback."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from typing import Any, Literal

import pytest

from streamcrawl.core import Dropped, Failed, Request, ScrapeInput, Start
from streamcrawl.errors import ConnectError, HttpError
from streamcrawl.operators.http_error import http_error
from streamcrawl.response import Response
from streamcrawl.streams.local import LocalRun
from streamcrawl.streams.scrape_layer import NamedScrapeLayer

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


@pytest.mark.parametrize(
    "other", [Start(), Failed(Request(URL), ConnectError("refused")), Dropped(Request(URL), "robots.txt")]
)
def test_what_is_no_response_passes(run: LocalRun, other: ScrapeInput) -> None:
    assert given(run, http_error(), other) is other


@pytest.mark.parametrize(("allow", "said"), [("all", "'all'"), ((404, 4040), "4040"), ((0,), "0")])
def test_arguments_are_checked_when_built(allow: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        http_error(allow=allow)


def test_what_is_allowed_is_fixed_when_built(run: LocalRun) -> None:
    allow = [404]
    layer = http_error(allow=allow)
    allow.clear()
    assert isinstance(given(run, layer, page(404)), Response)
