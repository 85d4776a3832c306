"""`streamcrawl parse`: what a callback makes of a page, level by level."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from streamcrawl.testing.site import Site, serve

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
Write = Callable[[str, str], Path]

SPIDER = """
from streamcrawl import Request
from streamcrawl.links import LinkExtractor
from streamcrawl.spiders import CrawlSpider, Rule, Spider

class Shop(Spider):
    name = "shop"
    kind = "all"

    def parse(self, response):
        yield {{"page": response.css("h1::text").get(), "kind": self.kind}}
        yield from response.follow_all(css="a", callback=self.page)

    async def page(self, response, more=None):
        yield {{"url": response.url, "more": more, "meta": response.meta}}
        yield Request("{url}/12", callback=self.page, method="POST", cb_kwargs={{"more": 2}})

    def broken(self, response):
        yield {{"page": 1}}
        raise KeyError("gone")

    def strange(self, response):
        yield {{1, 2}}

class Ruled(CrawlSpider):
    name = "ruled"
    rules = (
        Rule(LinkExtractor(allow="/1[0-9]$"), callback="late"),
        Rule(LinkExtractor(allow="/9$"), callback="nine", follow=True),
    )

    def late(self, response):
        return {{"late": response.url}}

    async def nine(self, response):
        yield {{"nine": response.url}}
"""
FLOW = """
from dataclasses import dataclass
from datetime import date
from reactivex import operators as rx
from streamcrawl import Crawl, operators as ops

@dataclass
class Page:
    url: str
    day: date
    inner: object = None

def parse(page):
    yield Page(page.url, date(2030, 1, 2), Page("inner", None))
    yield from page.follow_all(css="a")

def other(page):
    return {{"other": page.css("h1::text").get()}}

