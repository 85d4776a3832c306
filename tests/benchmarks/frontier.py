"""The frontier with many URLs: how fast they go in and come out, and in how much memory; without network.

    python tests/benchmarks/frontier.py [--urls N] [--hosts N] [--only job|spill] [--job DIR] [--memory SIZE]

Once with a job, in a new folder in DIR, and once without, where the frontier spills to a temporary file; each in a
process of its own. It inserts the URLs as the crawl's door does (making the request, its fingerprint, asking whether it
was seen) and commits once a second as a run does; leases what is in memory; then leases, inserts and settles in turn;
and is killed. Another process opens the job again. The insert rates include the commits.

`frontier_scrapy.py` is the same for Scrapy.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from measured import peak_rss

from streamcrawl import Request
from streamcrawl.core import Lease
from streamcrawl.crawl.budget import parse_size
from streamcrawl.frontier.fingerprint import fingerprint
from streamcrawl.frontier.frontier import Frontier
from streamcrawl.frontier.hosts import HostTable

STEP = 1_000_000
"""URLs between two lines of the first table."""

SAMPLES = 50_000
"""Requests that are leased at the end, each timed."""

DRAINED = 200_000
"""Requests that are leased before, not timed, so that what waited in memory is gone: all that is timed was on disk."""

LINKS = 5
"""New URLs for each of these; they are inserted, and not timed."""

PLACES = 32
"""Leases at a time."""

COMMIT = 1.0
"""Seconds between two commits."""

LOST = 1000
"""URLs that are inserted after the last commit: a kill takes them."""


def url_of(number: int, hosts: int) -> str:
    """The URL with this number; hosts come in no order, and each gets the same number of URLs."""
    host = number * 2_654_435_761 % hosts
    return f"https://www.host-{host}.example/some/path/page-{number}.html?id={number}"


def opened(job: str | None, memory: int) -> Frontier:
    """A frontier as a run with this memory ceiling has it."""
    hosts = HostTable(PLACES, 8, 0.0, 0.5, {}, Random(1), time.monotonic)
    frontier = Frontier(hosts, time.time, memory=memory // 4)
    if job is not None:
        frontier.open(Path(job))
        frontier.load()
    return frontier


def resident() -> int:
    """Bytes of memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def disk_size(job: str | None) -> int:
    """Bytes of disk that the frontier's files take; those of a spill have no name any more."""
    if job is not None:
        return sum(512 * path.stat().st_blocks for path in Path(job).iterdir())
    total = 0
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            found = each.stat()
            total += 512 * found.st_blocks if found.st_nlink == 0 else 0
    return total


class Clock:
    """Commits once a second."""

    def __init__(self, frontier: Frontier) -> None:
        self._frontier = frontier
        self._next = time.monotonic() + COMMIT
        self.took: list[float] = []

    def tick(self) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._frontier.commit()
            self.took.append(time.monotonic() - now)
            self._next = time.monotonic() + COMMIT


def insert(frontier: Frontier, numbers: Iterable[int], hosts: int) -> None:
    """What the crawl's door does for a link in scope."""
    for number in numbers:
        request = Request(url_of(number, hosts))
        key = fingerprint(request)
        if not frontier.known(key):
            frontier.add(request, key)


def fill(frontier: Frontier, urls: int, hosts: int, clock: Clock) -> list[dict[str, float]]:
    """Insert the URLs. Gives what each million took."""
    steps: list[dict[str, float]] = []
    step, slice = min(STEP, urls), 500
    for first in range(0, urls, step):
        last = min(first + step, urls)
        begin, cpu = time.perf_counter(), time.process_time()
        for number in range(first, last, slice):
            insert(frontier, range(number, min(number + slice, last)), hosts)
            clock.tick()
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        many = last - first
        told = {"urls": last, "rate": many / seconds, "cpu": 1e6 * cpu / many, "rss": resident(), "peak": peak_rss()}
        steps.append(told)
        print(f"{last:,}: {told['rate']:,.0f}/s, {told['rss'] / 1e6:.0f} MB", file=sys.stderr)
    return steps


