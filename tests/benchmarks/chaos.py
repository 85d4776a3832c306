"""A crawl killed with SIGKILL again and again, compared with an undisturbed one; and Scrapy with a JOBDIR beside it.

    python tests/benchmarks/chaos.py [--kills N] [--pages N] [--seed N] [--only NAME …] [--scrapy-python PATH]

Serves the site of chaos_site.py from a process of its own, has chaos_flow.py and chaos_scrapy.py crawl it undisturbed,
and then killed at random moments until so many kills are done. Prints what each lost as one Markdown table. Scrapy
says that it is finished when it is started again after the first kill; so there are also five crawls of it that are
killed once each, at a random moment.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pages import SCRAPY, scrapy_python

from streamcrawl.cli.chaos import Outcome, chaos, examples, progress_of, summary, table
from streamcrawl.cli.compare import Records, pages_in, sinks_in
from streamcrawl.cli.kills import JOB, Program, Progress

HERE = Path(__file__).parent
NAMES = ("streamcrawl", "scrapy", "scrapy, one kill each")
CRAWLS = 5


@contextmanager
def served(pages: int, seed: int) -> Generator[str, None, None]:
    """The URL of the site, in a process that nobody kills."""
    command = (sys.executable, str(HERE / "chaos_site.py"), str(pages), str(seed))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def urls_in(feed: Path) -> Iterator[str]:
    """The pages that brought an item."""
    found: dict[str, None] = {}
    with feed.open("rb") as lines:
        for line in lines:
            try:
                found[json.loads(line)["url"]] = None
            except ValueError:
                continue  # cut off; the comparison of the feed tells of it
    return iter(found)


def left_in(folder: Path) -> Mapping[str, Records]:
    """The sinks in a folder, and the pages: by the job where there is one, and by what is in the feed."""
    by_items: dict[str, Records] = {"pages with items": partial(urls_in, folder / "items.jsonl")}
    return sinks_in(folder, job=JOB) | pages_in(folder / JOB) | by_items


def scrapy_progress(folder: Path) -> Progress:
    """How far Scrapy is, by the lines of its feed."""
    feed = folder / "items.jsonl"
    lines = feed.read_bytes().count(b"\n") if feed.exists() else 0
    return Progress(lines, lines or None)


def run(name: str, base: Path, site: str, given: argparse.Namespace) -> Outcome:
    """One contender, killed."""
    base.mkdir()
    environment = {"CHAOS_SITE": site}
    if name != "streamcrawl":
        command = (scrapy_python(given.scrapy_python), str(HERE / "chaos_scrapy.py"))
        program = Program(command, scrapy_progress, 1200, environment)
        if name == "scrapy":
            return chaos(program, base, given.kills, given.seed, left_in, rounds=1)
        return chaos(program, base, CRAWLS, given.seed, left_in, each=1)
    flow = str(HERE / "chaos_flow.py")
    command = (sys.executable, "-m", "streamcrawl", "run", flow, "--job", JOB, "--quiet")
    return chaos(Program(command, progress_of, 1200, environment), base, given.kills, given.seed, left_in)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--kills", type=int, default=24)
    arguments.add_argument("--pages", type=int, default=6000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    arguments.add_argument("--scrapy-python", metavar="PATH", help=f"an interpreter that has {SCRAPY}")
    given = arguments.parse_args()
    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory() as folder, served(given.pages, given.seed) as site:
        for name in given.only:
            print(name, file=sys.stderr)
            outcomes[name] = run(name, Path(folder, name), site, given)
    print(table(outcomes))
    for name, outcome in outcomes.items():
        print(f"\n{name}:", *summary(outcome, given.seed))
        for line in examples(outcome)[:12]:
            print("   ", line, file=sys.stderr)
    ours = outcomes.get("streamcrawl")
    sys.exit(0 if ours is None or ours.same else 1)


if __name__ == "__main__":
    main()
