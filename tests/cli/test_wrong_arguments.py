"""-a with a name that nothing takes, and the rest of the command line's grammar."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streamcrawl.cli.exits import WrongUsage
from streamcrawl.cli.flows import flow_from
from streamcrawl.crawl.crawl import Crawl
from streamcrawl.errors import FlowError
from streamcrawl.mistakes import plural
from streamcrawl.spiders.arguments import unused
from streamcrawl.spiders.sitemap_spider import SitemapSpider
from streamcrawl.spiders.spider import Spider

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
Write = Callable[[str, str], Path]

FLOW = """
from streamcrawl import Crawl, Spider, operators as ops

class Books(Spider):
    name = "books"
    shelf: str
    limit = 3

    def start_requests(self):
        return []

    def parse(self, response):
        yield {"kind": self.kind, "category": getattr(self, "category", None), "by": LOWER(self)}

def LOWER(spider):
    return spider.author.lower()

class Own(Spider):
    name = "own"

    def __init__(self, colour=None, size=2):
        super().__init__()

    def parse(self, response): ...

class More(Books):
    name = "more"

    def __init__(self, *args, deep=0, **kwargs):
        super().__init__(*args, **kwargs)

def make(url="http://127.0.0.1:9/", depth=3) -> Crawl:
    return Crawl(url).pipe(ops.download())

def whatever(**options) -> Crawl:
    return Crawl("http://127.0.0.1:9/").pipe(ops.download())
"""


@pytest.fixture
def flow(tmp_path: Path) -> str:
    path = tmp_path / "flow.py"
    path.write_text(FLOW, "utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("name", "argument", "line"),
    [
        ("make", "dept", "-a dept=…: {path}: make() has no argument 'dept'; did you mean 'depth'?"),
        ("make", "xyz", "-a xyz=…: {path}: make() has no argument 'xyz'; it takes url, depth"),
        (
            "Own",
            "color",
            "{path}: Own(color='1') cannot be made: got an unexpected keyword argument 'color'; did you mean 'colour'?",
        ),
        (
            "Own",
            "xyz",
            "{path}: Own(xyz='1') cannot be made: got an unexpected keyword argument 'xyz'; it takes colour, size",
        ),
    ],
)
def test_an_argument_that_is_not_taken(name: str, argument: str, line: str, flow: str) -> None:
    with pytest.raises(WrongUsage) as told, flow_from(f"{flow}:{name}", {argument: "1"}):
        pass
    assert str(told.value) == line.format(path=flow)


@pytest.mark.parametrize("name", ["make", "whatever", "Own"])
def test_an_argument_that_is_taken(name: str, flow: str) -> None:
    argument = {"make": "depth", "whatever": "xyz", "Own": "colour"}[name]
    with flow_from(f"{flow}:{name}", {argument: "1"}) as crawl:
        assert isinstance(crawl, Crawl)


@pytest.mark.parametrize(
    ("name", "argument", "line"),
    [
        ("Books", "categori", "-a categori=…: nothing in Books uses 'categori'; did you mean 'category'?"),
        ("Books", "start_url", "-a start_url=…: nothing in Books uses 'start_url'; did you mean 'start_urls'?"),
        ("Books", "xyz", "-a xyz=…: nothing in Books uses 'xyz'"),
        ("More", "dep", "-a dep=…: nothing in More uses 'dep'; did you mean 'deep'?"),
        ("More", "kinds", "-a kinds=…: nothing in More uses 'kinds'; did you mean 'kind'?"),
        *[(name, argument, "") for name in ("Books", "More") for argument in ("kind", "category", "shelf", "limit")],
        ("Books", "author", ""),
        ("More", "deep", ""),
        ("Books", "name", ""),
        ("Books", "start_urls", ""),
        ("Books", "handle_httpstatus_all", ""),
    ],
)
def test_an_attribute_that_nothing_uses(
    name: str, argument: str, line: str, flow: str, caplog: pytest.LogCaptureFixture
) -> None:
    value = "http://127.0.0.1:9/" if argument == "start_urls" else "secret"
    with caplog.at_level(logging.WARNING, "streamcrawl"), flow_from(f"{flow}:{name}", {argument: value}):
        pass
    assert caplog.messages == ([line] if line else [])


PARTS = """
from functools import cached_property, wraps

