"""Tests of ops.robots_txt."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reactivex.subject import Subject
from through import Spy, piped, through

from streamcrawl import Crawl, robots_gate, robots_kept
from streamcrawl.core import Dropped, Failed, Layer, Outcome, Request, Run
from streamcrawl.errors import BodyTooLarge, ConnectError, FetchError, FetchTimeout, FlowError, TruncatedBody
from streamcrawl.events import Notice
from streamcrawl.headers import Headers
from streamcrawl.operators.download import download
from streamcrawl.operators.redirect import redirect
from streamcrawl.operators.retry import retry
from streamcrawl.operators.robots_txt import robots_txt
from streamcrawl.operators.scrape import scrape
from streamcrawl.response import Response
from streamcrawl.robots import PARSED, RequestRate, RobotsParsed, RobotsRules
from streamcrawl.robots_parsers import protego_parser
from streamcrawl.streams.layer import Hooks, layer
from streamcrawl.testing.fake_fetch import Answer, FakeFetch, page
from streamcrawl.testing.virtual_time import run_virtual

HOST = "http://a.example"
RULES = "User-agent: *\nDisallow: /private\n"
PAGES: dict[str, Answer] = {"/a": "a", "/private": "private", "/b": "b"}


def told(outcomes: list[Outcome]) -> dict[str, str]:
    """What became of each path: "200", or why it was dropped."""
    return {
        outcome.request.url.removeprefix(HOST): (
            outcome.reason if isinstance(outcome, Dropped) else str(getattr(outcome, "status", lost(outcome)))
        )
        for outcome in outcomes
    }


def lost(outcome: Outcome) -> str:
    """The kind of error of a Failed."""
    return type(outcome.error).__name__ if isinstance(outcome, Failed) else "passed"


def moved(to: str) -> Response:
    return page(status=301, headers={"Location": to})


OBEYED = {"/a": "200", "/private": "robots.txt"}
OPEN = {"/a": "200", "/private": "200"}
CLOSED = {"/a": "robots.txt unreachable", "/private": "robots.txt unreachable"}

STATES: dict[str, tuple[Answer, dict[str, str]]] = {
    "200": (RULES, OBEYED),
    "206": (page(RULES, status=206), OBEYED),
    "empty": (b"", OPEN),
    "204": (page(status=204), OPEN),
    "a page instead": ("<html><body>Disallow: /</body></html>", OPEN),
    "nothing for us": ("User-agent: otherbot\nDisallow: /\n", OPEN),
    "everything": ("User-agent: *\nDisallow: /\n", {"/a": "robots.txt", "/private": "robots.txt"}),
    "300": (page(status=300), OPEN),
    "401": (page(status=401), OPEN),
    "403": (page("User-agent: *\nDisallow: /", status=403), OPEN),
    "404": (page(status=404), OPEN),
    "410": (page(status=410), OPEN),
    "429": (page(status=429), CLOSED),
    "500": (page(RULES, status=500), CLOSED),
    "503": (page(status=503), CLOSED),
    "599": (page(status=599), CLOSED),
    "timeout": (FetchTimeout("no answer"), dict.fromkeys(CLOSED, "FetchTimeout")),
    "refused": (ConnectError("refused"), dict.fromkeys(CLOSED, "ConnectError")),
    "redirect": (moved("/rules.txt"), OBEYED),
    "to another host": (moved("http://b.example/rules.txt"), OBEYED),
    "to another robots.txt": (moved("http://b.example/robots.txt"), OBEYED),
    "in a circle": (moved("/robots.txt?again"), OPEN),
    "to nothing": (moved("/nowhere"), OPEN),
    "byte order mark": ("\ufeff" + RULES, OBEYED),
    "utf-16": (RULES.encode("utf-16"), OBEYED),
    "latin-1": ("# für alle\nUser-agent: *\nDisallow: /private\nDisallow: /é\n".encode("latin-1"), OBEYED),
    "nul bytes": (b"\0\0\xff\xfe\n" + RULES.encode(), OBEYED),
    "mac line ends": (RULES.replace("\n", "\r"), OBEYED),
    "huge": (RULES.encode() + b"# filler\n" * 100_000 + b"Disallow: /\n", OBEYED),
    "cut in a rule": (RULES.encode().ljust(PARSED - 11, b"\n") + b"Disallow: /archive/old\n", OBEYED),
    "one endless line": (b"Disallow: /" + b"a" * PARSED, OPEN),
}


@pytest.mark.parametrize(("answer", "expected"), STATES.values(), ids=STATES)
def test_what_an_answer_means(answer: Answer, expected: dict[str, str]) -> None:
    site: dict[str, Answer] = {
        **PAGES,
        f"{HOST}/robots.txt": answer,
        "/robots.txt": RULES,
        "/rules.txt": RULES,
        "/robots.txt?again": moved("/robots.txt"),
    }
    outcomes = through(robots_txt(), redirect(), to=[HOST + "/a", HOST + "/private"], fetch=FakeFetch(site))
    assert told(outcomes) == expected


def test_a_retry_is_waited_for() -> None:
    fetch = FakeFetch({**PAGES, "/robots.txt": [page(status=503), ConnectError("no"), RULES]})
    outcomes = through(robots_txt(), retry(), to=[HOST + "/a", HOST + "/private"], fetch=fetch)
    assert told(outcomes) == OBEYED
    assert fetch.hits[HOST + "/robots.txt"] == 3


def test_one_question_for_each_host_while_its_other_requests_wait() -> None:
    spy = Spy()
    fetch = FakeFetch({**PAGES, "/robots.txt": RULES}, latency=5)
    hosts = ["http://a.example", "https://a.example", "http://a.example:81"]
    urls = [host + path for host in hosts for path in ("/a", "/b", "/private")]
    outcomes = through(robots_txt(), to=urls, fetch=fetch, spy=spy)
    assert sorted(fetch.urls[:3]) == sorted(host + "/robots.txt" for host in hosts)
    assert fetch.times == [0.0] * 3 + [5.0] * 6
    assert sum(isinstance(outcome, Dropped) for outcome in outcomes) == 3
    assert spy.hosts[:3] == [("close", host) for host in hosts]
    assert sorted(spy.hosts[3:]) == sorted(("open", host) for host in hosts)


def test_the_question_is_a_request_of_its_own() -> None:
    spy = Spy()
    asked = Request(HOST + "/a", headers=Headers({"User-Agent": "own/1", "Cookie": "secret"}), site=HOST, slot="slow")
    through(robots_txt(), to=[asked], fetch=FakeFetch({**PAGES, "/robots.txt": RULES}), spy=spy)
    question = spy.sent[0]
    assert question.url == HOST + "/robots.txt"
    assert question.headers == Headers({"User-Agent": "own/1"})
    assert (question.dont_filter, question.callback, question.slot, question.site) == (True, None, "slow", HOST)
    assert question.priority > asked.priority
    assert question.lease is not None
    assert question.lease.parent is spy.sent[1].lease


@pytest.mark.parametrize("url", ["file:///a", "data:text/plain,hello", "ftp://a.example/a"])
def test_other_schemes_have_no_robots_txt(url: str) -> None:
    fetch = FakeFetch({"/robots.txt": "User-agent: *\nDisallow: /"})
    (outcome,) = through(robots_txt(), to=[url], fetch=fetch)
    assert isinstance(outcome, Response)
    assert fetch.urls == [url]


@pytest.mark.parametrize("answer", ["User-agent: *\nDisallow: /", page(status=500)])
def test_a_robots_txt_that_you_ask_for_passes(answer: Answer) -> None:
    fetch = FakeFetch({"/robots.txt": answer})
    alone = through(robots_txt(), to=[HOST + "/robots.txt"], fetch=fetch)
    assert isinstance(alone[0], Response)
    assert fetch.urls == [HOST + "/robots.txt"]
    after = piped(download(robots_txt(), fetch=fetch), to=[Request(HOST + "/a"), Request(HOST + "/robots.txt")])
    assert sorted(type(outcome).__name__ for outcome in after) == ["Dropped", "Response"]


AGENTS = (
    "User-agent: shop\nDisallow: /a\n\nUser-agent: streamcrawl\nDisallow: /b\n\nUser-agent: *\nDisallow: /private\n"
)


@pytest.mark.parametrize(
    ("argument", "header", "forbidden"),
    [
        (None, None, {"/b"}),
        (None, "Shop/2.0 (+http://shop.example)", {"/a"}),
        (None, "Mozilla/5.0 (compatible; shop/2.0)", {"/a"}),
        (None, "unknown/1", {"/private"}),
        ("shop", "unknown/1", {"/a"}),
        ("workshop", None, {"/private"}),
    ],
)
def test_whose_rules_hold(argument: str | None, header: str | None, forbidden: set[str]) -> None:
    headers = Headers({"User-Agent": header} if header else {})
    requests = [Request(HOST + path, headers=headers) for path in PAGES]
    outcomes = through(robots_txt(user_agent=argument), to=requests, fetch=FakeFetch({**PAGES, "/robots.txt": AGENTS}))
    assert {path for path, end in told(outcomes).items() if end == "robots.txt"} == forbidden


@pytest.mark.parametrize(
    ("line", "max_delay", "rate"),
    [
        ("Crawl-delay: 2.5", 60.0, [2.5]),
        ("Crawl-delay: 3600", 60.0, [60.0]),
        ("Crawl-delay: 3600", 7.0, [7.0]),
        ("Crawl-delay: 5", 0.0, []),
        ("Crawl-delay: 0", 60.0, []),
        ("Crawl-delay: soon", 60.0, []),
        ("Request-rate: 1/5", 60.0, [5.0]),
        ("Request-rate: 10/1m", 60.0, [6.0]),
        ("Request-rate: 1/1h", 60.0, [60.0]),
        ("Request-rate: 1/5 0600-0845", 60.0, [5.0]),
        ("Request-rate: 0/5", 60.0, []),
        ("Request-rate: 1/5", 0.0, []),
        ("Crawl-delay: 2\nRequest-rate: 1/5", 60.0, [5.0]),
        ("Crawl-delay: 7\nRequest-rate: 1/5", 60.0, [7.0]),
        ("Visit-time: 0600-0845", 60.0, []),
        ("", 60.0, []),
    ],
)
def test_what_rate_is_asked_for(line: str, max_delay: float, rate: list[float]) -> None:
    spy = Spy()
    fetch = FakeFetch({**PAGES, "/robots.txt": f"User-agent: *\n{line}\n"})
    through(robots_txt(max_delay=max_delay), to=[HOST + "/a"], fetch=fetch, spy=spy)
    assert [told for told in spy.hosts if told[0] == "set_rate"] == [
        ("set_rate", HOST, delay, "robots_txt") for delay in rate
    ]


MAPS = ("http://a.example/map.xml", "/de/map.xml", "http://a.example/map.xml", "data:,x")


def rates(spy: Spy) -> list[object]:
    """The delays that the frontier was told of, in order."""
    return [told[2] for told in spy.hosts if told[0] == "set_rate"]


def test_a_rate_that_is_gone_when_asked_again_is_taken_back() -> None:
    spy = Spy()
    slow, slower = RULES + "Crawl-delay: 2\n", RULES + "Request-rate: 1/9\n"
    answers = [slow, slower, page(status=503), RULES, RULES, slow, page(status=404), slow]
    fetch = FakeFetch({**PAGES, "/robots.txt": list[Any](answers)})
    ends = at_times(fetch, robots_txt(ttl=10, unreachable_ttl=10), *range(1, 161, 20), spy=spy)
    assert ends == ["robots.txt"] * 6 + ["passed", "robots.txt"]
    assert rates(spy) == [2.0, 9.0, None, 2.0, None, 2.0]  # a 503 leaves the last one; nothing is taken back twice


def nothing(response: Response) -> None:
    """A callback that yields nothing."""


def test_a_rate_is_kept_to_in_a_crawl_and_no_longer_when_it_is_gone() -> None:
    urls = [f"{HOST}/{n}" for n in range(9)]
    site: dict[str, Answer] = {
        "/robots.txt": ["Crawl-delay: 1\nUser-agent: *\nCrawl-delay: 2\nRequest-rate: 1/5", "User-agent: *"],
        **{f"/{n}": "page" for n in range(9)},
    }
    fetch = FakeFetch(site, latency=0.1)

    async def main() -> None:
        crawl: Crawl[Any] = Crawl(urls, concurrency=4, per_host=4)
        await crawl.pipe(download(robots_txt(ttl=19), fetch=fetch), scrape(nothing)).start()

    run_virtual(main)
    first, again = (at for at, request in fetch.log if request.url.endswith("robots.txt"))
    slow = [at for at in fetch.times if first <= at < again]
    fast = [at for at in fetch.times if at > again]
    assert len(slow) + len(fast) == len(urls) + 1
    assert min(after - before for before, after in pairwise([*slow, again])) > 5 - 1e-9
    assert max(fast) - again < 1


def in_one_slot(run: Run) -> Hooks:
    """What a frontier does with requests of a slot."""

    def down(request: Request) -> Request:
        assert request.lease is not None
        request.lease.host = "slow"
        return request

    return Hooks(down=down)


def test_hosts_that_share_a_slot_are_closed_until_the_last_has_answered() -> None:
    spy = Spy()
    fetch = FakeFetch({**PAGES, "/robots.txt": RULES}, latency=lambda request: float(request.url[7] == "b") + 1)
    through(layer("slot", in_one_slot), robots_txt(), to=[HOST + "/a", "http://b.example/a"], fetch=fetch, spy=spy)
    assert spy.hosts == [("close", "slow"), ("close", "slow"), ("open", "slow")]


def test_hosts_that_share_a_slot_are_all_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robots_gate, "SHARED", 2)
    spy = Spy()
    delays = {"a": [3, 3, 0], "b": [7, 0], "c": [5, 5]}
    site: dict[str, Answer] = {
        f"http://{name}.example/robots.txt": [f"User-agent: *\nCrawl-delay: {delay}" for delay in asked]
        for name, asked in delays.items()
    }
    layers = (spy.layer, layer("slot", in_one_slot), robots_txt(ttl=2.5))
    visits(layers, FakeFetch({**site, "/": "home"}), "abcabca")
    # a is forgotten for c; what b had asked for is taken back, and what a asks for is no more than c's.
    assert rates(spy) == [3.0, 7.0, 7.0, 7.0, 5.0, 5.0, 5.0]


@pytest.mark.parametrize(("most", "last"), [(2, 3.0), (1, 2.0)], ids=["remembered", "forgotten"])
def test_slots_of_which_delays_are_remembered_are_bounded(
    monkeypatch: pytest.MonkeyPatch, most: int, last: float
) -> None:
    monkeypatch.setattr(robots_gate, "SLOTS", most)
    spy = Spy()
    delays = {"a": 3, "b": 7, "c": 2}
    site = {f"http://{name}.example/robots.txt": f"User-agent: *\nCrawl-delay: {delays[name]}" for name in delays}

    def in_two_slots(run: Run) -> Hooks:
        def down(request: Request) -> Request:
            assert request.lease is not None
            request.lease.host = "other" if request.url[7] == "b" else "slow"
            return request

        return Hooks(down=down)

    visits((spy.layer, layer("slot", in_two_slots), robots_txt()), FakeFetch({**site, "/": "home"}), "abc")
    assert rates(spy) == [3.0, 7.0, last]


def test_what_is_counted_and_told() -> None:
    spy = Spy()
    site: dict[str, Answer] = {
        **PAGES,
        "/robots.txt": RULES + "".join(f"Sitemap: {each}\n" for each in MAPS),
        "http://b.example/robots.txt": page(status=500),
        "http://c.example/robots.txt": ConnectError("refused"),
    }
    urls = [HOST + "/a", HOST + "/private", "http://b.example/a", "http://c.example/a"]
    through(spy.layer, robots_txt(), to=urls, fetch=FakeFetch(site))
    counted = {key.removeprefix("robotstxt/"): n for key, n in spy.stats.items() if key.startswith("robotstxt/")}
    assert counted == {
        "request_count": 3,
        "response_count": 2,
        "response_status_count/200": 1,
        "response_status_count/500": 1,
        "exception_count/ConnectError": 1,
        "forbidden": 2,
    }
    (parsed,) = [event for event in spy.events if isinstance(event, RobotsParsed)]
    assert (parsed.host, parsed.url) == (HOST, HOST + "/robots.txt")
    assert parsed.rules.sitemaps == MAPS
    assert parsed.sitemaps == ("http://a.example/map.xml", "http://a.example/de/map.xml")
    assert [event.text for event in spy.events if isinstance(event, Notice)] == [
        "no robots.txt from http://b.example (status 500): nothing of the host is fetched for 600 s",
    ]


def at_times(fetch: FakeFetch, layer: Any, *times: float, spy: Spy | None = None) -> list[str]:
    """What became of /private when it was asked for at these times."""

    async def main() -> list[str]:
        source: Subject[Request] = Subject()
        ends: list[Outcome] = []
        layers = (spy.layer, layer) if spy else (layer,)
        subscription = source.pipe(download(*layers, fetch=fetch)).subscribe(ends.append)
        for at in times:
            await asyncio.sleep(at - asyncio.get_running_loop().time())
            source.on_next(Request(HOST + "/private"))
        await asyncio.sleep(1)
        subscription.dispose()
        return [end.reason if isinstance(end, Dropped) else lost(end) for end in ends]

    return run_virtual(main)


DAY = 86_400.0


def test_an_answer_holds_for_a_day() -> None:
    fetch = FakeFetch({**PAGES, "/robots.txt": [RULES, page(status=404), RULES]})
    ends = at_times(fetch, robots_txt(), 1, DAY - 1, DAY + 2, 2 * DAY + 1, 2 * DAY + 4)
    assert ends == ["robots.txt", "robots.txt", "passed", "passed", "robots.txt"]
    assert fetch.hits[HOST + "/robots.txt"] == 3


@pytest.mark.parametrize(
    ("headers", "holds"),
    [
        ({"Cache-Control": "max-age=7200"}, 7_200),
        ({"Cache-Control": "max-age=7200", "Age": "1200"}, 6_000),
        ({"Cache-Control": "public, max-age=60"}, 3_600),
        ({"Cache-Control": "no-cache"}, 3_600),
        ({"Cache-Control": "max-age=31536000"}, DAY),
        ({"Expires": "Thu, 01 Jan 1970 02:00:00 GMT", "Date": "Thu, 01 Jan 1970 00:00:00 GMT"}, 7_200),
        ({"Cache-Control": "private"}, DAY),
    ],
)
@pytest.mark.parametrize("status", [200, 404])
def test_an_answer_may_say_how_long_it_holds(headers: dict[str, str], holds: float, status: int) -> None:
    for until, asked in ((1 + holds - 1, 1), (1 + holds + 1, 2)):
        fetch = FakeFetch({**PAGES, "/robots.txt": page(RULES, status=status, headers=headers)})
        at_times(fetch, robots_txt(), 1, until)
        assert fetch.hits[HOST + "/robots.txt"] == asked


def test_no_answer_is_asked_for_again_sooner() -> None:
    fetch = FakeFetch({**PAGES, "/robots.txt": [ConnectError("no"), page(status=503), page(status=404)]})
    ends = at_times(fetch, robots_txt(unreachable_ttl=100), 1, 90, 102, 150, 203)
    assert ends == ["ConnectError"] * 2 + ["robots.txt unreachable"] * 2 + ["passed"]
    assert fetch.hits[HOST + "/robots.txt"] == 3


@pytest.mark.parametrize(("first", "end"), [(RULES, "robots.txt"), (page(status=404), "passed")])
def test_an_older_answer_holds_while_there_is_no_new_one(first: Answer, end: str) -> None:
    fetch = FakeFetch({**PAGES, "/robots.txt": [first, page(status=500), page(status=500), RULES]})
    ends = at_times(fetch, robots_txt(), 1, DAY + 2, DAY + 500, DAY + 603, DAY + 1300)
    assert ends == [end] * 4 + ["robots.txt"]
    assert fetch.hits[HOST + "/robots.txt"] == 4


def visits(layers: tuple[Layer, ...], fetch: FakeFetch, names: str) -> list[str]:
    """Which of the hosts were asked for a robots.txt when their pages were wanted one after the other."""

    async def main() -> None:
        source: Subject[Request] = Subject()
        subscription = source.pipe(download(*layers, fetch=fetch)).subscribe()
        for name in names:
            await asyncio.sleep(1)
            source.on_next(Request(f"http://{name}.example/"))
        await asyncio.sleep(1)
        subscription.dispose()

    run_virtual(main)
    return [url[7] for url in fetch.urls if url.endswith("robots.txt")]


def test_rules_that_were_forgotten_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robots_kept, "MEMORY", 7_000)
    read: list[str] = []

    def parser(body: bytes, url: str) -> RobotsRules:
        read.append(url[7])
        return protego_parser(body, url)

    fetch = FakeFetch({"/robots.txt": "Disallow:", "/": "home"})
    assert visits((robots_txt(parser=parser),), fetch, "abacab") == ["a", "b", "c"]
    assert read == ["a", "b", "c", "b"]


@pytest.mark.parametrize("answer", ["", page(status=404), page(status=503), ConnectError("no")])
def test_memory_is_bounded(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robots_kept, "MEMORY", 6_100 if answer == "" else 1_300)
    monkeypatch.setattr(robots_kept, "KEPT", 1_300)
    spy = Spy()
    fetch = FakeFetch({"/robots.txt": answer, "/": "home"})
    assert visits((spy.layer, robots_txt()), fetch, "abacadab") == ["a", "b", "c", "d", "b"]
    (run,) = spy.runs
    assert dict(run.state("robots_txt")) == {}


def test_a_host_that_is_asked_often_does_not_crowd_out_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robots_kept, "MEMORY", 7_000)
    monkeypatch.setattr(robots_kept, "KEPT", 1_500)
    spy = Spy()
    answers: list[Any] = ["User-agent: *\nDisallow: /", page(status=500)]
    fetch = FakeFetch({"/robots.txt": "", "http://b.example/robots.txt": answers, "/": "home"})
    asked = visits((spy.layer, robots_txt(ttl=0.5)), fetch, "b" + "a" * 20 + "b")
    assert asked == ["b"] + ["a"] * 20 + ["b"]
    assert [event.text for event in spy.events if isinstance(event, Notice)] == [
        "no robots.txt from http://b.example (status 500): the last one holds for 600 s"
    ]


class Job(dict[str, Any]):
    """What a job has of the answers; like a job it takes plain data only, and gives back new objects."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0.0

    def __setitem__(self, key: str, value: Any) -> None:
        assert type(value) is list
        super().__setitem__(key, msgspec.msgpack.encode(value))

    def get(self, key: str, default: Any = None) -> Any:
        value = super().get(key)
        return default if value is None else msgspec.msgpack.decode(value)

    def state(self, name: str) -> dict[str, Any]:
        return self if name == "robots_txt" else {}

    @property
    def layer(self) -> Layer:
        """Stands above `robots_txt`: makes the run one of the job."""

        def make(run: Run) -> Hooks:
            local: Any = run
            local.durable = True
            local.state = self.state
            begun = run.monotonic()
            local.now = lambda: self.begun + run.monotonic() - begun
            return Hooks()

        return layer("job", make)

    def run(
        self, answer: Answer, *, after: float = 0.0, policy: Layer | None = None, spy: Spy | None = None
    ) -> tuple[dict[str, str], int]:
        """What became of two pages in the next run of the job, so many seconds later, and the questions it asked."""
        self.begun += after
        fetch = FakeFetch({**PAGES, "/robots.txt": answer})
        layers = (*((spy.layer,) if spy else ()), self.layer, policy or robots_txt())
        outcomes = through(*layers, to=[HOST + "/a", HOST + "/private"], fetch=fetch)
        return told(outcomes), fetch.hits[HOST + "/robots.txt"]


