"""Timeouts and waits for memory, in virtual time over a transport of our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from streamcrawl.core import Request
from streamcrawl.errors import FetchTimeout
from streamcrawl.testing import run_virtual

KIB = 1024


class Slow(httpx.AsyncBaseTransport):
    """Answers after `head` seconds, and gives chunks of `size` bytes, `gap` seconds apart."""

    def __init__(self, head: float = 0.0, gap: float = 0.0, size: int = 1, chunks: int = 1) -> None:
        self.head, self.gap, self.size, self.chunks = head, gap, size, chunks
        self.given = 0
        self.closed = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(self.head)
        return httpx.Response(200, stream=SlowBody(self))


class SlowBody(httpx.AsyncByteStream):
    def __init__(self, slow: Slow) -> None:
        self.slow = slow

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self.slow.chunks):
            await asyncio.sleep(self.slow.gap)
            self.slow.given += 1
            yield bytes(self.slow.size)

    async def aclose(self) -> None:
        self.slow.closed += 1


def test_the_timeout_is_for_the_whole_exchange(wire: Any) -> None:
    async def main() -> None:
        slow = Slow(head=2.0, gap=3.0, chunks=3)
        async with wire(transport=lambda: slow, timeout=11.5) as fetch:
            began = asyncio.get_running_loop().time()
            response = await fetch(Request("http://h/"))
            assert (response.latency, len(response.body)) == (2.0, 3)
            with pytest.raises(FetchTimeout, match=r"^http://h/: no complete answer within 10.5 s$"):
                await fetch(Request("http://h/", timeout=10.5))
            assert asyncio.get_running_loop().time() - began == 11.0 + 10.5
            assert slow.closed == 2

    run_virtual(main())


def test_the_timeout_of_a_stream_is_for_the_gaps(wire: Any) -> None:
    async def main() -> None:
        slow = Slow(head=9.0, gap=9.0, chunks=100)
        async with wire(transport=lambda: slow, timeout=10.0) as fetch:
            response = await fetch(Request("http://h/", stream=True))
            stream = aiter(response.stream)
            for _ in range(50):
                assert await anext(stream) == b"\0"
                await asyncio.sleep(1000.0)  # the reader may take its time
            slow.gap = 10.5
            with pytest.raises(FetchTimeout, match=r"^http://h/: nothing came for 10 s in the middle of the body$"):
                await anext(stream)
            assert slow.closed == 1

    run_virtual(main())


def test_memory_is_reserved_before_reading_on_and_the_clock_waits(wire: Any, metered_run: Any) -> None:
    async def main() -> None:
        run = metered_run()
        run.gate = asyncio.Event()
        slow = Slow(gap=1.0, size=64 * KIB, chunks=16)
        async with wire(run, transport=lambda: slow, timeout=17.0) as fetch:
            task = asyncio.create_task(fetch(Request("http://h/")))
            await asyncio.sleep(3600.0)  # far longer than the request may take
            assert not task.done()
            assert run.reserved == [256 * KIB]
            assert slow.given == 5  # nothing was read since
            run.gate.set()
            assert len((await task).body) == KIB * KIB
            assert run.reserved == [256 * KIB] * 3

    run_virtual(main())


def test_the_clock_goes_on_after_the_wait_for_memory(wire: Any, metered_run: Any) -> None:
    async def main() -> None:
        run = metered_run()
        slow = Slow(gap=1.0, size=64 * KIB, chunks=16)
        async with wire(run, transport=lambda: slow, timeout=15.5) as fetch:
            with pytest.raises(FetchTimeout, match=r"within 15\.5 s"):
                await fetch(Request("http://h/"))
            assert slow.given == 15

    run_virtual(main())


def test_small_bodies_and_streams_reserve_nothing(wire: Any, metered_run: Any) -> None:
    async def main() -> None:
        run = metered_run()
        slow = Slow(size=256 * KIB)
        async with wire(run, transport=lambda: slow) as fetch:
            await fetch(Request("http://h/"))
            slow.chunks = 9
            response = await fetch(Request("http://h/", stream=True))
            assert sum([len(piece) async for piece in response.stream]) == 9 * 256 * KIB
            assert run.reserved == []

    run_virtual(main())
