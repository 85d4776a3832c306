"""Flow files: how a crawl is found in one, and each way to be wrong, in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from streamcrawl import Crawl
from streamcrawl.cli.exits import WrongUsage
from streamcrawl.cli.flows import flow_from

HEAD = "from streamcrawl import Crawl, operators as ops\n"
ONE = "Crawl('http://127.0.0.1:9/').pipe(ops.download())"

BAD = {
    "no crawl": ("x = 1", "", "{path}: no Crawl in it: write `crawl = Crawl(…).pipe(…)` at module level"),
    "empty": ("", "", "{path}: no Crawl in it: write `crawl = Crawl(…).pipe(…)` at module level"),
    "several": (
        f"{HEAD}a = {ONE}\nb = {ONE}",
        "",
        "{path}: several crawls in it; say which: {path}:a, {path}:b",
    ),
    "several functions": (
        f"{HEAD}def a() -> Crawl: return {ONE}\ndef b() -> 'Crawl[int]': return {ONE}",
        "",
        "{path}: several crawls in it; say which: {path}:a, {path}:b",
    ),
    "not that name": (f"{HEAD}a = {ONE}\ndef b() -> Crawl: return a", ":c", "{path}: no 'c' in it; it has a, b"),
    "that is no crawl": ("a = 3", ":a", "{path}: a is a int, and neither a Crawl nor a function that returns one"),
    "an empty name": ("a = 3", ":", "{path}: no '' in it"),
    "syntax": ("x = 1\ndef f(:\n", "", "{path}: SyntaxError: invalid syntax (flow.py:2)"),
    "import": ("\nimport not_there", "", "{path}: ModuleNotFoundError: No module named 'not_there' (flow.py:2)"),
    "raises": ("def f():\n    1 / 0\nf()", "", "{path}: ZeroDivisionError: division by zero (flow.py:2, in f)"),
    "raises in two lines": ("raise ValueError('a\\nb')", "", "{path}: ValueError: a b (flow.py:1)"),
    "exits": ("import sys\nsys.exit(3)", "", "{path}: SystemExit: 3 (flow.py:2)"),
    "raises in a helper": ("import broken_helper", "", "{path}: KeyError: 'gone' (broken_helper.py:3)"),
    "null bytes": ("\0", "", "{path}: SyntaxError: source code string cannot contain null bytes"),
    "relative URL": (
        f"{HEAD}\ncrawl = Crawl('example.com')",
        "",
        "{path}: invalid URL 'example.com': it has no scheme: did you mean https://example.com? (flow.py:3)",
    ),
    "order": (
        f"{HEAD}crawl = Crawl('http://a/').pipe(ops.scrape(print))",
        "",
        "{path}: scrape() comes after download() in the pipe (flow.py:2)",
    ),
    "function raises": (
        f"{HEAD}def make() -> Crawl:\n    return [][0]",
        "",
        "{path}: IndexError: list index out of range (flow.py:3, in make)",
    ),
    "function gives something else": ("def make(): return 3", ":make", "{path}: make() gave a int, and not a Crawl"),
    "coroutine": (f"{HEAD}async def make() -> Crawl: ...", "", "{path}: make() gave a coroutine, and not a Crawl"),
    "function wants arguments": (
        "def make(x): ...",
        ":make",
        "{path}: TypeError: make() missing 1 required positional argument: 'x'",
    ),
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of its own, and without a trace in this process."""
    monkeypatch.chdir(tmp_path)
    modules = dict(sys.modules)
    monkeypatch.setattr(sys, "modules", modules)


def put(name: str, text: str) -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_told_in_one_line(case: str) -> None:
    text, name, line = BAD[case]
    put("broken_helper.py", "\n\nraise KeyError('gone')")
    path = put("flow.py", text)
    with pytest.raises(WrongUsage) as told, flow_from(path + name):
        pass
    assert str(told.value) == line.format(path=path)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("missing.py", "missing.py: no such file"),
        ("missing.py:crawl", "missing.py: no such file"),
        ("folder", "folder: a folder, not a Python file"),
        ("notes.txt", "notes.txt: not a Python file (its name does not end in .py)"),
    ],
)
def test_what_is_no_python_file(path: str, line: str) -> None:
    Path("folder").mkdir()
    put("notes.txt", "notes")
    with pytest.raises(WrongUsage) as told, flow_from(path):
        pass
    assert str(told.value) == line


