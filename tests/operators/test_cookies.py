"""cookies: what the layer sends and keeps. The jar itself: test_cookie_jar.py."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import reactivex as rx
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex import operators as rxo

from streamcrawl.cookies import (
    Cookie,
    CookieFileError,
    CookieJar,
    CookiesReceived,
    CookiesSent,
    Refused,
    read_cookies,
    write_cookies,
)
from streamcrawl.cookies.exchange import merged
from streamcrawl.core import Dropped, Failed, Outcome, Request
from streamcrawl.errors import ConnectError
from streamcrawl.events import Event, Notice
from streamcrawl.headers import NO_HEADERS, Headers
from streamcrawl.operators.cookies import cookies
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


def answer(hooks: Hooks, url: str, *lines: str, status: int = 200, cookiejar: str | None = None) -> Response:
    assert hooks.up is not None
    request = Request(url, cookiejar=cookiejar)
    response = Response(url, status, Headers([("Set-Cookie", line) for line in lines]), request=request)
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

    def run(self, *, at: float, jar: Callable[[], CookieJar] = CookieJar, **options: Any) -> Hooks:
        """The layer's hooks in the next run of the job."""
        run = LocalRun(asyncio.new_event_loop())
        run.loop.close()
        run.durable = True
        self.now = at
        run.now = lambda: self.now
        run.state = lambda name: self if name == "cookies" else {}  # type: ignore[method-assign]
        self.written.clear()
        return cookies(jar=jar, **options).make(run)


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


# ---- jars by name


def in_jar(name: str | None, url: str = URL, **fields: Any) -> Request:
    return Request(url, cookiejar=name, **fields)


def test_each_jar_is_apart_from_the_others(run: LocalRun) -> None:
    hooks = cookies().make(run)
    answer(hooks, URL, "who=nobody")
    answer(hooks, URL, "who=anna", cookiejar="anna")
    assert sent(hooks, in_jar("ben", cookies={"who": "ben"})) == "who=ben"
    assert [sent(hooks, in_jar(name)) for name in (None, "anna", "ben", "", "carl")] == [
        "who=nobody",
        "who=anna",
        "who=ben",
        None,
        None,
    ]
    answer(hooks, URL, "who=; Max-Age=0", cookiejar="anna")
    assert [sent(hooks, in_jar(name)) for name in (None, "anna", "ben")] == ["who=nobody", None, "who=ben"]


def test_every_jar_is_made_by_the_function_given(run: LocalRun) -> None:
    made: list[CookieJar] = []

    def consenting() -> CookieJar:
        jar = login("yes")()
        made.append(jar)
        return jar

    hooks = cookies(jar=consenting).make(run)
    assert sent(hooks, in_jar(None)) == "login=yes"
    assert sent(hooks, in_jar("anna", cookies={"a": "1"})) == "login=yes; a=1"
    assert len(made) == 2


def told(run: LocalRun, kind: type[Event]) -> list[Any]:
    found: list[Any] = []
    run.events.on(kind, found.append)
    return found


def test_of_too_many_jars_the_one_not_used_for_longest_goes(run: LocalRun) -> None:
    notices = told(run, Notice)
    hooks = cookies(jars=2).make(run)
    for name in (None, "a", "b"):
        answer(hooks, URL, f"x={name}", cookiejar=name)
    assert sent(hooks, in_jar("a")) == "x=a"
    answer(hooks, URL, "x=c", cookiejar="c")
    assert [sent(hooks, in_jar(name)) for name in (None, "a", "b", "c")] == ["x=None", "x=a", None, "x=c"]
    answer(hooks, URL, "x=d", cookiejar="d")
    assert [(each.level, "too many jars" in each.text) for each in notices] == [("warning", True)]