@pytest.mark.parametrize(
    ("answer", "ends", "holds"),
    [
        (RULES, OBEYED, DAY),
        (page(RULES + "# filler\n" * 100_000), OBEYED, DAY),
        (page(status=404), OPEN, DAY),
        (b"", OPEN, DAY),
    ],
    ids=["rules", "huge", "404", "empty"],
)
def test_a_job_keeps_answers_from_run_to_run(answer: Answer, ends: dict[str, str], holds: float) -> None:
    job = Job()
    other = page("User-agent: *\nDisallow: /")
    assert job.run(answer) == (ends, 1)
    assert job.run(other, after=holds - 1) == (ends, 0)
    assert job.run(other, after=2) == ({"/a": "robots.txt", "/private": "robots.txt"}, 1)
    assert len(job) == 1
    assert len(msgspec.msgpack.encode(job.get(HOST))) < 10_000


@pytest.mark.parametrize(
    ("answer", "ends"),
    [(page(status=503), CLOSED), (ConnectError("refused"), dict.fromkeys(CLOSED, "ConnectError"))],
    ids=["503", "refused"],
)
def test_a_host_that_gave_no_answer_is_asked_anew_by_the_next_run(answer: Answer, ends: dict[str, str]) -> None:
    job = Job()
    assert job.run(answer) == (ends, 1)
    assert job.run(answer, after=1) == (ends, 1)
    assert job.run(page(status=404), after=1) == (OPEN, 1)


