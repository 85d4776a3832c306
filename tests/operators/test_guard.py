"""Tests of ops.guard."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import reactivex
from internet import Internet, Names, on_internet
from reactivex import operators as rx
from through import Spy, through

from streamcrawl import operators as ops
from streamcrawl.core import Dropped, Failed, Outcome, Request
from streamcrawl.errors import AddressRefused
from streamcrawl.events import Notice
from streamcrawl.operators.guard import guard
from streamcrawl.response import Response
from streamcrawl.testing.fake_fetch import FakeFetch
from streamcrawl.transport import SCHEMES, Wire
from streamcrawl.transport.ports import BAD_PORTS
from streamcrawl.urls import normalize

SITE = "http://shop.example"
ANY_PAGE = FakeFetch({"/": "home", "/latest/": "secret"})


def reasons(layer: Any, *urls: str, site: str = SITE, **options: Any) -> list[str]:
    """By URL, why it was dropped; "" if it was not."""
    outcomes = through(layer, to=[Request(url, site=site, **options) for url in urls], fetch=ANY_PAGE)
    by_url = {outcome.request.url: getattr(outcome, "reason", "") for outcome in outcomes}
    return [by_url[normalize(url)] for url in urls]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://shop.example/", ""),
        ("http://shop.example:8080/", ""),
        ("https://shop.example/", ""),
        ("http://shop.example:25/", "refused port"),
        ("https://shop.example:22/", "refused port"),
        ("http://[2606:4700::1]:6667/", "refused port"),
        ("http://user:secret@shop.example:6379/", ""),
        ("http://shop.example:10080/", "refused port"),
        ("ftp://shop.example:21/", ""),
        ("data:,x", ""),
        ("file:///etc/passwd", "refused scheme"),
        ("s3://bucket/key", "refused scheme"),
    ],
)
def test_what_is_refused_by_default(url: str, reason: str) -> None:
    assert reasons(guard(), url) == [reason]


def test_a_file_of_the_user_s_own_is_his_to_read() -> None:
    url = "file:///home/me/page.html"
    assert reasons(guard(), url, site="") == [""]
    assert reasons(guard(), url, site="file://") == [""]
    assert reasons(guard(), url, reach=("any",)) == [""]
    assert reasons(guard(), url, reach=("private",)) == ["refused scheme"]


@pytest.mark.parametrize(
    ("ports", "out"),
    [
        (None, [25]),
        ("any", []),
        ([80, 443, 25], [8080]),
        ({8080}, [80, 443, 25]),
    ],
)
def test_ports(ports: Any, out: list[int]) -> None:
    urls = {
        80: "http://shop.example/",
        443: "https://shop.example/",
        25: "http://shop.example:25/",
        8080: "http://shop.example:8080/",
    }
    got = reasons(guard(ports=ports), *urls.values())
    assert [port for port, reason in zip(urls, got, strict=True) if reason == "refused port"] == out


def test_the_ports_are_those_of_the_fetch_standard() -> None:
    assert len(BAD_PORTS) == 83
    assert {0, 1, 22, 25, 4190, 6679, 6697, 10080} <= BAD_PORTS
    assert not BAD_PORTS & {80, 443, 8000, 8080, 8443, 3000, 5000}


def test_schemes() -> None:
    urls = ("http://shop.example/", "https://shop.example/", "data:,x")
    assert reasons(guard(schemes=["HTTPS"]), *urls) == ["refused scheme", "", "refused scheme"]
    assert reasons(guard(schemes="http"), *urls) == ["", "refused scheme", "refused scheme"]
    assert reasons(guard(schemes=["ftps", "s3"]), *urls) == ["refused scheme"] * 3


def test_a_scheme_with_a_transport_of_the_user_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEMES, "gopher", SCHEMES["http"])
    assert reasons(guard(schemes="gopher"), "http://shop.example/") == ["refused scheme"]


PRIVATE = (
    "http://127.0.0.1/",
    "http://localhost/",
    "http://10.1.2.3/",
    "http://[::1]/",
    "http://169.254.169.254/latest/",
)


@pytest.mark.parametrize(
    ("allow", "site", "out"),
    [
        # None: fetch tells, after it has looked at more than the URL.
        (None, SITE, (0, 0, 0, 0, 0)),
        ((), SITE, (1, 1, 1, 1, 1)),
        ("any", SITE, (0, 0, 0, 0, 0)),
        ("private", SITE, (0, 0, 0, 0, 1)),
        (["10.0.0.0/8"], SITE, (1, 1, 0, 1, 1)),
        # The site's name is not looked up yet: fetch will.
        ("start", SITE, (0, 0, 0, 0, 1)),
        ("start", "http://93.184.216.34", (1, 1, 1, 1, 1)),
        ("start", "http://10.0.0.1", (0, 0, 0, 0, 1)),
        ("start", "http://localhost:8000", (0, 0, 0, 0, 1)),
        ("start", "http://169.254.169.254", (0, 0, 0, 0, 0)),
        ((), "http://127.0.0.1", (1, 1, 1, 1, 1)),
    ],
)
def test_addresses_in_urls(allow: Any, site: str, out: tuple[int, ...]) -> None:
    got = reasons(guard(allow=allow), *PRIVATE, site=site)
    assert got == ["refused address" if each else "" for each in out]


def test_a_request_s_own_reach_wins_over_allow_and_not_over_deny() -> None:
    layer = guard(allow=(), deny=["10.1.0.0/16", "169.254.169.254"])
    assert reasons(layer, *PRIVATE, reach=("any",)) == ["", "", "refused address", "", "refused address"]
    assert reasons(layer, *PRIVATE, reach=()) == ["refused address"] * 5
    assert reasons(guard(deny="127.0.0.0/8"), *PRIVATE) == ["refused address"] * 2 + [""] * 3
    urls = ("http://93.184.216.34/", "http://93.184.217.1/")
    assert reasons(guard(deny="93.184.216.0/24"), *urls) == ["refused address", ""]


def test_what_fetch_is_told() -> None:
    requests = [Request(SITE + "/", site=SITE, reach=reach) for reach in (None, ("10.0.0.0/8",), ())]
    more, less, public = guard(allow=("start", "fd00::/8")), guard(deny="10.1.0.0/16"), guard(allow=(), deny="8.8.8.8")
    told: list[object] = []
    for each in (guard(), more, less, public):
        spy = Spy()
        through(each, spy=spy, to=requests, fetch=ANY_PAGE)
        told.append([request.reach for request in spy.sent])
    assert told == [
        [None, ("10.0.0.0/8",), ()],
        [("start", "fd00::/8"), ("10.0.0.0/8",), ("public",)],
        [("!10.1.0.0/16",), ("10.0.0.0/8", "!10.1.0.0/16"), ("public", "!10.1.0.0/16")],
        [("public", "!8.8.8.8/32"), ("10.0.0.0/8", "!8.8.8.8/32"), ("public", "!8.8.8.8/32")],
    ]


def test_a_long_url_is_dropped_whatever_its_fragment() -> None:
    urls = (SITE + "/" + "a" * 30, SITE + "/#" + "a" * 30, SITE + "/" + "a" * 20 + "?" + "b" * 20)
    assert reasons(guard(max_url=50), *urls) == ["", "", "URL too long"]
    assert reasons(guard(max_url=49), *urls) == ["URL too long", "", "URL too long"]


def test_no_request_has_a_larger_body_than_the_guard_allows() -> None:
    sizes: list[int | None] = []

    async def fetch(request: Request) -> Response:
        sizes.append(request.max_size)
        return Response(request.url, request=request)

    through(guard(max_body=100), to=[Request(SITE, max_size=size) for size in (None, 99, 101)], fetch=fetch)
    assert sorted(sizes, key=str) == [100, 100, 99]


def test_refusals_are_counted_and_each_host_is_told_once() -> None:
    spy = Spy()
    urls = [
        "http://127.0.0.1/",
        "http://127.0.0.1/latest/",
        "http://shop.example:25/",
        "http://user:pw@shop.example:25/x",
    ]
    through(spy.layer, guard(allow=()), to=[Request(url, site=SITE) for url in urls], fetch=ANY_PAGE)
    assert spy.stats == {"guard/refused_address": 2, "guard/refused_port": 2}
    assert [(event.text, event.level) for event in spy.events if isinstance(event, Notice)] == [
        ("guard: refused address: http://127.0.0.1/; no more is said of 127.0.0.1", "warning"),
        ("guard: refused port: http://shop.example:25/; no more is said of shop.example", "warning"),
    ]


def test_what_fetch_refuses_is_counted_and_told_too() -> None:
    async def fetch(request: Request) -> Response:
        raise AddressRefused("intranet.corp (10.0.0.1): the address is private")

    spy = Spy()
    (outcome,) = through(spy.layer, guard(), to=[Request("http://intranet.corp/", site=SITE)], fetch=fetch)
    assert isinstance(outcome, Failed)
    assert spy.stats == {"guard/refused_address": 1}
    (told,) = [event.text for event in spy.events if isinstance(event, Notice)]
    assert told.startswith("guard: intranet.corp (10.0.0.1): the address is private: http://intranet.corp/; ")


def test_a_request_that_skips_it_passes() -> None:
    assert reasons(guard(allow=()), "http://127.0.0.1/", skip=("guard",)) == [""]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"allow": "10.0.0.1/8"}, r"not a network such as 10\.0\.0\.0/8"),
        ({"allow": ["10.0.0.0/8", "somewhere"]}, "'somewhere'"),
        ({"deny": "start"}, "'start'"),
        ({"deny": ["!10.0.0.0/8"]}, "'!10.0.0.0/8'"),
        ({"schemes": ()}, "nothing would be left"),
        ({"schemes": "http://"}, "'http://' is no scheme; did you mean 'http'"),
        ({"schemes": ["gemini", "htps"]}, r"guard\(schemes=…\): 'htps' is no scheme; did you mean 'https'"),
        ({"schemes": "1a"}, "'1a' is no scheme; such as 'https'"),
        ({"schemes": ""}, "'' is no scheme"),
        ({"ports": [0]}, "0 is no port: 1 to 65535"),
        ({"ports": [65536]}, "65536 is no port"),
        ({"ports": "80"}, r"guard\(ports='80'\): port numbers, or \"any\""),
        ({"max_url": 0}, r"guard\(max_url=0\): 1 or more"),
        ({"max_body": -1}, r"guard\(max_body=-1\): 1 or more"),
    ],
)
def test_arguments_are_checked_when_built(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        guard(**options)


def test_with_fetch_below_it_and_no_crawl_around_it() -> None:
    """What the layer allows and denies is what the wire does: a name is looked up, and its address checked."""

    async def main(net: Internet) -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        made = Names(intranet_corp=["10.1.2.3"], shop_example=["93.184.216.34"])

        async def outcome(layer: Any, name: str) -> str:
            found: list[Outcome] = []
            stage = ops.download(layer, fetch=Wire(resolver=lambda: made))
            await reactivex.of(Request(f"http://{name}:{port}/")).pipe(stage, rx.do_action(found.append))
            (one,) = found
            assert not isinstance(one, Dropped)
            return type(one.error).__name__ if isinstance(one, Failed) else "ok"

        try:
            assert await outcome(guard(), "intranet.corp") == "ok"
            assert await outcome(guard(allow=()), "intranet.corp") == "AddressRefused"
            assert await outcome(guard(allow="10.1.0.0/16"), "intranet.corp") == "ok"
            assert await outcome(guard(deny="10.1.0.0/16"), "intranet.corp") == "AddressRefused"
            assert await outcome(guard(deny="93.184.0.0/16"), "shop.example") == "AddressRefused"
            assert await outcome(guard(), "shop.example") == "ok"
            assert net.asked == ["10.1.2.3", "10.1.2.3", "93.184.216.34"]
        finally:
            server.close()
            await server.wait_closed()

    on_internet(main)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    await writer.drain()
    writer.close()