def test_of_too_many_cookies_in_all_jars_the_jar_not_used_for_longest_goes(run: LocalRun) -> None:
    hooks = cookies(total=3).make(run)
    answer(hooks, URL, "x=1", "y=1")
    answer(hooks, URL, "x=a", cookiejar="a")
    answer(hooks, URL, "x=b", cookiejar="b")
    assert [sent(hooks, in_jar(name)) for name in (None, "a", "b")] == ["x=1; y=1", None, "x=b"]


def test_asking_for_a_jar_that_is_not_there_makes_none(run: LocalRun) -> None:
    hooks = cookies(jars=1).make(run)
    answer(hooks, URL, "x=a", cookiejar="a")
    for number in range(5):
        assert sent(hooks, in_jar(str(number))) is None
        answer(hooks, URL, cookiejar=str(number))
    assert sent(hooks, in_jar("a")) == "x=a"


def test_a_job_keeps_every_jar() -> None:
    job = Job()
    first = job.run(at=100)
    answer(first, URL, "x=1")
    answer(first, URL, "x=a", cookiejar="a")
    answer(first, URL, "x=blank", cookiejar="")
    answer(first, "https://b.example/", "x=spaced", cookiejar="two words")
    second = job.run(at=101)
    assert [sent(second, in_jar(name)) for name in (None, "a", "")] == ["x=1", "x=a", "x=blank"]
    assert sent(second, in_jar("two words", "https://b.example/")) == "x=spaced"
    answer(second, URL, "x=; Max-Age=0", cookiejar="a")
    assert sent(job.run(at=102), in_jar("a")) is None


def test_a_jar_that_had_to_go_leaves_the_job() -> None:
    job = Job()
    hooks = job.run(at=100, jar=login("mine"), jars=1)
    answer(hooks, URL, "x=a", cookiejar="a")
    answer(hooks, URL, "x=b", cookiejar="b")
    assert sorted(job) == ["(given)", "(given) b", "a.example", "a.example b"]
    again = job.run(at=101, jar=login("mine"), jars=1)
    assert sent(again, in_jar("b")) == "login=mine; x=b"
    assert sent(again, in_jar("a", cookies={"y": "1"})) == "login=mine; y=1"


def test_a_smaller_bound_keeps_the_jars_that_were_used_last() -> None:
    job = Job()
    for at, name in (103, "a"), (101, "b"), (102, "c"):
        answer(job.run(at=at), URL, f"x={name}", cookiejar=name)
    hooks = job.run(at=110, jars=2)
    assert [sent(hooks, in_jar(name)) for name in ("a", "b", "c")] == ["x=a", None, "x=c"]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([None, "", "a", "b"]), URLS, FIELDS), max_size=15))
def test_every_jar_of_the_next_run_is_that_of_the_last(steps: list[tuple[str | None, str, str]]) -> None:
    job, names = Job(), (None, "", "a", "b")
    hooks = job.run(at=100)
    for name, url, line in steps:
        answer(hooks, url, line, cookiejar=name)
    urls = ("https://www.a.example/x/y", "https://b.example/x/y", "https://c.example/x/y")
    before = {(name, url): sent(hooks, in_jar(name, url)) for name in names for url in urls}
    again = job.run(at=102)
    assert {(name, url): sent(again, in_jar(name, url)) for name in names for url in urls} == before


# ---- what a request says


def test_own_cookies_may_say_domain_path_and_secure(run: LocalRun) -> None:
    hooks = cookies().make(run)
    own: Any = [{"name": "a", "value": "1", "domain": "a.example", "path": "/x", "secure": False}]
    assert sent(hooks, Request("https://www.a.example/x/", cookies=own)) == "a=1"
    assert sent(hooks, Request("http://a.example/x")) == "a=1"
    assert sent(hooks, Request("http://a.example/")) is None
    mine: Any = [Cookie("b", "2", "www.a.example")]
    assert sent(hooks, Request("https://www.a.example/", cookies=mine)) == "b=2"


