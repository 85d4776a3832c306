"""The circuit breaker and the budget: when a host rests, when it is given up, and what is remembered."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl import Crawl
from streamcrawl import breaker as module
from streamcrawl import operators as ops
from streamcrawl.backoff import backoff
from streamcrawl.breaker import CircuitBreaker, HostGivenUp, RetryBudget, Standings
from streamcrawl.core import Again, Dropped, Failed, Lease, Outcome, Request
from streamcrawl.errors import ConnectError, ProxyError, TLSError
from streamcrawl.events import Notice
from streamcrawl.response import Response
from streamcrawl.streams.local import LocalRun
from streamcrawl.testing.fake_fetch import FakeFetch, page
from streamcrawl.testing.virtual_time import run_virtual

HOST = "http://a.example"
URL = f"{HOST}/page"
EVEN = backoff(30, ceiling=600, jitter=0)


class Clocked(LocalRun):
    """A run whose clock is set by hand, and whose hosts note what they are told."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, seed=1)
        self.time = 1000.0
        self.monotonic = lambda: self.time
        self.told: list[tuple[Any, ...]] = []
        hosts: Any = self.hosts
        hosts.slow_down, hosts.set_rate = self._slow_down, self._set_rate

    def _slow_down(self, host: str, seconds: float) -> None:
        self.told.append((host, seconds))

    def _set_rate(self, host: str, **rate: Any) -> None:
        self.told.append((host, rate))

    def heard(self) -> list[tuple[Any, ...]]:
        told, self.told = self.told, []
        return told


@pytest.fixture
def run() -> Iterator[Clocked]:
    loop = asyncio.new_event_loop()
    yield Clocked(loop)
    loop.close()


def down(url: str = URL, **request: Any) -> Failed:
    return Failed(Request(url).replace(**request), ConnectError("refused"))


def well(url: str = URL, **request: Any) -> Response:
    return Response(url, 200, request=Request(url).replace(**request))


def standings(run: Clocked, failures: int = 3, rests: int = 2, given_up: float = 100.0, **more: Any) -> Standings:
    breaker = CircuitBreaker(failures=failures, rest=EVEN, rests=rests, given_up=given_up, **more)
    return Standings(run, breaker, RetryBudget())


def fail(kept: Standings, times: int, url: str = URL) -> None:
    for _ in range(times):
        kept.heard(down(url))


def test_a_host_rests_after_failures_in_a_row(run: Clocked) -> None:
    kept = standings(run)
    fail(kept, 2)
    kept.heard(well())
    fail(kept, 2)
    assert run.heard() == []
    fail(kept, 1)
    assert run.heard() == [(HOST, 30.0), (HOST, {"concurrency": 1, "by": "retry"})]
    assert run.stats["retry/rests"] == 1


def test_what_was_sent_before_the_rest_does_not_prolong_it(run: Clocked) -> None:
    kept = standings(run)
    fail(kept, 9)
    kept.heard(well())  # nor does it end it
    assert len(run.heard()) == 2
    run.time += 31
    fail(kept, 1)
    assert run.heard()[0] == (HOST, 60.0)


def test_one_answer_after_the_rest_closes_the_circuit(run: Clocked) -> None:
    kept = standings(run)
    fail(kept, 3)
    run.heard()
    run.time += 30
    kept.heard(well())
    assert run.heard() == [(HOST, {"by": "retry"})]
    assert dict(run.state("retry")) == {}
    fail(kept, 2)
    assert run.heard() == []
    fail(kept, 1)
    assert run.heard()[0] == (HOST, 30.0)  # from the beginning


def test_a_host_that_never_answers_is_given_up_for_a_while(run: Clocked) -> None:
    kept = standings(run)
    fail(kept, 3)
    for seconds in (30, 60):
        assert kept.refusal(Request(URL)) is None
        run.time += seconds
        fail(kept, 1)
    refused = kept.refusal(Request(f"{HOST}/other"))
    assert refused is not None
    assert isinstance(refused.error, HostGivenUp)
    assert str(refused.error) == f"{HOST}/other: {HOST} is out of order, and was given up"
    assert kept.refusal(Request("http://b.example/")) is None
    run.time += 100
    assert kept.refusal(Request(URL)) is None  # it is tried again
    fail(kept, 1)
    assert kept.refusal(Request(URL)) is not None
    run.time += 100
    kept.heard(well())
    assert kept.refusal(Request(URL)) is None
    assert run.stats["retry/hosts_given_up"] == 2
    assert [rate for _, rate in run.heard() if isinstance(rate, float)] == [30.0, 60.0]