LINES = st.lists(st.sampled_from(["Disallow: /private", "Allow: /*", "Disallow: /a$", "\udce4", "User-agent: *"]))


@given(LINES.map(lambda lines: "\n".join(["User-agent: *", *lines]).encode("utf-8", "surrogateescape")) | st.binary())
def test_a_kept_file_says_what_it_said(file: bytes) -> None:
    job = Job()
    ends, asked = job.run(file)
    assert asked == 1
    assert job.run(ConnectError("refused"), after=DAY - 1) == (ends, 0)


def test_what_kept_a_host_from_answering_is_told_in_the_next_run() -> None:
    class Odd(FetchError):
        def __init__(self, code: int, why: str) -> None:
            super().__init__(f"{code} {why}")

    for error, kind, text in (
        (ConnectError("refused \udcff" + "!" * 5_000), ConnectError, "refused ?" + "!" * 991),
        (Odd(7, "odd"), FetchError, "Odd: 7 odd"),
    ):
        job = Job()
        first = through(job.layer, robots_txt(), to=[HOST + "/a"], fetch=FakeFetch({"/robots.txt": error}))
        second = through(job.layer, robots_txt(), to=[HOST + "/a"], fetch=FakeFetch({"/robots.txt": RULES}))
        assert isinstance(first[0], Failed)
        assert isinstance(second[0], Failed)
        assert (type(second[0].error), str(second[0].error)) == (kind, text)


