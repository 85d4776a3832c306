"""Scrapy's JOBDIR with many URLs: its scheduler, default queues and duplicate filter, without network.

    python tests/benchmarks/frontier_scrapy.py [--urls N] [--hosts N …] [--job DIR]

Run it with an interpreter that has Scrapy 2.19. Each number of hosts runs in a process of its own, which inserts the
URLs, takes some out, and is killed; another one opens the folder again. Nothing is kept: each has a new folder in DIR.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

from measured import peak_rss
from scrapy import Request
from scrapy.core.downloader import Downloader
from scrapy.core.scheduler import Scheduler
from scrapy.utils.test import get_crawler

STEP = 100_000
"""URLs between two looks at the clock."""

SAMPLES = 2000
"""Requests taken out at the end, each timed, and each followed by an insert that is not."""


def url_of(number: int, hosts: int) -> str:
    """The URL with this number; hosts come in no order, and each gets the same number of URLs."""
    host = number * 2_654_435_761 % hosts
    return f"https://www.host-{host}.example/some/path/page-{number}.html?id={number}"


def opened(job: str) -> Scheduler:
    """The scheduler of a crawl with this JOBDIR, as the engine would make it."""
    crawler = get_crawler(settings_dict={"JOBDIR": job, "LOG_ENABLED": False})
    crawler.spider = crawler.spidercls.from_crawler(crawler, name="benchmark")
    crawler.engine = SimpleNamespace(downloader=Downloader(crawler))
    scheduler = Scheduler.from_crawler(crawler)
    scheduler.open(crawler.spider)
    return scheduler


def allow_files() -> int:
    """Raise this process's limit of open files as far as it may go. Gives: the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def percentile(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


def timed(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def fill(job: str, urls: int, hosts: int) -> dict[str, Any]:
    """Insert the URLs, then take some out."""
    told: dict[str, Any] = {"hosts": hosts, "urls": urls, "limit": allow_files(), "broke": None, "rates": []}
    scheduler = opened(job)
    number, begin = 0, time.perf_counter()
    try:
        for number in range(urls):
            scheduler.enqueue_request(Request(url_of(number, hosts)))
            if (number + 1) % STEP == 0:
                now = time.perf_counter()
                told["rates"].append(STEP / (now - begin))
                begin = now
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        told["broke"], told["slots"] = str(error), len(scheduler.dqs.pqueues) if scheduler.dqs else 0
        told["urls"] = number
        return told
    times: list[float] = []
    for each in range(SAMPLES):
        times.append(timed(scheduler.next_request))
        scheduler.enqueue_request(Request(url_of(urls + each, hosts)))
    told |= {"median": median(times), "p99": percentile(times, 0.99), "peak_rss": peak_rss()}
    told["files"] = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else None
    return told


def disk_size(folder: str) -> int:
    """Bytes of disk that the files of a folder take."""
    return sum(512 * path.stat().st_blocks for path in Path(folder).rglob("*") if path.is_file())


def child(phase: str, job: str, urls: int, hosts: int) -> None:
    """One phase in this process, which ends as by `kill -9`."""
    allow_files()
    if phase == "fill":
        print(json.dumps(fill(job, urls, hosts)), flush=True)
    else:
        begin = time.perf_counter()
        scheduler = opened(job)
        print(json.dumps({"seconds": time.perf_counter() - begin, "waiting": len(scheduler)}), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def in_process(phase: str, job: str, urls: int, hosts: int) -> dict[str, Any]:
    """What one phase told. Raises: RuntimeError if it ended otherwise than by its own kill."""
    command = [sys.executable, __file__, "--phase", phase, "--job", job, "--urls", str(urls), "--hosts", str(hosts)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != -signal.SIGKILL:
        raise RuntimeError(f"{phase} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def row(job: str, urls: int, hosts: int) -> str:
    """One line of the table."""
    told = in_process("fill", job, urls, hosts)
    if told["broke"]:
        why = f"breaks after {told['urls']:,} URLs, at {told['slots']:,} hosts: {told['broke'].partition(':')[0]}"
        return f"| {hosts:,} | {why}, of {told['limit']:,} allowed | | | | | | | |"
    size = disk_size(job) / 1e6
    again = in_process("open", job, urls, hosts)
    first, last = told["rates"][0], told["rates"][-1]
    return (
        f"| {hosts:,} | {first:,.0f} | {last:,.0f} | {last / first:.2f} | {1e6 * told['median']:,.0f} "
        f"| {1e6 * told['p99']:,.0f} | {told['peak_rss'] / 1e6:,.0f} | {told['files']:,} | {size:,.0f} "
        f"| {again['waiting']:,} of {urls:,} |"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--urls", type=int, default=1_000_000)
    arguments.add_argument("--hosts", type=int, nargs="+", default=[10_000, 100_000])
    arguments.add_argument("--job", metavar="DIR", help="where folders are made; by default among the temporary files")
    arguments.add_argument("--phase", choices=["fill", "open"], help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.phase:
        child(given.phase, given.job, given.urls, given.hosts[0])
    print(
        f"| hosts | inserts/s, first {STEP:,} | last {STEP:,} | ratio | next_request µs, median | p99 | peak RSS MB "
        "| open files | disk MB | there after a kill |"
    )
    print("|---:|" + "---:|" * 9)
    for hosts in given.hosts:
        with tempfile.TemporaryDirectory(dir=given.job) as folder:
            print(row(folder, given.urls, hosts), flush=True)


if __name__ == "__main__":
    main()
