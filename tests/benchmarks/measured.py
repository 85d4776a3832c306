"""One measured run: wall time, CPU time and peak memory of this process, printed as one line of JSON.

Needs nothing but the standard library: it also runs in the environments of other crawlers.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path


def peak_rss() -> int:
    """Bytes of memory that this process has held at most.

    Linux hands `ru_maxrss` down through exec, so that a big parent's peak would count as its child's; VmHWM is our own.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure(crawl: Callable[[], int]) -> None:
    """Run `crawl`, which gives the number of pages it fetched, and print what it took. Imports are done by then."""
    cpu = time.process_time()
    start = time.perf_counter()
    pages = crawl()
    seconds = time.perf_counter() - start
    cpu = time.process_time() - cpu
    print(json.dumps({"pages": pages, "seconds": seconds, "cpu": cpu, "peak_rss": peak_rss()}), flush=True)