def test_an_error_that_is_kept_keeps_nothing_else_alive() -> None:
    def refuse(request: Request) -> Response:
        raise ConnectError("refused") from OSError(111, "no")

    (failed,) = through(robots_txt(), to=[HOST + "/a"], fetch=FakeFetch({"/robots.txt": refuse}))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ConnectError)
    assert (str(failed.error), failed.error.__cause__, failed.error.__traceback__) == ("refused", None, None)


def test_an_older_answer_of_the_job_holds_while_there_is_no_new_one() -> None:
    job = Job()
    assert job.run(RULES) == (OBEYED, 1)
    assert job.run(page(status=500), after=2 * DAY) == (OBEYED, 1)
    assert job.run(page(status=500), after=599) == (OBEYED, 0)
    assert job.run(ConnectError("no"), after=2) == (OBEYED, 1)
    assert job.run(b"", after=601) == (OPEN, 1)


def test_a_kept_crawl_delay_is_kept_to_and_nothing_is_told_twice() -> None:
    job, first, second = Job(), Spy(), Spy()
    answer = RULES + "Crawl-delay: 90\n"
    assert job.run(answer, spy=first) == (OBEYED, 1)
    assert job.run(answer, spy=second, policy=robots_txt(max_delay=70)) == (OBEYED, 0)
    rates = [[call for call in spy.hosts if call[0] == "set_rate"] for spy in (first, second)]
    assert rates == [[("set_rate", HOST, each, "robots_txt")] for each in (60.0, 70.0)]
    assert [sum(isinstance(event, RobotsParsed) for event in spy.events) for spy in (first, second)] == [1, 0]
    assert second.stats == {"robotstxt/forbidden": 1}


