"""What is remembered: digests alike in every process, in bounded memory, given to a job when the page is settled."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl.core import Extent, Lease, Request
from streamcrawl.streams import remembering
from streamcrawl.streams.local import LocalRun
from streamcrawl.streams.remembering import Remembering, digest_of


@dataclass
class Product:
    sku: int
    name: str


class Struct(msgspec.Struct):
    sku: int
    name: str


class Text(str):
    """As parsers give it."""

    __slots__ = ()


SAME: list[tuple[Any, Any]] = [
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({"a": {"x": 1, "y": 2}}, OrderedDict(a={"y": 2, "x": 1})),
    ({"a": 1}, MappingProxyType({"a": 1})),
    ([1, 2], (1, 2)),
    ({"a", "b", "c"}, {"c", "b", "a"}),
    (Text("a"), "a"),
    ({Text("a"): 1}, {"a": 1}),
    (Product(1, "x"), {"sku": 1, "name": "x"}),
    (Struct(1, "x"), {"name": "x", "sku": 1}),
    ([Product(1, "x")], [{"sku": 1, "name": "x"}]),
    ({1: "a", 2: "b"}, {2: "b", 1: "a"}),
    (float("nan"), float("nan")),
]
OTHERS: list[tuple[Any, Any]] = [
    (1, "1"),
    (1, True),
    (0, None),
    ("", None),
    ("a", b"a"),
    (["ab", "c"], ["a", "bc"]),
    ([1, 2], [2, 1]),
    ({"a": 1}, {"a": 2}),
    ({"a": 1}, {"a": 1, "b": None}),
    ({1: "a"}, {"1": "a"}),
    (2**70, 2**70 + 1),
    (2**70, str(2**70)),
    ("\ud800", "\ud801"),
    ("\ud800", "?"),
    (Decimal("1.0"), Decimal("1.00")),
    (date(2030, 1, 1), date(2030, 1, 2)),
    (datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, 1, tzinfo=UTC)),
    (UUID(int=1), UUID(int=2)),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_content_has_the_same_digest(one: Any, other: Any) -> None:
    assert digest_of(one) == digest_of(other)
    assert len(digest_of(one)) == 16


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_other_content_has_another_digest(one: Any, other: Any) -> None:
    assert digest_of(one) != digest_of(other)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()) | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(plain, plain)
def test_digests_are_equal_where_the_data_are(one: Any, other: Any) -> None:
    assert (digest_of(one) == digest_of(other)) == (repr(_ordered(one)) == repr(_ordered(other)))


def _ordered(value: Any) -> Any:
    kind: Any = value.__class__
    if kind is dict:
        return sorted(((key, _ordered(each)) for key, each in value.items()), key=str)
    return (list, [_ordered(each) for each in value]) if kind is list else value


@pytest.mark.parametrize("value", [object(), [object()], {"a": iter(())}, lambda: None, {(1, 2): 3}])
def test_what_has_no_content_is_told(value: Any) -> None:
    with pytest.raises(TypeError, match=r"cannot be compared from run to run|str-like"):
        digest_of(value)


def test_digests_are_the_same_in_another_process() -> None:
    script = (
        "from streamcrawl.streams.remembering import digest_of;"
        "print(digest_of({'tags': {'a', 'b', 'c', 'd'}, 'n': 1, 'x': {2: '\\ud800'}}).hex())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {digest_of({"x": {2: "\ud800"}, "n": 1, "tags": {"d", "c", "b", "a"}}).hex() + "\n"}


# -- memory ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def run() -> Iterator[LocalRun]:
    loop = asyncio.new_event_loop()
    yield LocalRun(loop)
    loop.close()


def key(n: int) -> bytes:
    return n.to_bytes(16, "big")


@pytest.mark.parametrize("durable", [False, True])
def test_memory_is_bounded_and_what_came_last_is_in_it(
    durable: bool, run: LocalRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembering, "PENDING" if durable else "MANY", 10)
    run.durable = durable
    run.extent = Extent((Lease(1, Request("http://a.test/"), "", lambda lease: None),))
    memory = Remembering("changed", run)
    for n in range(1000):
        assert memory.differs(key(n), b"x")
        assert not memory.differs(key(max(0, n - 2)), b"x")
        assert not memory.differs(key(0), b"x")  # asked for all the time, it stays
        found = re.fullmatch(r"<Remembering 'changed': (\d+) keys in memory>", repr(memory))
        assert found
        assert int(found[1]) <= 20
    assert memory.differs(key(500), b"x")


def test_a_job_is_told_with_the_lease_and_the_run_knows_at_once(run: LocalRun) -> None:
    run.durable = True
    leases = tuple(Lease(n, Request("http://a.test/"), "", lambda lease: None) for n in (1, 2))
    run.extent = Extent(leases, 0)
    memory = Remembering("changed", run)
    assert memory.differs(key(1), b"a")
    assert not memory.differs(key(1), b"a")
    assert memory.differs(key(1), b"b")
    noted = [("changed", key(1).hex(), b"a"), ("changed", key(1).hex(), b"b")]
    assert [lease.notes for lease in leases] == [noted, noted]
    assert not run.state("changed")


def test_what_the_job_knows_is_compared_and_not_noted_again(run: LocalRun) -> None:
    run.durable = True
    run.state("changed")[key(1).hex()] = b"a"
    lease = Lease(1, Request("http://a.test/"), "", lambda lease: None)
    run.extent = Extent((lease,), 0)
    memory = Remembering("changed", run)
    assert not memory.differs(key(1), b"a")
    assert lease.notes is None
    assert repr(memory) == "<Remembering 'changed': 0 keys in memory>"
    assert memory.differs(key(1), b"b")
    assert lease.notes == [("changed", key(1).hex(), b"b")]
    assert not memory.differs(key(1), b"b")
    assert memory.differs(key(1), b"a")  # within the run, the last one counts


def test_what_has_no_page_is_kept_at_once(run: LocalRun) -> None:
    run.durable = True
    memory = Remembering("changed", run)
    for extent in (None, Extent(())):
        run.extent = extent
        assert memory.differs(key(1 if extent else 2), b"a")
    assert dict(run.state("changed")) == {key(1).hex(): b"a", key(2).hex(): b"a"}


def test_without_a_job_nothing_is_noted(run: LocalRun) -> None:
    lease = Lease(1, Request("http://a.test/"), "", lambda lease: None)
    run.extent = Extent((lease,), 0)
    memory = Remembering("changed", run)
    assert memory.differs(key(1), b"a")
    assert lease.notes is None
    assert not run.state("changed")
