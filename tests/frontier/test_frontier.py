"""The frontier in memory, and what finds no room there."""

from __future__ import annotations

from random import Random

import pytest
from frontier_machine import EPOCH, FrontierMachine
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcrawl import Headers, Request
from streamcrawl.core import Lease
from streamcrawl.frontier.fingerprint import fingerprint
from streamcrawl.frontier.frontier import Frontier
from streamcrawl.frontier.hosts import HostTable


def frontier() -> Frontier:
    table = HostTable(4, 2, 0.0, 0.0, {}, Random(0), lambda: 0.0)
    return Frontier(table, lambda: EPOCH)


PAGE = Request("http://a.test/p?b=2&a=1")


@pytest.mark.parametrize(
    ("request_", "same"),
    [
        (Request("http://a.test/p?a=1&b=2"), True),
        (Request("http://a.test/p?b=2&a=1#part"), True),
        (PAGE.replace(priority=3, meta={"n": 1}, dont_filter=True, timeout=1.0, headers=Headers({"X": "1"})), True),
        (PAGE.replace(fingerprint_headers=("X",)), False),
        (PAGE.replace(method="POST"), False),
        (PAGE.replace(method="HEAD"), False),
        (PAGE.replace(body=b"x"), False),
        (Request("http://a.test/p?b=2&a=1#part", keep_fragments=True), False),
        (Request("https://a.test/p?b=2&a=1"), False),
        (Request("http://a.test/P?b=2&a=1"), False),
    ],
)
def test_a_fingerprint_is_of_method_url_body_and_chosen_headers(request_: Request, same: bool) -> None:
    assert (fingerprint(request_) == fingerprint(PAGE)) is same
    assert len(fingerprint(request_)) == 16


def test_a_fingerprint_tells_chosen_headers_apart() -> None:
    def of(*names: str, **fields: str) -> bytes:
        return fingerprint(PAGE.replace(fingerprint_headers=names, headers=Headers(fields)))

    assert of("Accept", Accept="json") == of("accept", ACCEPT="json", Other="1")
    assert of("Accept", Accept="json") != of("Accept", Accept="html")
    assert of("Accept", Accept="json") != of("Accept")
    assert of("b", "A", A="1", b="2") == of("B", "a", A="1", b="2") == of("a", "A", "b", A="1", b="2")
    assert of("A", "B", A="1", B="2") == of("B", "A", A="1", B="2") != of("A", "B", A="2", B="1")


@given(st.lists(st.builds(Request, st.sampled_from(["http://a.test/", "http://a.test/#x", "http://a.test/?b&a"]))))
def test_what_was_added_with_a_key_is_known(requests: list[Request]) -> None:
    made = frontier()
    seen: set[bytes] = set()
    for request in requests:
        key = fingerprint(request)
        assert made.known(key) == (key in seen)
        made.add(request, key)
        seen.add(key)
    made.add(Request("http://b.test/"), None)
    assert not made.known(fingerprint(Request("http://b.test/")))
    assert made.waiting == len(requests) + 1


def test_it_counts_and_shows_what_it_holds() -> None:
    made = frontier()
    for n in range(3):
        made.add(Request(f"http://a.test/{n}", start=n < 2), bytes([n]))
    assert (made.waiting, made.waiting_starts) == (3, 2)
    lease = made.lease(lambda lease: None)
    assert lease is not None
    assert lease.request.start
    assert (made.waiting, made.waiting_starts, made.leased) == (2, 1, 1)
    assert repr(made) == "<Frontier 2 waiting, 1 in flight, 3 seen>"
    made.hosts.free(lease)
    made.settle(lease)
    assert (made.waiting, made.waiting_starts, made.leased) == (2, 1, 0)
    assert repr(made) == "<Frontier 2 waiting, 0 in flight, 3 seen>"


def test_a_lease_is_accepted_when_nobody_works_for_it_any_more() -> None:
    accepted: list[Lease] = []
    made = frontier()
    made.add(PAGE, None)
    lease = made.lease(accepted.append)
    assert lease is not None
    lease.hold()
    lease.release()
    assert accepted == []
    lease.release()
    assert accepted == [lease]


FrontierMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestFrontierMachine = FrontierMachine.TestCase