@pytest.mark.parametrize(
    "outcome",
    [
        Failed(Request(URL), TLSError("expired")),
        Failed(Request(URL), ProxyError("refused")),
        Response(URL, 500, request=Request(URL)),
        Response(URL, 404, request=Request(URL)),
        Response(URL, 503, request=Request(URL, statuses=(503,))),
        Response(URL, 503, request=Request(URL), flags=("cached",)),
        Response(URL, 503, request=Request(URL).replace(answer=well())),
        Dropped(Request(URL), "robots.txt"),
        Again(Request(URL), Request(URL), "redirect 301", hop=True),
    ],
)
def test_what_does_not_speak_against_a_host(run: Clocked, outcome: Outcome) -> None:
    kept = standings(run, failures=1)
    kept.heard(outcome)
    assert run.heard() == []


@pytest.mark.parametrize("status", [429, 502, 503, 504, 522, 524])
def test_statuses_that_do(run: Clocked, status: int) -> None:
    kept = standings(run, failures=1)
    kept.heard(Response(URL, status, request=Request(URL)))
    assert len(run.heard()) == 2


def test_a_slot_is_judged_as_one(run: Clocked) -> None:
    kept = standings(run, failures=2)
    for url in "http://a.example/", "http://b.example/":
        kept.heard(down(url, lease=Lease(1, Request(url), "api", lambda lease: None)))
    assert run.heard()[0] == ("api", 30.0)


def test_it_is_told(run: Clocked) -> None:
    told: list[Notice] = []
    run.events.on(Notice, told.append)
    kept = standings(run, rests=1)
    fail(kept, 3)
    run.time += 30
    fail(kept, 1)
    run.time += 100
    kept.heard(well())
    assert [(notice.text, notice.level) for notice in told] == [
        (f"retry: {HOST} rests for 30 s, after 3 failures in a row", "warning"),
        (f"retry: {HOST} is given up for 100 s, after 4 failures in a row", "warning"),
        (f"retry: {HOST} answers again", "info"),
    ]


def test_a_job_that_goes_on_probes_a_host_that_was_out_of_order(run: Clocked) -> None:
    fail(standings(run), 3)
    assert dict(run.state("retry")) == {HOST: 1}
    run.heard()
    resumed = standings(run)
    fail(resumed, 1)  # the first outcome decides
    assert run.heard()[0] == (HOST, 60.0)
    run.time += 60
    resumed.heard(well())
    assert dict(run.state("retry")) == {}


def test_no_more_hosts_are_remembered_than_there_is_room_for(run: Clocked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HOSTS", 3)
    kept = standings(run, failures=1)
    for name in "abcd":
        fail(kept, 1, f"http://{name}.example/")
    assert [*kept.hosts] == ["http://b.example", "http://c.example", "http://d.example"]
    assert {*run.state("retry")} == {*kept.hosts}
    assert ("http://a.example", {"by": "retry"}) in run.heard()  # nobody would take it back later


@given(st.lists(st.booleans(), min_size=1, max_size=300), st.floats(0, 3), st.integers(0, 10))
def test_of_n_requests_no_more_tries_go_out_than_the_budget_says(fates: list[bool], ratio: float, reserve: int) -> None:
    loop = asyncio.new_event_loop()
    kept = Standings(Clocked(loop), None, RetryBudget(ratio, reserve))
    loop.close()
    tries = 0
    for fails in fates:
        attempt = 0
        while True:
            tries += 1
            kept.heard(down(attempt=attempt) if fails else well(attempt=attempt))
            if not fails or attempt == 50 or not kept.pay(Request(URL)):
                break
            attempt += 1
    assert tries <= len(fates) * (1 + ratio) + reserve + 1e-6


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (CircuitBreaker, {"failures": 0}),
        (CircuitBreaker, {"rests": 0}),
        (CircuitBreaker, {"given_up": -1.0}),
        (RetryBudget, {"ratio": -0.1}),
        (RetryBudget, {"reserve": float("inf")}),
    ],
)
def test_arguments_are_checked_when_built(kind: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__}.*{next(iter(arguments))}="):
        kind(**arguments)


