"""Any of the downloader's layers, in any order, around a hostile web: laws hold, nothing goes where it must not."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Iterator
from random import Random
from typing import Any

import pytest

from streamcrawl import Crawl, Failed, Headers, Request, Response, Summary
from streamcrawl import operators as ops
from streamcrawl.backoff import backoff
from streamcrawl.caching import MemoryStore, Replay, Rfc9111
from streamcrawl.core import Layer
from streamcrawl.errors import ConnectError, FetchTimeout, OperatorError, ProxyError, ResolveError, TruncatedBody
from streamcrawl.events import OperatorFailed, Stalled
from streamcrawl.proxies import rotation
from streamcrawl.testing import run_virtual
from streamcrawl.throttling import AutoThrottle, Rate
from streamcrawl.urls import hostname_of

PROXIES = ("http://one.proxy:1", "http://two.proxy:1")
ROBOTS = b"User-agent: *\nDisallow: /no\nCrawl-delay: 0.1\n"
LOCATIONS = (
    *("/1", "/no", "http://b.test/3", "https://a.test/4", "http://bad.b.test/", "", "file:///etc/passwd"),
    *("http://[", "http://10.0.0.1/", "//c.test/x", "#!state", "http://u:p@b.test/"),
)


def layers(random: Random) -> list[Layer]:
    """Some of them, at least three, in some order."""
    quick = backoff(0.2, ceiling=1.0)
    every: list[Callable[[], Layer]] = [
        lambda: ops.scope("a.test", "b.test", deny="bad.b.test"),
        lambda: ops.guard(max_url=500, max_body=100_000),
        lambda: ops.user_agent("shopbot/1.0 (+http://shop.test/)"),
        lambda: ops.robots_txt(ttl=random.choice((86_400.0, 3.0)), min_ttl=0, unreachable_ttl=2),
        lambda: ops.http_auth("user", "secret", domain="a.test", insecure=True),
        ops.default_headers,
        lambda: ops.timeout(5),
        lambda: ops.size_limit(50_000, warn=lambda request: 10 if request.stream else None),
        ops.conditional,
        lambda: ops.retry(wait=quick),
        ops.ajax_crawl,
        ops.meta_refresh,
        lambda: ops.redirect(times=6),
        ops.cookies,
        lambda: ops.http_cache(policy=random.choice((Replay(), Rfc9111())), store=MemoryStore()),
        lambda: ops.proxy(rotation(PROXIES, rest=quick, ban=[403])),
        lambda: ops.throttle(auto=AutoThrottle(start=0.1), rules={"*": Rate(concurrency=2)}),
        ops.decompress,
        ops.download_stats,
    ]
    return [make() for make in random.sample(every, random.randint(3, len(every)))]


class Chunked:
    """The body of a streamed response."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body

    async def aclose(self) -> None:
        self.closed = True


class Web:
    """Servers and proxies that answer as chance has it, and look at what they get."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.wrong: list[str] = []

    async def __call__(self, request: Request) -> Response:
        random = self._random
        self._look(request)
        await asyncio.sleep(random.random() * 0.3)
        if request.proxy == PROXIES[0] and random.random() < 0.3:
            raise ProxyError("refused", proxy=PROXIES[0])
        if random.random() < 0.05:
            raise random.choice((ConnectError, FetchTimeout, ResolveError, TruncatedBody))("x")
        if request.url.endswith("/robots.txt"):
            status, fields, body = random.choice((200, 200, 404, 500, 301)), {"Location": "/robots.txt"}, ROBOTS
        else:
            status, fields, body = self._answer()
        if not request.stream:
            return Response(request.url, status, Headers(fields), body, request)
        return Response(request.url, status, Headers(fields), b"", request, stream=Chunked(body))

    def _answer(self) -> tuple[int, dict[str, str], bytes]:
        random = self._random
        html = {"Content-Type": "text/html", "Set-Cookie": f"b={random.randrange(9)}; Path=/"}
        moved = {"Location": random.choice(LOCATIONS), "Set-Cookie": "a=1"}
        return random.choice(
            (
                (random.choice((301, 302, 303, 307, 308)), moved, b"x"),
                (503, {"Retry-After": random.choice(("1", "0", "soon", "99999"))}, b""),
                (random.choice((304, 403, 404, 429, 500)), {}, b"no"),
                (200, html, b'<meta http-equiv=refresh content="1;url=/%d">' % random.randrange(20)),
                (200, html, b'<meta name=fragment content="!">'),
                (200, {"Content-Encoding": "gzip", "Cache-Control": "max-age=1", "ETag": '"1"'}, gzip.compress(b"x")),
                (200, {"Content-Encoding": "gzip"}, b"no gzip"),
                (200, {}, b"x" * 200_000),
                *(((200, {**html, "Vary": "Cookie"}, b'<a href="/%d">' % random.randrange(30)),) * 4),
            )
        )

    def _look(self, request: Request) -> None:
        host, headers = hostname_of(request.url), request.headers
        if "authorization" in headers and host != "a.test":
            self.wrong.append(f"{request}: credentials of a.test")
        if len(headers.getall("cookie")) > 1 or len(headers.getall("user-agent")) > 1:
            self.wrong.append(f"{request}: {headers}")
        if not request.url.startswith(("http://", "https://")):
            self.wrong.append(f"{request}: what has it to do on the wire?")


def crawled(seed: int) -> tuple[Summary, list[str]]:
    """A crawl, and what went wrong in it."""
    random = Random(seed)
    web = Web(random)

    def starts() -> Iterator[Request]:
        for n in range(25):
            yield Request(
                f"http://{random.choice('abc')}.test/{n}{random.choice(('', '', '#!s'))}",
                method=random.choice(("GET", "GET", "POST", "HEAD")),
                cookies=random.choice(({}, {"c": "1"})),
                stream=random.random() < 0.2,
                cookiejar=random.choice((None, "jar")),
                statuses=random.choice(((), "any", (404, 503))),
            )

    async def parse(page: Response) -> AsyncIterator[Any]:
        if page.stream is None and b"href" in page.body:
            yield page.follow(page.css("a::attr(href)").get(""), stream=random.random() < 0.2)
        elif random.random() < 0.5:
            try:
                await page.read()
            except Exception:  # what is no gzip
                return

    def failed(end: Any) -> None:
        if isinstance(end, Failed) and isinstance(end.error, OperatorError):
            web.wrong.append(str(end.error))

    async def main() -> Summary:
        stage: Any = ops.download(*layers(random), fetch=web)
        wide, narrow = random.choice((1, 2, 8)), random.choice((1, 4))
        crawl = Crawl(list(starts()), scope="any", seed=seed, concurrency=wide, per_host=narrow)
        run = crawl.pipe(stage, ops.scrape(parse, errback=failed)).start()
        for kind in (OperatorFailed, Stalled):
            run.events.on(kind, lambda event: web.wrong.append(repr(event)))
        summary = await run
        web.wrong += [f"{run.hosts.used} places"] * bool(run.hosts.used) + ["memory"] * bool(run.budget.used)
        return summary

    return run_virtual(main), web.wrong


@pytest.mark.parametrize("begin", range(0, 160, 20))
def test_any_layers_in_any_order(begin: int) -> None:
    for seed in range(begin, begin + 20):
        summary, wrong = crawled(seed)
        assert (seed, summary.error, wrong) == (seed, None, [])
        assert (summary.reason, summary.balanced, summary.waiting) == ("finished", True, 0), seed
        assert summary.responses + summary.failed > 0, seed
