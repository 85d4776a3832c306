"""The layer, held against the public http-state suite (tests/http_state/README.md)."""

from __future__ import annotations

import asyncio
import json
import time
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
"""When the suite was."""

EXPIRED = {"0002", "0003", "COMMA0006", "COMMA0007"}
"""Those that set a cookie until 2017 or 2019, and want it sent."""

DISABLED = {
    "DISABLED_CHROMIUM0022": "",  # RFC 6265bis §5.6, step 1: a field with a NUL is ignored, not cut off there
    "DISABLED_CHROMIUM0023": "",  # and so is one with a CR
    "DISABLED_PATH0029": "",  # RFC 6265 §5.1.4: /f%6Fo and /foo are two paths; nothing is decoded
}
"""What is sent where the suite wants something else; its own names for these say that they are disabled."""

LIKE_BROWSERS = {
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
    "OPTIONAL_DOMAIN0042": "foo=bar",
}
"""What is sent with `like_browsers`. RFC 6265bis §5.6, step 3: what has no "=" is a value without a name, and so is
what begins with "="; §5.8.3, step 4: it is sent back as it came. §5.7, step 7: of two Domains the last counts; it is
empty, so that there is none. The suite goes by RFC 6265 §5.2, which ignores both. web-platform-tests expects what is
written here, but for MOZILLA0012 and MOZILLA0017, where it leaves the cookie without a name out, although it does not
in MOZILLA0014 to MOZILLA0016."""


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
    assert {*EXPIRED, *DISABLED, *LIKE_BROWSERS} <= {*names}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["test"])
def test_case(case: dict[str, Any], run: LocalRun) -> None:
    assert sent(case, cookies(), run) == DISABLED.get(case["test"], expected(case))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["test"])
def test_case_like_browsers(case: dict[str, Any], run: LocalRun) -> None:
    layer = cookies(jar=partial(CookieJar, like_browsers=True))
    assert sent(case, layer, run) == {**DISABLED, **LIKE_BROWSERS}.get(case["test"], expected(case))


def differing(run: LocalRun) -> set[str]:
    return {case["test"] for case in CASES if sent(case, cookies(), run) != expected(case)}


def test_of_the_222_cases_all_but_the_disabled_ones_are_as_the_suite_has_them(run: LocalRun) -> None:
    assert differing(run) == {*DISABLED}


def test_with_the_clock_of_today_its_expired_cookies_are_not_sent_and_215_remain() -> None:
    loop = asyncio.new_event_loop()
    today = LocalRun(loop)
    today.now = time.time
    differ = differing(today)
    loop.close()
    assert differ == {*DISABLED, *EXPIRED}
    assert len(CASES) - len(differ) == 215


@pytest.mark.parametrize(("text", "meant"), DATES)
def test_date(text: str, meant: str | None) -> None:
    seconds = parse_date(text)
    told = None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert told == meant
