"""Where the CPU time of a page goes: the crawl of the PostgreSQL manual by streamcrawl, sampled.

    python tests/benchmarks/where.py [--rounds N]

A timer interrupts the process after every millisecond of CPU time and counts whose code was running: that of the
innermost frame which belongs to a part of the list below. Time inside a C function counts for the line that called it.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import FrameType

PARTS = (
    ("parsing HTML (lxml)", ("streamcrawl/trees.py", "/parsel/selector.py:create_root_node")),
    ("selecting: CSS, XPath", ("/parsel/", "/cssselect/", "streamcrawl/response.py:_hrefs")),
    ("decoding the text", ("streamcrawl/encoding.py", "/charset_normalizer/")),
    ("links: joining, making Requests", ("streamcrawl/urls.py", "streamcrawl/response.py")),
    (
        "the frontier: dedupe, scope, politeness",
        ("streamcrawl/frontier/", "streamcrawl/crawl/door.py", "streamcrawl/scoping.py"),
    ),
    ("HTTP: aiohttp", ("/aiohttp/", "/yarl/", "/multidict/", "/aiohappyeyeballs/")),
    (
        "HTTP: httpx and the seam to aiohttp",
        ("/httpx/", "/httpx_aiohttp/", "streamcrawl/transport/", "streamcrawl/headers.py"),
    ),
    (
        "the feed",
        ("streamcrawl/feeds/", "streamcrawl/operators/feed.py", "streamcrawl/items.py", "/msgspec/", "/json/"),
    ),
    (
        "the run: leases, settling, budget, events",
        ("streamcrawl/crawl/", "streamcrawl/core.py", "streamcrawl/events.py"),
    ),
    ("the pipe: layers, scraper, operators", ("streamcrawl/", "/operators/")),
    ("reactivex", ("/reactivex/",)),
    ("the callback itself", ("pages_streamcrawl.py",)),
    ("the event loop, sockets", ("/asyncio/events.py:_run", "/asyncio/base_events.py:_run_once")),
)


def part_of(frame: FrameType | None) -> str:
    """The part that the innermost frame belongs to; frames of the standard library belong to who called them."""
    while frame is not None:
        place = f"{frame.f_code.co_filename}:{frame.f_code.co_name}"
        for part, patterns in PARTS:
            if any(pattern in place for pattern in patterns):
                return part
        frame = frame.f_back
    return "other"


def sample(url: str, feed: str) -> None:
    """Crawl in this process, and print the seconds of CPU time and the samples of each part."""
    import pages_streamcrawl

    counts: Counter[str] = Counter()
    signal.signal(signal.SIGPROF, lambda number, frame: counts.update((part_of(frame),)))
    sys.argv[1:] = [url, feed]
    cpu = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
    pages = pages_streamcrawl.main()
    signal.setitimer(signal.ITIMER_PROF, 0)
    print(f"{pages}\t{time.process_time() - cpu}")
    for part, count in counts.items():
        print(f"{part}\t{count}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--sample", nargs=2, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.sample:
        sample(*given.sample)
        return
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from corpus.manual import manual_site

    counts: Counter[str] = Counter()
    pages, cpu = 0, 0.0
    with manual_site() as url, tempfile.TemporaryDirectory() as folder:
        for _ in range(given.rounds):
            command = [sys.executable, __file__, "--sample", url, f"{folder}/items.jsonl"]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rows = [line.split("\t") for line in done.stdout.splitlines()]
            pages, cpu = pages + int(rows[0][0]), cpu + float(rows[0][1])
            counts.update({part: int(count) for part, count in rows[1:]})
    total = sum(counts.values())
    print(f"| {1000 * cpu / pages:.2f} ms of CPU time a page | µs | share |")
    print("|---|---:|---:|")
    for part, count in counts.most_common():
        print(f"| {part} | {1e6 * cpu / pages * count / total:.0f} | {100 * count / total:.0f} % |")


if __name__ == "__main__":
    main()
