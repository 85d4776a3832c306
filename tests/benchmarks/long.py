"""A long run: do rate, memory and the loop's latency stay level, hour after hour?

    python tests/benchmarks/long.py [--minutes N] [--waiting N] [--job DIR]

Crawls an endless site with a job and a JSON Lines feed. The site is a process with eight hosts (ports) and always gives
the same pages. Its first pages have 20 new links each, until `--waiting` requests wait; from then on each page has one,
so that as many go on to wait. Beside them each page has the links of a menu and of its siblings, which are known; one
in a hundred pages is behind a redirect, and one in a thousand links to a page that is out of order (503), which is
tried again later. A line a minute on stderr; at the end a table of the whole run on stdout, and the verdict: the last
ten minutes against the first ten at the full number of waiting requests (a third of a shorter run).

A rate depends on who else uses the machine, the CPU time of a page much less.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from streamcrawl import Crawl
from streamcrawl import operators as ops

HOSTS = 8
FAN = 20
"""New links of a page while the site grows."""

TEXT = b"<p>" + b"A page has some text of its own to be read and parsed. " * 40 + b"</p>"
LATENCY = 0.05
"""Seconds between two looks at how late the loop is."""

ROWS = 20
"""Lines of the table at the end, at most."""

TOLERATED = 1.10
"""The last minutes may have up to so many times the CPU time, the memory, … of the first."""


def wide_of(waiting: int) -> int:
    """How many pages of a host have FAN new links."""
    return max(1, waiting // HOSTS // (FAN - 1))


def leaves_of(wide: int) -> int:
    """How many pages of a host wait when all the wide ones have been read."""
    return FAN * wide + 1 - wide


def children(number: int, wide: int) -> range:
    """The new pages that a page links to: a tree at first, then as many chains as it has leaves."""
    if number < wide:
        return range(FAN * number + 1, FAN * number + FAN + 1)
    return range(number + leaves_of(wide), number + leaves_of(wide) + 1)


def parent(number: int, wide: int) -> int:
    return (number - 1) // FAN if number <= FAN * wide else number - leaves_of(wide)


def body_of(number: int, wide: int) -> bytes:
    """The page with this number."""
    new = [b"/r/%d" % each if each % 100 == 0 else b"/%d" % each for each in children(number, wide)]
    known = [b"/%d" % each for each in range(8)]
    if number:
        siblings = children(parent(number, wide), wide)
        known += [b"/%d" % each for each in siblings[:8] if each % 100]
    broken = [b"/broken/%d" % number] if number % 1000 == 999 else []
    links = b" ".join(b'<a href="%s">a page</a>' % path for path in (*known, *new, *broken))
    return b"<html><head><title>Page %d</title></head><body><h1>Page %d</h1>%s%s</body></html>" % (
        number,
        number,
        TEXT,
        links,
    )


def answer(path: bytes, wide: int) -> bytes:
    """The whole response."""
    if path.startswith(b"/r/"):
        return b"HTTP/1.1 301 Moved Permanently\r\nLocation: /%s\r\nContent-Length: 0\r\n\r\n" % path[3:]
    if path.startswith(b"/broken/"):
        return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    if not path[1:].isdigit():
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    body = body_of(int(path[1:]), wide)
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )


class Site(asyncio.Protocol):
    """One connection to the site; it has GET requests without bodies to answer."""

    def __init__(self, wide: int) -> None:
        self._wide = wide
        self._read = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self._read = (self._read + data).split(b"\r\n\r\n")
        for request in requests:
            self._transport.write(answer(request.split(b" ", 2)[1], self._wide))


def served(reports: Connection, wide: int) -> None:
    """The site's process; reports its ports."""

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        servers = [await loop.create_server(lambda: Site(wide), "127.0.0.1", 0) for _ in range(HOSTS)]
        reports.send([server.sockets[0].getsockname()[1] for server in servers])
        await asyncio.Event().wait()

    asyncio.run(serve())


@dataclass(frozen=True, slots=True)
class Minute:
    """What an interval of the run came to; sizes in MB, as they were at its end."""

    seconds: float
    pages: int
    cpu: float
    waiting: int
    seen: int
    rss: float
    job: float
    feed: float
    late: float
    """How late the loop was: the 99th percentile of the interval, in ms."""
    latest: float
    growing: bool

    @property
    def rate(self) -> float:
        return self.pages / self.seconds

    @property
    def cpu_ms(self) -> float:
        return 1000 * self.cpu / max(1, self.pages)

    def cells(self) -> str:
        return (
            f"{self.rate:,.0f} | {self.cpu_ms:.2f} | {self.waiting:,} | {self.seen:,} | {self.rss:.0f} "
            f"| {self.job:,.0f} | {self.feed:,.0f} | {self.late:.0f} | {self.latest:.0f}"
        )


def merged(minutes: list[Minute]) -> Minute:
    """Several intervals as one."""
    sums = {name: sum(getattr(each, name) for each in minutes) for name in ("seconds", "pages", "cpu")}
    ends = {each.name: getattr(minutes[-1], each.name) for each in fields(Minute)}
    worst = {name: max(getattr(each, name) for each in minutes) for name in ("rss", "late", "latest")}
    return Minute(**{**ends, **worst, **sums})


