"""How long an event loop was blocked: how late a timer rings that should ring every two milliseconds.

On a machine that has other things to do, most of that is waiting for a processor, which Linux tells by thread.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable

from measured import peak_rss

EVERY = 0.002


class Late:
    """Seconds, the longest of each: late at all, and late for another reason than that no processor was free."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.blocked = 0.0
        self._rung = 0.0
        self._waited = 0.0
        self._file: int | None = None

    def ring(self) -> None:
        """To be called every EVERY seconds, by the thread of the loop."""
        now, waited = time.perf_counter(), self._waits()
        if self._rung:
            late = now - self._rung - EVERY
            self.longest = max(self.longest, late)
            self.blocked = max(self.blocked, late - (waited - self._waited))
        self._rung, self._waited = now, waited

    def _waits(self) -> float:
        """Seconds for which this thread was ready to go on, and was not let. 0 where there is no such file.

        Source: Documentation/scheduler/sched-stats.rst of Linux, /proc/<pid>/schedstat.
        """
        if self._file is None:
            try:
                self._file = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
            except OSError:
                self._file = -1
        return int(os.pread(self._file, 100, 0).split()[1]) / 1e9 if self._file >= 0 else 0.0

    async def watch(self) -> None:
        while True:
            self.ring()
            await asyncio.sleep(EVERY)


def measure(crawl: Callable[[], int], late: Late) -> None:
    """Run `crawl`, which gives the number of pictures it stored, and print what it took. Imports are done by then."""
    cpu, start = time.process_time(), time.perf_counter()
    pictures = crawl()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    told = {"pictures": pictures, "seconds": seconds, "cpu": cpu, "peak_rss": peak_rss()}
    print(json.dumps({**told, "late": late.longest, "blocked": late.blocked}), flush=True)