def test_several_cookie_headers_of_your_own_become_one(run: LocalRun) -> None:
    hooks = cookies().make(run)
    answer(hooks, URL, "a=jar", "c=jar")
    own = Headers([("Cookie", "a=1"), ("cookie", "b=2")])
    assert sent(hooks, Request(URL, headers=own)) == "a=1; b=2; c=jar"


def test_a_request_that_skips_the_layer_goes_without_and_leaves_nothing() -> None:
    log: list[tuple[str, str | None]] = []
    pages = {"https://a.example/": Headers({"Set-Cookie": "a=1"}), "https://a.example/2": NO_HEADERS}
    starts = [Request("https://a.example/", skip=("cookies",), cookies={"mine": "1"}), Request("https://a.example/2")]
    site(pages, log, (cookies(),), starts)
    assert log == [("https://a.example/", None), ("https://a.example/2", None)]


def test_same_site_counts_where_another_site_s_page_led_there(run: LocalRun) -> None:
    hooks, free = cookies().make(run), cookies(same_site=False).make(run)
    for each in hooks, free:
        answer(each, URL, "s=1; SameSite=Strict", "l=1; SameSite=Lax", "d=1")
    link = Request(URL, referrer="https://b.example/")
    assert sent(hooks, Request(URL)) == "s=1; l=1; d=1"
    assert sent(hooks, Request(URL, referrer="https://www.a.example/x")) == "s=1; l=1; d=1"
    assert sent(hooks, link) == "l=1; d=1"
    assert sent(hooks, link.replace(method="POST")) == "d=1"
    assert sent(free, link.replace(method="POST")) == "s=1; l=1; d=1"


def test_what_a_cached_page_has_set_is_not_set_again(run: LocalRun) -> None:
    hooks = cookies().make(run)
    answer(hooks, URL, "session=new")
    assert hooks.up is not None
    old = Headers({"Set-Cookie": "session=old"})
    hooks.up(Response(URL, headers=old, request=Request(URL), flags=("picked", "cached")))
    assert sent(hooks, Request(URL)) == "session=new"
    hooks.up(Response(URL, headers=old, request=Request(URL), flags=("picked",)))
    assert sent(hooks, Request(URL)) == "session=old"


# ---- telling


def test_what_is_sent_and_received_is_told(run: LocalRun) -> None:
    received, gone = told(run, CookiesReceived), told(run, CookiesSent)
    hooks = cookies().make(run)
    answer(hooks, URL, "a=1", "b=1; Domain=example", cookiejar="anna")
    sent(hooks, in_jar("anna", headers=Headers({"Cookie": "own=1"})))
    sent(hooks, in_jar("ben"))
    (event,) = received
    assert (event.url, event.cookiejar, [each.name for each in event.cookies]) == (URL, "anna", ["a"])
    assert event.refused == (Refused("b=1; Domain=example", "example is a public suffix"),)
    (event,) = gone
    assert (event.url, event.cookiejar, event.header) == (URL, "anna", "own=1; a=1")
    assert [each.name for each in event.cookies] == ["a"]


def test_events_that_nobody_wants_are_not_made(run: LocalRun, monkeypatch: pytest.MonkeyPatch) -> None:
    notices = told(run, Notice)
    hooks = cookies().make(run)
    monkeypatch.setattr("streamcrawl.cookies.exchange.CookiesSent", None)
    monkeypatch.setattr("streamcrawl.cookies.exchange.CookiesReceived", None)
    answer(hooks, URL, "a=1", "=")
    assert sent(hooks, Request(URL)) == "a=1"
    assert notices == []


def test_debug_tells_it_in_words(run: LocalRun) -> None:
    notices = told(run, Notice)
    hooks = cookies(debug=True).make(run)
    sent(hooks, Request(URL))
    sent(hooks, Request(URL, headers=Headers({"Cookie": "own=1"})))
    answer(hooks, URL, "a=1", "=", status=302)
    sent(hooks, Request(URL, method="POST"))
    assert [(each.level, each.text) for each in notices] == [
        ("debug", f"cookies sent with GET {URL}: own=1"),
        ("debug", f"cookies received from 302 {URL}: a=1"),
        ("debug", f"cookies received from 302 {URL}: = (refused: neither name nor value)"),
        ("debug", f"cookies sent with POST {URL}: a=1"),
    ]