def drain(frontier: Frontier, many: int) -> None:
    """Lease and settle what waits in memory."""
    for _ in range(many):
        lease = leased(frontier)
        frontier.hosts.free(lease)
        frontier.settle(lease)
    frontier.commit()


def leased(frontier: Frontier) -> Lease:
    """Raises: RuntimeError if nothing may be leased."""
    lease = frontier.lease(lambda lease: None)
    if lease is None:
        raise RuntimeError(f"nothing may be leased of {frontier!r}")
    return lease


def work_off(frontier: Frontier, first: int, hosts: int, clock: Clock) -> dict[str, Any]:
    """Lease, insert and settle in turn, as a crawl does. Gives the seconds of each lease and settling."""
    leases: deque[Lease] = deque()
    leasing: list[float] = []
    settling: list[float] = []
    number, perf = first, time.perf_counter
    for _ in range(SAMPLES):
        begin = perf()
        lease = leased(frontier)
        leasing.append(perf() - begin)
        leases.append(lease)
        insert(frontier, range(number, number + LINKS), hosts)
        number += LINKS
        if len(leases) == PLACES:
            oldest = leases.popleft()
            begin = perf()
            frontier.hosts.free(oldest)
            frontier.settle(oldest)
            settling.append(perf() - begin)
        clock.tick()
    return {"lease": spread(leasing), "settle": spread(settling), "next": number}


def spread(times: list[float]) -> dict[str, float]:
    """In microseconds, and per cent under 100 of them."""
    ordered = sorted(times)
    under = 100 * sum(each < 1e-4 for each in ordered) / len(ordered)
    told = {"median": median(ordered), "p99": ordered[int(0.99 * len(ordered))], "max": ordered[-1]}
    return {"under": under, **{name: 1e6 * value for name, value in told.items()}}


def asked(frontier: Frontier, urls: int, hosts: int) -> dict[str, float]:
    """Microseconds of one `known`, for URLs that are there and for others. Raises: RuntimeError for a wrong answer."""
    told: dict[str, float] = {}
    random = Random(2)
    for name, low, high, expected in (("there", 0, urls, True), ("new", 10**9, 2 * 10**9, False)):
        numbers = [random.randrange(low, high) for _ in range(20_000)]
        keys = [fingerprint(Request(url_of(number, hosts))) for number in numbers]
        begin = time.perf_counter()
        answers = [frontier.known(key) for key in keys]
        told[name] = 1e6 * (time.perf_counter() - begin) / len(keys)
        if answers.count(expected) != len(keys):
            raise RuntimeError(f"known() is wrong for {answers.count(not expected)} of {len(keys)} URLs")
    return told