# -- in a crawl, in virtual time ---------------------------------------------------------------------------------------


def crawled(fetch: Any, start: list[str], **options: Any) -> tuple[Any, list[str]]:
    """The summary, and the errors that the errback got, of a crawl with `retry` as it is by default."""
    errors: list[str] = []

    def errback(outcome: Failed | Dropped) -> None:
        errors.append(type(outcome.error).__name__ if isinstance(outcome, Failed) else outcome.reason)

    def callback(response: Response) -> None:
        """Nothing to scrape."""

    async def main() -> Any:
        layers = ops.default_layers(robots_txt=None, retry=ops.retry(**options))
        flow = Crawl(start, seed=1).pipe(ops.download(*layers, fetch=fetch), ops.scrape(callback, errback=errback))
        return await flow.start()

    return run_virtual(main), errors


def test_a_dead_host_is_left_alone_and_the_others_go_on() -> None:
    dead = [f"http://dead.example/{n}" for n in range(200)]
    alive = [f"http://alive.example/{n}" for n in range(200)]
    fetch = FakeFetch({"/": "x"} | {f"http://alive.example/{n}": page() for n in range(200)})

    async def answer(request: Request) -> Response:
        response = await fetch(request)
        if "dead" in request.url:
            raise ConnectError("refused")
        return response

    summary, errors = crawled(answer, [url for pair in zip(dead, alive, strict=True) for url in pair])
    asked = Counter(request.url.split("/")[2] for _, request in fetch.log)
    assert summary.counts.pages == asked["alive.example"] == 200
    assert asked["dead.example"] <= 30  # without a breaker: 600
    assert len(errors) == 200
    assert summary.counts.failed == 200
    assert Counter(errors)["HostGivenUp"] >= 170
    assert summary.stats["retry/rests"] == 5
    last = max(at for at, request in fetch.log if "dead" in request.url)
    assert 0.8 * 930 <= last <= 1000  # 30 + 60 + 120 + 240 + 480 s, up to a fifth less by chance


def test_a_host_that_comes_back_loses_nothing() -> None:
    log: list[float] = []

    async def answer(request: Request) -> Response:
        now = asyncio.get_running_loop().time()
        log.append(now)
        await asyncio.sleep(0.1)
        if 1 <= now < 300:
            raise ConnectError("refused")
        return page().replace(url=request.url, request=request)

    summary, errors = crawled(answer, [f"http://a.example/{n}" for n in range(400)])
    assert errors == []
    assert summary.counts.pages == 400
    while_down = [at for at in log if 1 <= at < 300]
    assert len(while_down) <= 30


def test_the_probe_goes_alone() -> None:
    arrivals: list[float] = []

    async def answer(request: Request) -> Response:
        now = asyncio.get_running_loop().time()
        arrivals.append(now)
        await asyncio.sleep(5)
        if now < 20:
            raise ConnectError("refused")
        return page().replace(url=request.url, request=request)

    breaker = CircuitBreaker(rest=backoff(30, ceiling=30, jitter=0))
    summary, errors = crawled(answer, [f"http://a.example/{n}" for n in range(40)], breaker=breaker)
    assert (summary.counts.pages, errors) == (40, [])
    probe, *others = [at for at in arrivals if at > 20]
    assert probe >= 35
    assert min(others) == probe + 5  # when it has been answered
    assert others.count(probe + 5) == 8  # and then as many as before


def test_no_breaker_no_rest() -> None:
    fetch = FakeFetch({f"/{n}": ConnectError("refused") for n in range(50)})
    summary, errors = crawled(fetch, [f"http://a.example/{n}" for n in range(50)], breaker=None, budget=None)
    assert len(fetch.log) == 150
    assert errors == ["ConnectError"] * 50
    assert "retry/rests" not in summary.stats
