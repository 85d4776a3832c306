"""`streamcrawl graph`: the picture on stdout or in a file."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from streamcrawl.testing.site import Site

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def test_mermaid_on_stdout_and_nothing_is_crawled(cli: Cli, flow: Path, site: Site) -> None:
    done = cli("graph", "flow.py:crawl")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("flowchart TD\n")
    assert f'"{site.url}/"' in done.stdout
    assert site.served == 0


def test_svg_on_stdout_and_in_a_file(cli: Cli, flow: Path, folder: Path) -> None:
    done = cli("graph", "flow.py", "--svg")
    assert done.returncode == 0
    assert ElementTree.fromstring(done.stdout).tag == "{http://www.w3.org/2000/svg}svg"
    there = cli("graph", "flow.py", "--svg", "flow.svg")
    assert (there.returncode, there.stdout) == (0, "")
    assert (folder / "flow.svg").read_text("utf-8") == done.stdout


def test_wrong_usage(cli: Cli, flow: Path, folder: Path) -> None:
    before = flow.read_text()
    for arguments, line in (
        (("graph", "none.py"), "error: none.py: no such file\n"),
        (("graph", "flow.py", "--svg", "missing/flow.svg"), "error: missing/flow.svg: No such file or directory\n"),
    ):
        done = cli(*arguments)
        assert (done.returncode, done.stderr) == (2, line)
    assert cli("graph", "--svg", "flow.py", "flow.py").returncode == 2
    assert flow.read_text() == before
