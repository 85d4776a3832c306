"""throttle in crawls, in virtual time: when a server is asked, to the exact second."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
import reactivex as rx
from reactivex import operators as rxo
from reactivex.subject import Subject

from streamcrawl import Crawl, Headers, Request, Response, Slot, fetch
from streamcrawl import operators as ops
from streamcrawl.core import Again, Dropped, Failed, Outcome
from streamcrawl.crawl.summary import Summary
from streamcrawl.errors import ConnectError, FetchTimeout, OperatorError
from streamcrawl.events import Responded
from streamcrawl.operators.throttle import throttle
from streamcrawl.streams.local import LocalRun
from streamcrawl.testing import run_virtual
from streamcrawl.testing.virtual_time import START
from streamcrawl.throttling import AutoThrottle, Pushback, Rate, RateChanged

A, B = "http://a.test", "http://b.test"
QUIET = throttle(pushback=None, max_retry_after=0)


@dataclass
class Server:
    """Answers with a latency, and keeps an arrival log by host."""

    answer: Callable[[Request, int], Any] = lambda request, nth: 200
    """(request, number of the host's arrival from 0) -> a status, (status, header fields), a body, an error."""
    latency: float = 0.1
    log: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict[str, list[float]](list))
    urls: list[str] = field(default_factory=list[str])
    active: int = 0
    met: list[int] = field(default_factory=list[int])
    """How many requests were being answered when each arrived, itself included."""

    async def __call__(self, request: Request) -> Response:
        host, _, _ = request.url.removeprefix("http://").partition("/")
        arrivals = self.log["http://" + host]
        arrivals.append(asyncio.get_running_loop().time())
        self.urls.append(request.url)
        self.active += 1
        self.met.append(self.active)
        given = self.answer(request, len(arrivals) - 1)
        try:
            latency = self.latency
            if isinstance(given, float):
                latency, given = given, 200
            await asyncio.sleep(latency)
        finally:
            self.active -= 1
        if isinstance(given, Exception):
            raise given
        status, body = 200, b""
        fields: dict[str, str] = {}
        if isinstance(given, str):
            body = given.encode()
        elif isinstance(given, tuple):
            status, fields = cast(tuple[int, dict[str, str]], given)
        else:
            status = given
        return Response(request.url, status, Headers(fields), body, request, latency=latency)

    def gaps(self, host: str = A) -> list[float]:
        return [later - sooner for sooner, later in pairwise(self.log[host])]


def pages(*counts: int, hosts: Iterable[str] = (A, B)) -> list[str]:
    """So many addresses of each host."""
    return [f"{host}/{n}" for host, count in zip(hosts, counts, strict=False) for n in range(count)]


def nothing(page: Response) -> None:
    """A callback that finds nothing."""


def at_once(repeat: int, random: Any) -> float:
    """Repeats wait for nothing but what the server asks for."""
    return 0.0


def crawled(
    server: Server,
    start: Any,
    *layers: Any,
    parse: Any = nothing,
    on_start: Callable[[Any], None] = lambda run: None,
    at: float = START,
    **options: Any,
) -> Summary:
    chosen: dict[str, Any] = {"scope": "any", "jitter": 0.0, **options}
    crawl = Crawl(start, **chosen).pipe(ops.download(*layers, fetch=server), ops.scrape(parse))

    async def main() -> Summary:
        run = crawl.start()
        on_start(run)
        return await run

    summary = run_virtual(main(), start=at)
    assert summary.error is None
    return summary


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_left_alone_it_changes_nothing() -> None:
    server = Server(lambda request, nth: 404 if nth % 3 == 0 else 500 if nth % 5 == 0 else 200)
    summary = crawled(server, pages(80), throttle(), per_host=8)
    assert server.log[A][-1] == pytest.approx(0.9)  # eight at a time, each for 0.1 s
    assert [key for key in summary.stats if key.startswith("throttle")] == []


