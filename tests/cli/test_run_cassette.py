"""`streamcrawl run --record F`, `--replay F`; spiders in files; `streamcrawl list`."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamcrawl.testing.cassette_file import scan
from streamcrawl.testing.site import Answer, Arrival, Reply, Site, serve

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
Begin = Callable[..., "subprocess.Popen[str]"]
Write = Callable[[str, str], Path]

SPIDER = """
import logging
from streamcrawl.spiders import Spider

class Shop(Spider):
    name = "shop"
    kind = "all"

    def __init__(self, url="{url}/", **arguments):
        super().__init__(start_urls=[url], **arguments)

    def parse(self, response):
        yield {{"page": response.css("h1::text").get(), "kind": self.kind}}
        yield from response.follow_all(css="a")
"""


def items(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_spider_in_a_file(cli: Cli, write: Write, site: Site, folder: Path) -> None:
    write("shop.py", SPIDER.format(url=site.url))
    done = cli("run", "shop.py", "-O", "items.jsonl", "-a", "kind=books", "-a", f"url={site.url}/10")
    assert done.returncode == 0, done.stderr
    assert sorted(items(folder / "items.jsonl"), key=str) == [
        {"page": f"Page {n}", "kind": "books"} for n in (10, 11, 12)
    ]


def test_a_spider_in_a_job_goes_on(cli: Cli, write: Write, site: Site, folder: Path) -> None:
    write("shop.py", SPIDER.format(url=site.url))
    command = ("run", "shop.py:shop", "-O", "items.jsonl", "--job", "job")
    assert cli(*command, "--limit-pages", "5").returncode == 0
    assert cli(*command).returncode == 0
    assert sorted(item["page"] for item in items(folder / "items.jsonl")) == sorted(f"Page {n}" for n in range(1, 13))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("run", "shop.py", "-a", "kind"), "argument -a: 'kind' is not NAME=VALUE"),
        (("run", "shop.py", "-a", "=x"), "argument -a: '=x' is not NAME=VALUE"),
        (("run", "shop.py", "-a", "parse=x"), "error: Shop(parse='x') cannot be made: "),
        (("run", "shop.py:nobody"), "error: shop.py: no 'nobody' in it; it has Shop"),
        (("run", "shop.py", "--record", ""), "error: --record '': the name of a cassette's file"),
        (("run", "shop.py", "--record", "shop.py"), "error: --record 'shop.py': the name of a cassette's file"),
        (("run", "shop.py", "--replay", "none"), "error: --replay none: no cassette there: No such file or directory"),
        (
            ("run", "shop.py", "--record", "a", "--replay", "b"),
            "error: --record a --replay b: both at once add what is new",
        ),
        (("list", "empty.py"), "error: empty.py: no Crawl and no Spider in it"),
        (("list", "none.py"), "error: none.py: no such file"),
    ],
)
def test_wrong_usage(cli: Cli, write: Write, arguments: tuple[str, ...], line: str) -> None:
    write("shop.py", SPIDER.format(url="http://127.0.0.1:9"))
    write("empty.py", "")
    done = cli(*arguments)
    assert done.returncode == 2
    assert line in done.stderr.splitlines()[-1]


def test_list(cli: Cli, write: Write) -> None:
    more = """
