"""A server that is busy, resets, breaks off or dies: its log of arrivals shows that `retry` kept its rules."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from streamcrawl import Crawl, Dropped, Failed, Response
from streamcrawl import operators as ops
from streamcrawl.backoff import backoff
from streamcrawl.breaker import CircuitBreaker
from streamcrawl.transport import Wire

QUICK = backoff(0.05, ceiling=0.05, jitter=0)


class Log:
    """What the server saw, and when."""

    def __init__(self, answer: Callable[[str, int, asyncio.StreamWriter], Awaitable[None]]) -> None:
        self.arrivals: list[tuple[float, str]] = []
        self._answer = answer

    async def __call__(self, seen: Any, writer: asyncio.StreamWriter) -> None:
        path = seen.line.split()[1]
        nth = sum(each == path for _, each in self.arrivals)
        self.arrivals.append((asyncio.get_running_loop().time(), path))
        await self._answer(path, nth, writer)

    def times(self, *paths: str) -> list[float]:
        return [at for at, path in self.arrivals if path in paths or not paths]


def reply(status: int = 200, *fields: str, body: bytes = b"well") -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


async def crawled(site: Any, paths: list[str], **options: Any) -> tuple[Any, list[str]]:
    """The summary of a crawl, and what its errback got."""
    errors: list[str] = []

    def errback(outcome: Failed | Dropped) -> None:
        errors.append(type(outcome.error).__name__ if isinstance(outcome, Failed) else outcome.reason)

    def callback(response: Response) -> None:
        assert response.body == b"well"

    retry = ops.retry(wait=QUICK, **options)
    layers = ops.default_layers(robots_txt=None, retry=retry)
    flow = Crawl([site.url(path) for path in paths], per_host=4).pipe(
        ops.download(*layers, fetch=Wire(timeout=0.5)), ops.scrape(callback, errback=errback)
    )
    return await flow.start(), errors


def test_what_goes_wrong_once_comes_in_the_end(serve: Any) -> None:
    async def answer(path: str, nth: int, writer: asyncio.StreamWriter) -> None:
        if path == "/reset" and nth < 2:  # aiohttp may ask a second time by itself
            writer.transport.abort()
        elif nth:
            writer.write(reply())
        elif path == "/half":
            writer.write(reply(body=b"well" * 10)[:-15])
            writer.close()
        elif path == "/slow":
            await asyncio.sleep(0.7)
            writer.close()
        elif path != "/well":
            writer.write(reply(int(path[1:])))
        else:
            writer.write(reply())

    async def main() -> None:
        log = Log(answer)
        paths = ["/well", "/reset", "/half", "/slow", "/500", "/502", "/503", "/504", "/408", "/429", "/522"]
        async with serve(log) as site:
            summary, errors = await crawled(site, paths)
        assert errors == []
        assert summary.counts.pages == len(paths)
        arrived = Counter(path for _, path in log.arrivals)
        assert arrived.pop("/reset") == 3
        assert arrived == {path: 1 if path == "/well" else 2 for path in paths if path != "/reset"}
        for path in paths[1:]:
            times = log.times(path)
            assert times[-1] - times[0] >= 0.05
        reasons = {key for key in summary.stats if key.startswith("retry/reason_count/")}
        assert {"TruncatedBody", "FetchTimeout", "ProtocolError", "429 Too Many Requests"} <= {
            key.rpartition("/")[2] for key in reasons
        }

    asyncio.run(main())


@pytest.mark.parametrize("status", [429, 503])
def test_the_whole_host_rests_as_long_as_retry_after_says(serve: Any, status: int) -> None:
    async def answer(path: str, nth: int, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(status, "Retry-After: 1") if (path, nth) == ("/0", 0) else reply())

    async def main() -> None:
        log = Log(answer)
        async with serve(log) as site:
            summary, errors = await crawled(site, [f"/{n}" for n in range(20)])
        assert (summary.counts.pages, errors) == (20, [])
        busy = log.times()[0]
        at_once = [at for at in log.times() if at < busy + 0.9]
        assert len(at_once) <= 4 + 4  # those that were on their way, and those that went out before its answer came
        assert min(at for at in log.times() if at not in at_once) >= busy + 1.0
        assert log.times("/0")[1] >= busy + 1.0

    asyncio.run(main())


def test_a_dying_host_is_not_hammered(serve: Any) -> None:
    """100 requests to a host that is overloaded: without the breaker they are 300 tries."""

    async def answer(path: str, nth: int, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(502))

    async def main() -> None:
        log = Log(answer)
        breaker = CircuitBreaker(failures=5, rest=backoff(0.2, ceiling=0.4, jitter=0), rests=2)
        async with serve(log) as site:
            summary, errors = await crawled(site, [f"/{n}" for n in range(100)], breaker=breaker)
        assert summary.counts.failed == len(errors) == 100
        assert summary.stats["retry/rests"] == 2
        assert len(log.arrivals) <= 5 + 2 * 4 + 2  # in a row, those under way with them, the probes
        fifth, probes = log.times()[4], log.times()[-2:]
        assert probes[0] - fifth >= 0.15
        assert probes[1] - probes[0] >= 0.35

    asyncio.run(main())