def test_a_refusal_slows_the_host_down_and_it_recovers() -> None:
    server = Server(lambda request, nth: 429 if nth == 4 else 200)
    crawled(server, pages(30), throttle(), per_host=1)
    gaps = server.gaps()
    assert gaps[:4] == pytest.approx([0.1] * 4)
    # 0.25 s after the one that was refused; the rates that follow grow by a twentieth of the first each.
    assert [1 / gap for gap in gaps[4:]] == pytest.approx([4 * (1 + good / 20) for good in range(25)])


def test_it_is_as_fast_as_before_in_the_end() -> None:
    server = Server(lambda request, nth: 503 if nth == 0 else 200)
    summary = crawled(server, pages(80), throttle(pushback=Pushback(recovery=2)), per_host=1)
    assert server.gaps()[0] == 0.25
    assert server.gaps()[-40:] == pytest.approx([0.1] * 40)
    assert summary.stats["throttle/slowed_count"] == summary.stats["throttle/recovered_count"] == 1


def test_requests_that_were_under_way_together_are_one_refusal() -> None:
    server = Server(lambda request, nth: 429 if nth < 8 else 200)
    summary = crawled(server, pages(10, 10), throttle(), per_host=8, concurrency=16)
    assert server.log[A][:8] == [0.0] * 8
    assert server.log[A][8] == 0.25
    assert summary.stats["throttle/slowed_count"] == 2  # one of each host
    assert server.log[B] == server.log[A]


def test_who_goes_on_refusing_is_asked_less_and_less() -> None:
    server = Server(lambda request, nth: 503)
    crawled(server, pages(10), throttle(pushback=Pushback(ceiling=10.0)), per_host=1)
    assert server.gaps() == pytest.approx([0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0])


def test_other_hosts_are_left_alone() -> None:
    server = Server(lambda request, nth: 503 if "a.test" in request.url else 200)
    crawled(server, pages(5, 50), throttle(), per_host=1)
    assert server.gaps(B) == pytest.approx([0.1] * 49)


def test_errors_count_if_that_is_wanted() -> None:
    server = Server(lambda request, nth: ConnectError("reset") if nth == 0 else FetchTimeout("slow"))
    crawled(server, pages(6), throttle(pushback=Pushback(errors=(ConnectError,))), per_host=1)
    assert server.gaps() == pytest.approx([0.25] * 5)  # a timeout is neither a refusal nor a good answer


def test_other_statuses_count_if_that_is_wanted() -> None:
    server = Server(lambda request, nth: 403 if nth == 0 else 429)
    crawled(server, pages(5), throttle(pushback=Pushback(statuses=[403])), per_host=1)
    assert server.gaps() == pytest.approx([0.25] * 4)


def test_a_request_that_skips_it_says_nothing() -> None:
    server = Server(lambda request, nth: (503, {"Retry-After": "60"}))
    crawled(server, [Request(url, skip=("throttle",)) for url in pages(10)], throttle(), per_host=1)
    assert server.gaps() == pytest.approx([0.1] * 9)


def test_a_slot_is_slowed_down_as_a_whole() -> None:
    server = Server(lambda request, nth: 429 if request.url == f"{A}/0" else 200)
    crawled(server, [Request(url, slot="both") for url in pages(2, 2)], throttle(), slots={"both": Slot(concurrency=1)})
    assert sorted(server.log[A] + server.log[B])[:2] == [0.0, 0.25]


# -- Retry-After -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
def test_nothing_is_sent_before_retry_after_is_over(status: int, form: str) -> None:
    field = "30" if form == "seconds" else formatdate(START + 30.1, usegmt=True)
    server = Server(lambda request, nth: (status, {"Retry-After": field}) if nth < 4 else 200, latency=0.1)
    summary = crawled(server, pages(8, 8), throttle(pushback=None), per_host=4)
    assert server.log[A][:4] == [0.0] * 4
    # A date has whole seconds.
    assert server.log[A][4:] == pytest.approx([30.1 if form == "seconds" else 30.0] * 4)
    assert summary.stats["throttle/retry_after_count"] == 8
    assert [key for key in summary.stats if "slowed" in key] == []


