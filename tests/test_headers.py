"""Headers against a naive model: a list of (name, value)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl import Headers
from streamcrawl.headers import NO_HEADERS

Pairs = list[tuple[str, str]]

names = st.sampled_from(["Accept", "ACCEPT", "accept", "Set-Cookie", "set-cookie", "X-One", "x-ONE", "Date", "", "ä"])
values = st.sampled_from(["", "a", "b, c", "A", "x=1; path=/", "\xff"])
pairs = st.lists(st.tuples(names, values), max_size=8)


def among(model: Pairs, name: str) -> list[str]:
    return [value for field, value in model if field.lower() == name.lower()]


@given(pairs, names)
def test_reading_goes_by_the_name_whatever_its_case(model: Pairs, name: str) -> None:
    headers = Headers(model)
    found = among(model, name)
    assert headers.getall(name) == found
    assert headers.get(name) == (", ".join(found) if found else None)
    assert headers.get(name, "default") == (", ".join(found) if found else "default")
    assert (name in headers) == bool(found)
    if found:
        assert headers[name] == ", ".join(found)
    else:
        with pytest.raises(KeyError):
            headers[name]


@given(pairs)
def test_order_and_repeated_fields_are_kept(model: Pairs) -> None:
    headers = Headers(model)
    assert headers.pairs() == tuple(model)
    assert list(headers) == list(dict.fromkeys(name.lower() for name, _ in model))
    assert len(headers) == len(list(headers))


@given(pairs, names, values)
def test_changing_gives_a_copy_and_leaves_the_original(model: Pairs, name: str, value: str) -> None:
    headers = Headers(model)
    others = [(field, each) for field, each in model if field.lower() != name.lower()]

    assert headers.add(name, value).pairs() == (*model, (name, value))
    assert headers.set(name, value).pairs() == (*others, (name, value))
    assert headers.without(name).pairs() == tuple(others)
    assert headers.pairs() == tuple(model)


@given(pairs, pairs)
def test_defaults_fill_only_what_is_absent(model: Pairs, others: Pairs) -> None:
    headers = Headers(model)
    absent = [(name, value) for name, value in others if not among(model, name)]
    filled = headers.defaults(others)
    assert filled.pairs() == (*model, *absent)
    assert filled.defaults(others) is filled


@given(pairs, pairs)
def test_equality_ignores_the_case_of_names_only(one: Pairs, two: Pairs) -> None:
    same = [(name.lower(), value) for name, value in one] == [(name.lower(), value) for name, value in two]
    assert (Headers(one) == Headers(two)) == same
    if same:
        assert hash(Headers(one)) == hash(Headers(two))
    assert Headers([(name.upper(), value) for name, value in one if name.isascii()]) == Headers(
        [(name.lower(), value) for name, value in one if name.isascii()]
    )


@given(pairs)
def test_made_of_headers_or_of_raw_bytes_it_is_the_same(model: Pairs) -> None:
    headers = Headers(model)
    assert Headers(headers) == headers
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in model]
    assert Headers.from_raw(raw) == headers


def test_a_mapping_and_a_generator_serve_too() -> None:
    assert Headers({"A": "1", "B": "2"}).pairs() == (("A", "1"), ("B", "2"))
    assert Headers((name, "x") for name in ("A", "a")).getall("A") == ["x", "x"]


def test_bytes_of_the_wire_come_through_unharmed() -> None:
    every = bytes(range(256))
    assert Headers.from_raw([(b"X", every)])["x"].encode("latin-1") == every


def test_nothing_to_change_gives_the_object_itself() -> None:
    headers = Headers({"A": "1"})
    assert headers.without("B", "C") is headers
    assert headers.defaults({"a": "2"}) is headers
    assert NO_HEADERS.pairs() == ()
    assert not list(NO_HEADERS)


def test_it_is_no_headers_that_is_something_else() -> None:
    headers = Headers({"A": "1"})
    assert headers != {"A": "1"}
    assert 1 not in headers
    assert repr(headers) == "Headers([('A', '1')])"


def test_what_would_change_them_says_what_to_write() -> None:
    headers: Any = Headers({"A": "1"})
    with pytest.raises(TypeError, match=r"Headers do not change: .*headers\.set\('X', …\)"):
        headers["X"] = "1"
    for name, known in (("update", "set"), ("setdefault", "defaults"), ("getlist", "getall"), ("pop", "without")):
        with pytest.raises(AttributeError, match=rf"no attribute '{name}'; there is {known}\("):
            getattr(headers, name)
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'$"):
        headers.nothing  # noqa: B018
    assert headers.pairs() == (("A", "1"),)
