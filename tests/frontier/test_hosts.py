"""Politeness, host by host: places, delays, shares, and what layers may change."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import pytest
from msgspec.msgpack import decode, encode

from streamcrawl import Request, Slot
from streamcrawl.core import Lease
from streamcrawl.frontier.frontier import Frontier
from streamcrawl.frontier.hosts import LINGER, HostTable
from streamcrawl.frontier.rates import KEPT, SPEAKERS, Rate

A, B, C = "http://a.test", "http://b.test", "http://c.test"


class Desk:
    """A frontier with a clock, and a run that only leases."""

    def __init__(self, **options: Any) -> None:
        self.clock = 0.0
        chosen: dict[str, Any] = {"places": 4, "per_host": 2, "delay": 0.0, "jitter": 0.0, "slots": {}, **options}
        self.table = HostTable(**chosen, random=Random(1), monotonic=lambda: self.clock)
        self.frontier = Frontier(self.table, lambda: self.clock)
        self.added = 0

    def add(self, *hosts: str, **options: Any) -> None:
        for host in hosts:
            self.added += 1
            self.frontier.add(Request(f"{host}/{self.added}", **options), None)

    def lease(self) -> Lease | None:
        return self.frontier.lease(lambda lease: None)

    def leased(self) -> list[Lease]:
        """All that may go now."""
        out: list[Lease] = []
        while (lease := self.lease()) is not None:
            out.append(lease)
        return out

    def hosts(self) -> list[str]:
        return [lease.host for lease in self.leased()]

    def free(self, *leases: Lease, charged: bool = True) -> None:
        for lease in leases:
            lease.charged = charged
            self.table.free(lease)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"concurrency": 0}, "concurrency is 0; it must be 1 or more"),
        ({"concurrency": -2}, "concurrency is -2; it must be 1 or more"),
        ({"delay": -0.5}, "delay is -0.5; it must be 0 or more seconds"),
        ({"jitter": -0.1}, "jitter is -0.1; it must be between 0 and 1"),
        ({"jitter": 1.5}, "jitter is 1.5; it must be between 0 and 1"),
        ({"delay": float("nan")}, "delay is nan; it must be 0 or more seconds"),
        ({"delay": float("inf")}, "delay is inf; it must be 0 or more seconds"),
    ],
)
def test_a_slot_that_makes_no_sense_is_told_when_it_is_built(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Slot(**options)
    Slot(concurrency=1, delay=0.0, jitter=1.0)


def test_places_and_the_hosts_own_limit_bound_what_goes() -> None:
    desk = Desk()
    desk.add(A, A, A, B, B, B)
    assert sorted(desk.hosts()) == [A, A, B, B]
    assert desk.table.used == 4
    desk = Desk(places=10)
    desk.add(A, A, A)
    first = desk.leased()
    assert len(first) == 2
    desk.free(first[0])
    assert desk.hosts() == [A]


def test_a_slot_has_its_own_limit_and_delay() -> None:
    desk = Desk(places=10, slots={"api": Slot(concurrency=1), A: Slot(delay=5.0)})
    desk.add(A, B, slot="api")
    desk.add(A, A)
    assert sorted(desk.hosts()) == ["api", A]
    desk.clock = 5.0
    assert desk.hosts() == [A]


def test_the_highest_priority_goes_first_and_then_the_host_that_waited_longest() -> None:
    desk = Desk(places=10, per_host=10)
    desk.add(A, A, B)
    desk.add(C, priority=5)
    assert desk.hosts()[0] == C
    desk = Desk(places=10, per_host=10)
    desk.add(A, A, A, B, B, C)
    assert desk.hosts() == [A, B, C, A, B, A]


def test_within_a_host_priority_goes_before_order_of_arrival() -> None:
    desk = Desk(places=10, per_host=10)
    for priority in (0, 2, -1, 2, 0):
        desk.add(A, priority=priority)
    assert [lease.request.url[-1] for lease in desk.leased()] == ["2", "4", "1", "5", "3"]


def test_the_delay_is_between_the_beginnings_of_two_requests() -> None:
    desk = Desk(delay=2.0)
    desk.add(A, A, A, B)
    first = desk.leased()
    assert [lease.host for lease in first] == [A, B]
    assert desk.frontier.next_time() == 2.0
    desk.clock = 1.9
    assert desk.lease() is None
    desk.clock = 2.5
    assert desk.hosts() == [A]
    assert desk.frontier.next_time() is None  # its two places are taken
    desk.free(*first)
    desk.clock = 4.4
    assert desk.lease() is None
    assert desk.frontier.next_time() == 4.5


def test_jitter_varies_the_delay_by_its_share_and_no_more() -> None:
    desk = Desk(delay=10.0, jitter=0.5)
    desk.add(*[A] * 50)
    gaps: list[float] = []
    lease = desk.lease()
    while lease is not None:
        desk.free(lease)
        due = desk.frontier.next_time()
        if due is None:
            break
        gaps.append(due - desk.clock)
        desk.clock = due
        lease = desk.lease()
    assert len(gaps) == 49
    assert 5.0 <= min(gaps) < 7.0
    assert 13.0 < max(gaps) <= 15.0


def test_a_turn_that_was_not_used_is_given_back() -> None:
    desk = Desk(delay=10.0)
    desk.add(A, A, A)
    lease = desk.lease()
    assert lease is not None
    desk.free(lease, charged=False)
    second = desk.lease()
    assert second is not None
    desk.free(second)
    assert desk.lease() is None
    assert desk.frontier.next_time() == 10.0


def test_one_that_waits_for_its_time_does_not_keep_others_back() -> None:
    desk = Desk()
    desk.add(A, not_before=30.0)
    assert desk.lease() is None
    assert desk.frontier.next_time() == 30.0
    desk.add(A)
    lease = desk.lease()
    assert lease is not None
    assert lease.request.url.endswith("/2")
    assert desk.lease() is None
    desk.clock = 30.0
    assert desk.hosts() == [A]


def test_a_closed_host_keeps_its_requests_and_says_when_it_is_opened() -> None:
    desk = Desk()
    told: list[str] = []
    desk.table.opened = lambda: told.append("opened")
    desk.add(A, A)
    desk.table.close(A)
    assert desk.lease() is None
    assert desk.frontier.next_time() is None
    assert desk.table.holders() == [f"{A}: 0 in flight, 2 waiting, closed (robots.txt)"]
    desk.add(B)
    assert desk.hosts() == [B]
    desk.table.open(A)
    assert told == ["opened"]
    assert desk.hosts() == [A, A]


def test_a_host_may_be_closed_before_it_is_known() -> None:
    desk = Desk()
    desk.table.close(A)
    desk.add(A)
    assert desk.lease() is None
    desk.table.open(A)
    assert desk.hosts() == [A]


def test_slowing_down_holds_the_host_back_and_not_the_others() -> None:
    desk = Desk()
    desk.add(A, A, B)
    desk.table.slow_down(A, 60.0)
    desk.table.slow_down(A, 5.0)
    assert desk.hosts() == [B]
    assert desk.frontier.next_time() == 60.0
    desk.clock = 60.0
    assert desk.hosts() == [A, A]


def test_slowing_down_is_remembered_for_a_host_without_work() -> None:
    desk = Desk()
    desk.table.slow_down(A, 60.0)
    desk.clock = 59.0
    desk.table.tick()
    desk.add(A)
    assert desk.lease() is None
    assert desk.frontier.next_time() == 60.0


def test_a_rate_holds_from_now_on_and_for_what_was_sent_just_now() -> None:
    desk = Desk()
    desk.add(A, A, A)
    lease = desk.lease()
    assert lease is not None
    desk.table.set_rate(A, delay=4.0)
    assert desk.lease() is None
    desk.free(lease)
    assert desk.frontier.next_time() == 4.0
    desk.clock = 4.0
    assert desk.hosts() == [A]
    assert desk.frontier.next_time() == 8.0


def test_a_rate_is_never_faster_than_the_crawl_or_the_slot_says() -> None:
    desk = Desk(delay=3.0, slots={B: Slot(delay=1.0)})
    desk.table.set_rate(A, delay=0.0)
    desk.table.set_rate(B, delay=0.0)
    desk.add(A, A, B, B)
    desk.clock = 10.0
    assert sorted(desk.hosts()) == [A, B]
    assert desk.frontier.next_time() == 11.0
    desk.clock = 12.9
    assert desk.hosts() == [B]
    desk.clock = 13.0
    assert desk.hosts() == [A]


def test_fewer_requests_at_once_count_for_those_under_way_too() -> None:
    desk = Desk(places=10, per_host=3)
    desk.add(*[A] * 6)
    first = desk.leased()
    desk.table.set_rate(A, concurrency=1)
    desk.free(*first[:2])
    assert desk.lease() is None
    desk.free(first[2])
    assert desk.hosts() == [A]
    desk.table.set_rate(A, concurrency=0)
    assert desk.lease() is None


def gaps(desk: Desk, count: int) -> list[float]:
    """Seconds between so many requests to A, each handed out as soon as it may be."""
    desk.add(*[A] * count)
    times: list[float] = []
    while len(times) < count:
        for lease in desk.leased():
            times.append(desk.clock)
            desk.free(lease)
        desk.clock = max(desk.clock, desk.frontier.next_time() or 0.0)
    return [later - sooner for sooner, later in pairwise(times)]


def test_of_several_that_have_a_say_the_slowest_counts() -> None:
    desk = Desk(places=10, per_host=5, delay=1.0)
    desk.table.set_rate(A, delay=3.0, concurrency=4, by="robots_txt")
    desk.table.set_rate(A, delay=2.0, concurrency=2, by="throttle")
    assert desk.table.rate(A) == Rate(2, 3.0, 0.0)
    assert desk.table.rate(A, but="robots_txt") == Rate(2, 2.0, 0.0)
    assert desk.table.rate(A, but="throttle") == Rate(4, 3.0, 0.0)
    assert gaps(desk, 3) == [3.0, 3.0]
    assert desk.table.rate(B) == Rate(5, 1.0, 0.0)


def test_what_somebody_says_takes_the_place_of_what_he_said_before() -> None:
    desk = Desk(places=10, per_host=5)
    desk.table.set_rate(A, delay=3.0, concurrency=1, by="robots_txt")
    desk.table.set_rate(A, delay=2.0, by="throttle")
    desk.table.set_rate(A, delay=1.0, by="robots_txt")
    assert desk.table.rate(A) == Rate(5, 2.0, 0.0)
    assert desk.table.said(A, "robots_txt") == Rate(delay=1.0)


def test_who_takes_back_what_he_said_has_no_say_any_more() -> None:
    desk = Desk(places=10, per_host=5, delay=1.0)
    desk.table.set_rate(A, delay=30.0, concurrency=1, by="robots_txt")
    desk.table.set_rate(A, by="throttle")
    desk.table.set_rate(A, by="robots_txt")
    assert desk.table.rate(A) == Rate(5, 1.0, 0.0)
    assert desk.table.said(A, "robots_txt") is None
    assert desk.table.kept == {}


def test_the_jitter_of_others_only_adds_to_a_delay_that_was_said_without_one() -> None:
    desk = Desk(jitter=0.5, delay=1.0)
    desk.table.set_rate(A, delay=10.0, by="robots_txt")
    waits = gaps(desk, 200)
    assert min(waits) == 10.0
    assert 14.0 < max(waits) <= 15.0
    assert 50 < sum(wait == 10.0 for wait in waits) < 150  # chance would have made these shorter


def test_a_delay_varies_by_its_own_jitter_both_ways() -> None:
    desk = Desk()
    desk.table.set_rate(A, delay=10.0, jitter=0.2, by="throttle")
    waits = gaps(desk, 200)
    assert 8.0 <= min(waits) < 8.5
    assert 11.5 < max(waits) <= 12.0
    desk.table.set_rate(A, delay=9.0, by="robots_txt")
    assert min(gaps(desk, 200)) == 9.0


def test_jitter_alone_is_of_the_delay_that_holds() -> None:
    desk = Desk(delay=10.0)
    desk.table.set_rate(A, jitter=0.5, by="throttle")
    waits = gaps(desk, 100)
    assert min(waits) == 10.0
    assert max(waits) > 13.0


def test_a_rate_that_is_loosened_lets_the_next_request_go_sooner() -> None:
    desk = Desk()
    told: list[float] = []
    desk.table.opened = lambda: told.append(desk.clock)
    desk.table.set_rate(A, delay=60.0, by="throttle")
    desk.add(A, A, A)
    desk.free(*desk.leased())
    desk.clock = 1.0
    desk.table.set_rate(A, delay=5.0, by="throttle")
    assert told == [1.0]
    assert desk.frontier.next_time() == 5.0
    desk.clock = 5.0
    assert desk.hosts() == [A]
    desk.table.set_rate(A, by="throttle")
    assert told == [1.0, 5.0]
    assert desk.hosts() == [A]


def test_a_rate_that_is_loosened_does_not_shorten_a_rest() -> None:
    desk = Desk()
    desk.table.set_rate(A, delay=90.0, by="throttle")
    desk.add(A, A)
    desk.free(*desk.leased())
    desk.table.slow_down(A, 30.0)
    desk.table.set_rate(A, by="throttle")
    assert desk.lease() is None
    assert desk.frontier.next_time() == 30.0


def test_chance_decides_once_a_turn_however_often_the_rate_changes() -> None:
    desk = Desk(delay=1.0, jitter=1.0)
    desk.add(A, A)
    desk.free(*desk.leased())
    first = desk.frontier.next_time()
    assert first is not None
    for _ in range(20):
        desk.table.set_rate(A, delay=2.0, jitter=1.0, by="throttle")
        assert desk.frontier.next_time() == pytest.approx(2 * first)
        desk.table.set_rate(A, by="throttle")
    assert desk.frontier.next_time() == pytest.approx(first)


def test_a_turn_is_not_given_back_when_the_rate_has_changed_meanwhile() -> None:
    desk = Desk(delay=2.0)
    desk.add(A, A, A)
    first = desk.leased()
    desk.clock = 2.0
    second = desk.leased()
    desk.table.set_rate(A, delay=3.0, by="throttle")
    desk.free(*second, charged=False)
    desk.free(*first)
    assert desk.lease() is None
    assert desk.frontier.next_time() == 5.0


def test_a_turn_that_was_given_back_does_not_hide_the_one_before() -> None:
    desk = Desk(delay=2.0)
    desk.add(A, A, A)
    first = desk.leased()
    desk.clock = 2.0
    desk.free(*desk.leased(), charged=False)
    desk.free(*first)
    desk.table.set_rate(A, delay=8.0, by="throttle")
    assert desk.lease() is None
    assert desk.frontier.next_time() == 8.0  # the first one went over the wire at 0


def test_requests_at_once_are_never_more_than_the_crawl_says() -> None:
    desk = Desk(places=10, per_host=2)
    desk.add(*[A] * 6)
    desk.table.set_rate(A, concurrency=5, by="throttle")
    assert desk.hosts() == [A, A]


def test_more_requests_at_once_go_when_the_bound_is_taken_back() -> None:
    desk = Desk(places=10, per_host=3)
    told: list[str] = []
    desk.table.opened = lambda: told.append("opened")
    desk.add(*[A] * 6)
    desk.table.set_rate(A, concurrency=1, by="throttle")
    assert desk.hosts() == [A]
    desk.table.set_rate(A, by="throttle")
    assert told == ["opened"]
    assert desk.hosts() == [A, A]


def test_a_rule_holds_from_a_hosts_first_request_on() -> None:
    desk = Desk(places=10, per_host=5)
    desk.add(B, B)
    desk.table.set_rule({A: Rate(delay=4.0), B: Rate(concurrency=1)}.get, by="throttle")
    desk.add(A, A)
    assert sorted(desk.hosts()) == [A, B]
    assert desk.frontier.next_time() == 4.0
    desk.table.set_rule(None, by="throttle")
    assert sorted(desk.hosts()) == [A, B]


def test_what_is_set_counts_instead_of_the_rule_of_the_same_one() -> None:
    desk = Desk()
    desk.table.set_rule(lambda name: Rate(delay=5.0), by="autothrottle")
    desk.table.set_rate(A, delay=1.0, by="autothrottle")
    assert desk.table.rate(A) == Rate(2, 1.0, 0.0)
    assert desk.table.said(A, "autothrottle") == Rate(delay=1.0)
    assert desk.table.said(B, "autothrottle") == Rate(delay=5.0)
    assert desk.table.kept.keys() == {A}  # what a rule says can be asked again
    desk.table.set_rate(A, by="autothrottle")
    assert desk.table.rate(A) == Rate(2, 5.0, 0.0)


def test_only_so_many_have_a_say() -> None:
    desk = Desk()
    for number in range(SPEAKERS):
        desk.table.set_rate(A, delay=1.0, by=f"layer {number}")
    with pytest.raises(ValueError, match=r"'one more'.*16 others have a say in http://a\.test already"):
        desk.table.set_rate(A, delay=2.0, by="one more")
    desk.table.set_rate(A, by="layer 3")
    desk.table.set_rate(A, delay=2.0, by="one more")
    assert desk.table.rate(A).delay == 2.0


def test_what_was_said_is_kept_as_plain_data() -> None:
    desk = Desk(delay=1.0)
    desk.table.set_rate(A, delay=30.0, concurrency=1, by="robots_txt")
    desk.table.set_rate(A, delay=2.0, jitter=0.5, by="throttle")
    desk.table.slow_down(B, 60.0)
    kept = decode(encode(desk.table.kept))
    later = Desk(delay=5.0)
    later.table.kept = kept
    assert later.table.rate(A) == Rate(1, 30.0, 0.5)
    later.table.set_rate(A, by="robots_txt")
    assert later.table.rate(A) == Rate(2, 5.0, 0.5)  # the crawl's own is as it is now
    later.add(B)
    assert later.lease() is None


def test_a_hundred_thousand_slow_hosts_take_up_little() -> None:
    desk = Desk()
    for number in range(KEPT + 1000):
        name = f"http://h{number}.test"
        desk.table.set_rate(name, delay=float(number % 7 + 1), by="throttle")
        desk.clock += 0.001
    assert desk.table.hosts == {}
    assert KEPT * 0.9 < len(desk.table.kept) <= KEPT
    assert desk.table.rate("http://h15000.test").delay == 15000 % 7 + 1
    assert desk.table.rate("http://h500.test").delay == 0.0  # the first ones are forgotten


def test_a_request_counts_as_its_slot_or_what_the_crawl_calls_it_or_its_host() -> None:
    desk = Desk()
    request = Request("http://www.shop.example/1")
    assert desk.table.name_of(request) == "http://www.shop.example"
    desk.table.slot = lambda request: "shop" if "shop" in request.url else None
    assert desk.table.name_of(request) == "shop"
    assert desk.table.name_of(request.replace(slot="mine")) == "mine"
    assert desk.table.name_of(Request("http://a.test/1")) == "http://a.test"


def test_while_places_are_short_no_host_has_more_than_its_share() -> None:
    desk = Desk(places=9, per_host=9)
    desk.add(*[A] * 20, *[B] * 20, *[C] * 20)
    assert sorted(desk.hosts()) == [A] * 3 + [B] * 3 + [C] * 3


def test_what_the_others_leave_over_goes_to_who_can_use_it() -> None:
    desk = Desk(places=9, per_host=9)
    desk.add(*[A] * 20, B, C)
    assert sorted(desk.hosts()) == [A] * 7 + [B] + [C]


def test_a_host_alone_may_have_all_places() -> None:
    desk = Desk(places=6, per_host=8)
    desk.add(*[A] * 20)
    assert desk.hosts() == [A] * 6


def test_a_host_that_ran_out_of_work_keeps_its_share_for_a_moment() -> None:
    desk = Desk(places=4, per_host=4)
    desk.add(B)
    desk.add(*[A] * 8)
    out = desk.leased()
    of_b = [lease for lease in out if lease.host == B]
    desk.free(*of_b)
    desk.free(*[lease for lease in out if lease.host == A])
    assert desk.hosts() == [A, A]
    assert desk.frontier.next_time() == LINGER
    desk.clock = LINGER
    assert desk.hosts() == [A, A]


def test_while_more_is_to_come_a_host_waits_for_others() -> None:
    desk = Desk(places=4, per_host=4)
    desk.table.expect(True)
    desk.add(A, A, A, B)
    assert sorted(desk.hosts()) == [A, A, B]
    desk.table.expect(False)
    assert desk.hosts() == [A]


def test_it_forgets_hosts_that_have_nothing_left_to_remember() -> None:
    desk = Desk(slots={B: Slot(concurrency=1)})
    desk.add(A, B, C)
    desk.table.set_rate(C, delay=5.0)
    desk.clock = 1.0
    for _ in range(10):
        desk.free(*desk.leased())
        desk.clock += 10.0
        desk.table.tick()
    assert set(desk.table.hosts) == {B}
    assert desk.table.host(C).delay == 5.0  # what was said of it is remembered without it
    assert repr(desk.table) == "<HostTable 2 hosts, 0 of 4 places>"


def test_it_says_who_holds_what() -> None:
    desk = Desk()
    desk.add(A, A, A, B)
    out = desk.leased()
    assert sorted(desk.table.holders()) == [f"{A}: 2 in flight, 1 waiting", f"{B}: 1 in flight, 0 waiting"]
    assert repr(desk.table.host(A)) == f"<Host {A}: 1 waiting, 2 in flight>"
    assert repr(desk.table) == "<HostTable 2 hosts, 3 of 4 places>"
    desk.free(*out)
    desk.free(*out)
    assert desk.table.used == 0


def test_many_hosts_that_run_out_of_work_at_once_are_one_change_of_the_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    many, small = 100, 200
    desk = Desk(places=many + small)
    desk.add(*(f"http://small{number}.test" for number in range(small)))
    short = desk.leased()
    for number in range(many):
        desk.add(*[f"http://large{number}.test"] * 5)
    desk.leased()
    desk.free(*short)
    assert desk.leased() == []  # each large one has its share, and waits for more
    judged = 0
    cap = HostTable._cap  # pyright: ignore[reportPrivateUsage] - its cost is what matters

    def counting(table: HostTable, host: Any) -> int:
        nonlocal judged
        judged += 1
        return cap(table, host)

    monkeypatch.setattr(HostTable, "_cap", counting)
    desk.clock += 2 * LINGER
    desk.table.tick()
    assert judged <= 2 * many
    assert len(desk.leased()) == many