from streamcrawl import Crawl, operators as ops
crawl = Crawl("http://a.example/").pipe(ops.download())
def make() -> Crawl: return crawl
"""
    write("shop.py", SPIDER.format(url="http://127.0.0.1:9") + more)
    done = cli("list", "shop.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(None, 1) for line in done.stdout.splitlines()] == [
        ["shop.py:crawl", "Crawl of 'http://a.example/'"],
        ["shop.py:make", "function that makes a Crawl"],
        ["shop.py:Shop", "Spider 'shop'"],
    ]


# -- cassettes --------------------------------------------------------------------------------------------------------


def test_recorded_once_and_replayed_the_same_each_time(
    cli: Cli, write_flow: Callable[[str], Path], folder: Path
) -> None:
    def shop(arrival: Arrival) -> Reply:
        name = arrival.path.strip("/") or "1"
        links = "".join(f'<a href="/{n}">{n}</a>' for n in range(2, 13))
        return f"<h1>Page {name}</h1>{links}" if name.isdigit() else 404

    with serve(shop) as site:
        write_flow(site.url)
        first = cli("run", "flow.py", "-O", "first.jsonl", "--record", "shop.cassette")
        assert first.returncode == 0, first.stderr
    texts: list[str] = []
    for n in range(3):
        done = cli("run", "flow.py", "-O", f"{n}.jsonl", "--replay", "shop.cassette")
        assert done.returncode == 0, done.stderr
        texts.append((folder / f"{n}.jsonl").read_text())
    assert texts[0] == texts[1] == texts[2]
    assert sorted(texts[0].splitlines()) == sorted((folder / "first.jsonl").read_text().splitlines())
    assert len(texts[0].splitlines()) == 12
    assert scan(folder / "shop.cassette").exchanges[0][0].url == f"{site.url}/robots.txt"


def test_what_was_not_recorded_fails_the_run_and_is_named(cli: Cli, flow: Path, site: Site, folder: Path) -> None:
    assert (
        cli("run", "flow.py", "--record", "shop.cassette", "--limit-pages", "3", "--concurrency", "1").returncode == 0
    )
    asked = site.served
    done = cli("run", "flow.py", "-O", "items.jsonl", "--replay", "shop.cassette", "--quiet")
    assert done.returncode == 1
    assert site.served == asked
    recorded = {request.url for request, _ in scan(folder / "shop.cassette").exchanges}
    assert {item["url"] for item in items(folder / "items.jsonl")} == {url for url in recorded if "robots" not in url}
    lines = done.stderr.splitlines()
    assert len(lines) == 6
    assert all("is not in the cassette shop.cassette: nothing of that URL is" in line for line in lines[:5])
    assert lines[5] == f"error: and {12 - len(recorded) + 1 - 5} more that were not recorded"


def test_what_is_new_is_added(cli: Cli, flow: Path, site: Site, folder: Path) -> None:
    assert cli("run", "flow.py", "--record", "f", "--limit-pages", "3").returncode == 0
    assert cli("run", "flow.py", "--record", "f", "--replay", "f").returncode == 0
    assert max(site.counts().values()) == 1
    asked = site.served
    assert cli("run", "flow.py", "--replay", "f", "-O", "items.jsonl").returncode == 0
    assert site.served == asked
    assert len(items(folder / "items.jsonl")) == 12


def test_killed_while_it_records(begin: Begin, cli: Cli, write_flow: Callable[[str], Path], folder: Path) -> None:
    """What is in the file by then can be replayed; with a job the same command goes on with it."""
    enough = threading.Event()

    def shop(arrival: Arrival) -> Reply:
        name = arrival.path.strip("/") or "1"
        if not name.isdigit():
            return 404
        if int(name) > 20:
            enough.set()
        return Answer(f'<h1>Page {name}</h1><a href="/{int(name) + 1}">on</a>' if int(name) < 40 else "", delay=0.02)

    with serve(shop) as site:
        write_flow(site.url)
        command = ("run", "flow.py", "-O", "items.jsonl", "--record", "shop.cassette", "--job", "job")
        process = begin(*command)
        assert enough.wait(30)
        process.kill()
        process.wait(30)
        whole = len(scan(folder / "shop.cassette").exchanges)
        assert whole >= 20
        part = cli("run", "flow.py", "-O", "part.jsonl", "--replay", "shop.cassette", "--quiet")
        assert part.returncode == 1
        assert len(items(folder / "part.jsonl")) == whole - 1  # and robots.txt
        assert part.stderr.count("is not in the cassette") == 1
        assert cli(*command).returncode == 0
    assert len(scan(folder / "shop.cassette").exchanges) > whole
    done = cli("run", "flow.py", "-O", "again.jsonl", "--replay", "shop.cassette", "--job", "replayed")
    assert done.returncode == 0, done.stderr
    assert len(items(folder / "again.jsonl")) == 40
    assert sorted(items(folder / "again.jsonl"), key=str) == sorted(items(folder / "items.jsonl"), key=str)
