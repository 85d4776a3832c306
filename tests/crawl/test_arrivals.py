"""Hostile servers: the log of what arrived shows that the rules of politeness were kept.

In virtual time against any script of answers, to the second; and against servers on loopback, where a request may come
later than it could, but never earlier.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streamcrawl import Crawl, Headers, Request, Response, fetch
from streamcrawl import operators as ops
from streamcrawl.core import Layer
from streamcrawl.crawl.summary import Summary
from streamcrawl.errors import ConnectError, FetchTimeout, StreamcrawlError, TruncatedBody
from streamcrawl.events import Leased
from streamcrawl.testing import run_virtual
from streamcrawl.testing.site_server import Answer, Arrival, Site, serve
from streamcrawl.testing.virtual_time import START
from streamcrawl.throttling import Pushback, Rate
from streamcrawl.urls import host_of

EPSILON = 1e-6
"""Seconds: sums of times are that exact."""


# -- any script of answers, in virtual time ----------------------------------------------------------------------------

HOSTS = ("http://rule.test", "http://two.test", "http://robots.test", "http://free.test")
DELAYS = {"http://rule.test": 1.0, "http://robots.test": 2.0}
PATTERNS = {"rule.test": Rate(delay=1.0), "two.test": Rate(concurrency=2)}


@dataclass(frozen=True)
class Reply:
    """One answer of a script. `kind`: "page", "refuse", "date", "slow", "error", "redirect", or a key of ERRORS."""

    kind: str
    status: int = 200
    seconds: float = 0.0
    """Of Retry-After, 0: none; of a slow answer: until it comes."""
    to: str = ""


REFUSED = st.sampled_from((429, 503))
ANSWERS = st.one_of(
    st.just(Reply("page")),
    st.builds(Reply, st.just("refuse"), REFUSED, st.sampled_from((0, 1, 3, 20))),
    st.builds(Reply, st.just("date"), REFUSED, st.sampled_from((1, 3, 20))),
    st.builds(Reply, st.just("slow"), st.just(200), st.sampled_from((3.0, 30.0))),
    st.builds(Reply, st.sampled_from(("reset", "half", "timeout"))),
    st.just(Reply("error", 500)),
    st.builds(Reply, st.just("redirect"), st.just(302), st.just(0), st.sampled_from(HOSTS)),
)
SCRIPTS = st.fixed_dictionaries({host: st.lists(ANSWERS, max_size=12) for host in HOSTS})
ERRORS = {
    "reset": ConnectError("reset"),
    "half": TruncatedBody("the body ended after 3 of 9 bytes"),
    "timeout": FetchTimeout("no answer"),
}


@dataclass
class Rest:
    """What a server asked for: no request from then until then."""

    since: float
    until: float


@dataclass
class Hostile:
    """Servers that answer by scripts, and then with pages; and what arrived."""

    scripts: dict[str, list[Reply]]
    latency: float
    arrivals: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict[str, list[float]](list))
    rests: defaultdict[str, list[Rest]] = field(default_factory=lambda: defaultdict[str, list[Rest]](list))
    active: defaultdict[str, int] = field(default_factory=lambda: defaultdict[str, int](int))
    most: defaultdict[str, int] = field(default_factory=lambda: defaultdict[str, int](int))
    hops: int = 0

    async def __call__(self, request: Request) -> Response:
        host = host_of(request.url)
        self.arrivals[host].append(asyncio.get_running_loop().time())
        self.active[host] += 1
        self.most[host] = max(self.most[host], self.active[host])
        try:
            if request.url.endswith("/robots.txt"):
                await asyncio.sleep(self.latency)
                delay = DELAYS[host] if host == "http://robots.test" else 0
                return Response(request.url, body=f"User-agent: *\nCrawl-delay: {delay}".encode(), request=request)
            script = self.scripts[host]
            return await self.answered(request, host, script.pop(0) if script else Reply("page"))
        finally:
            self.active[host] -= 1

    async def answered(self, request: Request, host: str, reply: Reply) -> Response:
        latency = reply.seconds if reply.kind == "slow" else self.latency
        loop: Any = asyncio.get_running_loop()
        fields: dict[str, str] = {}
        date = float(int(loop.now() + reply.seconds))  # as it is when the answer is made; of whole seconds
        await asyncio.sleep(latency)
        if reply.kind in ERRORS:
            raise ERRORS[reply.kind]
        now: float = loop.time()
        if reply.kind == "date":
            fields["Retry-After"] = formatdate(date, usegmt=True)
            self.rests[host].append(Rest(now, date - START))
        elif reply.kind == "refuse" and reply.seconds:
            fields["Retry-After"] = f"{reply.seconds:g}"
            self.rests[host].append(Rest(now, now + reply.seconds))
        elif reply.kind == "redirect":
            self.hops += 1
            fields["Location"] = f"{reply.to}/hop/{self.hops}"
        return Response(request.url, reply.status, Headers(fields), b"", request, latency=latency)

    def check(self) -> None:
        """The rules were kept."""
        for host, times in self.arrivals.items():
            for rest in self.rests[host]:
                early = [at for at in times if rest.since + EPSILON < at < rest.until - EPSILON]
                assert early == [], f"{host} was asked while it rested, from {rest.since} to {rest.until}"
        for host, delay in DELAYS.items():
            gaps = [later - sooner for sooner, later in pairwise(self.arrivals[host])]
            assert min(gaps, default=delay) >= delay - EPSILON, host
        assert self.most["http://two.test"] <= 2


def nothing(page: Response) -> None:
    """A callback that finds nothing."""


async def fetching_others(page: Response) -> None:
    """Some pages fetch others before they are done."""
    number = page.url.rpartition("/")[2]
    if "/hop/" in page.url or number not in ("1", "3"):
        return
    for host in HOSTS:
        with suppress(StreamcrawlError):
            await fetch(f"{host}/nested/{number}/{host_of(page.url)[7:]}")


def crawled(flow: Crawl[Any]) -> Summary:
    async def main() -> Summary:
        return await flow.start()

    summary = run_virtual(main(), limit=10_000_000.0)
    assert summary.error is None
    return summary


def layers() -> list[Layer]:
    return [ops.robots_txt(user_agent="me"), ops.retry(times=3), ops.redirect(), ops.throttle(rules=PATTERNS)]


@settings(max_examples=100, deadline=None)
@given(scripts=SCRIPTS, latency=st.sampled_from((0.0, 0.01, 0.3, 5.0)), nested=st.booleans(), seed=st.integers(0, 9))
def test_whatever_a_server_answers(scripts: dict[str, list[Reply]], latency: float, nested: bool, seed: int) -> None:
    server = Hostile(scripts, latency)
    start = [f"{host}/{number}" for number in range(6) for host in HOSTS]
    flow = Crawl(start, scope="any", concurrency=12, per_host=4, jitter=0.5, seed=seed).pipe(
        ops.download(*layers(), fetch=server), ops.scrape(fetching_others if nested else nothing)
    )
    crawled(flow)
    assert sum(map(len, server.arrivals.values())) >= len(start)
    server.check()


def test_a_request_that_a_layer_kept_back_does_not_disturb_a_rest() -> None:
    async def late(request: Request) -> None:
        await asyncio.sleep(2.0 if request.url.endswith("/1") else 0.0)

    host = "http://free.test"
    server = Hostile({host: [Reply("refuse", 503, 20)]}, 0.1)
    flow = Crawl([f"{host}/0", f"{host}/1"], jitter=0.0).pipe(
        ops.download(ops.on_request(late), ops.throttle(), fetch=server), ops.scrape(nothing)
    )
    crawled(flow)
    assert len(server.arrivals[host]) == 2
    server.check()


def test_a_slot_of_your_own_is_a_key_across_hosts() -> None:
    server = Hostile({host: [] for host in HOSTS}, 0.1)
    start = [f"{host}/{number}" for number in range(3) for host in HOSTS]
    layer = ops.throttle(rules={"all": Rate(delay=3.0)})
    flow = Crawl(start, scope="any", jitter=0.0, slot=lambda request: "all").pipe(
        ops.download(ops.redirect(), layer, fetch=server), ops.scrape(fetching_others)
    )
    crawled(flow)
    times = sorted(at for arrivals in server.arrivals.values() for at in arrivals)
    assert len(times) > len(start)  # the nested ones too
    assert min(later - sooner for sooner, later in pairwise(times)) >= 3.0 - EPSILON


# -- servers on loopback -----------------------------------------------------------------------------------------------


@dataclass
class Log:
    """When requests were handed out, by host, on the clock that the servers have, too."""

    handed_out: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict[str, list[float]](list))

    def listen(self, run: Any) -> None:
        def leased(event: Leased) -> None:
            self.handed_out[host_of(event.request.url)].append(time.monotonic())

        run.events.on(Leased, leased)


@dataclass
class Loopback:
    """Servers of one crawl. Each is asked one request at a time, so that the n-th that arrives was handed out n-th."""

    stack: ExitStack
    log: Log = field(default_factory=Log)
    sites: list[Site] = field(default_factory=list[Site])

    def site(self, answers: Iterator[Any]) -> Site:
        """A server that gives these answers, and then pages."""
        made = self.stack.enter_context(serve(lambda arrival: next(answers, "a page")))
        self.sites.append(made)
        return made

    def crawl(self, pages: int, *layers: Layer, method: str = "GET", **options: Any) -> Summary:
        chosen: dict[str, Any] = {"per_host": 1, "jitter": 0.0, "scope": "any", **options}
        start = [Request(f"{site.url}/{n}", method=method) for n in range(pages) for site in self.sites]
        flow = Crawl(start, **chosen).pipe(ops.download(*layers), ops.scrape(nothing))
        return flow.run(on_start=self.log.listen)

    def check_waits(self, site: Site, waits: list[float]) -> None:
        """No request came sooner after the one before was handed out."""
        handed_out = self.log.handed_out[site.url]
        arrived = times(site)
        assert len(arrived) == len(handed_out) > len(waits)
        for nth, wait in enumerate(waits):
            assert arrived[nth + 1] - handed_out[nth] >= wait - EPSILON, f"request {nth + 1} of {site.url}"


def times(site: Site) -> list[float]:
    return [arrival.time for arrival in site.arrivals]


def again(repeat: int, random: Any) -> float:
    """Repeats come at once, as far as they themselves are concerned."""
    return 0.0


def test_retry_after_and_refusals_on_loopback() -> None:
    """In both forms, and without: one crawl of three servers."""
    with ExitStack() as stack:
        loopback = Loopback(stack)
        busy = Answer(status=429, headers={"Retry-After": "0.4"})
        seconds = loopback.site(iter([busy, "a page", busy]))
        dates: list[float] = []

        def until(arrival: Arrival) -> Answer:
            if dates:
                return Answer("a page")
            dates.append(float(int(time.time()) + 2))
            return Answer(status=503, headers={"Retry-After": formatdate(dates[0], usegmt=True)})

        date = stack.enter_context(serve(until))
        loopback.sites.append(date)
        silent = loopback.site(iter([503, 503, 503]))
        policy = Pushback(first=0.05, recovery=10)
        summary = loopback.crawl(8, ops.retry(times=5, wait=again), ops.throttle(pushback=policy))
        assert (summary.counts.pages, summary.counts.failed) == (24, 0)

        arrived = times(seconds)
        assert arrived[1] - arrived[0] >= 0.4
        assert arrived[3] - arrived[2] >= 0.4
        clock = time.time() - time.monotonic()
        assert times(date)[1] + clock >= dates[0] - 0.01  # two clocks
        # Three refusals, then ten good answers until the rate has doubled.
        loopback.check_waits(silent, [0.05, 0.1, 0.2, *(0.2 * 10 / (10 + good) for good in range(1, 8))])


def test_slow_broken_and_resetting_servers_on_loopback() -> None:
    """A delay is kept whatever becomes of the answers, and by repeats too."""
    with ExitStack() as stack:
        loopback = Loopback(stack)
        reset = Answer(raw=b"")
        half = Answer("half of it", headers={"Content-Length": "1000"})
        cut = Answer(chunks=[b"half of it"], cut=True)
        resets = loopback.site(iter([reset, "a page", reset, reset]))
        halves = loopback.site(iter([half, "a page", cut, half]))
        late = loopback.site(iter([Answer("late", delay=0.2)] * 2))
        rules = {resets.url: Rate(delay=0.08), halves.url: Rate(delay=0.08), late.url: Rate(delay=0.05)}
        layers = [ops.retry(times=5, wait=again, unsafe=True), ops.throttle(rules=rules)]
        summary = loopback.crawl(5, *layers, method="POST")
        assert (summary.counts.pages, summary.counts.failed) == (15, 0)
        assert (len(resets.arrivals), len(halves.arrivals), len(late.arrivals)) == (8, 8, 5)
        loopback.check_waits(resets, [0.08] * 7)
        loopback.check_waits(halves, [0.08] * 7)
        loopback.check_waits(late, [0.2, 0.2, 0.05, 0.05])
        assert (resets.peak, halves.peak, late.peak) == (1, 1, 1)


def test_so_many_requests_at_once_on_loopback() -> None:
    with ExitStack() as stack:
        loopback = Loopback(stack)
        limited = loopback.site(iter([Answer("late", delay=0.03)] * 12))
        other = loopback.site(iter([Answer("late", delay=0.03)] * 12))
        layer = ops.throttle(rules={limited.url: Rate(concurrency=2)})
        summary = loopback.crawl(12, layer, per_host=4)
        assert summary.counts.pages == 24
        assert limited.peak == 2
        assert other.peak == 4


def test_a_request_that_was_cut_off_is_not_sent_again_past_the_delay() -> None:
    with ExitStack() as stack:
        loopback = Loopback(stack)
        reset, page = Answer(raw=b""), Answer("a page", cut=True)
        resets = loopback.site(iter([reset, page, reset, reset, page, page]))
        layers = [ops.retry(times=5, wait=again), ops.throttle(rules={resets.url: Rate(delay=0.08)})]
        summary = loopback.crawl(3, *layers)
        assert (summary.counts.pages, len(resets.arrivals)) == (3, 6)
        loopback.check_waits(resets, [0.08] * 5)
