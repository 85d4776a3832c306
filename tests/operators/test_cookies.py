"""cookies: what the layer sends and keeps. The jar itself: test_cookie_jar.py."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Mapping

import pytest
import reactivex as rx
from reactivex import operators as rxo

from streamcrawl.cookies import CookieJar
from streamcrawl.core import Dropped, Failed, Outcome, Request
from streamcrawl.errors import ConnectError
from streamcrawl.headers import NO_HEADERS, Headers
from streamcrawl.operators.cookies import cookies, merged
from streamcrawl.operators.download import download
from streamcrawl.operators.redirect import redirect
from streamcrawl.response import Response
from streamcrawl.streams.layer import Hooks, NamedLayer
from streamcrawl.streams.local import LocalRun
from streamcrawl.testing.virtual_time import run_virtual

URL = "https://a.example/page"


@pytest.fixture
def run() -> Iterator[LocalRun]:
    loop = asyncio.new_event_loop()
    made = LocalRun(loop)
    made.now = lambda: 1_900_000_000.0
    yield made
    loop.close()


def sent(hooks: Hooks, request: Request) -> str | None:
    """The Cookie header that goes down."""
    assert hooks.down is not None
    result = hooks.down(request)
    assert isinstance(result, Request)
    values = result.headers.getall("cookie")
    assert len(values) <= 1
    return values[0] if values else None


def answer(hooks: Hooks, url: str, *lines: str, status: int = 200) -> Response:
    assert hooks.up is not None
    response = Response(url, status, Headers([("Set-Cookie", line) for line in lines]), request=Request(url))
    assert hooks.up(response) is response
    return response


def test_what_is_set_is_sent_back(run: LocalRun) -> None:
    hooks = cookies().make(run)
    assert sent(hooks, Request(URL)) is None
    answer(hooks, URL, "a=1; Expires=Fri, 31 Dec 9999 23:59:59 GMT", "b=2; Path=/other", status=503)
    assert sent(hooks, Request(URL)) == "a=1"
    assert sent(hooks, Request("https://b.example/")) is None


def test_a_request_without_cookies_is_left_alone(run: LocalRun) -> None:
    hooks = cookies().make(run)
    assert hooks.down is not None
    request = Request(URL)
    assert hooks.down(request) is request
    answer(hooks, URL, "a=1")
    elsewhere = Request("https://b.example/", headers=Headers({"X-Mine": "1"}))
    assert hooks.down(elsewhere) is elsewhere


def test_your_own_are_sent_and_kept_for_the_host(run: LocalRun) -> None:
    hooks = cookies().make(run)
    assert sent(hooks, Request(URL, cookies={"mine": "1", "b": "2"})) == "mine=1; b=2"
    assert sent(hooks, Request("https://a.example/")) == "mine=1; b=2"
    answer(hooks, URL, "mine=3; Path=/; Secure")
    assert sent(hooks, Request(URL)) == "mine=3; b=2"


def test_a_cookie_header_of_your_own_is_merged_and_not_kept(run: LocalRun) -> None:
    hooks = cookies().make(run)
    answer(hooks, URL, "a=jar", "b=jar")
    assert sent(hooks, Request(URL, headers=Headers({"cookie": "a=own; c=own"}))) == "a=own; c=own; b=jar"
    assert sent(hooks, Request(URL)) == "a=jar; b=jar"
    own = Request("https://b.example/", headers=Headers({"Cookie": "a=own"}))
    assert sent(hooks, own) == "a=own"


@pytest.mark.parametrize(
    ("own", "more", "together"),
    [
        ("a=1", "", "a=1"),
        ("", "b=2", "b=2"),
        ("a=1;;  b=2 ;", "b=3; c=3", "a=1; b=2; c=3"),
        ("a = 1", "a=2", "a = 1"),
        ("a=1", "A=2", "a=1; A=2"),
        ("nameless", "other; b=2", "nameless; b=2"),
    ],
)
def test_merged(own: str, more: str, together: str) -> None:
    assert merged(own, more) == together


@pytest.mark.parametrize("headers", [NO_HEADERS, Headers({"Cookie": "own=1"})])
def test_other_schemes_have_no_cookies(run: LocalRun, headers: Headers) -> None:
    hooks = cookies().make(run)
    assert hooks.down is not None
    request = Request("file:///tmp/page.html", cookies={"a": "1"}, headers=headers)
    assert hooks.down(request) is request
    answer(hooks, "file:///tmp/page.html", "a=1")
    assert sent(hooks, Request(URL)) is None


@pytest.mark.parametrize(
    "outcome", [Failed(Request(URL), ConnectError("refused")), Dropped(Request(URL), "robots.txt")]
)
def test_outcomes_pass(run: LocalRun, outcome: Outcome) -> None:
    up = cookies().make(run).up
    assert up is not None
    assert up(outcome) is outcome


def test_two_runs_share_nothing(run: LocalRun) -> None:
    layer = cookies()
    first, second = layer.make(run), layer.make(run)
    answer(first, URL, "a=1")
    assert sent(first, Request(URL)) == "a=1"
    assert sent(second, Request(URL)) is None


def test_a_jar_of_your_own(run: LocalRun) -> None:
    def filled() -> CookieJar:
        jar = CookieJar(per_domain=1)
        jar.set(URL, {"login": "1"}, 0.0)
        return jar

    hooks = cookies(jar=filled).make(run)
    assert sent(hooks, Request(URL)) == "login=1"
    answer(hooks, URL, "a=2; Secure")
    assert sent(hooks, Request(URL)) == "a=2"


def test_time_is_the_run_s(run: LocalRun) -> None:
    hooks = cookies().make(run)
    answer(hooks, URL, "a=1; Max-Age=60")
    begun = run.now()
    run.now = lambda: begun + 59
    assert sent(hooks, Request(URL)) == "a=1"
    run.now = lambda: begun + 60
    assert sent(hooks, Request(URL)) is None


def site(
    pages: Mapping[str, Headers], log: list[tuple[str, str | None]], layers: tuple[NamedLayer, ...]
) -> list[Outcome]:
    async def fetch(request: Request) -> Response:
        log.append((request.url, request.headers.get("cookie")))
        headers = pages[request.url]
        return Response(request.url, 302 if "location" in headers else 200, headers, request=request)

    async def work() -> list[Outcome]:
        source = rx.of(Request(next(iter(pages)), cookies={"lang": "en"}))
        result: Awaitable[list[Outcome]] = source.pipe(download(*layers, fetch=fetch), rxo.to_list())
        return await result

    return run_virtual(work)


def test_in_a_pipe_a_redirecting_login_page_sets_the_session_and_no_other_host_sees_it() -> None:
    log: list[tuple[str, str | None]] = []
    pages = {
        "https://a.example/login": Headers(
            [("Location", "/home"), ("Set-Cookie", "session=1; Path=/"), ("Set-Cookie", "lang=de; Path=/")]
        ),
        "https://a.example/home": Headers({"Location": "https://b.example/"}),
        "https://b.example/": NO_HEADERS,
    }
    (outcome,) = site(pages, log, (redirect(), cookies()))
    assert log == [
        ("https://a.example/login", "lang=en"),
        ("https://a.example/home", "lang=de; session=1"),
        ("https://b.example/", None),
    ]
    assert outcome.request.headers == NO_HEADERS  # what was added for the wire stays there
