"""Links: what LinkExtractor finds and how quickly, beside Scrapy's LxmlLinkExtractor, in turn.

    python tests/benchmarks/links.py [--rounds N] [--scrapy-python PATH]

The pages are the PostgreSQL manual's (see tests/corpus/manual.py); the largest has 3,478 links. Each of both runs once
a round, in a process of its own, and tells the best of several times; a ratio is the median of those within a round.
Then what both found is compared: every link of the manual with its text, and the odd links of tests/links/oddities.py,
whose differences have to be those that stand there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # as pytest does: tests/ holds the packages `corpus` and `links`

from corpus.manual import manual_root  # noqa: E402
from links.oddities import ODDITIES, extracted  # noqa: E402

LARGEST = "bookindex.html"
SITE = "http://manual.test/"
TYPE = "text/html; charset=utf-8"

Make = Callable[[str, bytes, str], Any]
"""Makes a page of URL, body and Content-Type."""

OPTIONS: dict[str, dict[str, Any]] = {
    "links, the page parsed already": {},
    "links of one section, by CSS": {"restrict_css": "div.index"},
    "links by pattern, text and domain": {
        "allow": r"sql-|functions-",
        "deny": r"createtable",
        "restrict_text": r"\w",
        "allow_domains": "manual.test",
    },
    "canonical": {"canonicalize": True},
    "every element, every attribute": {"tags": "*", "attrs": "*"},
}


def streamcrawl_parts() -> tuple[Make, Any]:
    from streamcrawl import Headers, Response
    from streamcrawl.links import LinkExtractor

    def make(url: str, body: bytes, content_type: str) -> Response:
        return Response(url, headers=Headers({"Content-Type": content_type}), body=body)

    return make, LinkExtractor


def scrapy_parts() -> tuple[Make, Any]:
    from scrapy.http import HtmlResponse
    from scrapy.linkextractors import LinkExtractor

    def make(url: str, body: bytes, content_type: str) -> Any:
        return HtmlResponse(url, headers={"Content-Type": content_type}, body=body)

    return make, LinkExtractor


PARTS = {"streamcrawl": streamcrawl_parts, "scrapy": scrapy_parts}


def best(work: Callable[[], object], least: float = 1.5) -> float:
    """Milliseconds of the quickest call, of as many as go into `least` seconds; five at least."""
    times: list[float] = []
    end = time.perf_counter() + least
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) * 1000


def measure(who: str) -> dict[str, Any]:
    """What one of both takes, and what it finds."""
    make, extractor = PARTS[who]()
    pages = {path.name: path.read_bytes() for path in sorted(manual_root().glob("*.html"))}
    url, body = SITE + LARGEST, pages[LARGEST]
    plain = extractor()
    parsed = make(url, body, TYPE)
    plain.extract_links(parsed)
    chosen = {name: extractor(**options) for name, options in OPTIONS.items()}
    times = {name: best(partial(each.extract_links, parsed)) for name, each in chosen.items()}
    times["links, decoding and parsing included"] = best(lambda: plain.extract_links(make(url, body, TYPE)))
    everything = [(SITE + name, text) for name, text in pages.items()]
    times["all pages of the manual, parsing included"] = best(
        lambda: [plain.extract_links(make(*page, TYPE)) for page in everything]
    )
    found = {
        page[0]: [(link.url, link.text, link.nofollow) for link in plain.extract_links(make(*page, TYPE))]
        for page in everything
    }
    odd = extracted(lambda *page: [link.url for link in plain.extract_links(make(*page))])
    return {"times": times, "found": found, "odd": odd}


def run(who: str, python: str) -> dict[str, Any]:
    """The same in a process of its own. Raises: RuntimeError with what it said if it fails."""
    done = subprocess.run([python, __file__, "--measure", who], capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(f"{who} ended with {done.returncode}:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def compete(rounds: int, scrapy: str) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """All measurements, and the table of them."""
    pythons = {"streamcrawl": sys.executable, "scrapy": scrapy}
    results: dict[str, list[dict[str, Any]]] = {who: [] for who in pythons}
    for number in range(rounds):
        for who in sorted(pythons, reverse=number % 2 == 0):
            results[who].append(run(who, pythons[who]))
    rows = ["| ms | streamcrawl | scrapy | × | lowest × |", "|---|---:|---:|---:|---:|"]
    for name in results["scrapy"][0]["times"]:
        ours, theirs = ([result["times"][name] for result in results[who]] for who in ("streamcrawl", "scrapy"))
        ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
        rows.append(
            f"| {name} | {median(ours):.1f} | {median(theirs):.1f} | {median(ratios):.1f} | {min(ratios):.1f} |"
        )
    return results, "\n".join(rows)


def compared(ours: dict[str, Any], theirs: dict[str, Any]) -> tuple[list[str], str]:
    """What differs in another way than oddities.py has it, and how much was compared."""
    from streamcrawl.urls import normalize

    wrong: list[str] = []
    written = left_out = 0
    for page, links in ours["found"].items():
        their = [link for link in theirs["found"][page] if not ignored_here(link[0])]
        left_out += len(theirs["found"][page]) - len(their)
        written += sum(link[0] != normalize(link[0]) for link in their)
        if links != [[normalize(url), *rest] for url, *rest in their]:
            wrong.append(f"{page}: {links} and {their}")
    for odd, our, their in zip(ODDITIES, ours["odd"], theirs["odd"], strict=True):
        if our != odd.urls or their != (odd.urls if odd.scrapy is None else odd.scrapy):
            wrong.append(f"{odd.html[:80]}: {our} and {their}")
    links = sum(map(len, ours["found"].values()))
    different = sum(odd.scrapy is not None for odd in ODDITIES)
    return wrong, (
        f"{links} links on {len(ours['found'])} pages of the manual: the same, and so are their texts.\n"
        f"{written} are written otherwise (http://a.test and http://a.test/), {left_out} left out for the extension.\n"
        f"{len(ODDITIES)} odd pages: {different} differ as expected."
    )


def ignored_here(url: str) -> bool:
    """Whether its extension is ignored here and not by Scrapy."""
    from streamcrawl.links import IGNORED_EXTENSIONS

    return url.rpartition(".")[2] in IGNORED_EXTENSIONS


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--scrapy-python", metavar="PATH", help="an interpreter that has Scrapy")
    arguments.add_argument("--measure", choices=PARTS, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure)))
        return
    from pages import scrapy_python

    results, table = compete(given.rounds, scrapy_python(given.scrapy_python))
    print(table)
    print()
    wrong, told = compared(results["streamcrawl"][-1], results["scrapy"][-1])
    print("\n".join([*wrong, told]))
    sys.exit(len(wrong))


if __name__ == "__main__":
    main()