@pytest.mark.parametrize(
    ("after", "policy"), [(-10 * DAY, robots_txt()), (101, robots_txt(ttl=100)), (-DAY, robots_txt(ttl=100))]
)
def test_no_clock_and_no_longer_ttl_of_before_make_an_answer_hold_too_long(after: float, policy: Layer) -> None:
    job = Job()
    job.begun = 100 * DAY
    assert job.run(RULES) == (OBEYED, 1)
    job.begun += after
    fetch = FakeFetch({**PAGES, "/robots.txt": b""})

    async def main() -> list[str]:
        source: Subject[Request] = Subject()
        ends: list[Outcome] = []
        subscription = source.pipe(download(job.layer, policy, fetch=fetch)).subscribe(ends.append)
        for wait in (1, DAY + 2):
            await asyncio.sleep(wait)
            source.on_next(Request(HOST + "/private"))
        await asyncio.sleep(1)
        subscription.dispose()
        return [end.reason if isinstance(end, Dropped) else lost(end) for end in ends]

    assert run_virtual(main) == ["robots.txt", "passed"]
    assert fetch.hits[HOST + "/robots.txt"] == 1


def test_a_kept_file_that_another_parser_cannot_read_is_asked_for_again() -> None:
    def parser(body: bytes, url: str) -> RobotsRules:
        if body == RULES.encode():
            raise ValueError("not mine")
        return _Rules()

    job = Job()
    assert job.run(RULES) == (OBEYED, 1)
    assert job.run(b"mine", policy=robots_txt(parser=parser)) == (OPEN, 1)
    assert job.run(page(status=500), after=2 * DAY) == (OPEN, 1)


