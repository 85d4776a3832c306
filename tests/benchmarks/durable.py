"""What durability costs: the crawl of the PostgreSQL manual (see `pages.py`) with a job and without, in turn.

    python tests/benchmarks/durable.py [--rounds N] [--jobs DIR]

Each crawl is a process of its own, each job a new folder (in DIR, else among the temporary files), and who comes first
changes from round to round. A ratio is that of two crawls of one round, which followed each other within seconds; what
is told is the median of the ratios. The items of every crawl are compared with the manual's files.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from measured import measure
from pages import Contender, check, expected_pages, items_of, manual_root, manual_site

PLAIN, JOB = "without a job", "with a job"


def crawl(url: str, feed: str, job: str | None) -> None:
    """Crawl in this process, and print what it took."""
    from pages_streamcrawl import parse

    from streamcrawl import Crawl
    from streamcrawl import operators as ops

    def work() -> int:
        made = Crawl(url, concurrency=32, per_host=32, job=job)
        return made.pipe(ops.download(), ops.scrape(parse), ops.feed(feed)).run().pages

    measure(work)


def in_process(name: str, url: str, folder: str) -> tuple[dict[str, Any], Path]:
    """What one crawl took, and its feed. Raises: RuntimeError with what it said if it fails."""
    feed, job = Path(folder, "items.jsonl"), Path(folder, "job")
    command = [sys.executable, __file__, "--crawl", url, str(feed), *([str(job)] if name == JOB else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(f"the crawl {name} ended with {done.returncode}:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    result["job"] = sum(path.stat().st_size for path in job.iterdir()) if name == JOB else 0
    return result, feed


def compete(rounds: int, jobs: str | None) -> dict[str, list[dict[str, Any]]]:
    """The results of every round, by name."""
    expected = sorted((path, page.title, tuple(page.headings)) for path, page in expected_pages(manual_root()).items())
    results: dict[str, list[dict[str, Any]]] = {PLAIN: [], JOB: []}
    with manual_site() as url:
        for turn in range(rounds):
            for name in (PLAIN, JOB) if turn % 2 == 0 else (JOB, PLAIN):
                with tempfile.TemporaryDirectory(dir=jobs) as folder:
                    result, feed = in_process(name, url, folder)
                    check(Contender(name, "durable.py"), result, items_of(feed), expected)
                results[name].append(result)
            rates = ", ".join(f"{name} {runs[-1]['pages'] / runs[-1]['seconds']:.0f}" for name, runs in results.items())
            print(f"round {turn + 1} of {rounds}: {rates} pages/s", file=sys.stderr)
    return results


def row(name: str, runs: list[dict[str, Any]]) -> str:
    rates = [run["pages"] / run["seconds"] for run in runs]
    cpu = median(1000 * run["cpu"] / run["pages"] for run in runs)
    peak, job = (median(run[what] for run in runs) / 1e6 for what in ("peak_rss", "job"))
    told = f"{job:.1f}" if job else "–"
    return f"| {name} | {median(rates):.0f} ({min(rates):.0f}–{max(rates):.0f}) | {cpu:.2f} | {peak:.0f} | {told} |"


def cost(results: dict[str, list[dict[str, Any]]], what: str) -> str:
    """By how much more of `what` the crawl with a job took, as the median and the range of the rounds."""
    pairs = zip(results[PLAIN], results[JOB], strict=True)
    costs = sorted(100 * (1 - plain[what] / job[what]) for plain, job in pairs)
    return f"{median(costs):.1f} % ({costs[0]:.1f} to {costs[-1]:.1f})"


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--jobs", metavar="DIR", help="where the jobs' folders are made")
    arguments.add_argument("--crawl", nargs="+", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.crawl:
        url, feed, *job = given.crawl
        crawl(url, feed, job[0] if job else None)
        return
    results = compete(given.rounds, given.jobs)
    print("| | pages/s (min–max) | CPU ms/page | peak RSS MB | job MB |", "|---|---:|---:|---:|---:|", sep="\n")
    print(*(row(name, runs) for name, runs in results.items()), sep="\n")
    # Seconds for the same pages: what is lost of pages/s is 1 - seconds without / seconds with.
    print(
        f"\nA job costs {cost(results, 'seconds')} of the pages a second, and {cost(results, 'cpu')} of the CPU time."
    )


if __name__ == "__main__":
    main()
