"""redirect: where a hop leads, and what it takes along."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rxo

from streamcrawl.core import Again, Dropped, Failed, Lease, Outcome, Request
from streamcrawl.errors import ConnectError, FetchError
from streamcrawl.headers import Headers
from streamcrawl.operators.download import download
from streamcrawl.operators.redirect import InvalidRedirect, TooManyRedirects, redirect
from streamcrawl.response import Response
from streamcrawl.streams.layer import NamedLayer
from streamcrawl.streams.local import LocalRun
from streamcrawl.testing.virtual_time import run_virtual

URL = "https://a.example/folder/page?q=1"


ONE_ORIGIN = {"authorization", "host", "proxy-authorization"}


def up(outcome: Outcome, layer: NamedLayer | None = None) -> Outcome:
    loop = asyncio.new_event_loop()
    try:
        hook = (layer or redirect()).make(LocalRun(loop)).up
        assert hook is not None
        result = hook(outcome)
    finally:
        loop.close()
    assert not isinstance(result, Awaitable)
    return result


def moved(location: str, status: int = 302, url: str = URL, headers: Headers | None = None, **request: Any) -> Response:
    fields = Headers([("Location", location), *(headers.pairs() if headers else ())])
    return Response(url, status, fields, request=Request(url).replace(**request))


def hop(response: Response, layer: NamedLayer | None = None) -> Request:
    again = up(response, layer)
    assert isinstance(again, Again), again
    assert again.request is response.request
    assert again.hop
    return again.next


@pytest.mark.parametrize(
    ("value", "max_wait", "seconds"),
    [
        ("3", 10.0, 3.0),
        ("3600", 10.0, 10.0),
        ("3", 1.0, 1.0),
        ("3", 0.0, None),
        ("0", 10.0, None),
        ("soon", 10.0, None),
        (None, 10.0, None),
    ],
)
def test_the_hop_waits_as_the_redirect_asks(value: str | None, max_wait: float, seconds: float | None) -> None:
    before = time.time()
    headers = None if value is None else Headers([("Retry-After", value)])
    not_before = hop(moved("/other", headers=headers), redirect(max_wait=max_wait)).not_before
    assert (not_before == 0) if seconds is None else (before + seconds <= not_before <= time.time() + seconds)


@pytest.mark.parametrize("max_wait", [-1.0, float("inf"), float("nan")])
def test_a_bad_wait_is_refused_when_built(max_wait: float) -> None:
    with pytest.raises(ValueError, match="max_wait"):
        redirect(max_wait=max_wait)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/other", "https://a.example/other"),
        ("other", "https://a.example/folder/other"),
        ("?q=2", "https://a.example/folder/page?q=2"),
        ("//b.example/x", "https://b.example/x"),
        ("http://b.example", "http://b.example/"),
        ("HTTP://B.example:80/a/../b", "http://b.example/b"),
        ("  /padded  ", "https://a.example/padded"),
        ("/with space", "https://a.example/with%20space"),
        ("", "https://a.example/folder/page?q=1"),
        # bytes beyond ASCII, as they come over the wire: UTF-8, and what is not UTF-8
        ("/caf\u00c3\u00a9?x=\u00c3\u00a9", "https://a.example/caf%C3%A9?x=%C3%A9"),
        ("/caf\u00e9", "https://a.example/caf%E9"),
        ("http://caf\u00c3\u00a9.example/", "http://xn--caf-dma.example/"),
        ("/\u20ac", "https://a.example/%E2%82%AC"),
    ],
)
def test_where_a_location_leads(location: str, target: str) -> None:
    assert hop(moved(location)).url == target


@pytest.mark.parametrize(
    ("source", "location", "target"),
    [
        ("https://a.example/#top", "/b", "https://a.example/b#top"),
        ("https://a.example/#top", "/b#end", "https://a.example/b#end"),
        ("https://a.example/#top", "/b#", "https://a.example/b#"),
        ("https://a.example/", "/b#end", "https://a.example/b#end"),
        ("https://a.example/#top", "#end", "https://a.example/#end"),
    ],
)
def test_the_fragment_is_kept_unless_the_target_has_one(source: str, location: str, target: str) -> None:
    assert hop(moved(location, url=source)).url == target


@pytest.mark.parametrize(
    ("status", "method", "becomes"),
    [
        (301, "GET", "GET"),
        (301, "HEAD", "HEAD"),
        (301, "POST", "GET"),
        (301, "PUT", "PUT"),
        (302, "POST", "GET"),
        (302, "DELETE", "DELETE"),
        (303, "GET", "GET"),
        (303, "HEAD", "HEAD"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "DELETE", "GET"),
        (307, "POST", "POST"),
        (307, "GET", "GET"),
        (308, "POST", "POST"),
        (308, "PATCH", "PATCH"),
    ],
)
def test_the_method_is_rewritten_as_fetch_says(status: int, method: str, becomes: str) -> None:
    kept = Headers({"X-Mine": "1"})
    sent = Headers({"Content-Type": "text/plain", "content-length": "4", "Content-Language": "en", "X-Mine": "1"})
    sent = sent.add("Content-Encoding", "gzip").add("Content-Location", "/x")
    request = Request(URL, method=method, body=b"body", headers=sent)
    following = hop(moved("/b", status).replace(request=request))
    assert following.method == becomes
    changed = method != becomes
    assert following.body == (b"" if changed else b"body")
    assert following.headers == (kept if changed else sent)


@pytest.mark.parametrize(
    ("source", "target", "gone"),
    [
        ("https://a.example/", "https://a.example/b", set[str]()),
        ("https://a.example/", "https://a.example:443/b", set[str]()),
        ("https://a.example/", "https://a.example:8443/b", ONE_ORIGIN),
        ("http://a.example/", "https://a.example/b", ONE_ORIGIN),
        ("https://a.example/", "http://a.example/b", ONE_ORIGIN | {"cookie", "referer"}),
        ("https://a.example/", "https://www.a.example/b", ONE_ORIGIN | {"cookie"}),
        ("http://a.example/", "http://b.example/b", ONE_ORIGIN | {"cookie"}),
    ],
)
def test_what_is_dropped_on_the_way_to_another_origin(source: str, target: str, gone: set[str]) -> None:
    own = {
        "Authorization": "Basic x",
        "Cookie": "a=1",
        "Host": "a.example",
        "Proxy-Authorization": "Basic y",
        "Referer": source,
        "X-Mine": "1",
    }
    following = hop(
        moved(target, url=source, cookies={"b": "2"}).replace(request=Request(source, headers=Headers(own)))
    )
    assert set(following.headers) == {name.lower() for name in own} - gone


@pytest.mark.parametrize(("proxy", "kept"), [("http://proxy.example:3128", True), ("", False), (None, False)])
def test_credentials_for_the_proxy_that_a_request_names_go_along_with_the_proxy(proxy: str | None, kept: bool) -> None:
    headers = Headers({"Proxy-Authorization": "Bearer token", "Authorization": "Basic x"})
    following = hop(moved("http://b.example/", proxy=proxy).replace(request=Request(URL, headers=headers, proxy=proxy)))
    assert following.proxy == proxy
    assert set(following.headers) == ({"proxy-authorization"} if kept else set())


def test_a_hop_is_made_from_the_request_as_it_was_leased() -> None:
    leased = Request(URL, priority=3, depth=4, meta={"mine": 1}, cookies={"own": "1"}, dont_filter=True)
    wire = leased.replace(
        headers=Headers({"Cookie": "secret=1", "User-Agent": "x"}),
        lease=Lease(1, leased, "https://a.example", lambda lease: None),
        attempt=2,
        not_before=99.0,
    )
    following = hop(Response(URL, 301, Headers({"Location": "/b"}), request=wire))
    assert len(following.headers) == 0
    assert following.lease is None
    assert following.cookies == {}  # the jar has them; sent again they would undo a newer Set-Cookie
    assert (following.priority, following.depth, following.meta, following.dont_filter) == (5, 4, {"mine": 1}, True)
    assert (following.attempt, following.not_before, following.answer) == (0, 0.0, None)
    assert (following.via, following.via_reasons) == ((URL,), ("301",))


def test_why_it_was_led_on_is_kept_with_where() -> None:
    following = hop(moved("/b", 308, via=("https://a.example/0",), via_reasons=("meta refresh",)))
    assert following.via == ("https://a.example/0", URL)
    assert following.via_reasons == ("meta refresh", "308")


@pytest.mark.parametrize(
    ("own", "target", "told"),
    [
        ("https://a.example/x?q=1", "/b", "https://a.example/x?q=1"),
        ("https://a.example/x?q=1", "https://b.example/", "https://a.example/"),
        ("https://a.example/x?q=1", "http://a.example/", None),
        ("no address", "https://b.example/", None),
    ],
)
def test_a_referer_of_your_own_tells_another_site_no_more_than_a_page_would(
    own: str, target: str, told: str | None
) -> None:
    request = Request(URL, headers=Headers({"Referer": own}))
    assert hop(moved(target).replace(request=request)).headers.get("Referer") == told


def test_a_body_that_went_out_over_https_is_not_sent_on_in_the_clear() -> None:
    response = moved("http://a.example/b", 307, method="POST", body=b"secret")
    assert up(response) is response
    assert hop(moved("http://a.example/b", 303, method="POST", body=b"secret")).body == b""
    assert hop(moved("http://a.example/b", 307, method="POST")).method == "POST"
    assert hop(moved("https://b.example/", 308, method="POST", body=b"open")).body == b"open"


def test_a_request_may_say_how_often_it_is_led_on() -> None:
    response = moved("/b", max_redirects=0)
    assert up(response) is response
    via = ("https://a.example/1", "https://a.example/2")
    assert hop(moved("/b", via=via, max_redirects=3), redirect(times=1)).max_redirects == 3
    failed = up(moved("/b", via=via, max_redirects=2))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, TooManyRedirects)


def test_a_request_let_in_once_more_leads_nowhere_else_twice() -> None:
    again = hop(moved("/b", skip=("scope", "dedupe"), dont_filter=True))
    assert (again.dont_filter, again.skip) == (False, ("scope",))
    assert hop(moved("/b", skip=("scope",), dont_filter=True)).dont_filter


@pytest.mark.parametrize(
    ("referrer", "target", "policy", "told"),
    [
        (None, "https://b.example/", None, None),
        ("https://a.example/x", "https://a.example/b", None, "https://a.example/x"),
        ("https://a.example/x", "https://b.example/", None, "https://a.example/"),
        ("https://a.example/x", "http://a.example/b", None, None),
        ("https://a.example/x", "https://a.example/b", "no-referrer", None),
        ("https://a.example/x", "https://b.example/", "unsafe-url", "https://a.example/x"),
    ],
)
def test_the_referrer_is_worked_out_anew(
    referrer: str | None, target: str, policy: str | None, told: str | None
) -> None:
    headers = Headers({"Referrer-Policy": policy}) if policy else None
    assert hop(moved(target, headers=headers, referrer=referrer)).referrer == told


@pytest.mark.parametrize(
    "outcome",
    [
        Response(URL, 200, Headers({"Location": "/b"})),
        Response(URL, 201, Headers({"Location": "/b"})),
        Response(URL, 300, Headers({"Location": "/b"})),
        Response(URL, 304, Headers({"Location": "/b"})),
        Response(URL, 301),
        moved("mailto:someone@a.example"),
        moved("file:///etc/passwd"),
        moved("data:text/html,x"),
        moved("ftp://a.example/"),
        moved("s3://bucket/key"),
        moved("/b", statuses=(302,)),
        moved("/b", statuses="any"),
        Failed(Request(URL), ConnectError("refused")),
        Dropped(Request(URL), "robots.txt"),
        Again(Request(URL), Request(URL), "503"),
    ],
)
def test_left_alone(outcome: Outcome) -> None:
    assert up(outcome) is outcome


@pytest.mark.parametrize("location", ["http://", "http://[::1", "https://a.example:99999/", "http://a b.example/"])
def test_a_location_that_is_no_url_fails(location: str) -> None:
    failed = up(moved(location))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, InvalidRedirect)
    assert str(failed.error) == f"{URL} redirects to {location!r}, which is no URL"


def test_of_two_locations_the_first_counts() -> None:
    assert hop(moved("/first", headers=Headers({"Location": "/second"}))).url == "https://a.example/first"


def test_over_the_limit_it_fails() -> None:
    via = ("https://a.example/1", "https://a.example/2")
    assert hop(moved("/4", via=via), redirect(times=3)).via == (*via, URL)
    failed = up(moved("/4", via=via), redirect(times=2))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, TooManyRedirects)
    assert isinstance(failed.error, FetchError)
    assert str(failed.error) == "https://a.example/1 redirects more than 2 times, last to https://a.example/4"
    assert isinstance(up(moved("/b"), redirect(times=0)), Failed)


def test_arguments_are_checked_when_built() -> None:
    with pytest.raises(ValueError, match="times=-1"):
        redirect(times=-1)


class Body:
    def __init__(self) -> None:
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"x"

    async def aclose(self) -> None:
        self.closed = True


def test_a_streamed_body_is_closed_only_if_the_hop_is_taken() -> None:
    async def work(location: str) -> tuple[Outcome, bool]:
        body = Body()
        response = moved(location).replace(stream=body)
        hook = redirect().make(LocalRun(asyncio.get_running_loop())).up
        assert hook is not None
        result = hook(response)
        return (await result if isinstance(result, Awaitable) else result), body.closed

    taken, closed = asyncio.run(work("/b"))
    assert isinstance(taken, Again)
    assert closed
    left, closed = asyncio.run(work("mailto:someone@a.example"))
    assert isinstance(left, Response)
    assert not closed


def test_in_a_pipe_hops_are_followed_to_the_end() -> None:
    async def site(request: Request) -> Response:
        number = int(request.url.rpartition("/")[2])
        if number == 3:
            return Response(request.url, 200, request=request)
        return Response(request.url, 302, Headers({"Location": f"/{number + 1}"}), request=request)

    async def work() -> list[Outcome]:
        source = rx.of(Request("http://a.example/1"))
        return await source.pipe(download(redirect(), fetch=site), rxo.to_list())

    (outcome,) = run_virtual(work)
    assert isinstance(outcome, Response)
    assert outcome.url == "http://a.example/3"
    assert outcome.request.via == ("http://a.example/1", "http://a.example/2")