def test_after_the_rest_it_goes_on_slowly() -> None:
    server = Server(lambda request, nth: (429, {"Retry-After": "5"}) if nth == 0 else 200)
    crawled(server, pages(4), throttle(), per_host=1)
    assert server.log[A][:3] == pytest.approx([0.0, 5.1, 5.1 + 0.25 * 20 / 21])


def test_a_rest_that_is_too_long_is_not_taken() -> None:
    server = Server(lambda request, nth: (503, {"Retry-After": "3601"}))
    crawled(server, pages(2), throttle(), per_host=1)
    assert server.gaps() == [0.25]


def test_together_with_retry_the_host_rests_once() -> None:
    server = Server(lambda request, nth: (503, {"Retry-After": "30"}) if nth == 0 else 200)
    summary = crawled(server, pages(2), ops.retry(wait=at_once), throttle(), per_host=1)
    assert summary.stats["retry/count"] == 1
    assert server.log[A] == pytest.approx([0.0, 30.1, 30.1 + 0.25 * 20 / 21])  # 30 s from the answer


def test_a_redirect_to_a_host_that_rests_waits_for_it() -> None:
    def answer(request: Request, nth: int) -> Any:
        if request.url == f"{A}/0":
            return (302, {"Location": f"{B}/hop"})
        return (503, {"Retry-After": "20"}) if request.url == f"{B}/0" else 200

    server = Server(answer)
    crawled(server, [f"{B}/0", Request(f"{A}/0", not_before=START + 1.0)], ops.redirect(), throttle())
    assert server.urls == [f"{B}/0", f"{A}/0", f"{B}/hop"]
    assert server.log[B] == pytest.approx([0.0, 20.1])


def test_a_nested_fetch_waits_for_the_hosts_rest() -> None:
    server = Server(lambda request, nth: (503, {"Retry-After": "20"}) if request.url == f"{B}/0" else 200)

    async def parse(page: Response) -> None:
        if page.url.startswith(A):
            await fetch(f"{B}/nested")

    crawled(server, [f"{B}/0", Request(f"{A}/0", not_before=START + 1.0)], throttle(pushback=None), parse=parse)
    assert server.log[B] == pytest.approx([0.0, 20.1])


def test_nested_fetches_keep_the_delay() -> None:
    server = Server(lambda request, nth: 429 if nth == 0 else 200)

    async def parse(page: Response) -> None:
        await asyncio.gather(*(fetch(f"{page.url}/{n}") for n in range(3)))

    policy = Pushback(first=1.0, recovery=1000)
    layers = [ops.on_response(lambda page: page.replace(status=200)), throttle(pushback=policy)]
    crawled(server, [f"{A}/0"], *layers, parse=parse, per_host=4)
    assert len(server.log[A]) == 4
    assert min(server.gaps()) >= 1.0 * 1000 / 1003


# -- AutoThrottle ------------------------------------------------------------------------------------------------------


def test_autothrottle_by_its_formula() -> None:
    latencies = [1.0, 0.2, 4.0, 2.0, 2.0, 0.1]
    server = Server(lambda request, nth: latencies[nth])
    told: list[RateChanged] = []
    crawled(
        server,
        pages(6),
        throttle(auto=AutoThrottle(jitter=0.0)),
        per_host=1,
        on_start=lambda run: run.events.on(RateChanged, told.append),
    )
    delays = [3.0, 1.6, 4.0, 3.0, 2.5, 1.3]
    assert [each.delay for each in told] == pytest.approx(delays)
    # What an answer makes of the delay holds for the next request already, from when the last one was sent.
    assert server.gaps() == pytest.approx([3.0, 1.6, 4.0, 3.0, 2.5])


