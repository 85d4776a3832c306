"""Politeness, host by host: places, delays, shares, and what layers may change."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from streamcrawl import Request, Slot
from streamcrawl.core import Lease
from streamcrawl.frontier.frontier import Frontier
from streamcrawl.frontier.hosts import LINGER, HostTable

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