def decorated(function):
    @wraps(function)
    def called(*args):
        return function(*args)
    return called

class Paged:
    def pages(self):
        return range(int(self.last))

    @cached_property
    def width(self):
        return int(self.columns)

    @staticmethod
    @decorated
    def twice(spider):
        return spider.lines

Paged.kind = Paged

def begin(spider):
    return spider.city
"""

WITH_PARTS = """
import parts_of_flow
from parts_of_flow import Paged, begin
from streamcrawl import Spider

class Mixed(Paged, Spider):
    name = "mixed"

    def parse(self, response):
        yield {"city": begin(self)}

class Taking(Spider):
    name = "taking"
    size = 3

    def __init__(self, **filters):
        super().__init__()
        self.filters = filters

    def parse(self, response):
        yield self.filters

class Lazy:
    def __getattr__(self, name):
        raise RuntimeError("outside of a context")

lazy = Lazy()

class Lazily(Spider):
    name = "lazily"
    settings_of_mine = lazy

    def parse(self, response): ...

class Looking(Spider):
    name = "looking"

    def parse(self, response):
        yield {name: vars(self)[name] for name in open("names")}
"""


@pytest.mark.parametrize(
    ("name", "argument", "line"),
    [
        ("Mixed", "last", ""),
        ("Mixed", "city", ""),
        ("Mixed", "columns", ""),
        ("Mixed", "lines", ""),
        ("Mixed", "xyz", "-a xyz=…: nothing in Mixed uses 'xyz'"),
        ("Taking", "colour", ""),
        ("Taking", "siez", "-a siez=…: nothing in Taking uses 'siez'; did you mean 'size'?"),
        ("Looking", "colour", ""),
        ("Lazily", "xyz", "-a xyz=…: nothing in Lazily uses 'xyz'"),
    ],
)
def test_what_is_used_elsewhere_is_not_told(
    name: str,
    argument: str,
    line: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By classes beside Spider, functions of other files, and all arguments at once."""
    (tmp_path / "parts_of_flow.py").write_text(PARTS, "utf-8")
    (tmp_path / "flow.py").write_text(WITH_PARTS, "utf-8")
    monkeypatch.delitem(sys.modules, "parts_of_flow", raising=False)
    given = f"{tmp_path / 'flow.py'}:{name}"
    with caplog.at_level(logging.WARNING, "streamcrawl"), flow_from(given, {argument: "1"}):
        pass
    assert caplog.messages == ([line] if line else [])


def test_the_library_uses_some_itself() -> None:
    class Maps(SitemapSpider):
        name = "maps"

        @property
        def level(self) -> str:
            return str(vars(self)["depth"])

    assert list(unused(Maps, ["sitemap_urls", "sitemap_follow", "depth", "allowed_domains"])) == []
    misspelt = "_".join(("sitemap", "url"))  # not in one piece: it would stand in the file of the class
    assert list(unused(Maps, [misspelt])) == [(misspelt, "sitemap_urls")]


def test_python_is_told_as_well() -> None:
    class Own(Spider):
        name = "own"

        def __init__(self, colour: str = "") -> None:
            super().__init__()

        def parse(self, response: object, /) -> None: ...

    with pytest.raises(FlowError, match=r"unexpected keyword argument 'color'; did you mean 'colour'\?"):
        Crawl.of(Own, color="red")
    with pytest.raises(FlowError, match=r"too many positional|unexpected|missing") as told:
        Crawl.of(Own, xyz="red")
    assert str(told.value).endswith("; it takes colour")


def test_an_operator_that_is_built_wrongly(cli: Cli, write: Write) -> None:
    write("flow.py", "from streamcrawl import *\nfrom streamcrawl import operators as ops\nx = ops.retry(time=5)\n")
    done = cli("run", "flow.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("error: flow.py: TypeError: retry() got an unexpected keyword arg")
    assert done.stderr.splitlines()[-1].endswith(" 'time'; did you mean 'times'? (flow.py:3)")


def test_so_many() -> None:
    assert [f"{n} {plural(n, 'page')}" for n in (0, 1, 2)] == ["0 pages", "1 page", "2 pages"]