def test_autothrottle_begins_slowly_with_every_host() -> None:
    server = Server(latency=100.0)
    crawled(server, pages(2, 2), throttle(auto=AutoThrottle(jitter=0.0)), per_host=2)
    assert server.log == {A: [0.0, 5.0], B: [0.0, 5.0]}


def test_autothrottle_is_never_faster_than_the_crawl() -> None:
    server = Server(latency=0.1)
    crawled(server, pages(40), throttle(auto=AutoThrottle(jitter=0.0)), delay=2.0)
    assert server.gaps()[0] == 2.55
    assert server.gaps()[1:] == pytest.approx([2.0] * 38)


def test_autothrottle_varies_its_delay() -> None:
    server = Server(latency=1.0)
    crawled(server, pages(200), throttle(auto=AutoThrottle(start=1.0, jitter=0.5)), seed=3)
    assert 0.5 <= min(server.gaps()) < 0.55
    assert 1.45 < max(server.gaps()) <= 1.5


def test_a_request_that_skips_it_does_not_adjust_the_delay() -> None:
    server = Server(lambda request, nth: 50.0 if nth == 1 else 1.0)
    start = [Request(url, skip=("throttle",) if number == 1 else ()) for number, url in enumerate(pages(4))]
    crawled(server, start, throttle(auto=AutoThrottle(jitter=0.0)))
    assert server.gaps() == pytest.approx([3.0, 3.0, 2.0])


# -- rules -------------------------------------------------------------------------------------------------------------


def test_rules_hold_from_the_first_request_on() -> None:
    server = Server(latency=50.0)
    rules = {"a.test": Rate(delay=1.0), "*.cdn.test": Rate(delay=3.0), "http://b.test": Rate(concurrency=1)}
    hosts = (A, B, "http://x.cdn.test", "http://c.test")
    slowly = ops.on_request(asyncio_sleep)  # so that requests are leased before any comes to throttle
    crawled(server, pages(3, 2, 3, 3, hosts=hosts), slowly, throttle(rules=rules))
    assert server.gaps(A) == [1.0, 1.0]
    assert server.gaps(B) == [51.0]
    assert server.gaps("http://x.cdn.test") == [3.0, 3.0]
    assert server.gaps("http://c.test") == [0.0, 0.0]


async def asyncio_sleep(request: Request) -> None:
    await asyncio.sleep(1.0)


def test_rules_may_be_a_function() -> None:
    server = Server()
    crawled(server, pages(3, 3), throttle(rules=lambda host: Rate(delay=7.0) if host == B else None), per_host=1)
    assert server.gaps(A) == pytest.approx([0.1, 0.1])
    assert server.gaps(B) == [7.0, 7.0]


def test_a_slot_is_a_key_across_hosts() -> None:
    server = Server()
    start = [Request(url, slot="account") for url in pages(2, 2)]
    crawled(server, start, throttle(rules={"account": Rate(delay=2.0)}))
    assert sorted(server.log[A] + server.log[B]) == [0.0, 2.0, 4.0, 6.0]


def test_a_rules_jitter() -> None:
    server = Server()
    crawled(server, pages(200), throttle(rules={"*": Rate(delay=4.0, jitter=0.25)}), seed=5)
    assert 3.0 <= min(server.gaps()) < 3.1
    assert 4.9 < max(server.gaps()) <= 5.0


