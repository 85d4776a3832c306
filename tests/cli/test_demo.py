"""`streamcrawl demo`: the shop crawled, and how to go on."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest

from streamcrawl.cli.flows import flow_from
from streamcrawl.testing.site import DemoSite, serve

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
Begin = Callable[..., "subprocess.Popen[str]"]


def test_the_whole_shop(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = cli("demo")
    assert done.returncode == 0, done.stderr
    left = folder / "streamcrawl-demo"
    items = [json.loads(line) for line in (left / "items.jsonl").read_text("utf-8").splitlines()]
    found = {(item["name"], f"{item['price']:.2f}", item["rating"], len(item["image_urls"])) for item in items}
    wanted = {(each.name, each.price, each.rating, len(each.pictures)) for each in DemoSite().products}
    assert found == wanted
    assert len(items) == len(wanted) == 300
    pictures = [report for item in items for report in item["images"]]
    assert {report["status"] for report in pictures} == {"downloaded"}
    for report in pictures:
        full = left / "pictures" / report["path"]
        assert full.read_bytes()[:3] == b"\xff\xd8\xff"
        assert (left / "pictures" / "thumbs" / "small" / full.name).is_file()
    assert "finished: " in done.stderr
    assert "Traceback" not in done.stderr
    steps = re.findall(r"^  streamcrawl (run|graph) (\S+)", done.stdout, re.MULTILINE)
    assert ("run", "streamcrawl-demo/flow.py") in steps
    monkeypatch.chdir(folder)
    with flow_from("streamcrawl-demo/flow.py") as crawl:
        assert crawl.start_source == "https://quotes.toscrape.com/"


def test_the_flow_that_it_writes_works_on_a_page_of_that_kind(cli: Cli, folder: Path) -> None:
    assert cli("demo", "--pages", "2", "--quiet").returncode == 0
    path = folder / "streamcrawl-demo" / "flow.py"
    quote = '<div class="quote"><span class="text">{0}</span> by <small class="author">{0} A.</small></div>'
    pages = {
        "/": quote.format("One") + '<ul><li class="next"><a href="/page/2/">Next</a></li></ul>',
        "/page/2/": quote.format("Two"),
    }
    with serve(pages) as site:
        path.write_text(path.read_text().replace("https://quotes.toscrape.com", site.url))
        done = cli("run", "streamcrawl-demo/flow.py", "-O", "quotes.jsonl")
    assert done.returncode == 0
    lines = (folder / "quotes.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"text": "One", "author": "One A."},
        {"text": "Two", "author": "Two A."},
    ]
    mine = path.read_text()
    assert cli("demo", "--pages", "2", "--quiet").returncode == 0
    assert path.read_text() == mine, "a flow that was worked on stays"


def test_a_part_of_it_and_quietly(cli: Cli, folder: Path) -> None:
    done = cli("demo", "--pages", "3", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (folder / "streamcrawl-demo" / "items.jsonl").is_file()


def test_only_the_site(begin: Begin, folder: Path) -> None:
    process = begin("demo", "--serve")
    assert process.stdout is not None
    found = re.search(r"http://\S+/", process.stdout.readline())
    assert found is not None
    with urlopen(found[0], timeout=10) as page:
        assert b"The Corner Shop" in page.read()
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=30)
    assert (process.returncode, rest) == (0, "")
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made(cli: Cli, folder: Path) -> None:
    (folder / "streamcrawl-demo").write_text("a file")
    done = cli("demo", "--pages", "1")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "streamcrawl-demo" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_and_one_that_is_none(cli: Cli) -> None:
    with serve({}) as site:
        taken = site.url.rpartition(":")[2]
        done = cli("demo", "--port", taken, "--serve")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: port {taken}: ")
    for port in ("70000", "x", "-1"):
        assert cli("demo", "--port", port).returncode == 2
