"""How long an event loop was blocked: how late a timer rings that should ring every two milliseconds."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

from measured import peak_rss

EVERY = 0.002


class Late:
    """Seconds; the longest, and all above ten milliseconds."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.all: list[float] = []
        self._rung = 0.0

    def ring(self) -> None:
        """To be called every EVERY seconds."""
        now = time.perf_counter()
        if self._rung:
            late = now - self._rung - EVERY
            self.longest = max(self.longest, late)
            if late > 0.01:
                self.all.append(late)
        self._rung = now

    async def watch(self) -> None:
        while True:
            self.ring()
            await asyncio.sleep(EVERY)


def measure(crawl: Callable[[], int], late: Late) -> None:
    """Run `crawl`, which gives the number of pictures it stored, and print what it took. Imports are done by then."""
    cpu, start = time.process_time(), time.perf_counter()
    pictures = crawl()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    told = {"pictures": pictures, "seconds": seconds, "cpu": cpu, "peak_rss": peak_rss(), "blocked": late.longest}
    print(json.dumps(told), flush=True)
