"""What somebody sees in the terminal whose flow is written wrongly though nothing raises, and the exit code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streamcrawl.testing.site import Answer, Site, serve

Done = subprocess.CompletedProcess[str]
Cli = Callable[..., Done]
Write = Callable[[str, str], Path]

HEAD = """\
import asyncio
from streamcrawl import Crawl, Request, Spider, operators as ops

def parse(page):
    yield {{"page": page.css("h1::text").get()}}

def find(page):
    yield {{"url": page.urljoin("/3")}}

"""
CRAWL = 'Crawl("{url}/12").pipe(ops.download(), ops.scrape({callback}))'
TWICE = 'it runs its crawl while it is loaded, which would be twice: put run() under `if __name__ == "__main__":`'

LINE = HEAD.count("\n") + 1
"""The first line behind HEAD."""

RUNNING = {
    "a crawl": (f"crawl = {CRAWL}\ncrawl.run()", "", LINE + 1),
    "named": (f"crawl = {CRAWL}\ncrawl.run()", ":crawl", LINE + 1),
    "limited": (f"crawl = {CRAWL}\nprint(crawl.replace(limit_pages=1).run())", "", LINE + 1),
    "asynchronous": (f"crawl = {CRAWL}\nasyncio.run(crawl.collect())", "", LINE + 1),
    "a spider": (
        'class Mine(Spider):\n    name = "mine"\n    start_urls = ["{url}"]\n    parse = find\n\nCrawl.of(Mine).run()',
        "",
        LINE + 5,
    ),
    "made by a function": (f"def make() -> Crawl:\n    return {CRAWL}\n\nmake().run()", "", LINE + 3),
}


def flow(code: str, site: Site) -> str:
    return (HEAD + code).format(url=site.url, callback="parse") + "\n"


@pytest.mark.parametrize("case", RUNNING)
def test_a_flow_that_runs_itself_is_not_run_twice(case: str, cli: Cli, write: Write, site: Site) -> None:
    code, name, line = RUNNING[case]
    write("flow.py", flow(code, site))
    done = cli("run", f"flow.py{name}", "-O", "items.jsonl")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"error: flow.py: {TWICE} (flow.py:{line})"
    assert site.count("/12") == (1 if case == "made by a function" else 0)


def test_it_still_runs_as_a_program(write: Write, site: Site, folder: Path) -> None:
    write("flow.py", flow(f"crawl = {CRAWL}\nprint(crawl.run())", site))
    done = subprocess.run((sys.executable, "flow.py"), cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("finished: 1 page, 1 item")


def test_a_flow_may_run_another_crawl_for_its_start(cli: Cli, write: Write, site: Site) -> None:
    seeds = CRAWL.replace("{callback}", "find")
    rest = "Crawl([each['url'] for each in found]).pipe(ops.download(), ops.scrape(parse))"
    code = f"found = asyncio.run({seeds}.collect())\ncrawl = {rest}"
    write("flow.py", flow(code, site))
    done = cli("run", "flow.py", "-O", "-")
    assert done.returncode == 0, done.stderr
    assert done.stdout == '{"page":"Page 3"}\n'


def test_two_crawls_may_share_an_operator(cli: Cli, write: Write, site: Site) -> None:
    code = """\
download, limited = ops.download(), ops.scrape(parse)
found = asyncio.run(Crawl("{url}/12").pipe(download, ops.scrape(find)).collect())
crawl = Crawl([item["url"] for item in found]).pipe(download, limited)
"""
    write("flow.py", flow(code, site))
    done = cli("run", "flow.py", "-O", "items.jsonl")
    assert done.returncode == 0, done.stderr
    assert (site.count("/12"), site.count("/3")) == (1, 1)


def test_a_forgotten_yield_is_told_with_its_line(cli: Cli, write: Write, site: Site) -> None:
    code = f'def silent(page):\n    page.follow_all(css="a")\n\ncrawl = {CRAWL.replace("{callback}", "silent")}'
    write("flow.py", flow(code, site))
    done = cli("run", "flow.py")
    assert done.returncode == 0
    where = f"silent (flow.py:{LINE})"
    told = f"warning no callback gave an item or a link: {where} returned None for the only page"
    assert [line.partition(" ")[2] for line in done.stderr.splitlines() if "yield" in line] == [
        f'{told}: is a "yield" missing?'
    ]


def test_a_link_that_cannot_be_asked_for_makes_the_exit_code_1(cli: Cli, write: Write, site: Site) -> None:
    code = f'def wrong(page):\n    yield Request("/2")\n\ncrawl = {CRAWL.replace("{callback}", "wrong")}'
    write("flow.py", flow(code, site))
    done = cli("run", "flow.py")
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if "page.follow(…) makes one of it" in line]
    assert [" error " in line and line.endswith(f"(flow.py:{LINE + 1}, in wrong)") for line in told] == [True]
    assert done.stderr.splitlines()[-1] == "error: 1 error in callbacks"


def test_a_crawl_that_robots_txt_forbids_says_so(cli: Cli, write: Write) -> None:
    with serve({"/robots.txt": Answer("User-agent: *\nDisallow: /")}) as site:
        write("flow.py", flow(f"crawl = {CRAWL}", site))
        done = cli("run", "flow.py")
    assert done.returncode == 1
    told = [line.partition(" ")[2] for line in done.stderr.splitlines() if "warning" in line]
    assert told == [f"warning start request dropped: {site.url}/12: robots.txt"]
    assert done.stderr.splitlines()[-1] == "error: no page was reached: 1 dropped (robots.txt)"


def test_an_address_without_a_scheme(cli: Cli, write: Write, site: Site) -> None:
    host = site.url.removeprefix("http://")
    write("flow.py", flow(f'crawl = Crawl(["{host}"]).pipe(ops.download(), ops.scrape(parse))', site))
    done = cli("run", "flow.py")
    assert done.returncode == 2
    why = f"it has no scheme: did you mean http://{host}?"
    assert done.stderr == f"error: flow.py: invalid URL {host!r}: {why} (flow.py:{LINE})\n"