def test_a_kept_file_that_holds_no_longer_is_not_read() -> None:
    job, spy = Job(), Spy()
    assert job.run(RULES + "Crawl-delay: 9\n") == (OBEYED, 1)
    assert job.run(page(status=404), after=DAY + 1, spy=spy) == (OPEN, 1)
    # No rate is set; the one that the job's frontier may still have is taken back.
    assert spy.hosts == [("close", HOST), ("set_rate", HOST, None, "robots_txt"), ("open", HOST)]


def test_rules_that_were_forgotten_are_read_again_from_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robots_kept, "MEMORY", 1)
    monkeypatch.setattr(robots_kept, "KEPT", 1)
    job = Job()
    fetch = FakeFetch({"/robots.txt": RULES, "/": "home"})
    assert visits((job.layer, robots_txt()), fetch, "abcabc") == ["a", "b", "c"]
    assert sorted(job) == [f"http://{name}.example" for name in "abc"]


def test_a_cancelled_question_is_asked_again() -> None:
    spy = Spy()
    fetch = FakeFetch({**PAGES, "/robots.txt": RULES}, latency=10)

    async def cancel() -> None:
        await asyncio.sleep(5)
        (question,) = [task for task in asyncio.all_tasks() if "_learn" in repr(task.get_coro())]
        question.cancel()

    async def main() -> dict[str, str]:
        source: Subject[Request] = Subject()
        found: list[Outcome] = []
        subscription = source.pipe(download(robots_txt(), spy.layer, fetch=fetch)).subscribe(found.append)
        await asyncio.sleep(0)
        for path in "/a", "/private":
            source.on_next(Request(HOST + path))
        await cancel()
        await asyncio.sleep(100)
        subscription.dispose()
        return told(found)

    assert run_virtual(main) == OBEYED
    assert [url for url in fetch.urls if url.endswith("robots.txt")] == [HOST + "/robots.txt"] * 2
    assert [call for call, *_ in spy.hosts] == ["close", "open"] * 2


