"""The layer, held against the public http-state suite (tests/http_state/README.md)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from streamcrawl.cookies import CookieJar, parse_date
from streamcrawl.core import Request
from streamcrawl.headers import Headers
from streamcrawl.operators.cookies import cookies
from streamcrawl.response import Response
from streamcrawl.streams.layer import NamedLayer
from streamcrawl.streams.local import LocalRun
from streamcrawl.urls import Base

DATA = Path(__file__).parent / "http_state"
CASES: list[dict[str, Any]] = json.loads((DATA / "cases.json").read_text("utf-8"))
DATES: list[tuple[str, str | None]] = json.loads((DATA / "dates.json").read_text("utf-8"))
WRITTEN = datetime(2010, 6, 1, tzinfo=UTC).timestamp()
"""When the suite was: some of its cookies end in 2017 and 2019."""

NAMELESS = {
    "0004": "foo",
    "0021": "a=b; x; c=d",
    "0023": "foo",
    "0024": "foo",
    "0025": "foo",
    "0026": "foo",
    "0027": "bar",
    "0028": "foo",
    "CHROMIUM0009": "BLAHHH",
    "CHROMIUM0010": '"BLA\\"HHH"',
    "CHROMIUM0012": "ABC",
    "MOZILLA0012": 'test="fubar! = foo; five',
    "MOZILLA0014": "six",
    "MOZILLA0015": "seven",
    "MOZILLA0016": "eight",
    "MOZILLA0017": "eight; test=six",
    "NAME0017": "a=bar",
    "NAME0023": "foo",
    "NAME0025": "==a=bar",
    "NAME0028": "a",
    "NAME0031": '"foo',
    "NAME0032": '"foo\\"bar',
    "NAME0033": "aaa",
}
"""§5.6, step 3: what has no "=" is a value without a name, and so is what begins with "="; §5.8.3, step 4: it is sent
back as it came. RFC 6265 §5.2 ignored such a field. web-platform-tests expects the same, but for MOZILLA0012
and MOZILLA0017, where it leaves the cookie without a name out, although it does not in MOZILLA0014 to MOZILLA0016."""

DIFFERENT = {
    "DISABLED_CHROMIUM0022": ("", "§5.6, step 1: a field with a control character (NUL) is ignored, not cut off there"),
    "DISABLED_CHROMIUM0023": ("", "§5.6, step 1: a field with a control character (CR) is ignored, not cut off there"),
    "DISABLED_PATH0029": ("", "§5.1.4: /f%6Fo and /foo are two paths; nothing is decoded"),
    "OPTIONAL_DOMAIN0042": (
        "foo=bar",
        "§5.7, step 7: of two Domains the last counts; it is empty, so that there is none",
    ),
}
"""Where RFC 6265bis says otherwise: what is sent, and the rule. The suite's own names for these say that they are
disabled or optional."""


@pytest.fixture(scope="module")
def run() -> Iterator[LocalRun]:
    loop = asyncio.new_event_loop()
    made = LocalRun(loop)
    made.now = lambda: WRITTEN
    yield made
    loop.close()


def wire(text: str) -> str:
    """As it arrives: UTF-8, by way of Latin-1."""
    return text.encode().decode("latin-1")


def sent(case: dict[str, Any], layer: NamedLayer, run: LocalRun) -> str:
    """The Cookie field of the request that follows."""
    down, up = layer.make(run)
    assert down is not None
    assert up is not None
    name = case["test"].lower().replace("_", "-")
    page = f"http://home.example.org:8888/cookie-parser?{name}"
    fields = Headers([("Set-Cookie", wire(line)) for line in case["received"]])
    up(Response(page, 302, fields, request=Request(page)))
    target = Base(page).join(case.get("to", f"/cookie-parser-result?{name}"))
    request = down(Request(target))
    assert isinstance(request, Request)
    return (request.headers.get("cookie") or "").encode("latin-1").decode()


def expected(case: dict[str, Any]) -> str:
    return "; ".join(f"{name}={value}" for name, value in case["sent"])


def test_all_of_it_is_here() -> None:
    names = [case["test"] for case in CASES]
    assert (len(names), len(set(names)), len(DATES)) == (222, 222, 70)
    assert {*NAMELESS, *DIFFERENT} <= {*names}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["test"])
def test_case(case: dict[str, Any], run: LocalRun) -> None:
    name = case["test"]
    wanted = NAMELESS[name] if name in NAMELESS else DIFFERENT[name][0] if name in DIFFERENT else expected(case)
    assert sent(case, cookies(), run) == wanted


def test_what_differs_from_the_suite_is_what_is_named_here(run: LocalRun) -> None:
    differ = {case["test"] for case in CASES if sent(case, cookies(), run) != expected(case)}
    assert differ == {*NAMELESS, *DIFFERENT}


def test_without_nameless_cookies_all_but_four_are_as_rfc_6265_has_them(run: LocalRun) -> None:
    layer = cookies(jar=partial(CookieJar, nameless=False))
    differ = {case["test"] for case in CASES if sent(case, layer, run) != expected(case)}
    assert differ == {*DIFFERENT}
    assert len(CASES) - len(differ) == 218


@pytest.mark.parametrize(("text", "meant"), DATES)
def test_date(text: str, meant: str | None) -> None:
    seconds = parse_date(text)
    told = None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert told == meant
