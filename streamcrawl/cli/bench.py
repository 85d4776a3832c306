"""`streamcrawl bench`: how fast it is on this machine."""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from streamcrawl.cli.exits import FAILED, INTERRUPTED
from streamcrawl.cli.memory import peak_resident
from streamcrawl.cli.run import positive
from streamcrawl.mistakes import plural
from streamcrawl.version import __version__

if TYPE_CHECKING:
    from streamcrawl.response import Response

HELP = "measure how fast it crawls on this machine"
DESCRIPTION = """\
Crawl the demo shop, which another process serves on this machine, several times over, with the default layers
(robots.txt, retries, redirects, cookies), and print pages a second, CPU time a page, and the peak of memory."""
EXAMPLES = """\
  streamcrawl bench
  streamcrawl bench --rounds 20 --concurrency 64
"""


class Measured(NamedTuple):
    """What the rounds took together."""

    pages: int
    items: int
    seconds: float
    cpu: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `streamcrawl bench` takes."""
    parser.add_argument("--rounds", type=positive, default=10, metavar="N", help="crawls of the shop; 10 if left out")
    parser.add_argument(
        "--concurrency", type=positive, default=32, metavar="N", help="requests at once; 32 if left out"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Measure, and print the table."""
    with served() as url:
        measured = measure(url, arguments.rounds, arguments.concurrency)
    if isinstance(measured, int):
        return measured
    rows = (
        ("pages/s", f"{measured.pages / measured.seconds:.0f}"),
        ("CPU ms/page", f"{1000 * measured.cpu / measured.pages:.2f}"),
        ("peak RSS", f"{peak_resident() / 1e6:.0f} MB"),
    )
    print(f"streamcrawl {__version__}, Python {platform.python_version()}, {os.cpu_count()} cores")
    for name, value in rows:
        print(f"  {name:<12} {value:>8}")
    print(
        f"{measured.pages} pages and {measured.items} items in {measured.seconds:.2f} s, "
        f"{arguments.concurrency} {plural(arguments.concurrency, 'request')} at once; "
        "the site in a process of its own on this machine"
    )
    return 0


@contextmanager
def served() -> Generator[str, None, None]:
    """The URL of a demo shop that another process serves while the block lasts."""
    command = (sys.executable, "-m", "streamcrawl", "demo", "--serve")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ourselves
        assert process.stdout is not None
        try:
            found = re.search(r"http://\S+(?=/)", process.stdout.readline())
            if found is None:
                raise RuntimeError("the demo shop did not start")
            yield found[0]
        finally:
            process.terminate()


def measure(url: str, rounds: int, concurrency: int) -> Measured | int:
    """Crawl the shop's lists and products so often; an exit code if a round fails."""
    from streamcrawl import operators as ops
    from streamcrawl.crawl.crawl import Crawl

    crawl = Crawl(f"{url}/", concurrency=concurrency, per_host=concurrency).pipe(ops.download(), ops.scrape(parse))
    crawl.replace(limit_pages=1).run()  # what is imported late is imported now
    pages = items = 0
    cpu, start = time.process_time(), time.perf_counter()
    for _ in range(rounds):
        summary = crawl.run()
        if summary.reason == "interrupted":
            return INTERRUPTED
        if not summary.ok or summary.failed:
            print(summary, file=sys.stderr)
            return FAILED
        pages, items = pages + summary.pages, items + summary.items
    return Measured(pages, items, time.perf_counter() - start, time.process_time() - cpu)


def parse(page: Response) -> Iterator[Any]:
    """A product, if the page is one; and the links to lists and products."""
    for product in page.css("article.product"):
        yield {"name": page.css("h1::text").get(), "price": product.css(".price::text").get()}
    yield from page.follow_all(css="ul.categories a, ol.products a, ul.pager a, ul.similar a")