class _Rules:
    sitemaps = ()

    def allowed(self, url: str, agent: str) -> bool:
        return "b" not in url.removeprefix(HOST)

    def crawl_delay(self, agent: str) -> float | None:
        return None

    def request_rate(self, agent: str) -> RequestRate | None:
        return None


def test_a_parser_of_your_own() -> None:
    seen: list[tuple[bytes, str]] = []

    def parser(body: bytes, url: str) -> RobotsRules:
        seen.append((body, url))
        return _Rules()

    outcomes = through(
        robots_txt(parser=parser), to=[HOST + path for path in PAGES], fetch=FakeFetch({**PAGES, "/robots.txt": RULES})
    )
    assert told(outcomes) == {"/a": "200", "/private": "200", "/b": "robots.txt"}
    assert seen == [(RULES.encode(), HOST + "/robots.txt")]


def test_a_request_may_skip_it() -> None:
    spy = Spy()
    asked = [Request(HOST + "/private", skip=("robots_txt",)), Request(HOST + "/private")]
    outcomes = through(robots_txt(), to=asked, fetch=FakeFetch({**PAGES, "/robots.txt": RULES}), spy=spy)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Dropped", "Response"]
    only = FakeFetch({**PAGES, "/robots.txt": RULES})
    through(robots_txt(), to=asked[:1], fetch=only)
    assert only.urls == [HOST + "/private"]


def test_the_question_goes_the_way_of_the_request_it_is_made_for() -> None:
    spy = Spy()
    asked = Request(HOST + "/a", proxy="http://p.example", reach=("10.0.0.0/8",), cookiejar="one", skip=("spy-not",))
    through(robots_txt(), to=[asked], fetch=FakeFetch({**PAGES, "/robots.txt": RULES}), spy=spy)
    question = spy.sent[0]
    assert (question.proxy, question.reach, question.cookiejar) == (asked.proxy, asked.reach, asked.cookiejar)
    assert {"robots_txt", "meta_refresh", "spy-not"} < set(question.skip)


@pytest.mark.parametrize(
    ("hops", "expected"), [(1, OBEYED), (5, OBEYED), (6, OPEN)], ids=["one", "five", "more than five"]
)
@pytest.mark.parametrize("layers", [(), (redirect(),), (redirect(times=2),)], ids=["alone", "redirect", "two"])
def test_five_redirects_are_followed_with_a_layer_for_them_or_without(
    hops: int, expected: dict[str, str], layers: tuple[Layer, ...]
) -> None:
    names = ["", *(f"http://b{n}.example" for n in range(hops))]
    site: dict[str, Answer] = {
        f"{here}/robots.txt": moved(there + "/robots.txt") for here, there in pairwise([HOST, *names[1:]])
    }
    site |= {f"{names[-1]}/robots.txt": RULES, **PAGES}
    fetch = FakeFetch(site)
    assert told(through(robots_txt(), *layers, to=[HOST + "/a", HOST + "/private"], fetch=fetch)) == expected
    assert sum(url.endswith("robots.txt") for url in fetch.urls) == min(hops, 5) + 1


@pytest.mark.parametrize("to", ["file:///etc/robots.txt", "http://[", "", "/robots.txt"])
@pytest.mark.parametrize("layers", [(), (redirect(),)], ids=["alone", "redirect"])
def test_a_redirect_that_leads_nowhere_stands_for_no_file(to: str, layers: tuple[Layer, ...]) -> None:
    fetch = FakeFetch({**PAGES, "/robots.txt": moved(to)})
    assert told(through(robots_txt(), *layers, to=[HOST + "/a", HOST + "/private"], fetch=fetch)) == OPEN
    assert all(url.startswith(HOST) for url in fetch.urls)


class Body:
    """A streamed body that knows how much of it was read."""

    def __init__(self, body: bytes, error: Exception | None = None) -> None:
        self.left = [body[at : at + 64 * 1024] for at in range(0, len(body), 64 * 1024)]
        self.error = error
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.left:
            yield self.left.pop(0)
        if self.error is not None:
            raise self.error

    async def aclose(self) -> None:
        self.closed = True


class Trickle(Body):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(7)
            yield b"#"


class Overlong:
    """A robots.txt over any limit: told so where the body is wanted whole, else it comes in chunks."""

    def __init__(self, body: Body, status: int = 200) -> None:
        self.status = status
        self.body = body
        self.asked: list[tuple[bool, int | None]] = []

    def __call__(self, request: Request) -> Response:
        self.asked.append((request.stream, request.max_size))
        if not request.stream:
            raise BodyTooLarge("over the limit")
        return page(status=self.status).replace(body=b"", stream=self.body)


def test_of_an_overlong_file_no_more_is_read_than_counts() -> None:
    overlong = Overlong(Body(RULES.encode().ljust(2 * PARSED, b"\n")))
    fetch = FakeFetch({**PAGES, "/robots.txt": overlong})
    assert told(through(robots_txt(), to=[HOST + "/a", HOST + "/private"], fetch=fetch)) == OBEYED
    (first, limit), (second, unlimited) = overlong.asked
    assert (first, limit, second) == (False, PARSED, True)
    assert unlimited is not None
    assert unlimited > 1 << 40
    assert overlong.body.closed
    assert len(overlong.body.left) == 8  # of 16; the eighth went over the limit


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (404, None, OPEN),
        (503, None, CLOSED),
        (200, TruncatedBody("broken"), dict.fromkeys(CLOSED, "TruncatedBody")),
        (200, KeyError("of a fetch of yours"), CLOSED),
    ],
)
def test_what_else_an_overlong_answer_means(status: int, error: Exception | None, expected: dict[str, str]) -> None:
    overlong = Overlong(Body(RULES.encode(), error), status)
    fetch = FakeFetch({**PAGES, "/robots.txt": overlong})
    assert told(through(robots_txt(), to=[HOST + "/a", HOST + "/private"], fetch=fetch)) == expected
    assert overlong.body.closed
    assert len(overlong.asked) == 2