# ---- a file


def read(path: Path) -> list[tuple[str, str]]:
    return [(each.name, each.value) for each in read_cookies(path)]


@pytest.mark.parametrize("name", ["cookies.txt", "cookies.json"])
def test_a_file_carries_the_jar_from_run_to_run(tmp_path: Path, name: str) -> None:
    path, log = tmp_path / name, list[tuple[str, str | None]]()
    pages = {"https://a.example/": Headers([("Set-Cookie", "session=1"), ("Set-Cookie", "old=1; Max-Age=0")])}
    for _ in range(2):
        site(pages, log, (cookies(file=path),), [Request("https://a.example/", cookies={"mine": "1"})])
    assert [header for _, header in log] == ["mine=1", "mine=1; session=1"]
    assert read(path) == [("mine", "1"), ("session", "1")]


def test_a_json_file_carries_every_jar(tmp_path: Path, run: LocalRun) -> None:
    path = tmp_path / "cookies.json"
    hooks = cookies(file=path).make(run)
    answer(hooks, URL, "x=1")
    answer(hooks, URL, "x=a", cookiejar="a")
    run.loop.run_until_complete(run.closers[0]())
    again = cookies(file=path).make(run)
    assert [sent(again, in_jar(name)) for name in (None, "a", "b")] == ["x=1", "x=a", None]


def test_a_file_is_written_now_and_then_and_only_after_changes(tmp_path: Path, run: LocalRun) -> None:
    path, clock = tmp_path / "cookies.txt", 0.0
    run.monotonic = lambda: clock
    hooks = cookies(file=path, write_every=10).make(run)
    answer(hooks, URL, "a=1")
    assert not path.exists()
    clock = 10.0
    answer(hooks, URL, "a=1")
    assert read(path) == [("a", "1")]
    path.unlink()
    clock = 30.0
    answer(hooks, URL, "a=1")
    run.loop.run_until_complete(run.closers[0]())
    assert not path.exists()
    answer(hooks, URL, "a=2")
    assert read(path) == [("a", "2")]


def test_a_file_that_cannot_be_read_stops_the_run_before_it_begins(tmp_path: Path, run: LocalRun) -> None:
    path = tmp_path / "cookies.txt"
    path.write_text("nonsense\n")
    with pytest.raises(CookieFileError, match=r"cookies\.txt: line 1: 1 fields"):
        cookies(file=path).make(run)
    with pytest.raises(CookieFileError, match="there is no such directory"):
        cookies(file=tmp_path / "absent" / "cookies.txt").make(run)


def test_a_file_that_cannot_be_written_is_told_and_fails_the_run_at_its_end(tmp_path: Path, run: LocalRun) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    run.monotonic, notices = (lambda: 0.0), told(run, Notice)
    hooks = cookies(file=folder / "cookies.txt", write_every=1).make(run)
    folder.rmdir()
    run.monotonic = lambda: 1.0
    answer(hooks, URL, "a=1")
    assert sent(hooks, Request(URL)) == "a=1"
    assert [each.level for each in notices] == ["error"]
    run.loop.run_until_complete(run.closers[0]())
    assert isinstance(run.error, CookieFileError)


def test_what_the_file_cannot_hold_is_told_once(tmp_path: Path, run: LocalRun) -> None:
    clock = [0.0]
    run.monotonic, notices = (lambda: clock[0]), told(run, Notice)
    hooks = cookies(file=tmp_path / "cookies.txt", write_every=1).make(run)
    for seconds in (1.0, 2.0, 3.0):
        clock[0] = seconds
        answer(hooks, URL, f"a={seconds}\tsecret", f"b={seconds}")
    run.loop.run_until_complete(run.closers[0]())
    assert [(each.text, each.level) for each in notices] == [
        ("cookies: the file's format cannot hold 'a'; no more is said of that", "warning")
    ]
    assert run.error is None
    assert read(tmp_path / "cookies.txt") == [("b", "3.0")]


