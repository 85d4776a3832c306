"""Pages a second: the PostgreSQL manual crawled by hand, by streamcrawl and by Scrapy, in turn, on one machine.

    python tests/benchmarks/pages.py [--rounds N] [--only NAME …] [--scrapy-python PATH]

Serves the manual from nginx on loopback (see tests/corpus/manual.py) and runs every contender once a round, each in
a process of its own; so a machine that is slow for a while is slow for all of them, and the ratios can be trusted.
Checks that all bring the same items. Scrapy gets a virtual environment of its own in the user's cache folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # as pytest does: tests/ holds the package `corpus`

from corpus.manual import expected_pages, manual_root, manual_site  # noqa: E402

SCRAPY = "scrapy==2.19.*"
BASELINE = "hand-written"


@dataclass(frozen=True, slots=True)
class Contender:
    """A program that crawls, and what it is called with after URL and FEED."""

    name: str
    program: str
    arguments: tuple[str, ...] = ()
    scrapy: bool = False


CONTENDERS = (
    Contender(BASELINE, "pages_handwritten.py"),
    Contender("streamcrawl", "pages_streamcrawl.py"),
    Contender("streamcrawl-all", "pages_streamcrawl.py", ("all",)),
    Contender("scrapy", "pages_scrapy.py", scrapy=True),
    Contender("scrapy-items1", "pages_scrapy.py", ("CONCURRENT_ITEMS=1",), scrapy=True),
)


def scrapy_python(given: str | None) -> str:
    """The interpreter that has Scrapy: the one given, or that of an environment made once and kept."""
    if given:
        return given
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = cache / "streamcrawl-benchmarks" / "scrapy-2.19"
    python = home / "bin" / "python"
    if not python.exists():
        print(f"installing {SCRAPY} into {home}", file=sys.stderr)
        venv.create(home, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", SCRAPY], check=True)
    return str(python)


def run(contender: Contender, python: str, url: str, feed: Path) -> dict[str, Any]:
    """One crawl in its own process. Raises: RuntimeError with what it said if it fails."""
    command = [python, str(HERE / contender.program), url, str(feed), *contender.arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(f"{contender.name} ended with {done.returncode}:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def items_of(feed: Path) -> list[tuple[str, str | None, tuple[str, ...]]]:
    rows = [json.loads(line) for line in feed.read_text("utf-8").splitlines()]
    return sorted((row["url"].rpartition("/")[2], row["title"], tuple(row["headings"])) for row in rows)


def check(contender: Contender, result: dict[str, Any], items: list[Any], expected: list[Any]) -> None:
    """Raises: RuntimeError unless it fetched every page once and brought the right items."""
    if result["pages"] != len(expected):
        raise RuntimeError(f"{contender.name} fetched {result['pages']} pages, the manual has {len(expected)}")
    if items != expected:
        wrong = sorted(set(items) ^ set(expected))[:3]
        raise RuntimeError(f"{contender.name} brought {len(items)} items, not those of the files; such as {wrong}")


def compete(contenders: list[Contender], rounds: int, python: str | None) -> dict[str, list[dict[str, Any]]]:
    """The results of every round, by contender."""
    expected = sorted((path, page.title, tuple(page.headings)) for path, page in expected_pages(manual_root()).items())
    results: dict[str, list[dict[str, Any]]] = {contender.name: [] for contender in contenders}
    with manual_site() as url, tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds):
            for contender in contenders:
                print(f"round {turn + 1} of {rounds}: {contender.name}", file=sys.stderr)
                feed = Path(folder, f"{contender.name}-{turn}.jsonl")
                with_python = scrapy_python(python) if contender.scrapy else sys.executable
                result = run(contender, with_python, url, feed)
                check(contender, result, items_of(feed), expected)
                results[contender.name].append(result)
    return results


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """The results as a Markdown table."""
    lines = [
        f"| | pages/s (min–max) | × {BASELINE} | CPU ms/page | peak RSS MB |",
        "|---|---:|---:|---:|---:|",
    ]
    speed = {name: [run["pages"] / run["seconds"] for run in runs] for name, runs in results.items()}
    for name, runs in results.items():
        rate = speed[name]
        ratio = "–"
        if BASELINE in speed:
            # Of the runs of one round, which followed each other within seconds.
            ratio = f"{median(mine / by_hand for mine, by_hand in zip(rate, speed[BASELINE], strict=True)):.2f}"
        cpu = median(1000 * run["cpu"] / run["pages"] for run in runs)
        peak = median(run["peak_rss"] for run in runs) / 1e6
        rates = f"{median(rate):.0f} ({min(rate):.0f}–{max(rate):.0f})"
        lines.append(f"| {name} | {rates} | {ratio} | {cpu:.2f} | {peak:.0f} |")
    return "\n".join(lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    names = [contender.name for contender in CONTENDERS]
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--only", nargs="+", choices=names, default=names)
    arguments.add_argument("--scrapy-python", metavar="PATH", help=f"an interpreter that has {SCRAPY}")
    given = arguments.parse_args()
    chosen = [contender for contender in CONTENDERS if contender.name in given.only]
    print(table(compete(chosen, given.rounds, given.scrapy_python)))


if __name__ == "__main__":
    main()