def test_an_overlong_file_that_trickles_is_given_up() -> None:
    overlong = Overlong(Trickle(b""))
    fetch = FakeFetch({**PAGES, "/robots.txt": overlong})
    assert told(through(robots_txt(), to=[HOST + "/a"], fetch=fetch)) == {"/a": "FetchTimeout"}


@pytest.mark.parametrize("name", ["protego", "stdlib", "robotexclusionrulesparser"])
def test_a_parser_by_name(name: str) -> None:
    fetch = FakeFetch({**PAGES, "/robots.txt": RULES})
    assert told(through(robots_txt(parser=name), to=[HOST + "/a", HOST + "/private"], fetch=fetch)) == OBEYED


def test_a_parser_that_nobody_has() -> None:
    with pytest.raises(ValueError, match=r"'googles'; the names are protego, stdlib, robotexclusionrulesparser, reppy"):
        robots_txt(parser="googles")


@pytest.mark.parametrize(
    ("name", "module"), [("reppy", "reppy.robots"), ("robotexclusionrulesparser", "robotexclusionrulesparser")]
)
def test_a_parser_that_is_not_installed_is_told_when_built(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it could not be imported
    with pytest.raises(
        FlowError, match=rf"'{name}' needs the package {name}: pip install 'streamcrawl\[robots-"
    ) as caught:
        robots_txt(parser=name)
    assert "\n" not in str(caught.value)


def test_a_parser_that_raises_risks_nothing() -> None:
    def parser(body: bytes, url: str) -> RobotsRules:
        raise KeyError("bug")

    spy = Spy()
    fetch = FakeFetch({**PAGES, "/robots.txt": RULES})
    outcomes = through(spy.layer, robots_txt(parser=parser), to=[HOST + "/a"], fetch=fetch)
    assert told(outcomes) == {"/a": "robots.txt unreachable"}
    assert "KeyError: 'bug'" in "".join(event.text for event in spy.events if isinstance(event, Notice))


@pytest.mark.parametrize(
    "arguments",
    [
        {"ttl": 0},
        {"ttl": float("nan")},
        {"min_ttl": -1},
        {"unreachable_ttl": -1},
        {"max_delay": -0.1},
        {"user_agent": " "},
        {"parser": 7},
    ],
)
def test_bad_arguments_are_refused_when_built(arguments: dict[str, Any]) -> None:
    (name,) = arguments
    with pytest.raises(ValueError, match=rf"robots_txt\(.*{name}="):
        robots_txt(**arguments)


def test_in_a_crawl_a_host_that_is_being_asked_holds_one_place() -> None:
    """20 requests wait for a robots.txt that takes a minute; of 4 places another host gets the other 3."""
    other = "http://b.example"
    urls = [f"{host}/{n}" for host in (HOST, other) for n in range(20)]
    site: dict[str, Answer] = {"/": page(links=urls), **{f"/{n}": "page" for n in range(20)}}
    fetch = FakeFetch(site, latency=lambda request: 60.0 if request.url == HOST + "/robots.txt" else 1.0)

    def parse(response: Response) -> list[Request]:
        return response.follow_all(css="a")

    async def main() -> None:
        crawl: Crawl[Any] = Crawl(other + "/", concurrency=4, scope="any")
        await crawl.pipe(download(robots_txt(), fetch=fetch), scrape(parse)).start()

    run_virtual(main)
    times = {request.url: at for at, request in fetch.log}
    assert len(times) == 1 + 2 + 40
    assert max(times[url] for url in urls if url.startswith(other)) < 15
    assert min(times[url] for url in urls if url.startswith(HOST)) >= 60


def test_two_runs_share_nothing() -> None:
    layer = robots_txt()
    fetch = FakeFetch({**PAGES, "/robots.txt": [RULES, ""]})
    first = through(layer, to=[HOST + "/private"], fetch=fetch)
    second = through(layer, to=[HOST + "/private"], fetch=fetch)
    assert (told(first), told(second)) == ({"/private": "robots.txt"}, {"/private": "200"})


class _Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = RULES.encode() if self.path == "/robots.txt" else b"page"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Site) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_over_a_real_connection(server: str) -> None:
    ends: dict[str, str] = {}

    async def main() -> None:
        done = asyncio.Event()
        source: Subject[Request] = Subject()
        source.pipe(download(robots_txt())).subscribe(
            lambda outcome: ends.update({outcome.request.url.removeprefix(server): repr(outcome)[1:13]}),
            on_completed=done.set,
        )
        await asyncio.sleep(0)
        source.on_next(Request(server + "/a"))
        source.on_next(Request(server + "/private"))
        source.on_completed()
        await done.wait()

    asyncio.run(main())
    assert ends == {"/a": "Response 200", "/private": "Dropped http"}
