"""`streamcrawl shell`: Python, with a page at hand."""

from __future__ import annotations

import asyncio
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
from streamcrawl.testing.site import Site, serve

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
    said = done.stdout
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


def test_everything_at_hand(cli: Cli, site: Site) -> None:
    script = """\
print(page is response, request.url == page.url, sel.css("h1::text").get(), crawl)
_ = fetch("data:application/json,[1]")
print(sel.jmespath("[0]").get(), request.url)
_ = fetch("data:image/png,x")
print(sel, page.body)
"""
    done = cli("shell", f"{site.url}/", typed=script)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert done.stdout.splitlines() == [
        "True True Page 1 None",
        "1 data:application/json,[1]",
        "None b'x'",
    ]


def test_code_on_the_command_line(cli: Cli, site: Site) -> None:
    done = cli("shell", f"{site.url}/", "-c", 'sel.css("h1::text").get()')
    assert (done.returncode, done.stdout, done.stderr) == (0, "Page 1\n", "")
    done = cli("shell", f"{site.url}/", "-c", "for n in (1, 2): print(n, response.status)")
    assert (done.returncode, done.stdout) == (0, "1 200\n2 200\n")
    done = cli("shell", "-c", "print(")
    assert (done.returncode, done.stderr) == (2, "error: -c 'print(': '(' was never closed\n")
    done = cli("shell", "-c", "1 / 0")
    assert (done.returncode, done.stderr) == (1, "error: ZeroDivisionError: division by zero\n")
    done = cli("shell", "file:///no/such/file", "-c", "print(response)")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)


def test_through_the_layers_of_a_flow(cli: Cli, write: Callable[[str, str], Path]) -> None:
    write(
        "flow.py",
        "from streamcrawl import Crawl, operators as ops\n"
        "layers = ops.default_layers(user_agent=ops.user_agent('tester'))\n"
        "crawl = Crawl('http://never.example/').pipe(ops.download(*layers))\n",
    )
    with serve(
        {"/": lambda arrival: arrival.headers["user-agent"], "/robots.txt": "User-agent: *\nDisallow: /"}
    ) as site:
        done = cli("shell", f"{site.url}/", "--spider", "flow.py", "-c", "print(response.text, crawl)")
        fetched = cli("fetch", f"{site.url}/", "--spider", "flow.py")
    assert done.stdout == "tester <Crawl of 'http://never.example/', 1 operators>\n", done.stderr
    assert fetched.stdout == "tester"
    done = cli("shell", "--spider", "none.py")
    assert (done.returncode, done.stderr) == (2, "error: none.py: no such file\n")


def test_fetch_where_a_loop_is_running() -> None:
    async def cell() -> Response:
        response: Response = shell.namespace()["fetch"]("data:text/plain,hello")
        return response

    assert asyncio.run(cell()).text == "hello"


def test_view(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names = shell.namespace()
    with pytest.raises(ValueError, match="there is no response yet"):
        names["view"]()
    names["fetch"]("data:text/html,<h1>Hi</h1>")
    path = names["view"]()
    assert path.read_text("utf-8-sig").endswith("<h1>Hi</h1>")
    assert opened == [path.as_uri()]
    assert names["view"](Response("http://a/", body=b"other")).read_text("utf-8-sig").endswith("other")
