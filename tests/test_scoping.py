"""Tests of streamcrawl.scoping."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl import scoping
from streamcrawl.core import Request
from streamcrawl.scoping import domain_test, scope_test


def within(scope: Any, url: str, site: str = "https://shop.example.co.uk") -> bool:
    return scope_test(scope)(Request(url, site=site))


def is_short(request: Request) -> bool:
    return len(request.url) < 25


@pytest.mark.parametrize(
    ("scope", "url", "expected"),
    [
        ("host", "https://shop.example.co.uk/a", True),
        ("host", "http://shop.example.co.uk/a", True),
        ("host", "https://www.shop.example.co.uk/", True),
        ("host", "https://u:p@shop.example.co.uk/", True),
        ("host", "https://shop.example.co.uk?q", True),
        ("host", "https://shop.example.co.uk:8443/", False),
        ("host", "https://example.co.uk/", False),
        ("host", "https://shop.example.co.uk.evil.example/", False),
        ("host", "https://evil.example/https://shop.example.co.uk/", False),
        ("host", "ftp://shop.example.co.uk/", False),
        ("domain", "http://blog.example.co.uk:81/", True),
        ("domain", "https://other.co.uk/", False),
        ("domain", "https://example.com/", False),
        ("any", "http://elsewhere.example/", True),
        ("any", "ftp://elsewhere.example/", True),
        ("any", "file:///etc/passwd", False),
        ("any", "data:text/html,x", False),
        ("any", "s3://bucket/key", False),
        ("elsewhere.example", "http://www.elsewhere.example/", True),
        ("elsewhere.example", "https://shop.example.co.uk/", False),
        ("localhost", "http://localhost:8000/", True),
        (["a.example", "b.example"], "http://x.b.example/", True),
        (["a.example"], "http://ba.example/", False),
        (["münchen.example"], "http://www.xn--mnchen-3ya.example/", True),
        (["[::1]"], "http://[::1]:8080/", True),
        ([".a.example"], "http://a.example/", True),
        (["a.example"], "http://a.example./", True),
        (is_short, "http://anywhere.example/", True),
        (is_short, "http://anywhere.example/long", False),
        (is_short, "file:///etc/passwd", False),
    ],
)
def test_a_link_of_a_web_page(scope: Any, url: str, expected: bool) -> None:
    assert within(scope, url) is expected


@pytest.mark.parametrize(
    ("scope", "url", "site", "expected"),
    [
        ("host", "http://www.com/", "http://com", False),
        ("host", "https://example.com/", "http://www.example.com", True),
        ("host", "http://localhost:8001/", "http://localhost:8000", False),
        ("host", "http://10.0.0.1/", "http://10.0.0.1", True),
        ("domain", "http://10.0.0.1/", "http://127.0.0.1", False),
        ("domain", "http://[::1]:2/", "http://[::1]:1", True),
        ("domain", "http://b.github.io/", "http://a.github.io", False),
        ("host", "file:///b.html", "file://", True),
        ("domain", "file:///b.html", "file://", True),
        ("any", "file:///b.html", "file://", True),
        ("any", "http://a.example/", "file://", True),
        ("host", "http://a.example/", "file://", False),
        ("host", "http://a.example/", "", True),
    ],
)
def test_other_starts(scope: str, url: str, site: str, expected: bool) -> None:
    assert within(scope, url, site) is expected


@pytest.mark.parametrize("scope", ["hosts", "", "*"])
def test_an_unknown_word_is_refused_when_built(scope: str) -> None:
    with pytest.raises(ValueError, match=f"scope {scope!r}".replace("*", r"\*")):
        scope_test(scope)


@pytest.mark.parametrize("names", [["http://a.example/"], ["a.example:8080"], ["u@a.example"], ["*.a"], [""], ["a/b"]])
def test_what_is_no_name_is_refused_when_built(names: list[str]) -> None:
    with pytest.raises(ValueError, match="not a domain name"):
        scope_test(names)


@pytest.mark.parametrize("scope", ["::1", ["::1"], [" ::0:1"]])
def test_what_to_write_for_an_address_is_said(scope: Any) -> None:
    with pytest.raises(ValueError, match=r"not a domain name: .* \(write '\[::1\]'\)"):
        scope_test(scope)


def test_no_names_are_refused_when_built() -> None:
    with pytest.raises(ValueError, match="no domain names"):
        scope_test([])


labels = st.lists(st.sampled_from(["a", "b", "c", "com"]), min_size=1, max_size=4).map(".".join)


@given(st.lists(labels, min_size=1, max_size=4), labels)
def test_names_match_as_suffixes_at_a_dot(names: list[str], hostname: str) -> None:
    assert domain_test(names)(hostname) is any(f".{hostname}".endswith(f".{name}") for name in names)


def test_memory_is_bounded_and_verdicts_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoping, "REMEMBERED", 3)
    test = scope_test("domain")
    verdicts = [test(Request(f"http://h{n % 7}.example/", site="http://h3.example")) for n in range(21)]
    assert verdicts == [n % 7 == 3 for n in range(21)]