def test_a_fresh_login_in_the_file_counts_over_what_the_job_has(tmp_path: Path) -> None:
    path, job = tmp_path / "cookies.txt", Job()
    for at, value, header in ((100, "first", "login=first"), (101, "first", "login=theirs"), (102, "new", "login=new")):
        write_cookies(path, [Cookie("login", value, "a.example")], now=at)
        hooks = job.run(at=at, file=path)
        assert sent(hooks, Request(URL)) == header
        answer(hooks, URL, "login=theirs; Path=/")


@pytest.mark.parametrize("options", [{"jars": 0}, {"total": 0}, {"write_every": 0}, {"file": ""}])
def test_arguments_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"cookies\("):
        cookies(**options)


# ---- in a pipe


def site(
    pages: Mapping[str, Headers],
    log: list[tuple[str, str | None]],
    layers: tuple[NamedLayer, ...],
    starts: list[Request] | None = None,
) -> list[Outcome]:
    async def fetch(request: Request) -> Response:
        log.append((request.url, request.headers.get("cookie")))
        headers = pages[request.url]
        return Response(request.url, 302 if "location" in headers else 200, headers, request=request)

    async def work() -> list[Outcome]:
        source = rx.from_iterable(starts or [Request(next(iter(pages)), cookies={"lang": "en"})])
        result: Awaitable[list[Outcome]] = source.pipe(download(*layers, fetch=fetch), rxo.to_list())
        return await result

    return run_virtual(work)


def test_in_a_pipe_a_redirecting_login_page_sets_the_session() -> None:
    log: list[tuple[str, str | None]] = []
    pages = {
        "https://a.example/login": Headers(
            [("Location", "/home"), ("Set-Cookie", "session=1; Path=/"), ("Set-Cookie", "lang=de; Path=/")]
        ),
        "https://a.example/home": NO_HEADERS,
    }
    (outcome,) = site(pages, log, (redirect(), cookies()))
    assert log == [("https://a.example/login", "lang=en"), ("https://a.example/home", "lang=de; session=1")]
    assert outcome.request.headers == NO_HEADERS  # what was added for the wire stays there


def test_a_redirect_stays_in_its_jar() -> None:
    log: list[tuple[str, str | None]] = []
    pages = {
        "https://a.example/login": Headers({"Location": "/home", "Set-Cookie": "session=anna; Path=/"}),
        "https://a.example/home": NO_HEADERS,
    }
    start = Request("https://a.example/login", cookiejar="anna")
    site(pages, log, (redirect(), cookies()), [start, Request("https://a.example/home")])
    assert sorted(log, key=str)[:2] == [("https://a.example/home", "session=anna"), ("https://a.example/home", None)]


# ---- what must never happen


@pytest.mark.parametrize("target", ["https://evil.example/", "https://a.example.evil.example/", "http://a.example/"])
def test_prevented_cookies_sent_to_another_domain_or_over_http_after_a_redirect(target: str) -> None:
    log: list[tuple[str, str | None]] = []
    pages = {
        URL: Headers([("Location", target), ("Set-Cookie", "session=1; Secure; Path=/")]),
        target: NO_HEADERS,
    }
    start = Request(URL, cookies={"mine": "1"}, headers=Headers({"Cookie": "own=1"}))
    site(pages, log, (redirect(), cookies()), [start])
    assert log == [(URL, "own=1; mine=1"), (target, None)]


def test_prevented_a_cookie_of_a_public_suffix_that_strangers_would_get(run: LocalRun) -> None:
    hooks = cookies().make(run)
    for suffix in ("co.uk", "github.io", "com"):
        answer(hooks, f"https://attacker.{suffix}/", f"session=theirs; Domain={suffix}; Path=/")
        assert sent(hooks, Request(f"https://victim.{suffix}/")) is None
        assert sent(hooks, Request(f"https://{suffix}/")) is None