crawl = Crawl("{url}/", limit_items=1, job="job").pipe(
    ops.download(), ops.scrape(parse), rx.filter(lambda item: not item.url.endswith("/10")), ops.feed("items.jsonl")
)
"""


@pytest.fixture
def shop(write: Write, site: Site) -> Site:
    write("shop.py", SPIDER.format(url=site.url))
    write("flow.py", FLOW.format(url=site.url))
    return site


def test_items_and_links_of_a_page(cli: Cli, shop: Site) -> None:
    done = cli("parse", f"{shop.url}/9", "--spider", "shop.py:Shop", "-a", "kind=books")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "--- depth 1: 1 page, 1 item, 1 link",
        '{"page": "Page 9", "kind": "books"}',
        f"{shop.url}/10  -> page",
    ]


def test_deeper(cli: Cli, shop: Site) -> None:
    done = cli("parse", f"{shop.url}/9", "--spider", "shop.py:shop", "--depth", "3")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "--- depth 1: 1 page, 1 item, 1 link",
        '{"page": "Page 9", "kind": "all"}',
        f"{shop.url}/10  -> page",
        "--- depth 2: 1 page, 1 item, 1 link",
        f'{{"url": "{shop.url}/10", "more": null, "meta": {{}}}}',
        f"POST {shop.url}/12  -> page",
        "--- depth 3: 1 page, 1 item, 1 link",
        f'{{"url": "{shop.url}/12", "more": 2, "meta": {{}}}}',
        f"POST {shop.url}/12  -> page",
    ]


def test_a_callback_with_meta_and_arguments(cli: Cli, shop: Site) -> None:
    options = ("--callback", "page", "--meta", '{"a": 1}', "--cbkwargs", '{"more": [1, 2]}', "--nolinks")
    done = cli("parse", f"{shop.url}/9", "--spider", "shop.py:Shop", *options)
    assert done.stdout.splitlines() == [
        "--- depth 1: 1 page, 1 item, 1 link",
        f'{{"url": "{shop.url}/9", "more": [1, 2], "meta": {{"a": 1}}}}',
    ]
    done = cli("parse", f"{shop.url}/9", "--spider", "shop.py:Shop", *options, "--noitems")
    assert done.stdout.splitlines() == ["--- depth 1: 1 page, 1 item, 1 link"]


def test_a_rule_by_itself_and_links_that_only_lead_on(cli: Cli, shop: Site, write: Write) -> None:
    rule = "Rule(LinkExtractor(allow='/9$'))"
    spider = f"from streamcrawl import *\nclass One(CrawlSpider):\n    name = 'one'\n    rules = {rule}\n"
    write("one.py", spider)
    done = cli("parse", f"{shop.url}/9", "--spider", "one.py", "--rules")
    assert (done.returncode, done.stderr) == (0, "")
    done = cli("parse", f"{shop.url}/", "--spider", "one.py")
    assert f"{shop.url}/9  -> rule 0, for its links" in done.stdout.splitlines()


def test_rules_say_the_callback(cli: Cli, shop: Site) -> None:
    done = cli("parse", f"{shop.url}/9", "--spider", "shop.py:Ruled", "--rules")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1:] == [
        f'{{"nine": "{shop.url}/9"}}',
        f"{shop.url}/10  -> late (rule 0)",
    ]
    done = cli("parse", f"{shop.url}/12", "--spider", "shop.py:Ruled", "-r")
    assert done.stdout.splitlines()[1:] == [f'{{"late": "{shop.url}/12"}}']
    done = cli("parse", f"{shop.url}/1", "--spider", "shop.py:Ruled", "--rules")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: --rules: no rule of Ruled matches {shop.url}/1\n"


def test_a_flow_and_its_functions(cli: Cli, shop: Site, folder: Path) -> None:
    done = cli("parse", f"{shop.url}/9", "--spider", "flow.py", "--depth", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:3] == [
        "--- depth 1: 1 page, 1 item, 1 link",
        f'{{"url": "{shop.url}/9", "day": "2030-01-02", "inner": {{"url": "inner", "day": null, "inner": null}}}}',
        f"{shop.url}/10",
    ]
    assert "--- depth 2: 1 page, 1 item, 1 link" in done.stdout
    done = cli("parse", f"{shop.url}/9", "--spider", "flow.py", "--callback", "other")
    assert done.stdout.splitlines()[1:] == ['{"other": "Page 9"}']
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == ["flow.py", "shop.py"]
    assert not (folder / "job").exists()


def test_pipelines_sends_items_on(cli: Cli, shop: Site, folder: Path) -> None:
    done = cli("parse", f"{shop.url}/9", "--spider", "flow.py", "--depth", "2", "--pipelines")
    assert (done.returncode, done.stderr) == (0, "")
    kept = (folder / "items.jsonl").read_text().splitlines()
    assert [f"{shop.url}/9" in line for line in kept] == [True]  # that of page 10 is filtered out


def test_recorded_and_replayed(cli: Cli, shop: Site) -> None:
    command = ("parse", f"{shop.url}/9", "--spider", "flow.py")
    first = cli(*command, "--depth", "2", "--record", "f")
    asked = shop.served
    again = cli(*command, "--depth", "2", "--replay", "f")
    assert (again.returncode, again.stdout) == (0, first.stdout)
    deeper = cli(*command, "--depth", "3", "--replay", "f")
    assert deeper.returncode == 1
    assert f"GET {shop.url}/11 is not in the cassette f" in deeper.stderr
    assert shop.served == asked


def test_what_fails_is_told(cli: Cli, shop: Site) -> None:
    done = cli("parse", f"{shop.url}/9", "--spider", "shop.py:Shop", "-c", "broken")
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["--- depth 1: 1 page, 1 item, 0 links", '{"page": 1}']
    assert done.stderr.startswith(f"error: the callback for {shop.url}/9 raised KeyError: 'gone' (")
    done = cli("parse", f"{shop.url}/9", "--spider", "shop.py:Shop", "-c", "strange")
    assert done.stdout.splitlines()[1:] == ["{1, 2}  (neither an item nor a Request)"]
    done = cli("parse", f"{shop.url}/nowhere", "--spider", "shop.py:Shop")
    assert (done.returncode, done.stderr) == (1, f"error: HTTP status 404 from {shop.url}/nowhere\n")
    with serve({"/robots.txt": "User-agent: *\nDisallow: /"}) as closed:
        done = cli("parse", f"{closed.url}/x", "--spider", "shop.py:Shop")
    assert (done.returncode, done.stderr) == (1, f"error: {closed.url}/x: dropped: robots.txt\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "the following arguments are required: --spider"),
        (("--spider", "none.py"), "error: none.py: no such file"),
        (("--spider", "shop.py"), "error: shop.py: several crawls in it; say which: shop.py:Shop, shop.py:Ruled"),
        (
            ("--spider", "shop.py:Shop", "--callback", "nobody"),
            "error: --callback nobody: shop.py:Shop has no method and no function of that name",
        ),
        (("--spider", "shop.py:Shop", "--rules"), "error: --rules: shop.py:Shop has no spider with rules"),
        (("--spider", "shop.py:Shop", "--depth", "0"), "argument --depth/-d: '0' is no whole number of 1 or more"),
        (("--spider", "shop.py:Shop", "--meta", "{"), "argument --meta/-m: '{' is no JSON"),
        (("--spider", "shop.py:Shop", "--cbkwargs", "[1]"), "argument --cbkwargs: '[1]' is no JSON object"),
        (("--spider", "shop.py:Shop", "--rules", "-c", "parse"), "argument --callback/-c: not allowed with argument"),
        (("--spider", "shop.py:Shop", "-a", "parse=1"), "error: Shop(parse='1') cannot be made: "),
        (("--spider", "bare.py"), "error: bare.py: the crawl has no ops.scrape() in its pipe: say --callback NAME"),
    ],
)
def test_wrong_usage(cli: Cli, shop: Site, write: Write, arguments: tuple[str, ...], line: str) -> None:
    write("bare.py", "from streamcrawl import Crawl, operators as ops\ncrawl = Crawl('http://a/').pipe(ops.download())")
    done = cli("parse", f"{shop.url}/", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert line in done.stderr.splitlines()[-1]
    assert shop.served == 0


def test_no_absolute_url_is_wrong_usage(cli: Cli, shop: Site) -> None:
    done = cli("parse", "example.com", "--spider", "shop.py:Shop")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: invalid URL 'example.com': ")
    assert len(done.stderr.splitlines()) == 1
