"""cookies: what the layer sends and keeps. The jar itself: test_cookie_jar.py."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import msgspec
import pytest
import reactivex as rx
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex import operators as rxo

from streamcrawl.cookies import Cookie, CookieJar
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


class Job(dict[str, Any]):
    """What a job has of the jar; like a job it takes plain data only, and gives back new objects."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []
        self.now = 0.0

    def __setitem__(self, key: str, value: Any) -> None:
        self.written.append(key)
        super().__setitem__(key, msgspec.msgpack.encode(value))

    def __getitem__(self, key: str) -> Any:
        return msgspec.msgpack.decode(super().__getitem__(key))

    def get(self, key: str, default: Any = None) -> Any:
        value = super().get(key)
        return default if value is None else msgspec.msgpack.decode(value)

    def run(self, *, at: float, jar: Callable[[], CookieJar] = CookieJar) -> Hooks:
        """The layer's hooks in the next run of the job."""
        run = LocalRun(asyncio.new_event_loop())
        run.loop.close()
        run.durable = True
        self.now = at
        run.now = lambda: self.now
        run.state = lambda name: self if name == "cookies" else {}  # type: ignore[method-assign]
        self.written.clear()
        return cookies(jar=jar).make(run)


def test_a_job_keeps_the_jar_from_run_to_run() -> None:
    job = Job()
    first = job.run(at=100)
    answer(first, URL, "session=1", "dated=1; Max-Age=60", "short=1; Max-Age=10")
    answer(first, "https://b.example/", "b=1; Max-Age=10")
    assert sorted(job) == ["a.example", "b.example"]
    second = job.run(at=110)
    assert sent(second, Request(URL)) == "session=1; dated=1"
    assert sent(second, Request("https://b.example/")) is None
    assert "b.example" not in job
    assert sent(job.run(at=160), Request(URL)) == "session=1"


def test_only_what_has_changed_is_written() -> None:
    job = Job()
    hooks = job.run(at=100)
    answer(hooks, URL, "a=1", "b=1")
    answer(hooks, "https://b.example/", "a=1")
    assert job.written == ["a.example", "b.example"]
    answer(hooks, URL, "a=1", "=")
    sent(hooks, Request(URL))
    sent(hooks, Request("https://c.example/"))
    assert len(job.written) == 2
    answer(hooks, "https://www.a.example/", "c=1")
    sent(hooks, Request("https://b.example/", cookies={"mine": "1"}))
    assert job.written[2:] == ["a.example", "b.example"]
    again = job.run(at=100)
    assert job.written == []
    assert sent(again, Request("https://b.example/")) == "a=1; mine=1"


def test_what_has_expired_is_not_kept() -> None:
    job = Job()
    hooks = job.run(at=100)
    answer(hooks, URL, "old=1; Max-Age=5")
    job.now = 105
    answer(hooks, URL, "new=1")
    assert [row[0] for row in job["a.example"]] == ["new"]


def test_what_the_jar_parts_with_leaves_the_job() -> None:
    job = Job()
    hooks = job.run(at=100, jar=lambda: CookieJar(total=2))
    for name in "a", "b", "c":
        answer(hooks, f"https://{name}.example/", "x=1")
    answer(hooks, "https://b.example/", "x=; Max-Age=0")
    assert sorted(job) == ["c.example"]


def test_a_smaller_jar_keeps_what_was_used_last() -> None:
    job = Job()
    for at, name in (102, "a"), (101, "b"), (103, "c"):
        answer(job.run(at=at), f"https://{name}.example/", "x=1")
    job.run(at=110, jar=lambda: CookieJar(total=2))
    assert sorted(job) == ["a.example", "c.example"]


def login(value: str) -> Callable[[], CookieJar]:
    def made() -> CookieJar:
        jar = CookieJar()
        jar.set(URL, {"login": value}, 0.0)
        return jar

    return made


@pytest.mark.parametrize(
    ("line", "same", "other"),
    [
        ("x=1; Path=/", "login=mine; x=1", "login=new; x=1"),
        ("login=theirs; Path=/", "login=theirs", "login=new"),
        ("login=; Path=/; Max-Age=0", None, "login=new"),
    ],
)
def test_what_your_jar_brings_again_is_as_the_servers_left_it(line: str, same: str | None, other: str) -> None:
    job = Job()
    hooks = job.run(at=100, jar=login("mine"))
    assert sent(hooks, Request(URL)) == "login=mine"
    answer(hooks, URL, line)
    assert sent(job.run(at=101, jar=login("mine")), Request(URL)) == same
    assert sent(job.run(at=102, jar=login("new")), Request(URL)) == other
    assert sent(job.run(at=103, jar=login("new")), Request(URL)) == other
    assert sent(job.run(at=104), Request(URL)) == other


def test_what_is_no_text_is_not_kept() -> None:
    job = Job()

    def escaped() -> CookieJar:
        jar = CookieJar()
        jar.add(Cookie("c", "\udcff", "a.example"), 0.0)
        return jar

    hooks = job.run(at=100, jar=escaped)
    answer(hooks, URL, "a=\udcff; Path=/", "b=\u00e9; Path=/")
    assert sent(job.run(at=101), Request(URL)) == "b=\u00e9"


def test_without_a_job_nothing_is_written(run: LocalRun) -> None:
    hooks = cookies().make(run)
    answer(hooks, URL, "a=1")
    assert dict(run.state("cookies")) == {}


URLS = st.sampled_from([f"https://{host}.example{path}" for host in ("a", "www.a", "b", "c") for path in ("/", "/x/y")])
FIELDS = st.builds(
    "{}={}{}{}".format,
    st.sampled_from("ab"),
    st.sampled_from(["", "1", "\u00e9"]),
    st.sampled_from(["", "; Path=/", "; Domain=a.example"]),
    st.sampled_from(["", "; Max-Age=0", "; Max-Age=5", "; Secure; HttpOnly; SameSite=Lax"]),
)


@settings(deadline=None)  # the first one loads the public suffix list
@given(st.lists(st.tuples(URLS, st.lists(FIELDS, min_size=1, max_size=3), st.booleans()), max_size=20))
def test_the_jar_of_the_next_run_is_that_of_the_last(steps: list[tuple[str, list[str], bool]]) -> None:
    job, jars = Job(), [CookieJar(per_domain=3, total=5) for _ in range(2)]
    hooks = job.run(at=100, jar=lambda: jars[0])
    for url, lines, ask in steps:
        answer(hooks, url, *lines)
        if ask:
            sent(hooks, Request(url))
    job.run(at=102, jar=lambda: jars[1])
    before, after = ({domain: jar.of(domain) for domain in ("a.example", "b.example", "c.example")} for jar in jars)
    assert after == before
    assert len(jars[1]) == len(jars[0])
    assert set(job) - {"(given)"} == {domain for domain, kept in before.items() if kept}


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
