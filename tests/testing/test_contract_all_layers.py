"""Every layer that is shipped keeps the laws, alone and together."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from reactivex import operators as op

from streamcrawl.breaker import CircuitBreaker, RetryBudget
from streamcrawl.caching import MemoryStore, Replay
from streamcrawl.core import Dropped, Layer, Outcome, Request
from streamcrawl.errors import ConnectError, Drop
from streamcrawl.operators.ajax_crawl import ajax_crawl
from streamcrawl.operators.conditional import conditional
from streamcrawl.operators.cookies import cookies
from streamcrawl.operators.decompress import decompress
from streamcrawl.operators.default_headers import default_headers
from streamcrawl.operators.default_layers import default_layers
from streamcrawl.operators.down import down
from streamcrawl.operators.download_stats import download_stats
from streamcrawl.operators.guard import guard
from streamcrawl.operators.http_auth import http_auth
from streamcrawl.operators.http_cache import http_cache
from streamcrawl.operators.map_async import map_async
from streamcrawl.operators.meta_refresh import meta_refresh
from streamcrawl.operators.on_request import on_request
from streamcrawl.operators.on_response import on_response
from streamcrawl.operators.proxy import proxy
from streamcrawl.operators.redirect import redirect
from streamcrawl.operators.retry import retry
from streamcrawl.operators.robots_txt import robots_txt
from streamcrawl.operators.scope import scope
from streamcrawl.operators.size_limit import size_limit
from streamcrawl.operators.throttle import throttle
from streamcrawl.operators.timeout import timeout
from streamcrawl.operators.up import up
from streamcrawl.operators.user_agent import user_agent
from streamcrawl.proxies import rotation
from streamcrawl.response import Response
from streamcrawl.streams.layer import stack
from streamcrawl.testing import check_layer
from streamcrawl.throttling import AutoThrottle, Pushback, Rate


def refuse(request: Request) -> Request | Outcome | None:
    if "/private/" in request.url:
        return Dropped(request, "private")
    return request.replace(headers=request.headers.set("X-Seen", "1")) if request.depth else None


def pick(response: Response) -> Response | None:
    if response.status == 410:
        raise Drop("gone for good")
    return response.replace(flags=("picked",)) if response.status == 200 else None


async def slowly_refuse(request: Request) -> Request | Outcome | None:
    await asyncio.sleep(2)
    return refuse(request)


async def slowly_pick(response: Response) -> Response | None:
    await asyncio.sleep(2)
    return pick(response)


async def slow_request(request: Request) -> Request:
    await asyncio.sleep(1)
    return request


async def slow_outcome(outcome: Outcome) -> Outcome:
    await asyncio.sleep(1)
    return outcome


def is_public(request: Request) -> bool:
    return "/private/" not in request.url


def url_of(request: Request) -> str:
    return request.url


def growing(repeat: int, random: Random) -> float:
    return repeat + random.random()


LAYERS: dict[str, Callable[[], Layer]] = {
    "ajax_crawl": ajax_crawl,
    "conditional": conditional,
    "cookies": cookies,
    "cookies, few": lambda: cookies(jars=1, total=2, debug=True),
    "decompress": decompress,
    "decompress, bounded": lambda: decompress(max_size=100),
    "decompress, what is there": lambda: decompress(truncated="keep"),
    "default_headers": default_headers,
    "default_headers, own": lambda: default_headers({"X-Own": "1", "Accept": None}),
    "download_stats": download_stats,
    "guard": guard,
    "guard, strict": lambda: guard(allow=(), deny="8.8.8.0/24", schemes="https", ports=[443], max_url=40, max_body=100),
    "http_auth": lambda: http_auth("me", "secret", domain="a.example"),
    "http_auth, any": lambda: http_auth("me", "secret", domain="any", insecure=True),
    "http_cache": lambda: http_cache(store=MemoryStore()),
    "http_cache, everything": lambda: http_cache(policy=Replay(), store=MemoryStore()),
    "http_cache, alone": lambda: http_cache(policy=Replay(), store=MemoryStore(), ignore_missing=True),
    "meta_refresh": meta_refresh,
    "meta_refresh, none": lambda: meta_refresh(times=0),
    "on_request": lambda: on_request(refuse),
    "on_request, async": lambda: on_request(slowly_refuse),
    "on_response": lambda: on_response(pick),
    "on_response, async": lambda: on_response(slowly_pick),
    "proxy": lambda: proxy({"http": "http://u:p@proxy.example:3128"}, no_proxy="b.example"),
    "proxy, rotation": lambda: proxy(
        rotation(["http://p1", "http://p2", "socks5://p3"], order="random", sticky="host", doubts=1, ban=(403, 429))
    ),
    "redirect": redirect,
    "redirect, none": lambda: redirect(times=0),
    "retry": retry,
    "retry, often": lambda: retry(times=5, wait=growing),
    "retry, with little patience": lambda: retry(
        times=5, breaker=CircuitBreaker(failures=1, rests=2), budget=RetryBudget(ratio=0, reserve=3)
    ),
    "retry, without bounds": lambda: retry(unsafe=True, breaker=None, budget=None),
    "robots_txt": robots_txt,
    "scope": lambda: scope("a.example", re.compile(r"^https://b\.example/"), deny=lambda request: request.depth > 3),
    "size_limit": lambda: size_limit(1000),
    "size_limit, warning": lambda: size_limit(warn=100),
    "throttle": throttle,
    "throttle, all of it": lambda: throttle(
        rules={"*": Rate(delay=1.0)}, auto=AutoThrottle(), pushback=Pushback(errors=(ConnectError,))
    ),
    "timeout": lambda: timeout(5.0),
    "user_agent": lambda: user_agent("mine/1.0 (+https://mine.example)"),
    "down": lambda: down(op.map(lambda request: request)),
    "down, filter": lambda: down(op.filter(is_public)),
    "down, distinct": lambda: down(op.distinct(url_of)),
    "down, map_async": lambda: down(map_async(slow_request, 4)),
    "up": lambda: up(op.map(lambda outcome: outcome)),
    "up, map_async": lambda: up(map_async(slow_outcome, 4)),
    "default_layers": lambda: stack(*default_layers()),
    "default_layers, all filled": lambda: stack(
        *default_layers(
            scope=scope("a.example", "b.example"),
            user_agent=user_agent("mine/1.0"),
            timeout=timeout(30),
            size_limit=size_limit(100_000),
            decompress=decompress(),
        )
    ),
}

NO_LAYERS = {
    *("at_most_once", "batch", "depth", "download", "feed", "http_error", "images", "map_async", "offload", "on_item"),
    *("changed", "referer", "scrape", "sqlite", "strict"),
    *("files", "pipeline", "validate", "zip_by"),
    *("copied_fields", "scope_links", "start_mark", "url_length"),
}
"""Operators that are no layers of `download`."""


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_keeps_the_laws(name: str) -> None:
    report = check_layer(LAYERS[name])
    assert sum(report.came.values()) == report.offered > 1000


def test_no_operator_is_left_out() -> None:
    import streamcrawl.operators

    files = Path(streamcrawl.operators.__path__[0]).glob("[a-z]*.py")
    checked = {name.partition(",")[0] for name in LAYERS}
    assert {path.stem for path in files} - NO_LAYERS == checked
