"""The mechanism of throttle: formulas, patterns, and hosts that are slowed down and recover, on a clock of its own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from math import inf
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl.core import Failed, Request
from streamcrawl.errors import ConnectError, InvalidURL
from streamcrawl.frontier.hosts import HostTable
from streamcrawl.response import Response
from streamcrawl.streams.local import LocalRun
from streamcrawl.throttling import (
    SLOWED,
    AutoThrottle,
    Driven,
    Patterns,
    Pushback,
    Rate,
    RateChanged,
    Slowing,
    Tuning,
)

A, B = "http://a.test", "http://b.test"


class Bench:
    """A run that has a table of hosts, and a clock that the test sets."""

    def __init__(self, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        self.clock = 1000.0
        chosen: dict[str, Any] = {"places": 8, "per_host": 8, "delay": 0.0, "jitter": 0.0, "slots": {}, **options}
        self.table = HostTable(**chosen, random=Random(1), monotonic=lambda: self.clock)
        run: Any = LocalRun(loop)
        run.hosts, run.monotonic = self.table, lambda: self.clock
        self.run = run
        self.events: list[RateChanged] = []

    def listen(self) -> None:
        self.run.events.on(RateChanged, self.events.append)

    def delay(self, host: str = A) -> float | None:
        return self.table.rate(host).delay


@pytest.fixture
def bench() -> Iterator[Bench]:
    loop = asyncio.new_event_loop()
    yield Bench(loop)
    loop.close()


def answer(status: int, latency: float = 0.1, host: str = A) -> Response:
    return Response(f"{host}/", status, request=Request(f"{host}/"), latency=latency)


# -- AutoThrottle ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delay", "latency", "status", "new"),
    [
        (5.0, 1.0, 200, 3.0),  # halfway to the latency
        (3.0, 0.2, 200, 1.6),
        (1.6, 4.0, 200, 4.0),  # but never below it
        (4.0, 0.1, 404, 4.0),  # an error never makes it shorter
        (4.0, 4.0, 500, 4.0),
        (4.0, 6.0, 500, 6.0),  # it may make it longer
        (50.0, 300.0, 200, 60.0),  # the ceiling
        (60.0, 300.0, 503, 60.0),
    ],
)
def test_the_formula(delay: float, latency: float, status: int, new: float) -> None:
    assert AutoThrottle().adjusted(delay, latency, status) == pytest.approx(new)


def test_the_target_is_so_many_requests_on_the_hosts_hands() -> None:
    assert AutoThrottle(target=4.0).adjusted(5.0, 2.0, 200) == 2.75
    assert AutoThrottle(target=0.5).adjusted(1.0, 2.0, 200) == 4.0
    assert AutoThrottle(ceiling=3.5, target=0.5).adjusted(1.0, 2.0, 200) == 3.5


@given(latencies=st.lists(st.floats(0.001, 30.0), min_size=1, max_size=30), target=st.sampled_from((0.5, 1.0, 4.0)))
def test_the_delay_comes_to_the_latency(latencies: list[float], target: float) -> None:
    policy, delay = AutoThrottle(target=target), 5.0
    for latency in latencies:
        delay = policy.adjusted(delay, latency, 200)
        assert min(60.0, latency / target) <= delay <= 60.0
    for _ in range(60):
        delay = policy.adjusted(delay, latencies[-1], 200)
    assert delay == pytest.approx(min(60.0, latencies[-1] / target))


def test_what_it_says_of_a_host_is_where_it_goes_on_from(bench: Bench) -> None:
    bench.listen()
    tuning = Tuning(bench.run, bench.table, AutoThrottle(jitter=0.0))
    assert bench.delay() == 5.0
    tuning.answered(answer(200, latency=1.0))
    tuning.answered(answer(200, latency=0.2))
    tuning.answered(answer(404, latency=0.1))
    assert bench.delay() == pytest.approx(1.6)
    assert bench.delay(B) == 5.0
    told = [(each.host, each.before, each.delay, each.by, each.status, each.latency) for each in bench.events]
    assert told == [
        (A, 5.0, 3.0, "autothrottle", 200, 1.0),
        (A, 3.0, pytest.approx(1.6), "autothrottle", 200, 0.2),
        (A, pytest.approx(1.6), pytest.approx(1.6), "autothrottle", 404, 0.1),
    ]


def test_what_others_say_is_its_least_delay(bench: Bench) -> None:
    tuning = Tuning(bench.run, bench.table, AutoThrottle(jitter=0.0))
    bench.table.set_rate(A, delay=4.0, by="robots_txt")
    tuning.answered(answer(200, latency=1.0))
    assert bench.delay() == 4.0
    bench.table.set_rate(A, by="robots_txt")
    assert bench.delay() == 3.0


@given(
    answers=st.lists(st.tuples(st.floats(0.01, 9.0), st.sampled_from((200, 200, 404))), min_size=1, max_size=30),
    least=st.sampled_from((0.0, 0.5, 3.0)),
)
def test_the_crawls_own_delay_need_not_be_in_the_formula(answers: list[tuple[float, int]], least: float) -> None:
    policy, mine = AutoThrottle(), 5.0
    with_it = max(least, 5.0)
    for latency, status in answers:
        mine = policy.adjusted(mine, latency, status)
        new = min(max(least, latency, (with_it + latency) / 2), 60.0)
        with_it = with_it if status != 200 and new <= with_it else new
        assert max(least, mine) == pytest.approx(with_it)


def test_what_did_not_come_over_the_wire_says_nothing(bench: Bench) -> None:
    tuning = Tuning(bench.run, bench.table, AutoThrottle(jitter=0.0))
    tuning.answered(answer(200, latency=0.0))
    tuning.answered(answer(200, latency=0.1).replace(flags=("cached",)))
    tuning.answered(Response(A, latency=0.1, request=Request(A).replace(answer=answer(200))))
    assert bench.delay() == 5.0


def test_files_have_no_delay(bench: Bench) -> None:
    Tuning(bench.run, bench.table, AutoThrottle())
    assert bench.delay("file://") == 0.0
    Tuning(bench.run, bench.table, AutoThrottle()).answered(answer(200, host="file://"))
    assert bench.delay("file://") == 0.0


# -- pushback ----------------------------------------------------------------------------------------------------------


def test_each_refusal_doubles_the_delay_up_to_the_ceiling(bench: Bench) -> None:
    slowing = Slowing(bench.run, Pushback(first=0.5, factor=2.0, ceiling=6.0))
    found: list[float | None] = []
    for _ in range(6):
        slowing.refused(answer(429))
        found.append(bench.delay())
        bench.clock += 10.0
    assert found == [0.5, 1.0, 2.0, 4.0, 6.0, 6.0]
    assert bench.delay(B) == 0.0
    assert bench.run.stats["throttle/slowed_count"] == 6


def test_it_begins_from_the_delay_that_is_in_force(bench: Bench) -> None:
    bench.table.set_rate(A, delay=4.0, by="robots_txt")
    Slowing(bench.run, Pushback()).refused(answer(503))
    assert bench.delay() == 8.0


def test_what_was_on_its_way_already_counts_once(bench: Bench) -> None:
    slowing = Slowing(bench.run, Pushback())
    for _ in range(8):
        slowing.refused(answer(429, latency=0.5))
        bench.clock += 0.06  # all eight were sent before the first answer came
    assert bench.delay() == 0.25
    bench.clock += 0.5
    slowing.refused(answer(429, latency=0.5))
    assert bench.delay() == 0.5


def test_where_latency_is_not_measured_what_may_have_been_on_its_way_counts_once(bench: Bench) -> None:
    slowing = Slowing(bench.run, Pushback(first=1.0))
    for _ in range(8):
        slowing.refused(answer(429, latency=0.0))
        bench.clock += 0.1
    assert bench.delay() == 1.0
    bench.clock += 0.2
    slowing.refused(answer(429, latency=0.0))
    assert bench.delay() == 2.0


def test_good_answers_raise_the_rate_in_equal_steps(bench: Bench) -> None:
    slowing = Slowing(bench.run, Pushback(first=1.0, recovery=10))
    slowing.refused(answer(429))
    rates: list[float] = []
    for _ in range(20):
        bench.clock += 1.0
        slowing.went_well(answer(200))
        rates.append(1 / (bench.delay() or inf))
    assert rates == pytest.approx([1.0 + step / 10 for step in range(1, 21)])


def test_a_host_that_has_recovered_is_forgotten(bench: Bench) -> None:
    bench.listen()
    slowing = Slowing(bench.run, Pushback(first=1.0, recovery=1))
    slowing.refused(answer(503))
    for _ in range(9):
        bench.clock += 1.0
        slowing.went_well(answer(200))
    assert slowing.hosts == {}
    assert bench.table.kept == {}
    assert bench.delay() == 0.0
    assert bench.run.stats["throttle/recovered_count"] == 1
    assert [each.delay for each in bench.events] == [1.0, *(pytest.approx(1 / n) for n in range(2, 10)), 0.0]
    assert {each.by for each in bench.events} == {"throttle"}


def test_it_has_recovered_when_others_are_as_slow(bench: Bench) -> None:
    bench.table.set_rate(A, delay=2.0, by="robots_txt")
    slowing = Slowing(bench.run, Pushback(recovery=2))
    slowing.refused(answer(429))
    bench.clock += 5.0
    slowing.went_well(answer(200))
    assert bench.delay() == pytest.approx(8 / 3)
    slowing.went_well(answer(200))
    assert slowing.hosts == {}
    assert bench.table.rate(A).delay == 2.0


def test_an_answer_to_what_was_sent_before_is_no_recovery(bench: Bench) -> None:
    slowing = Slowing(bench.run, Pushback(first=1.0))
    slowing.refused(answer(429))
    bench.clock += 0.5
    slowing.went_well(answer(200, latency=0.9))
    slowing.went_well(answer(200, host=B))
    assert bench.delay() == 1.0


def test_an_error_may_count_as_a_refusal(bench: Bench) -> None:
    slowing = Slowing(bench.run, Pushback(errors=(ConnectError,)))
    slowing.refused(Failed(Request(f"{A}/"), ConnectError("reset")))
    assert bench.delay() == 0.25


def test_of_many_hosts_the_first_are_let_go(bench: Bench) -> None:
    slowing = Slowing(bench.run, Pushback())
    for number in range(100_000):
        slowing.refused(answer(429, host=f"http://h{number}.test"))
    assert len(slowing.hosts) == len(bench.table.kept) == SLOWED
    assert bench.delay("http://h99999.test") == 0.25
    assert bench.delay("http://h7.test") == 0.0
    assert bench.table.hosts == {}


def test_a_job_goes_on_with_the_recovery(bench: Bench) -> None:
    bench.run.durable = True
    slowing = Slowing(bench.run, Pushback(first=1.0, recovery=10))
    slowing.refused(answer(429))
    slowing.refused(answer(429, host=B))
    for _ in range(5):
        bench.clock += 1.0
        slowing.went_well(answer(200))
    assert dict(bench.run.state("throttle")) == {A: [1.0, 5], B: [1.0, 0]}
    again = Slowing(bench.run, Pushback(first=1.0, recovery=10))
    again.went_well(answer(200))
    assert bench.delay() == pytest.approx(10 / 16)
    for _ in range(100):
        again.went_well(answer(200))
    assert dict(bench.run.state("throttle")) == {B: [1.0, 0]}


# -- patterns and streams ----------------------------------------------------------------------------------------------


def test_the_closest_pattern_counts() -> None:
    names = ("https://shop.example:8443", "shop.example", "*.shop.example", "*.example", "api", "*")
    rules = Patterns({name: Rate(delay=float(number)) for number, name in enumerate(names)})
    found = {
        "https://shop.example:8443": 0,
        "https://shop.example": 1,
        "http://shop.example:8443": 1,
        "http://www.shop.example": 2,
        "http://a.b.shop.example": 2,
        "http://other.example": 3,
        "http://myshop.example": 3,
        "api": 4,
        "http://elsewhere.test": 5,
        "http://[::1]:80": 5,
        "another slot": 5,
    }
    assert {name: (rules(name) or Rate()).delay for name in found} == found
    assert rules("file://") is None
    assert Patterns({})("http://shop.example") is None


def test_patterns_are_read_as_urls_are() -> None:
    rate = Rate(delay=1.0)
    assert Patterns({"HTTPS://Shop.Example:443/": rate})("https://shop.example") is rate
    assert Patterns({"*.Shop.example": rate})("http://www.shop.example") is rate
    assert Patterns({"bücher.example": rate})("http://xn--bcher-kva.example") is rate
    assert Patterns({"*.bücher.example": rate})("http://www.xn--bcher-kva.example") is rate
    assert Patterns({"shop.example": rate})("http://www.shop.example") is None


@pytest.mark.parametrize(
    ("pattern", "host"),
    [
        ("Shop.Example", "https://shop.example"),
        ("SHOP.EXAMPLE", "http://shop.example:8443"),
        ("shop.example", "https://shop.example."),
        ("shop.example", "https://shop.example.:8443"),
        ("shop.example.", "https://shop.example"),
        ("*.shop.example.", "https://www.shop.example"),
        ("*.shop.example", "https://www.shop.example."),
        ("https://Shop.Example.:443", "https://shop.example"),
        ("https://shop.example", "https://shop.example."),
        (" shop.example ", "https://shop.example"),
        ("shop.example:8443", "https://shop.example:8443"),
        ("Shop.Example:8443", "http://shop.example.:8443"),
        ("shop.example:443", "https://shop.example"),
        ("shop.example:80", "http://shop.example"),
        ("::1", "http://[::1]"),
        ("::1", "http://[::1]:8080"),
        ("2001:DB8:0::1", "https://[2001:db8::1]"),
        ("[::1]", "http://[::1]:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("Bücher.example:8443", "https://xn--bcher-kva.example:8443"),
    ],
)
def test_a_name_however_it_is_written(pattern: str, host: str) -> None:
    rate = Rate(delay=1.0)
    rules = Patterns({pattern: rate, "elsewhere.example": Rate(delay=2.0)})
    assert rules(host) is rate
    assert rules(host.replace("example", "test").replace("1", "2")) is None
    rules.set(pattern, None)
    assert rules(host) is None


def test_a_port_is_closer_than_the_name_and_a_host_is_closest() -> None:
    names = ("https://shop.example:8443", "shop.example:8443", "shop.example")
    rules = Patterns({name: Rate(delay=float(number)) for number, name in enumerate(names)})
    found = {"https://shop.example:8443": 0, "http://shop.example:8443": 1, "https://shop.example": 2}
    assert {name: (rules(name) or Rate()).delay for name in found} == found


@pytest.mark.parametrize("slot", ["Account", "account 7", "a:b", "a:b:c", "me@shop", "v1.2", "100%", "größe 7", "7"])
def test_the_name_of_a_slot_counts_as_it_is_written(slot: str) -> None:
    rate, other = Rate(delay=1.0), Rate(delay=2.0)
    rules = Patterns({slot: rate, slot.swapcase() + "x": other})
    assert rules(slot) is rate
    assert rules(slot.swapcase() + "x") is other
    assert rules(f"{slot}y") is None
    assert Patterns({slot.upper(): rate})(slot) is (rate if slot == slot.upper() else None)


def test_what_is_said_last_of_a_name_holds_however_it_is_written() -> None:
    rules = Patterns({"Shop.example": Rate(delay=1.0)})
    rules.set("shop.example", Rate(delay=2.0))
    assert rules("https://shop.example") == Rate(delay=2.0)
    assert (rules("Shop.example"), rules("shop.example")) == (Rate(delay=1.0), Rate(delay=2.0))


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("*.shop.example:8443", "what follows '*.' is a host name, without a port"),
        ("*.127.0.0.1", "what follows '*.' is a host name"),
        ("https://*.shop.example", "is no Host: write '*.shop.example'"),
        ("shop.example:99999", "neither a host name, nor one with a port, nor a Host"),
        ("[::x]", "neither a host name"),
        ("https:shop.example", "neither a host name"),
    ],
)
def test_what_can_be_the_name_of_nothing(pattern: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Patterns({pattern: Rate()})


def test_a_pattern_that_is_no_text(bench: Bench) -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match=r"5 is no name: text is needed, such as 'shop\.example'"):
        Patterns({wrong: Rate()})
    with pytest.raises(TypeError, match="5 is no name"):
        Driven(bench.run).set(wrong, Rate())


def test_a_pattern_with_a_password_does_not_show_it() -> None:
    with pytest.raises(ValueError, match="is no Host") as told:
        Patterns({"https://me:secret@shop.example/": Rate()})
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("pattern", ["", " ", "a*", "*a", "*.*.example", "shop.example/path", "*."])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"is no pattern|invalid URL"):
        Patterns({pattern: Rate()})


def test_a_host_has_no_path() -> None:
    with pytest.raises(ValueError, match=r"'https://shop\.example/x' is no Host: write 'https://shop\.example'"):
        Patterns({"https://shop.example/x": Rate()})
    with pytest.raises(InvalidURL):
        Patterns({"http://": Rate()})


def test_a_rate_is_a_rate() -> None:
    wrong: Any = 1.0
    with pytest.raises(TypeError, match=r"the rate of 'shop\.example' is 1\.0; it must be a Rate"):
        Patterns({"shop.example": wrong})


def test_what_a_stream_says_last_holds(bench: Bench) -> None:
    driven = Driven(bench.run)
    driven.set("*.test", Rate(delay=1.0))
    assert (bench.delay(A), bench.delay(B)) == (1.0, 1.0)
    driven.set("http://A.test/", Rate(delay=3.0, concurrency=2))
    driven.set("b.test", Rate(delay=2.0))
    assert bench.table.rate(A) == Rate(2, 3.0, 0.0)
    assert bench.delay(B) == 2.0
    driven.set("*.test", None)
    driven.set("b.test", None)
    assert (bench.delay(A), bench.delay(B)) == (3.0, 0.0)
    driven.set(A, None)
    assert bench.delay(A) == 0.0


def test_a_stream_names_so_many_patterns_and_no_more(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamcrawl.throttling.PATTERNS", 3)
    driven = Driven(bench.run)
    for number in range(3):
        driven.set(f"h{number}.test", Rate(delay=1.0))
    driven.set("h1.test", Rate(delay=2.0))
    with pytest.raises(ValueError, match="more than 3 patterns; name Hosts instead"):
        driven.set("h3.test", Rate(delay=1.0))


@pytest.mark.parametrize(
    ("make", "options", "text"),
    [
        (Pushback, {"first": 0.0}, r"Pushback\(first=0.0, ceiling=10.0\): 0 < first <= ceiling"),
        (Pushback, {"first": 2.0, "ceiling": 1.0}, r"Pushback\(first=2.0, ceiling=1.0\)"),
        (Pushback, {"factor": 1.0}, r"Pushback\(factor=1.0\): above 1"),
        (Pushback, {"recovery": 0}, r"Pushback\(recovery=0\): 1 or more"),
        (Pushback, {"statuses": (42,)}, r"Pushback\(statuses=…\): 42 is none; 100 to 599"),
        (AutoThrottle, {"start": -1.0}, r"AutoThrottle\(start=-1.0\): 0 or more"),
        (AutoThrottle, {"ceiling": 0.0}, r"AutoThrottle\(ceiling=0.0\): seconds above 0"),
        (AutoThrottle, {"target": 0.0}, r"AutoThrottle\(target=0.0\): requests at a time, above 0"),
        (AutoThrottle, {"jitter": 1.5}, r"AutoThrottle\(jitter=1.5\): between 0 and 1"),
    ],
)
def test_arguments_are_checked_when_built(make: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make(**options)