@pytest.mark.parametrize(("crawl_delay", "rule", "gap"), [(3, 1.0, 3.0), (1, 4.0, 4.0), (2, None, 2.0)])
def test_crawl_delay_and_rule_together_are_as_slow_as_the_slower(
    crawl_delay: int, rule: float | None, gap: float
) -> None:
    robots = f"User-agent: *\nCrawl-delay: {crawl_delay}"
    server = Server(lambda request, nth: robots if request.url.endswith("robots.txt") else 200)
    layer = throttle(rules=None if rule is None else {"a.test": Rate(delay=rule)})
    crawled(server, pages(6), ops.robots_txt(), layer)
    assert server.gaps() == pytest.approx([gap] * 6)
    server.log.clear()
    crawled(server, pages(50), ops.robots_txt(), layer, jitter=0.5)
    assert len(server.gaps()) == 50
    assert min(server.gaps()) == pytest.approx(gap)  # the crawl's own jitter makes nothing shorter
    assert max(server.gaps()) > 1.2 * gap


def test_crawl_delay_is_doubled_by_a_refusal_and_is_what_it_recovers_to() -> None:
    def answer(request: Request, nth: int) -> Any:
        return "User-agent: *\nCrawl-delay: 2" if nth == 0 else 429 if nth == 2 else 200

    server = Server(answer)
    crawled(server, pages(9), ops.robots_txt(), throttle(pushback=Pushback(recovery=2)))
    assert server.gaps() == pytest.approx([2.0, 2.0, 4.0, 8 / 3, 2.0, 2.0, 2.0, 2.0, 2.0])


# -- streams of rates --------------------------------------------------------------------------------------------------


def test_a_stream_drives_the_rate() -> None:
    server = Server(latency=0.01)
    subscriptions: list[Any] = []
    rates: Subject[tuple[str, Rate | None]] = Subject()

    def on_start(run: Any) -> None:
        subscriptions.append(run)
        loop = asyncio.get_running_loop()
        loop.call_at(3.5, rates.on_next, (A, Rate(delay=0.25)))
        loop.call_at(5.1, rates.on_next, (A, Rate(delay=60.0)))
        loop.call_at(15.0, rates.on_next, ("a.test", Rate(delay=1.0)))
        loop.call_at(15.0, rates.on_next, (A, None))

    layer = throttle(rules={"a.test": Rate(delay=0.5)}, rates=rx.merge(rx.of((A, Rate(delay=1.0))), rates))
    crawled(server, pages(20), layer, on_start=on_start)
    # 1 s at first; at 3.5 the rule is slower than the stream; at 5.1 one had just gone; at 15 the wait is over.
    assert server.log[A][:5] == [0.0, 1.0, 2.0, 3.0, 3.5]
    assert server.log[A][5:8] == [4.0, 4.5, 5.0]
    assert server.log[A][8:12] == [15.0, 16.0, 17.0, 18.0]
    assert rates.observers == []


def url_of(page: Response) -> dict[str, str]:
    return {"url": page.url}


def rate_of_tick(tick: int) -> tuple[str, Rate | None]:
    return "*", Rate(delay=float(tick + 2))


def counted(count: int, event: Any) -> int:
    return count + 1


def rate_of_count(count: int) -> tuple[str, Rate | None]:
    return A, Rate(delay=float(count))


def test_a_stream_may_tick_for_ever() -> None:
    server = Server(latency=0.01)
    ticking = rx.interval(10.0).pipe(rxo.map(rate_of_tick))
    items: list[Any] = []

    async def main() -> Summary:
        crawl: Crawl[Any] = Crawl(pages(12), delay=1.0, jitter=0.0).pipe(
            ops.download(throttle(rates=ticking), fetch=server),
            ops.scrape(url_of),
            ops.batch(1000),
        )
        return await crawl.start(on_item=items.append)

    summary = run_virtual(main())
    assert summary.counts.pages == 12
    assert len(items) == 1  # the batch came out although the stream goes on
    assert server.log[A] == pytest.approx([*range(10), 11.0, 13.0])


def test_a_stream_may_be_made_of_the_runs_own_events() -> None:
    def slower_by_page(run: Any) -> Any:
        return run.events.pipe(
            rxo.filter(lambda event: isinstance(event, Responded)),
            rxo.scan(counted, 0),
            rxo.map(rate_of_count),
        )

    server = Server(latency=0.01)
    crawled(server, pages(5), throttle(rates=slower_by_page), per_host=1)
    assert server.gaps() == pytest.approx([1.0, 2.0, 3.0, 4.0])