def test_prevented_a_cookie_over_http_that_hides_a_secure_one(run: LocalRun) -> None:
    hooks = cookies().make(run)
    answer(hooks, "https://a.example/", "session=1; Secure; Path=/", "__Host-id=1; Secure; Path=/")
    answer(hooks, "http://a.example/", "session=theirs; Path=/", "session=theirs; Path=/deep", "session=; Max-Age=0")
    answer(hooks, "http://www.a.example/", "session=theirs; Path=/; Domain=a.example", "__Host-id=theirs; Path=/")
    assert sent(hooks, Request("https://a.example/deep/page")) == "session=1; __Host-id=1"


def test_prevented_a_cookie_for_a_host_that_did_not_set_it(run: LocalRun) -> None:
    hooks = cookies().make(run)
    for domain in ("a.example", "www.a.example", "b.a.example", ".example", "a.example.evil.example"):
        answer(hooks, "https://evil.example/", f"session=theirs; Domain={domain}; Path=/")
    for host in ("a.example", "www.a.example", "b.a.example"):
        assert sent(hooks, Request(f"https://{host}/")) is None


def test_prevented_a_nameless_cookie_that_is_taken_for_a_prefixed_one(run: LocalRun) -> None:
    hooks = cookies(jar=lambda: CookieJar(like_browsers=True)).make(run)
    answer(hooks, "http://a.example/", "=__Host-id=theirs; Path=/", "__Secure-id=theirs", "=__http-id=theirs", "=taken")
    assert sent(hooks, Request("https://a.example/")) == "taken"


def test_prevented_a_header_that_a_cookie_breaks_in_two(run: LocalRun) -> None:
    hooks = cookies().make(run)
    answer(hooks, URL, "a=1\r\nX-Injected: 1", "b=1\x00", "c=1\n")
    assert sent(hooks, Request(URL)) is None
    with pytest.raises(ValueError, match="no control characters"):
        sent(hooks, Request(URL, cookies={"a": "1\r\nX-Injected: 1"}))


def test_prevented_memory_that_grows_with_the_hosts_seen(run: LocalRun) -> None:
    hooks = cookies(jar=lambda: CookieJar(total=50), jars=3, total=100).make(run)
    for number in range(1_000):
        answer(hooks, f"https://host{number}.example/", "a=1", cookiejar=str(number % 7))
    kept = sum(
        sent(hooks, in_jar(str(number % 7), f"https://host{number}.example/")) is not None for number in range(1_000)
    )
    assert 0 < kept <= 150


def test_a_repeat_does_not_undo_what_the_server_has_set(run: LocalRun) -> None:
    hooks = cookies().make(run)
    first = Request(URL, cookies={"sid": "mine", "gone": "1", "lang": "en"})
    assert sent(hooks, first) == "sid=mine; gone=1; lang=en"
    answer(hooks, URL, "sid=server's; Path=/; Secure", "gone=; Path=/; Max-Age=0", status=503)
    assert sent(hooks, first.replace(attempt=1)) == "sid=server's; lang=en"
    # What is given anew with a repeat counts, as in a callback that knows better.
    assert sent(hooks, first.replace(attempt=2, cookies={"sid": "new"})) == "sid=new; lang=en"
    # Another jar, and a request that is no repeat, begin anew.
    assert sent(hooks, first.replace(attempt=1, cookiejar="b")) == "sid=mine; gone=1; lang=en"
    assert sent(hooks, first) == "sid=mine; lang=en; gone=1"


def test_cookies_of_a_repeat_that_never_came_down_before_are_sent(run: LocalRun) -> None:
    assert sent(cookies().make(run), Request(URL, attempt=1, cookies={"sid": "mine"})) == "sid=mine"


