"""The site and the requests that the contract checker offers to a layer."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Sequence
from random import Random
from typing import Any

from streamcrawl.core import Dropped, Failed, Outcome, Request
from streamcrawl.errors import (
    BodyTooLarge,
    ConnectError,
    DecodeError,
    FetchTimeout,
    ProtocolError,
    ResolveError,
    TLSError,
    TruncatedBody,
)
from streamcrawl.headers import Headers
from streamcrawl.response import Response
from streamcrawl.testing.fake_fetch import Answer, Chunks, links_to, page
from streamcrawl.urls import hostname_of

A, B, C, D = "http://a.example", "https://b.example", "http://c.example:8080", "http://www.d.example"
OFFSITE = "http://elsewhere.test"
NEVER = 3600.0
"""Seconds after which the page that never answers does answer."""

TEXT = (
    "<html><head><title>A page</title></head><body><h1>A page</h1><p>äöü</p>" + "<p>filler</p>" * 40 + "</body></html>"
)


async def _late(request: Request) -> Response:
    await asyncio.sleep(NEVER)
    return page("at last")


async def _slow(request: Request) -> Response:
    await asyncio.sleep(12)
    return page("slow")


def _broken_stream(request: Request) -> Response:
    chunks = Chunks(b"x" * 3000, size=1000, error=TruncatedBody(f"{request.url} broke off"))
    return page("x") if not request.stream else Response(request.url, 200, request=request, stream=chunks)


def _redirects() -> dict[str, Answer]:
    def to(target: str, status: int = 302) -> Response:
        return page(links_to(target), status=status, headers={"Location": target})

    moved: dict[str, Answer] = {f"/to/{status}": to("/ok", status) for status in (301, 302, 303, 307, 308)}
    targets = {
        "host": f"{B}/ok",
        "offsite": f"{OFFSITE}/ok",
        "loop": "/to/loop",
        "ping": "/to/pong",
        "pong": "/to/ping",
        "script": "javascript:alert(1)",
        "file": "file:///etc/passwd",
        "odd": "http://[half/an/address",
        "empty": "",
        "fragment": "/ok#part",
        "private": "/private/redirected",
    }
    moved.update({f"/to/{name}": to(target) for name, target in targets.items()})
    moved["/to/nowhere"] = page("no Location", status=302)
    moved["/to/choice"] = page(links_to("/ok"), status=300)
    return moved


def _failures() -> dict[str, Answer]:
    errors = [FetchTimeout, ConnectError, ResolveError, TLSError, ProtocolError, BodyTooLarge, DecodeError]
    failing: dict[str, Answer] = {f"/error/{error.__name__}": error("as it was told to") for error in errors}
    failing["/error/bug"] = KeyError("a bug in fetch")
    failing["/flaky"] = [ConnectError("once"), page("gone", status=503), TEXT]
    return failing


def _statuses() -> dict[str, Answer]:
    busy = page("busy", status=503, headers={"Retry-After": "5"})
    return {
        **{f"/status/{status}": page(f"{status}", status=status) for status in (204, 304, 401, 403, 404, 410, 418)},
        "/status/500": page("oops", status=500),
        "/status/503": busy,
        "/status/503/once": [busy, TEXT],
        "/status/503/date": page(status=503, headers={"Retry-After": "Tue, 01 Jan 2030 00:01:00 GMT"}),
        "/status/503/odd": page(status=503, headers={"Retry-After": "soon"}),
        "/status/429": page("too many", status=429, headers={"Retry-After": "-3"}),
    }


def _bodies() -> dict[str, Answer]:
    packed = gzip.compress(TEXT.encode(), mtime=0)
    html = ("Content-Type", "text/html")
    cookies = [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; Domain=other.test"), ("Set-Cookie", "=; ;;")]
    return {
        "/ok": TEXT,
        "/links": page(TEXT, links=["/ok", "/private/1", f"{OFFSITE}/", "mailto:a@b.test", "http://["]),
        "/empty": b"",
        "/gzip": page(packed, headers=[html, ("Content-Encoding", "gzip")]),
        "/gzip/broken": page(packed[:-30], headers=[html, ("Content-Encoding", "gzip")]),
        "/gzip/not": page(TEXT, headers=[html, ("Content-Encoding", "gzip")]),
        "/encoding/odd": page(TEXT, headers=[html, ("Content-Encoding", "rot13, gzip ,")]),
        "/cookies": page(TEXT, headers=[html, *cookies]),
        "/headers/odd": page(
            "x", headers=[("Content-Type", ";;;"), ("X", ""), ("x", "ä\x80"), ("Content-Length", "-1")]
        ),
        "/encoding/lies": page(b"\xff\xfe\x00\xd8", headers={"Content-Type": "text/html; charset=no-such"}),
        "/large": page(b"<p>" + b"x" * 300_000),
        "/never": _late,
        "/slow": _slow,
        "/breaks": _broken_stream,
    }


def default_site() -> dict[str, Answer]:
    """A site on several hosts with all that a layer may meet."""
    rules = page("User-agent: *\nDisallow: /private/\nCrawl-delay: 1\n", headers={"Content-Type": "text/plain"})
    robots: dict[str, Answer] = {
        "/robots.txt": page("none", status=404),
        f"{A}/robots.txt": rules,
        f"{C}/robots.txt": ConnectError("no robots"),
        f"{D}/robots.txt": page("oops", status=500),
    }
    return {**_bodies(), **_statuses(), **_failures(), **_redirects(), **robots, "/private/1": TEXT}


def default_requests(chance: Random) -> list[Request]:
    """Requests for all of it, in an order by chance: every page once, on one of the hosts, and special ones."""
    paths = [path for path in default_site() if path.startswith("/") and path != "/robots.txt"]
    plain = [_request(chance.choice((A, A, B, C, D)) + path, priority=chance.randint(-1, 1)) for path in paths]
    requests = [*plain, *_special(), *answered_requests()]
    chance.shuffle(requests)
    return requests


def _request(url: str, **options: Any) -> Request:
    fields: dict[str, Any] = {"site": hostname_of(url), "start": True, "meta": {"user": url}, **options}
    return Request(url, **fields)


def _special() -> list[Request]:
    secret = Headers({"Authorization": "Basic dXNlcjpwYXNz", "Cookie": "mine=1", "X-Mine": "1"})
    post: dict[str, Any] = {"method": "POST", "body": b"a=1", "headers": Headers({"Content-Type": "text/plain"})}
    return [
        *(_request(f"{A}/to/{status}", **post) for status in (301, 303, 307)),
        _request(f"{A}/ok", **post),
        _request(f"{A}/ok", method="HEAD"),
        _request(f"{A}/ok", dont_filter=True),
        _request(f"{A}/to/host", headers=secret, cookies={"session": "1"}),
        _request(f"{A}/to/302", headers=secret),
        _request(f"{A}/status/503/once", headers=secret, cookies={"session": "1"}),
        _request(f"{OFFSITE}/ok", site="a.example", start=False, depth=2),
        _request(f"{A}/private/1"),
        _request(f"{A}/large", max_size=1000),
        _request(f"{A}/slow", timeout=5.0),
        _request(f"{A}/ok", stream=True),
        _request(f"{A}/gzip", stream=True),
        _request(f"{A}/breaks", stream=True),
        _request(f"{A}/status/404", statuses="any"),
        _request(f"{B}/unknown?b=2&a=1#part", referrer=f"{A}/ok", via=(f"{A}/old",), attempt=1),
        _request("data:text/html,hello", site=""),
        _request("file:///a/file", site=""),
    ]


def answers() -> Sequence[tuple[str, Outcome]]:
    """(URL, what is known to be its answer), for requests that are answered before they travel down."""
    moved = page(status=302, headers={"Location": "/ok"})
    busy = page("busy", status=503, headers={"Retry-After": "5"})
    packed = page(gzip.compress(TEXT.encode(), mtime=0), headers={"Content-Encoding": "gzip"})
    cookie = page(TEXT, headers=[("Set-Cookie", "c=3"), ("Content-Type", "text/html")])
    pages = {"/ok": page(TEXT), "/to/302": moved, "/status/503": busy, "/gzip": packed, "/cookies": cookie}
    found: list[tuple[str, Outcome]] = [
        (A + path, made.replace(url=A + path, request=Request(A + path))) for path, made in pages.items()
    ]
    found += [(f"{A}/private/1", page(TEXT).replace(url=f"{A}/private/1"))]
    found += [(f"{B}/down", Failed(Request(f"{B}/down"), ConnectError("known to fail")))]
    found += [(f"{B}/refused", Dropped(Request(f"{B}/refused"), "known to be refused"))]
    return found


def answered_requests() -> list[Request]:
    """A request with its answer for each of `answers`."""
    return [_request(url, answer=outcome) for url, outcome in answers()]