def test_concurrency_is_lowered_while_requests_are_in_flight() -> None:
    server = Server(latency=1.0)
    rates: Subject[tuple[str, Rate | None]] = Subject()

    def on_start(run: Any) -> None:
        loop = asyncio.get_running_loop()
        loop.call_at(0.5, rates.on_next, ("*.test", Rate(concurrency=2)))
        loop.call_at(3.5, rates.on_next, ("*.test", None))

    crawled(server, pages(30), throttle(rates=rates), on_start=on_start, per_host=8)
    assert server.log[A] == pytest.approx(
        [0.0] * 8 + [1.0] * 2 + [2.0] * 2 + [3.0] * 2 + [3.5] * 6 + [4.0] * 2 + [4.5] * 6 + [5.0] * 2
    )
    assert server.met[:8] == [*range(1, 9)]
    assert max(server.met[8:14]) == 2


def stopped(**rules: Any) -> Summary:
    async def main() -> Summary:
        layer = throttle(**rules)
        crawl = Crawl(pages(5), delay=1.0).pipe(ops.download(layer, fetch=Server()), ops.scrape(list))
        return await crawl.start()

    summary = run_virtual(main())
    assert (summary.reason, summary.balanced) == ("failed", True)
    return summary


def raises(_: Any) -> Any:
    raise KeyError("no such rate")


def five(_: Any) -> Any:
    return 5


@pytest.mark.parametrize(
    ("rates", "kind", "said"),
    [
        (rx.throw(ValueError("no such rate")), OperatorError, "operator throttle(rates=…): ValueError: no such rate"),
        (raises, OperatorError, "operator throttle(rates=…): KeyError: 'no such rate'"),
        (five, TypeError, "throttle(rates=…): the function gave 5; it must give an Observable"),
        (rx.of((A, 3.0)), TypeError, f"throttle(rates=…): the rate of {A!r} is 3.0; it must be a Rate"),
        (rx.of(7), TypeError, "throttle(rates=…): the stream gave 7; it must give (name, Rate or None)"),
        (rx.of("ab"), TypeError, "throttle(rates=…): the stream gave 'ab'; it must give (name, Rate or None)"),
        (rx.of((5, None)), TypeError, "throttle(rates=…): 5 is no name: text is needed, such as 'shop.example'"),
        (
            rx.of((f"{A}/x", None)),
            ValueError,
            f"throttle(rates=…): '{A}/x' is no Host: write {A!r}",
        ),
    ],
)
def test_a_stream_that_fails_stops_the_run(rates: Any, kind: type[Exception], said: str) -> None:
    error = stopped(rates=rates).error
    assert (type(error), str(error)) == (kind, said)


@pytest.mark.parametrize(
    ("rules", "kind", "said"),
    [
        (raises, OperatorError, "operator throttle(rules=…): KeyError: 'no such rate'"),
        (
            five,
            TypeError,
            f"throttle(rules=…): the function gave 5 for {A!r}; it must give a Rate or None",
        ),
    ],
)
def test_a_rule_that_fails_stops_the_run(rules: Any, kind: type[Exception], said: str) -> None:
    error = stopped(rules=rules).error
    assert (type(error), str(error)) == (kind, said)
    assert isinstance(error, OperatorError) is (error is not None and error.__cause__ is not None)


def test_a_host_has_its_rule_however_its_name_is_written() -> None:
    server = Server(latency=0.01)
    hosts = ("http://s.test", "http://s.test.", "http://p.test:8080", "http://[::1]")
    rules = {"S.Test": Rate(delay=7.0), "P.test:8080": Rate(delay=5.0), "::1": Rate(delay=3.0)}
    crawled(server, pages(2, 2, 2, 2, hosts=hosts), throttle(rules=rules))
    assert [server.gaps(host) for host in hosts] == [[7.0], [7.0], [5.0], [3.0]]