def first_life(given: argparse.Namespace) -> dict[str, Any]:
    """Fill, work off, commit, and go on for a moment."""
    frontier = opened(given.job, parse_size(given.memory))
    clock = Clock(frontier)
    steps = fill(frontier, given.urls, given.hosts, clock)
    drain(frontier, min(DRAINED, given.urls // 2))
    told = work_off(frontier, given.urls, given.hosts, clock)
    told |= {"steps": steps, "known": asked(frontier, given.urls, given.hosts)}
    frontier.commit()
    told["waiting"] = frontier.waiting + frontier.leased  # what is leased waits again
    insert(frontier, range(told["next"], told["next"] + LOST), given.hosts)
    told |= {"disk": disk_size(given.job), "commits": spread(clock.took or [0.0])}
    return {**told, "peak": peak_rss()}


def second_life(given: argparse.Namespace) -> dict[str, Any]:
    """Open it again, after the kill."""
    begin = time.perf_counter()
    frontier = opened(given.job, parse_size(given.memory))
    ready = time.perf_counter() - begin
    waiting = frontier.waiting
    leased(frontier)
    told = {"seconds": ready, "first_lease": time.perf_counter() - begin - ready, "waiting": waiting}
    told |= {"known": asked(frontier, given.urls, given.hosts)}
    return {**told, "peak": peak_rss()}


def in_process(phase: str, given: argparse.Namespace, job: str | None) -> dict[str, Any]:
    """What one phase told. Raises: RuntimeError if it ended otherwise than by its own kill."""
    command = [sys.executable, __file__, "--phase", phase, "--urls", str(given.urls), "--hosts", str(given.hosts)]
    command += ["--memory", given.memory, *(["--job", job] if job is not None else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != -signal.SIGKILL:
        raise RuntimeError(f"{phase} ended with {done.returncode}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def table_of_steps(results: dict[str, dict[str, Any]]) -> str:
    """URLs a second, and memory, by million."""
    names = list(results)
    lines = ["| URLs |" + "".join(f" {name}: inserts/s | CPU µs each | RSS MB |" for name in names)]
    lines.append("|---:|" + "---:|---:|---:|" * len(names))
    for steps in zip(*(result["steps"] for result in results.values()), strict=True):
        cells = (f" {step['rate']:,.0f} | {step['cpu']:.0f} | {step['rss'] / 1e6:.0f} |" for step in steps)
        lines.append(f"| {steps[0]['urls']:,} |" + "".join(cells))
    return "\n".join(lines)


def figures(result: dict[str, Any], urls: int) -> list[tuple[str, str]]:
    """The lines of the second table."""
    steps, again = result["steps"], result.get("again")
    lease, settle, commits = result["lease"], result["settle"], result["commits"]
    rows = [
        ("last step inserted at × the rate of the first", f"{steps[-1]['rate'] / steps[0]['rate']:.2f}"),
        ("the same by CPU time, whoever else uses the machine", f"{steps[0]['cpu'] / steps[-1]['cpu']:.2f}"),
        ("peak RSS, MB", f"{result['peak'] / 1e6:.0f}"),
        ("lease, µs: median, p99, longest", "{median:.0f}, {p99:,.0f}, {max:,.0f}".format(**lease)),
        ("its share under 100 µs, %", "{under:.2f}".format(**lease)),
        ("settle, µs: median, p99, longest", "{median:.1f}, {p99:.0f}, {max:,.0f}".format(**settle)),
        ("`known`, µs: a URL that is there, a new one", "{there:.1f}, {new:.1f}".format(**result["known"])),
        ("disk, MB", f"{result['disk'] / 1e6:,.0f}"),
    ]
    if again is None:
        return rows
    return [
        *rows,
        ("commit, ms: median, longest", f"{commits['median'] / 1000:.0f}, {commits['max'] / 1000:,.0f}"),
        ("opening again after the kill, s", f"{again['seconds']:.1f}"),
        ("waiting then", f"{again['waiting']:,} of {result['waiting']:,} that were committed"),
        ("peak RSS of the process that opened it, MB", f"{again['peak'] / 1e6:.0f}"),
    ]


def table_of_figures(results: dict[str, dict[str, Any]], urls: int) -> str:
    columns = {name: dict(figures(result, urls)) for name, result in results.items()}
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    lines += [f"| {name} | " + " | ".join(each.get(name, "–") for each in columns.values()) + " |" for name in names]
    return "\n".join(lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--urls", type=int, default=10_000_000)
    arguments.add_argument("--hosts", type=int, default=100_000)
    arguments.add_argument("--only", choices=["job", "spill"])
    arguments.add_argument("--job", metavar="DIR", help="where folders are made; by default among the temporary files")
    arguments.add_argument("--memory", default="512MB", help="the crawl's ceiling; the frontier has a quarter of it")
    arguments.add_argument("--phase", choices=["first", "second"], help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.phase:
        print(json.dumps(first_life(given) if given.phase == "first" else second_life(given)), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    results: dict[str, dict[str, Any]] = {}
    if given.only != "spill":
        with tempfile.TemporaryDirectory(dir=given.job) as folder:
            results["job"] = in_process("first", given, folder)
            results["job"]["again"] = in_process("second", given, folder)
    if given.only != "job":
        results["spill"] = in_process("first", given, None)
    print(table_of_steps(results), table_of_figures(results, given.urls), sep="\n\n")
    if "job" in results and results["job"]["again"]["waiting"] != results["job"]["waiting"]:
        sys.exit("requests were lost")


if __name__ == "__main__":
    main()
