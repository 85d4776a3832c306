"""`streamcrawl check`: a line for each contract."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from streamcrawl.testing.site import Site, serve

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
Write = Callable[[str, str], Path]

SPIDER = '''
from streamcrawl import Request
from streamcrawl.spiders import Spider
from streamcrawl.testing.contracts import Contract

def starts_with(response, argument):
    assert response.css("h1::text").get("").startswith(argument), f"the page does not begin with {{argument}}"

title = Contract("title", before=starts_with)

class Shop(Spider):
    name = "shop"
    kind = "any"

    def parse(self, response):
        """The pages of the shop.

        @url {url}/
        @returns requests 11 11
        @returns items 1 1
        @scrapes page
        @title Page
        """
        yield {{"page": response.css("h1::text").get()}}
        for link in response.css("a"):
            yield response.follow(link, callback=self.page)

    async def page(self, response):
        """@url {url}/2
        @scrapes page kind
        """
        yield {{"page": 2, "kind": self.kind}}
'''
FLOW = '''
from streamcrawl import Crawl, operators as ops

def parse(page):
    """@url {url}/1
    @returns items 1
    """
    yield {{"url": page.url}}
    yield from page.follow_all(css="a", callback=other)

def other(page):
    """@url {url}/2
    @returns items 3
    @scrapes title
    @url {url}/nowhere
    @returns items 0 0
    """
    return {{"url": page.url}}

def helper():
    """No callback; see @url in the docs of others"""

crawl = Crawl("{url}/").pipe(ops.download(), ops.scrape(parse), ops.feed("items.jsonl"))
'''


def told(text: str) -> list[str]:
    """The lines, without the seconds."""
    return re.sub(r"in [\d.]+ s$", "in 0 s", text, flags=re.MULTILINE).splitlines()


def test_every_contract_of_a_spider_holds(cli: Cli, write: Write, site: Site) -> None:
    write("shop.py", SPIDER.format(url=site.url))
    done = cli("check", "shop.py", "-a", "kind=books")
    assert (done.returncode, done.stderr) == (0, "")
    assert told(done.stdout) == [
        f"ok    Shop.parse  @url {site.url}/",
        "ok    Shop.parse  @returns requests 11 11",
        "ok    Shop.parse  @returns items 1 1",
        "ok    Shop.parse  @scrapes page",
        "ok    Shop.parse  @title Page",
        f"ok    Shop.page  @url {site.url}/2",
        "ok    Shop.page  @scrapes page kind",
        "7 contracts: 7 ok, in 0 s",
    ]


def test_failures_say_why(cli: Cli, write: Write, site: Site, folder: Path) -> None:
    write("flow.py", FLOW.format(url=site.url))
    done = cli("check", "flow.py")
    assert (done.returncode, done.stderr) == (1, "")
    assert told(done.stdout) == [
        f"ok    parse  @url {site.url}/1",
        "ok    parse  @returns items 1",
        f"ok    other  @url {site.url}/2",
        "FAIL  other  @returns items 3: it gave 1 item, and not 3 or more",
        f"FAIL  other  @scrapes title: item 1 has no title: {{'url': '{site.url}/2'}}",
        f"FAIL  other  @url {site.url}/nowhere: HTTP status 404 from {site.url}/nowhere",
        "-     other  @returns items 0 0 (not run)",
        "7 contracts: 3 failed, 3 ok, 1 not run, in 0 s",
    ]
    assert [path.name for path in folder.iterdir() if path.is_file()] == ["flow.py"], "its feed is left alone"


def test_some_of_them(cli: Cli, write: Write, site: Site) -> None:
    write("shop.py", SPIDER.format(url=site.url) + FLOW.format(url=site.url))
    for name, callbacks in {
        "Shop.page": {"Shop.page"},
        "Shop": {"Shop.parse", "Shop.page"},
        "parse": {"Shop.parse", "parse"},
        "crawl": {"parse"},
    }.items():
        done = cli("check", "shop.py", name)
        found = {line.split()[1] for line in done.stdout.splitlines()[:-1]}
        assert (done.returncode, found) == (0, callbacks), name
    done = cli("check", "shop.py:crawl")
    assert {line.split()[1] for line in done.stdout.splitlines()[:-1]} == {"parse"}


def test_the_list_fetches_nothing(cli: Cli, write: Write) -> None:
    with serve({}) as site:
        write("flow.py", FLOW.format(url=site.url).replace("@scrapes title", "@scrape title"))
        done = cli("check", "flow.py", "--list", "other")
        assert site.served == 0
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "other",
        f"  @url {site.url}/2",
        "  @returns items 3",
        "  @scrape title  (there is no contract @scrape; did you mean @scrapes?)",
        "other",
        f"  @url {site.url}/nowhere",
        "  @returns items 0 0",
    ]


def test_recorded_once_and_replayed_without_a_network(cli: Cli, write: Write, site: Site) -> None:
    write("shop.py", SPIDER.format(url=site.url) + FLOW.format(url=site.url))
    first = cli("check", "shop.py", "--record", "shop.cassette")
    asked = site.served
    again = cli("check", "shop.py", "--replay", "shop.cassette")
    assert told(again.stdout) == told(first.stdout)
    assert (first.returncode, again.returncode) == (1, 1)
    assert site.served == asked
    write("more.py", FLOW.format(url=f"{site.url}/more"))
    done = cli("check", "more.py", "--replay", "shop.cassette", "parse")
    assert done.returncode == 1
    assert (
        f"FAIL  parse  @url {site.url}/more/1: GET {site.url}/more/1 is not in the cassette shop.cassette"
        in done.stdout
    )


def test_functions_without_any_crawl(cli: Cli, write: Write, site: Site) -> None:
    write("callbacks.py", FLOW.format(url=site.url).partition("def helper")[0])
    done = cli("check", "callbacks.py", "parse")
    assert (done.returncode, told(done.stdout)[-1]) == (0, "2 contracts: 2 ok, in 0 s")


def test_a_file_with_two_spiders(cli: Cli, write: Write, site: Site) -> None:
    two = SPIDER.format(url=site.url)
    write("shop.py", two + two[two.index("class Shop") :].replace("Shop", "Second").replace('"shop"', '"second"'))
    done = cli("check", "shop.py")
    assert (done.returncode, told(done.stdout)[-1]) == (0, "14 contracts: 14 ok, in 0 s")
    assert told(cli("check", "shop.py:second").stdout)[-1] == "7 contracts: 7 ok, in 0 s"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("none.py",), "none.py: no such file"),
        (("empty.py",), "empty.py: no contracts in it: no callback has an @url in its docstring"),
        (("flow.py", "nobody"), "flow.py: no contracts of 'nobody'; there are those of parse, other"),
        (("flow.py:nobody",), "flow.py: no 'nobody' in it; it has crawl"),
        (("flow.py", "--replay", "none"), "--replay none: no cassette there: No such file or directory"),
        (("flow.py", "--replay", "flow.py"), "--replay 'flow.py': the name of a cassette's file"),
        (("flow.py", "--replay", "empty"), "--replay empty: no cassette: it does not begin with one's first line"),
        (("shop.py", "-a", "parse=1"), "Shop(parse='1') cannot be made: "),
    ],
)
def test_wrong_usage_is_one_line(cli: Cli, write: Write, arguments: tuple[str, ...], line: str) -> None:
    write(
        "empty.py", "from streamcrawl import Crawl, operators as ops\ncrawl = Crawl('http://a/').pipe(ops.download())"
    )
    write("empty", "")
    write("flow.py", FLOW.format(url="http://127.0.0.1:9"))
    write("shop.py", SPIDER.format(url="http://127.0.0.1:9"))
    done = cli("check", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {line}")
    assert len(done.stderr.splitlines()) == 1