# -- jobs --------------------------------------------------------------------------------------------------------------


def test_a_job_keeps_rates_across_a_restart(tmp_path: Path) -> None:
    def answer(request: Request, nth: int) -> Any:
        return 429 if "a.test" in request.url and nth < 3 else 200

    def begin(run: Any) -> None:
        asyncio.get_running_loop().call_at(2.0, lambda: run.stop(now=True))

    layer = throttle(pushback=Pushback(first=1.0, recovery=10), auto=AutoThrottle(start=0.1, jitter=0.0))
    first, second = Server(answer, latency=0.5), Server(latency=0.5)
    options: dict[str, Any] = {"per_host": 1, "job": tmp_path / "job"}
    crawled(first, pages(30, 20), layer, on_start=begin, **options)
    assert first.log[A] == pytest.approx([0.0, 1.0])  # both refused: 2 s from now on
    summary = crawled(second, pages(30, 20), layer, at=START + 3600, **options)
    assert summary.counts.pages + len(first.log[A] + first.log[B]) >= 50
    assert second.log[A][0] == pytest.approx(2.0)
    assert second.gaps()[:20] == pytest.approx([20 / (10 + good) for good in range(1, 21)])  # from where it was
    assert min(second.gaps(B)) == pytest.approx(0.5)  # by autothrottle: what was found of b.test


# -- alone -------------------------------------------------------------------------------------------------------------


def test_alone_it_only_waits_for_retry_after() -> None:
    server = Server(lambda request, nth: (429, {"Retry-After": "9"}) if nth == 0 else 200)
    found: list[Outcome] = []

    async def main() -> None:
        source: Subject[Request] = Subject()
        layer = throttle(rules={"*": Rate(delay=5.0)}, auto=AutoThrottle())
        over = asyncio.Event()
        source.pipe(ops.download(layer, fetch=server)).subscribe(found.append, on_completed=over.set)
        await asyncio.sleep(0)
        source.on_next(Request(f"{A}/0"))
        await asyncio.sleep(1.0)
        source.on_next(Request(f"{A}/1"))
        source.on_next(Request(f"{A}/2"))
        source.on_completed()
        await over.wait()

    run_virtual(main())
    assert server.log[A] == pytest.approx([0.0, 9.1, 9.1])
    assert [outcome.status for outcome in found if isinstance(outcome, Response)] == [429, 200, 200]


@pytest.mark.parametrize(
    "outcome",
    [
        Response(A, 429, request=Request(A)),
        Failed(Request(A), ConnectError("refused")),
        Dropped(Request(A), "robots.txt"),
        Again(Request(A), Request(A), "redirect 301", hop=True),
    ],
)
def test_every_outcome_passes_as_it_is(outcome: Outcome) -> None:
    loop = asyncio.new_event_loop()
    hook = throttle(pushback=Pushback(errors=(ConnectError,))).make(LocalRun(loop)).up
    loop.close()
    assert hook is not None
    assert hook(outcome) is outcome


def test_arguments_are_checked_when_built() -> None:
    wrong: Any = 5
    with pytest.raises(ValueError, match=r"throttle\(max_retry_after=-1\)"):
        throttle(max_retry_after=-1)
    with pytest.raises(ValueError, match=r"throttle\(rules=…\): 'a\*' is no pattern"):
        throttle(rules={"a*": Rate(delay=1.0)})
    with pytest.raises(TypeError, match=r"throttle\(rules=…\): the rate of 'a.test' is 5; it must be a Rate"):
        throttle(rules={"a.test": wrong})
    with pytest.raises(TypeError, match=r"throttle\(rates=5\): an Observable"):
        throttle(rates=wrong)
