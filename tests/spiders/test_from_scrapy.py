"""docs/from-scrapy.md: every import, call, field and command line that its tables name is there."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import streamcrawl
from streamcrawl import Crawl, Request, Response, operators, throttling
from streamcrawl.cli.main import parser
from streamcrawl.spiders import Crawler, Spider
from streamcrawl.spiders.settings import AS_HERE, ATTRIBUTES, ELSEWHERE, LISTED, OPTIONS, SWITCHES

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "from-scrapy.md").read_text("utf-8")

KNOWN: dict[str, Callable[..., Any]] = {
    "AutoThrottle": throttling.AutoThrottle,
    "Crawl": Crawl,
    "Crawl.of": Crawl.of,
    "Request": Request,
    **{f"ops.{name}": getattr(operators, name) for name in operators.__all__},
}


def cells(column: int) -> Iterator[str]:
    """The code in one column of the tables."""
    for line in PAGE.splitlines():
        row = line.split(" | ")
        if len(row) == 2 and line.startswith("| ") and not line.startswith("| in Scrapy"):
            yield from re.findall(r"`([^`]+)`", row[column])


HERE = list(cells(1))


@pytest.mark.parametrize("line", sorted({each for each in HERE if each.startswith("from ")}))
def test_every_import_works(line: str) -> None:
    names: dict[str, Any] = {}
    exec(line, names)
    wanted = [name.strip() for name in line.partition(" import ")[2].split(",")]
    assert wanted
    assert [name for name in wanted if names.get(name) is None] == []


def test_there_are_rows_of_every_kind() -> None:
    assert len([each for each in HERE if each.startswith("from ")]) >= 35
    assert len([each for each in HERE if each.startswith("streamcrawl ")]) > 15


@pytest.mark.parametrize(
    "line", sorted({each for each in HERE if each.startswith("streamcrawl ") and "--v" not in each})
)
def test_every_command_line_is_understood(line: str) -> None:
    program, *arguments = shlex.split(line)
    made = parser().parse_args(arguments)
    assert program == "streamcrawl"
    assert made.command == arguments[0] if arguments else made.command is None


def calls() -> Iterator[ast.Call]:
    for code in HERE:
        if "(" in code and not code.startswith(("from ", "async ", ".")):
            body = ast.parse(code.replace("…", "..."), mode="eval").body
            yield from (node for node in ast.walk(body) if isinstance(node, ast.Call))


def test_every_call_takes_the_arguments_that_it_is_shown_with() -> None:
    checked: set[str] = set()
    for call in calls():
        name = ast.unparse(call.func)
        if name in KNOWN:
            given = [None for each in call.args if not isinstance(each, ast.Constant) or each.value is not ...]
            named = {each.arg: None for each in call.keywords if each.arg is not None}
            inspect.signature(KNOWN[name]).bind_partial(*given, **named)
            checked.add(name)
    assert {"Request", "Crawl", "ops.feed", "ops.default_layers", "AutoThrottle"} <= checked


def test_every_field_is_there() -> None:
    holders = {"request": Request("http://a.test/"), "response": Response("http://a.test/")}
    named = re.findall(r"\b(request|response)\.(\w+)", " ".join(each for each in HERE if "import" not in each))
    assert named
    assert [(holder, field) for holder, field in named if not hasattr(holders[holder], field)] == []


def test_what_the_top_level_has_is_loaded_when_it_is_asked_for() -> None:
    assert streamcrawl.LinkExtractor is __import__("streamcrawl.links", fromlist=["x"]).LinkExtractor
    assert streamcrawl.Spider is Spider
    assert set(streamcrawl.__all__) <= set(dir(streamcrawl))
    with pytest.raises(AttributeError, match="module 'streamcrawl' has no attribute 'Spidr'"):
        _ = streamcrawl.Spidr


# -- settings ----------------------------------------------------------------------------------------------------------


def test_every_setting_of_the_other_page_is_known() -> None:
    text = (DOCS / "scrapy-settings.md").read_text("utf-8")
    first = " ".join(line.split(" | ")[0] for line in text.splitlines() if line.startswith("| `"))
    named = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", first))
    assert len(named) > 80
    assert named - {*OPTIONS, *SWITCHES, *ELSEWHERE, *LISTED} == set()
    assert set(AS_HERE) <= set(ELSEWHERE)
    assert not {*OPTIONS, *SWITCHES} & {*ELSEWHERE, *LISTED}


def test_what_stands_for_a_setting_takes_the_arguments_named() -> None:
    known = {**KNOWN, "Wire": streamcrawl.Wire}
    checked = 0
    for said in (*ELSEWHERE.values(), *ATTRIBUTES.values()):
        for code in re.findall(r"((?:ops\.\w+|Wire|Crawl|Request|AutoThrottle)\([^()]*(?:\(\))?[^()]*\))", said):
            call = ast.parse(code.replace("…", "...").replace("layer, ...", "layer"), mode="eval").body
            assert isinstance(call, ast.Call)
            named = {each.arg: None for each in call.keywords if each.arg is not None}
            inspect.signature(known[ast.unparse(call.func)]).bind_partial(**named)
            checked += 1
    assert checked > 40


def test_what_crawlers_of_scrapy_have_besides() -> None:
    crawler: Any = Crawler(Spider, {"A": "1"}, streamcrawl.Crawl("http://a.test/").events)
    with pytest.raises(AttributeError, match=r"a crawler has no 'signals'; there is crawler\.events"):
        crawler.signals.connect(print)
    with pytest.raises(AttributeError, match=r"a crawler has no 'nonsense'$"):
        _ = crawler.nonsense
    assert not hasattr(crawler, "request_fingerprinter")
