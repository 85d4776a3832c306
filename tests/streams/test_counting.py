"""Counters whose number is bounded."""

from __future__ import annotations

import copy
import pickle
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl.streams import counting
from streamcrawl.streams.counting import FAMILIES, KEYS, LONGEST, Counters


def test_it_counts_as_a_dict_does() -> None:
    stats = Counters()
    stats["pages"] = stats.get("pages", 0) + 1
    stats["pages"] += 2
    stats["items_dropped/no price"] += 1
    assert stats == {"pages": 3, "items_dropped/no price": 1}
    assert stats["absent"] == 0
    assert "absent" not in stats


def test_names_beyond_the_bound_are_added_up() -> None:
    stats = Counters()
    for n in range(KEYS + 500):
        name = f"items_dropped/no price in {n}/index.html"
        stats[name] = stats.get(name, 0) + 2
    assert len(stats) == KEYS + 1
    assert stats["items_dropped/(other)"] == 1_000
    assert sum(stats.values()) == 2 * (KEYS + 500)


def test_a_flood_leaves_other_counters_alone() -> None:
    stats = Counters()
    for n in range(KEYS + 1):
        stats[f"callback_dropped/{n}"] += 1
        stats[f"reason {n}"] += 1
    stats["robotstxt/forbidden"] += 1
    stats["callback_dropped/0"] += 1
    assert stats["robotstxt/forbidden"] == 1
    assert stats["callback_dropped/0"] == 2
    assert (stats["callback_dropped/(other)"], stats["(other)"]) == (1, 1)


def test_families_are_bounded_too() -> None:
    stats = Counters()
    for n in range(FAMILIES + 50):
        stats[f"{n}/x"] += 1
    stats["0/y"] += 1
    assert len(stats) == FAMILIES + 2
    assert (stats["(other)"], stats["0/y"]) == (50, 1)


def test_long_names_are_not_kept() -> None:
    stats = Counters()
    stats["items_dropped/" + "x" * LONGEST] += 1
    stats["items_dropped/why"] += 1
    stats["items_dropped/" + "x" * LONGEST] += 1
    stats["x" * LONGEST] += 1
    stats["x" * LONGEST + "x"] += 1
    assert stats == {"(other)": 2, "items_dropped/why": 1, "items_dropped/(other)": 1, "x" * LONGEST: 1}


def test_what_is_no_number_counts_one_beyond_the_bound() -> None:
    stats = Counters({f"a/{n}": "text" for n in range(KEYS)})
    stats["a/more"] = ["a", "list"]
    stats["a/float"] = 0.5
    assert (stats["a/0"], stats["a/(other)"]) == ("text", 1.5)


def test_no_way_of_setting_leads_around_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "KEYS", 2)
    stats = Counters({"a": 1, "b": 1, "c": 1})
    stats.update({"d": 1, "a": 5}, e=1)
    stats.update([("f", 1)])
    stats |= {"g": 1}
    assert stats.setdefault("h", 1) == 1
    assert stats.setdefault("a", 1) == 5
    assert stats == {"a": 5, "b": 1, "(other)": 6}
    assert isinstance(stats, Counters)


@pytest.mark.parametrize("how", ["copy", "deepcopy", "pickle"])
def test_a_copy_goes_on_with_the_bound(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "KEYS", 2)
    first = Counters({"x/a": 1, "x/b": 1, "x/c": 1})
    stats: Counters = pickle.loads(pickle.dumps(first)) if how == "pickle" else getattr(copy, how)(first)
    stats["x/d"] += 1
    assert stats == {"x/a": 1, "x/b": 1, "x/(other)": 2}
    assert first["x/(other)"] == 1


class Sum(msgspec.Struct):
    dropped: dict[str, int] = msgspec.field(default_factory=Counters)


def test_it_stands_in_messages_where_a_dict_does() -> None:
    made = Sum()
    made.dropped["duplicate"] += 1
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=Sum) == made


@given(st.lists(st.tuples(st.text("ab/", max_size=4), st.integers(0, 5))))
def test_the_sum_is_that_of_a_counter_without_bound(counted: list[tuple[str, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "KEYS", 3)
        patch.setattr(counting, "FAMILIES", 2)
        exact: Counter[str] = Counter()
        stats = Counters()
        for name, by in counted:
            exact[name] += by
            stats[name] = stats.get(name, 0) + by
    assert sum(stats.values()) == exact.total()
    assert len(stats) <= 2 * 3 + 3
    assert all(stats[name] == exact[name] for name in stats if "(other)" not in name)
