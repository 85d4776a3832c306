"""The real command line in processes of their own, in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from forked import Forked

from streamcrawl.testing.site import Arrival, Reply, Site, serve

Done: TypeAlias = "subprocess.CompletedProcess[str]"
Cli: TypeAlias = Callable[..., Done]
Begin: TypeAlias = Callable[..., "subprocess.Popen[str]"]
Write: TypeAlias = Callable[[str, str], Path]

COMMAND = (sys.executable, "-m", "streamcrawl")

PAGES = 12


def shop(arrival: Arrival) -> Reply:
    """Pages /1 to /12, each with an item and a link to the next; the first also links to all."""
    name = arrival.path.strip("/") or "1"
    if not name.isdigit() or not 1 <= int(name) <= PAGES:
        return 404
    links = range(2, PAGES + 1) if name == "1" else range(int(name) + 1, min(int(name) + 2, PAGES + 1))
    return f"<h1>Page {name}</h1>" + "".join(f'<a href="/{link}">{link}</a>' for link in links)


FLOW = """
from streamcrawl import Crawl, operators as ops

def parse(page):
    yield {{"page": page.css("h1::text").get(), "url": page.url}}
    yield from page.follow_all(css="a")

crawl = Crawl("{url}/").pipe(ops.download(), ops.scrape(parse))
"""


@pytest.fixture(scope="session")
def forked() -> Iterator[Forked]:
    made = Forked({**os.environ, "PYTHONUTF8": "1"})
    yield made
    made.close()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir()
    own = dict.fromkeys(("HOME", "IPYTHONDIR", "TMPDIR"), str(home))
    return {**os.environ, **own, "COLUMNS": "120", "PYTHONUTF8": "1"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the command is run."""
    made = tmp_path / "folder"
    made.mkdir()
    return made


@pytest.fixture
def cli(environment: dict[str, str], folder: Path, forked: Forked) -> Cli:
    """Run `streamcrawl` with these arguments to its end."""

    def run(*arguments: str, typed: str = "") -> Done:
        if forked.serves(environment):
            return forked.run(arguments, folder, environment, typed=typed)
        return subprocess.run(
            (*COMMAND, *arguments),
            cwd=folder,
            env=environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.fixture
def begin(environment: dict[str, str], folder: Path) -> Iterator[Begin]:
    """Begin `streamcrawl` with these arguments; what still runs at the end of the test is killed."""
    begun: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            (*COMMAND, *arguments), cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def write(folder: Path) -> Write:
    """Write a file into the folder."""

    def make(name: str, text: str) -> Path:
        path = folder / name
        path.write_text(text, encoding="utf-8")
        return path

    return make


@pytest.fixture
def site() -> Iterator[Site]:
    with serve(shop) as made:
        yield made


@pytest.fixture
def write_flow(write: Write) -> Callable[[str], Path]:
    """Write flow.py, which crawls the site at a URL: an item a page, every link followed."""
    return lambda url: write("flow.py", FLOW.format(url=url))


@pytest.fixture
def flow(write_flow: Callable[[str], Path], site: Site) -> Path:
    """flow.py, which crawls the site of 12 pages."""
    return write_flow(site.url)