def test_bytes_that_are_no_text() -> None:
    Path("flow.py").write_bytes(b"x = '\xff'")
    with pytest.raises(WrongUsage, match=r"^flow\.py: SyntaxError: .*utf-8") as told, flow_from("flow.py"):
        pass
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"crawl = {ONE}", ""),
        (f"anything = {ONE}\nagain = anything", ""),
        ("base = Crawl('http://127.0.0.1:9/')\ncrawl = base.pipe(ops.download())", ""),
        (f"a = Crawl('http://b/').pipe(ops.download())\nb = {ONE}", ":b"),
        (f"def make() -> Crawl: return {ONE}", ""),
        (f"def make() -> 'Crawl[dict]': return {ONE}", ""),
        (f"crawl = {ONE}\ndef other() -> Crawl: raise ValueError", ""),
        (f"def make(): return {ONE}", ":make"),
        (f"make = lambda: {ONE}", ":make"),
    ],
)
def test_a_crawl_is_found(text: str, name: str) -> None:
    with flow_from(put("flow.py", HEAD + text) + name) as crawl:
        assert isinstance(crawl, Crawl)
        assert crawl.start_source == "http://127.0.0.1:9/"
        assert crawl.pipes.download is not None


def test_the_folder_is_on_the_path_while_the_flow_is_used() -> None:
    Path("deep").mkdir()
    put("deep/near_helper.py", "URL = 'http://127.0.0.1:9/'")
    text = "def make() -> Crawl:\n    from near_helper import URL\n    return Crawl(URL).pipe(ops.download())"
    before = list(sys.path)
    with flow_from(put("deep/flow.py", HEAD + text)) as crawl:
        assert crawl.start_source == "http://127.0.0.1:9/"
        assert sys.path[0] == str(Path("deep").resolve())
    assert sys.path == before


def test_a_file_named_as_a_module_of_python_hides_nothing() -> None:
    with flow_from(put("json.py", f"{HEAD}import json\njson.dumps\ncrawl = {ONE}")):
        import json

        assert json.dumps([1]) == "[1]"


SPIDERS = """
from streamcrawl.spiders import Spider

class Base(Spider):
    def parse(self, response):
        return {"url": response.url, "kind": self.kind}

class Books(Base):
    name = "books"
    kind = "all"
"""


def test_a_spider_is_found_by_class_and_by_name() -> None:
    path = put("flow.py", SPIDERS)
    for name in ("", ":Books", ":books"):
        with flow_from(path + name) as crawl:
            assert crawl.pipes.scrape is not None
            assert repr(crawl.pipes.scrape.callback) == "Books()"


def test_a_spider_has_its_arguments() -> None:
    with flow_from(put("flow.py", SPIDERS), {"kind": "used", "start_urls": "x"}) as crawl:
        assert crawl.pipes.scrape is not None
        assert repr(crawl.pipes.scrape.callback) == "Books(kind='used', start_urls='x')"


def test_a_function_has_its_arguments() -> None:
    text = "def make(url) -> Crawl: return Crawl(url).pipe(ops.download())"
    with flow_from(put("flow.py", HEAD + text), {"url": "http://127.0.0.1:9/x"}) as crawl:
        assert crawl.start_source == "http://127.0.0.1:9/x"


def test_a_crawl_comes_before_the_spider_that_it_is_made_of() -> None:
    text = SPIDERS + "from streamcrawl import Crawl\ncrawl = Crawl.of(Books, kind='old')"
    with flow_from(put("flow.py", text)) as crawl:
        assert crawl.pipes.scrape is not None
        assert repr(crawl.pipes.scrape.callback) == "Books(kind='old')"


def test_an_imported_spider_counts_where_there_is_no_other() -> None:
    put("my_spiders.py", SPIDERS)
    with flow_from(put("flow.py", "from my_spiders import Books, Base")) as crawl:
        assert repr(crawl.start_source) == "Books()"
    own = "from my_spiders import Books\nclass Own(Books):\n    name = 'own'\n"
    with flow_from(put("other.py", own)) as crawl:
        assert repr(crawl.start_source) == "Own()"


@pytest.mark.parametrize(
    ("text", "name", "arguments", "line"),
    [
        (f"{HEAD}a = {ONE}", "", {"x": "1"}, "-a x=…: {path}: a is a Crawl, which takes no arguments"),
        (
            f"{SPIDERS}class Two(Books):\n    name = 'two'",
            "",
            {},
            "{path}: several crawls in it; say which: {path}:Books, {path}:Two",
        ),
        (SPIDERS, ":Nothing", {}, "{path}: no 'Nothing' in it; it has Books"),
        (SPIDERS.replace('name = "books"', ""), "", {}, '{path}: Base has no name: write name = "…" in the class'),
        (
            f"{HEAD}def make() -> Crawl: return {ONE}",
            "",
            {"x": "1"},
            "-a x=…: {path}: make() has no argument 'x'; it takes no arguments",
        ),
    ],
)
def test_wrong_spiders_and_arguments(text: str, name: str, arguments: dict[str, str], line: str) -> None:
    path = put("flow.py", text)
    with pytest.raises(WrongUsage) as told, flow_from(path + name, arguments):
        pass
    assert str(told.value) == line.format(path=path)