class Watch:
    """Looks at a run once an interval."""

    def __init__(self, run: Any, job: Path, feed: Path, waiting: int) -> None:
        self._run, self._job, self._feed, self._enough = run, job, feed, 0.98 * waiting
        self._late: list[float] = []
        self._growing = True
        self._pages, self._cpu, self._at = 0, cpu_time(), time.monotonic()
        self.minutes: list[Minute] = []

    async def latency(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LATENCY
            await asyncio.sleep(LATENCY)
            self._late.append(1000 * (loop.time() - due))

    async def look(self, interval: float) -> Minute:
        """Wait for the interval. Gives what it came to."""
        await asyncio.sleep(self._at + interval - time.monotonic())
        counts, now, cpu = self._run.counts, time.monotonic(), cpu_time()
        late, self._late = sorted(self._late), []
        offered, known = counts.offered, counts.dropped.get("duplicate", 0)
        waiting = self._run.frontier.waiting
        minute = Minute(
            seconds=now - self._at,
            pages=counts.pages - self._pages,
            cpu=cpu - self._cpu,
            waiting=waiting,
            seen=offered.start + offered.links + offered.hops - known,
            rss=resident() / 1e6,
            job=disk_size(self._job) / 1e6,
            feed=self._feed.stat().st_size / 1e6,
            late=late[int(0.99 * len(late))],
            latest=late[-1],
            growing=self._growing,
        )
        self._growing = self._growing and waiting < self._enough
        self._pages, self._cpu, self._at = counts.pages, cpu, now
        self.minutes.append(minute)
        return minute


def cpu_time() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def disk_size(job: Path) -> int:
    return sum(512 * path.stat().st_blocks for path in job.iterdir())


def parse(page: Any) -> Iterator[Any]:
    yield {"url": page.url, "title": page.css("title::text").get(), "heading": page.css("h1::text").get()}
    yield from page.follow_all(css="a")


async def watched(ports: list[int], folder: Path, given: argparse.Namespace) -> tuple[list[Minute], Any]:
    """Crawl for so many minutes. Gives what each came to, and the Summary."""
    job, feed = folder / "job", folder / "items.jsonl"
    start = [f"http://127.0.0.1:{port}/0" for port in ports]
    crawl = Crawl(start, concurrency=32, job=job, memory=given.memory)
    run = crawl.pipe(ops.download(), ops.scrape(parse), ops.feed(feed)).start()
    watch = Watch(run, job, feed, HOSTS * leaves_of(wide_of(given.waiting)))
    latency = asyncio.create_task(watch.latency())
    end = time.monotonic() + 60 * given.minutes
    while time.monotonic() < end and run.summary is None:
        minute = await watch.look(given.interval)
        print(f"{len(watch.minutes)} | {minute.cells()}", file=sys.stderr, flush=True)
    run.stop("the time is over")
    summary = await run
    latency.cancel()
    return watch.minutes, summary


HEAD = """\
| minutes | pages/s | CPU ms/page | waiting | seen | RSS MB | job MB | feed MB | loop late, ms: p99 | longest |
|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"""


def table(minutes: list[Minute], interval: float) -> str:
    """The whole run in at most ROWS lines."""
    each = -(-len(minutes) // ROWS)
    lines = [HEAD]
    for first in range(0, len(minutes), each):
        some = minutes[first : first + each]
        lines.append(f"| {(first + len(some)) * interval / 60:.3g} | {merged(some).cells()} |")
    return "\n".join(lines)


def verdict(minutes: list[Minute], interval: float) -> tuple[str, bool]:
    """The last minutes against the first, without those in which the frontier grew; and whether they are level."""
    steady = [minute for minute in minutes if not minute.growing]
    many = min(round(600 / interval), len(steady) // 3)
    if not many:
        return "the run was too short to tell: its frontier was still growing", False
    first, last = merged(steady[:many]), merged(steady[-many:])
    ratios = {
        "CPU time of a page": (first.cpu_ms, last.cpu_ms, "ms", ".2f"),
        "RSS": (first.rss, last.rss, "MB", ".0f"),
        "time of a page": (1000 / first.rate, 1000 / last.rate, "ms", ".2f"),
    }
    told = [
        f"{name} {before:{form}} -> {after:{form}} {unit} (× {after / before:.2f})"
        for name, (before, after, unit, form) in ratios.items()
    ]
    cpu, rss, _ = (after / before for before, after, _, _ in ratios.values())
    level = cpu <= TOLERATED and rss <= TOLERATED
    span = f"the last {many * interval / 60:.3g} minutes against the first"
    return f"{'Level' if level else 'NOT level'}: {span}: {'; '.join(told)}", level


def checked(summary: Any, feed: Path) -> None:
    """Raises: RuntimeError if the run failed, or its feed is not what it says."""
    if summary.error is not None:
        raise RuntimeError("the run failed") from summary.error
    if not summary.balanced:
        raise RuntimeError(f"the sum does not add up: {summary}")
    with feed.open("rb") as file:
        lines = sum(1 for _ in file)
    if lines != summary.items:
        raise RuntimeError(f"the feed has {lines} lines, and {summary.items} items were accepted")


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--minutes", type=float, default=60)
    arguments.add_argument("--waiting", type=int, default=1_000_000, help="requests that wait in the end")
    arguments.add_argument("--interval", type=float, default=60, help="seconds between two lines")
    arguments.add_argument("--memory", default="512MB", help="the crawl's ceiling")
    arguments.add_argument("--job", metavar="DIR", help="where the run's folder is made")
    given = arguments.parse_args()
    receive, send = multiprocessing.Pipe(duplex=False)
    site = multiprocessing.Process(target=served, args=(send, wide_of(given.waiting)), daemon=True)
    site.start()
    try:
        ports: list[int] = receive.recv()
        with tempfile.TemporaryDirectory(dir=given.job) as folder:
            minutes, summary = asyncio.run(watched(ports, Path(folder), given))
            checked(summary, Path(folder, "items.jsonl"))
    finally:
        site.terminate()
        site.join()
    told, level = verdict(minutes, given.interval)
    print(table(minutes, given.interval), "", told, "", summary, sep="\n")
    sys.exit(0 if level else 1)


if __name__ == "__main__":
    main()
