"""`streamcrawl shell`: Python, with a page at hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from streamcrawl import Crawl, Request, Response
from streamcrawl import operators as ops
from streamcrawl.cli import shell
from streamcrawl.testing.site import Site

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def without_ipython(environment: dict[str, str], tmp_path: Path) -> None:
    """In the processes of these tests IPython is not installed."""
    hidden = tmp_path / "hidden" / "IPython"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('not here')")
    environment["PYTHONPATH"] = str(hidden.parent)


def test_a_page_at_hand(cli: Cli, site: Site) -> None:
    script = """\
print(response.css("h1::text").get())
print(fetch(Request(response.urljoin("/2"))) is response)
print(response.css("h1::text").get(), Crawl.__name__, ops.__name__)
"""
    done = cli("shell", f"{site.url}/", typed=script)
    assert done.returncode == 0
    said = done.stdout.replace(">>> ", "")
    assert said.splitlines() == ["Page 1", "True", "Page 2 Crawl streamcrawl.operators"]
    assert f"response   <Response 200 {site.url}/>" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_page(cli: Cli) -> None:
    done = cli("shell", typed="print(response)\n")
    assert done.returncode == 0
    assert "None" in done.stdout
    assert "nothing yet" in done.stderr


def test_a_page_that_cannot_be_fetched_leaves_the_prompt(cli: Cli) -> None:
    done = cli(
        "shell", "http://nowhere.invalid/", typed="print('still here')\nfetch('file:///no/such/file')\nprint(6 * 7)\n"
    )
    assert done.returncode == 0
    assert "still here" in done.stdout
    assert "42" in done.stdout
    assert done.stderr.startswith("error: ")
    assert "nowhere.invalid" in done.stderr.splitlines()[0]
    assert "FetchError" in done.stderr


def test_no_absolute_url_is_wrong_usage(cli: Cli) -> None:
    done = cli("shell", "example.com")
    assert done.returncode == 2
    assert done.stderr.startswith("error: invalid URL 'example.com': ")


def test_ipython_where_it_is_installed(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    started: list[tuple[list[str], dict[str, Any]]] = []
    stand_in = ModuleType("IPython")
    stand_in.start_ipython = lambda argv, user_ns: started.append((argv, user_ns))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", stand_in)
    names = shell.namespace()
    names["fetch"](f"{site.url}/")
    shell.prompt(names)
    ((argv, given),) = started
    assert argv == ["--no-banner"]
    assert given is names
    assert isinstance(given["response"], Response)
    assert (given["Crawl"], given["Request"], given["ops"]) == (Crawl, Request, ops)
