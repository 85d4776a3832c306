"""Tests of ops.on_response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from through import piped, through

from streamcrawl.core import Again, Dropped, Failed, Outcome, Request
from streamcrawl.errors import ConnectError, Drop
from streamcrawl.operators.download import download
from streamcrawl.operators.on_response import OnResponse, on_response
from streamcrawl.response import Response
from streamcrawl.testing.fake_fetch import FakeFetch

URL = "http://a.example/"


def fetch() -> FakeFetch:
    return FakeFetch({"/": "home", "/other": "other", "/down": ConnectError("refused")})


def as_layer(fn: OnResponse, *requests: Request | str, to: FakeFetch) -> list[Any]:
    return through(on_response(fn), to=requests or [URL], fetch=to)


def in_a_pipe(fn: OnResponse, *requests: Request | str, to: FakeFetch) -> list[Any]:
    made = [Request(each) if isinstance(each, str) else each for each in requests or [URL]]
    return piped(download(on_response(lambda response: None), fetch=to), on_response(fn), to=made)


def nothing(response: Response) -> None:
    return None


def changed(response: Response) -> Response:
    return response.replace(status=299)


def from_scratch(response: Response) -> Response:
    return Response("http://b.example/", 201)


def refused(response: Response) -> Dropped:
    return Dropped(response.request, "not that one")


def refused_by_drop(response: Response) -> None:
    raise Drop("not that one")


def failed(response: Response) -> Failed:
    return Failed(response.request, OSError("no"))


def raising(response: Response) -> None:
    raise KeyError("boom")


def nonsense(response: Response) -> Any:
    return response.request


TYPE_ERROR = (
    f"OperatorError: operator on_response: TypeError: gave <GET {URL}> for <Response 200 {URL}>: "
    "neither None nor a Response nor another outcome"
)

CASES: list[tuple[Callable[[Response], Any], str]] = [
    (nothing, f"<Response 200 {URL}>"),
    (changed, f"<Response 299 {URL}>"),
    (from_scratch, "<Response 201 http://b.example/>"),
    (refused, f"<Dropped {URL}: not that one>"),
    (refused_by_drop, f"<Dropped {URL}: not that one>"),
    (failed, f"<Failed {URL}: OSError: no>"),
    (raising, f"<Failed {URL}: OperatorError: operator on_response: KeyError: 'boom'>"),
    (
        nonsense,
        f"<Failed {URL}: {TYPE_ERROR}>",
    ),
]


@pytest.mark.parametrize("drive", [as_layer, in_a_pipe])
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(("fn", "expected"), CASES, ids=[case[0].__name__ for case in CASES])
def test_what_the_function_gives(drive: Any, asynchronous: bool, fn: Callable[[Response], Any], expected: str) -> None:
    async def later(response: Response) -> Any:
        await asyncio.sleep(3)
        return fn(response)

    (outcome,) = drive(later if asynchronous else fn, Request(URL, cb_kwargs={"n": 1}), to=fetch())
    assert repr(outcome) == expected
    assert outcome.request.cb_kwargs == {"n": 1}


@pytest.mark.parametrize("drive", [as_layer, in_a_pipe])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_only_responses_are_shown(drive: Any, asynchronous: bool) -> None:
    seen: list[str] = []

    def see(response: Response) -> None:
        seen.append(response.url)

    async def later(response: Response) -> None:
        see(response)

    outcomes: list[Outcome] = drive(later if asynchronous else see, URL, URL + "down", to=fetch())
    assert sorted(map(repr, outcomes)) == [f"<Failed {URL}down: ConnectError: refused>", f"<Response 200 {URL}>"]
    assert seen == [URL]


def test_again_is_sent_again() -> None:
    def once(response: Response) -> Again | None:
        origin = response.request.origin
        return Again(response.request, origin.replace(url=URL + "other"), "moved") if response.url == URL else None

    (outcome,) = as_layer(once, to=fetch())
    assert outcome.url == URL + "other"