def test_what_is_remembered_of_own_cookies_is_bounded(run: LocalRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamcrawl.cookies.jars.OWN", 2)
    hooks = cookies().make(run)
    request = Request(URL, cookies={"a": "1", "b": "1", "c": "1"})
    sent(hooks, request)
    answer(hooks, URL, "a=2; Path=/; Secure", "b=2; Path=/; Secure", "c=2; Path=/; Secure")
    assert sent(hooks, request.replace(attempt=1, cookies={"c": "1"})) == "a=2; b=2; c=2"
    assert sent(hooks, request.replace(attempt=1, cookies={"a": "1"})) == "a=1; b=2; c=2"


def test_a_cookie_header_of_your_own_gives_way_to_what_the_server_sets_on_the_way(run: LocalRun) -> None:
    hooks = cookies().make(run)
    assert hooks.up is not None
    own = Request(URL, headers=Headers({"Cookie": "sid=mine; lang=en;gone=1"}))
    assert sent(hooks, own) == "sid=mine; lang=en;gone=1"
    lines = [("Set-Cookie", "sid=new; Path=/; Secure"), ("Set-Cookie", "gone=; Max-Age=0"), ("Set-Cookie", "x\x01=1")]
    hooks.up(Response(URL, 302, Headers(lines), request=own))
    assert sent(hooks, own.replace(url="https://a.example/b", via=(URL,))) == "lang=en; sid=new"
    assert sent(hooks, own.replace(attempt=1)) == "lang=en; sid=new"
    # Of a request that is none of its hops and repeats, yours counts; so does another value, host or jar.
    assert sent(hooks, own) == "sid=mine; lang=en; gone=1"
    other = own.replace(headers=Headers({"Cookie": "sid=other"}), via=(URL,))
    assert sent(hooks, other) == "sid=other"
    assert sent(hooks, own.replace(cookiejar="b", via=(URL,))) == "sid=mine; lang=en;gone=1"
    assert sent(hooks, own.replace(url="https://b.example/", via=(URL,))) == "sid=mine; lang=en;gone=1"


def test_a_cookie_header_of_your_own_of_which_nothing_is_left_is_not_sent(run: LocalRun) -> None:
    hooks = cookies().make(run)
    assert hooks.up is not None
    own = Request(URL, headers=Headers({"Cookie": "sid=mine", "X": "1"}))
    hooks.up(Response(URL, 302, Headers({"Set-Cookie": "sid=; Path=/; Max-Age=0"}), request=own))
    assert hooks.down is not None
    hop = hooks.down(own.replace(via=(URL,)))
    assert isinstance(hop, Request)
    assert hop.headers == Headers({"X": "1"})


def test_a_session_that_the_server_renews_does_not_redirect_for_ever() -> None:
    async def fetch(request: Request) -> Response:
        if "sid=old" in (request.headers.get("cookie") or ""):
            fields = {"Location": "/page", "Set-Cookie": "sid=new; Path=/"}
            return Response(request.url, 302, Headers(fields), request=request)
        return Response(request.url, body=(request.headers.get("cookie") or "").encode(), request=request)

    async def work() -> list[Outcome]:
        start = Request(URL, headers=Headers({"Cookie": "sid=old; lang=en"}))
        return await rx.of(start).pipe(download(redirect(), cookies(), fetch=fetch), rxo.to_list())

    (page,) = run_virtual(work)
    assert isinstance(page, Response)
    assert (page.body, len(page.request.via)) == (b"lang=en; sid=new", 1)


def test_what_is_remembered_of_cookie_headers_is_bounded(run: LocalRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamcrawl.cookies.exchange.OWN", 1)
    hooks = cookies().make(run)
    assert hooks.up is not None
    own = Request(URL, headers=Headers({"Cookie": "a=1; b=1"}))
    hooks.up(Response(URL, 302, Headers([("Set-Cookie", "a=2"), ("Set-Cookie", "b=2")]), request=own))
    assert sent(hooks, own.replace(via=(URL,))) == "a=1; b=2"
