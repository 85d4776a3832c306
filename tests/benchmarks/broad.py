"""A broad crawl: thousands of hosts at once, of which a third misbehaves, by streamcrawl and by Scrapy in turn.

    python tests/benchmarks/broad.py [--hosts N] [--concurrency N] [--only NAME …] [--scrapy-python PATH]

Every host is a loopback address of its own. In the world that is `well` all answer; in the one that is `ill` some
refuse, are silent, drip, reset, break, redirect in loops, have a robots.txt that is slow, broken or huge, or send
without end. The table has the pages a second until nine tenths of the good pages were in, so that the last timeouts do
not count.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from broad_site import FORWARD, expected, kind_of, number_of, served
from pages import Contender, scrapy_python

HERE = Path(__file__).parent
PART = 0.9
LOOK = 0.1
"""Seconds between two looks at a feed and at the descriptors."""

CONTENDERS = (
    Contender("streamcrawl", "broad_streamcrawl.py"),
    Contender("streamcrawl-job", "broad_streamcrawl.py", ("job",)),
    Contender("streamcrawl-all", "broad_streamcrawl.py", ("all",)),
    Contender("scrapy", "broad_scrapy.py", scrapy=True),
)


@contextmanager
def world(hosts: int, well: bool) -> Iterator[int]:
    """The port of a running world."""
    receive, send = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.Process(target=served, args=(send, hosts, well), daemon=True)
    server.start()
    try:
        yield receive.recv()
    finally:
        server.terminate()
        server.join()


def good_pages(feed: Path, well: bool) -> int:
    """Different pages of hosts in order that are in the feed. Raises: RuntimeError for a page that came twice."""
    urls = [json.loads(line)["url"] for line in feed.read_text("utf-8").splitlines()]
    if len(set(urls)) != len(urls):
        raise RuntimeError(f"{len(urls) - len(set(urls))} pages came twice")
    return sum(kind_of(number_of(url.split("/")[2].partition(":")[0]), well) in FORWARD for url in urls)


def lines(feed: Path) -> int:
    return feed.read_bytes().count(b"\n") if feed.exists() else 0


def run(contender: Contender, python: str, port: int, given: argparse.Namespace, well: bool) -> dict[str, Any]:
    """One crawl in its own process. Raises: RuntimeError with what it said if it fails."""
    most, descriptors, reached = PART * expected(given.hosts, well), 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        feed = Path(folder, "pages.jsonl")
        numbers = (str(port), str(given.hosts), str(feed), "well" if well else "ill", str(given.concurrency))
        command = [python, str(HERE / contender.program), *numbers, *contender.arguments]
        with tempfile.TemporaryFile("w+") as errors:
            started = time.monotonic()
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
            while process.poll() is None:
                time.sleep(LOOK)
                try:
                    descriptors = max(descriptors, sum(1 for _ in Path(f"/proc/{process.pid}/fd").iterdir()))
                except OSError:
                    break  # it has just ended, or this is no Linux
                if not reached and lines(feed) >= most:
                    reached = time.monotonic() - started
            said = process.communicate()[0]
            if process.returncode != 0:
                errors.seek(0)
                raise RuntimeError(f"{contender.name} ended with {process.returncode}:\n{errors.read()[-3000:]}")
        result: dict[str, Any] = json.loads(said.splitlines()[-1])
        good = good_pages(feed, well)
        return {**result, "good": good, "rate": most / (reached or result["seconds"]), "descriptors": descriptors}


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    names = [contender.name for contender in CONTENDERS]
    arguments.add_argument("--hosts", type=int, default=5_000)
    arguments.add_argument("--concurrency", type=int, default=400)
    arguments.add_argument("--only", nargs="+", choices=names, default=names)
    arguments.add_argument("--world", nargs="+", choices=("well", "ill"), default=["well", "ill"])
    arguments.add_argument("--scrapy-python", metavar="PATH")
    given = arguments.parse_args()
    print("| | world | pages | of | pages/s | seconds in all | CPU ms/page | peak RSS MB | descriptors |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for state in given.world:
        well = state == "well"
        for contender in (each for each in CONTENDERS if each.name in given.only):
            python = scrapy_python(given.scrapy_python) if contender.scrapy else sys.executable
            with world(given.hosts, well) as port:
                found = run(contender, python, port, given, well)
            cpu, peak = 1000 * found["cpu"] / max(1, found["good"]), found["peak_rss"] / 1e6
            pages = f"{found['good']} | {expected(given.hosts, well)}"
            print(
                f"| {contender.name} | {state} | {pages} | {found['rate']:.0f} |"
                f" {found['seconds']:.0f} | {cpu:.2f} | {peak:.0f} | {found['descriptors']} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
