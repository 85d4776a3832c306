"""The picture of a pipe: everything that stands in it, in its order, as Mermaid and as SVG."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any, cast
from xml.etree import ElementTree

import pytest
import reactivex
from reactivex import operators as rx

from streamcrawl import Crawl, Request, Response
from streamcrawl import operators as ops
from streamcrawl.crawl.graph import LONGEST, mermaid, svg

SVG = "{http://www.w3.org/2000/svg}"
START = "http://a.example/?q=%22x%22&y=1"


def parse(page: Any) -> Any:
    yield {"url": page.url}


def complain(outcome: Any) -> Any: ...


async def browser(request: Request) -> Response:
    return Response(request.url)


def whole() -> Crawl[Any]:
    return Crawl(START).pipe(
        rx.map(parse),
        ops.download(ops.retry(), ops.cookies(), fetch=browser),
        rx.filter(complain),
        ops.scrape(parse, ops.depth(limit=3), errback=complain, defaults=False),
        rx.distinct(),
        ops.batch(50),
        ops.feed('a "b" <c>.jsonl'),
    )


def line_of(function: Any) -> int:
    return int(function.__code__.co_firstlineno)


LABELS = [
    START,
    "frontier",
    f"map(parse at test_graph.py:{line_of(parse)})",
    "retry",
    "cookies",
    f"fetch: browser at test_graph.py:{line_of(browser)}",
    f"filter(complain at test_graph.py:{line_of(complain)})",
    "depth",
    f"callback: parse at test_graph.py:{line_of(parse)}",
    f"errback: complain at test_graph.py:{line_of(complain)}",
    "distinct",
    "batch(50)",
    'feed(a "b" <c>.jsonl)',
]


def nodes(text: str) -> dict[str, str]:
    """Of Mermaid text: id -> label, as it is shown."""
    found = re.findall(r'^ +(?:subgraph )?(n\w+)[\[(]+"(.*)"[\])]+$', text, re.MULTILINE)
    entities = {"#quot;": '"', "&lt;": "<", "&gt;": ">", "&amp;": "&", "#35;": "#"}

    def shown(label: str) -> str:
        return re.sub("|".join(entities), lambda entity: entities[entity[0]], label)

    return {name: shown(label) for name, label in found}


def edges(text: str) -> list[tuple[str, str, str]]:
    """Of Mermaid text: (from, what flows, to), by label."""
    label = nodes(text)
    pattern = r'^ +(n\w+) (?:(?:--|-\.) "([^"]*)" )?(-->|<-->|\.->) (n\w+)$'
    return [(label[a], flow or arrow, label[b]) for a, flow, arrow, b in re.findall(pattern, text, re.MULTILINE)]


def test_mermaid_shows_everything_in_its_order() -> None:
    text = mermaid(whole())
    assert text.startswith("flowchart TD\n")
    assert [label for label in nodes(text).values() if label not in ("download", "scrape")] == LABELS
    assert whole().graph() == text


def test_mermaid_joins_the_steps_and_goes_back_to_the_frontier() -> None:
    start, frontier, mapped, retry, cookies, fetch, filtered, depth, callback, errback, distinct, batch, feed = LABELS
    assert sorted(edges(mermaid(whole()))) == sorted(
        [
            (start, "-->", frontier),
            (frontier, "Request", mapped),
            (mapped, "Request", "download"),
            ("download", "redirects, retries", frontier),
            (retry, "<-->", cookies),
            (cookies, "<-->", fetch),
            ("download", "Outcome", filtered),
            (filtered, "Outcome", "scrape"),
            ("scrape", "links", frontier),
            (depth, "<-->", callback),
            (depth, "<-->", errback),
            ("scrape", "Item", distinct),
            (distinct, "Item", batch),
            (batch, "Item", feed),
        ]
    )


def test_mermaid_text_has_nothing_that_ends_a_label_or_is_read_as_html() -> None:
    lines = mermaid(Crawl(START).pipe(ops.download(), ops.feed('a"]; x <b>&#`.jsonl'))).splitlines()
    (line,) = [line for line in lines if "feed" in line]
    assert line == '  n3[("feed(a#quot;]; x &lt;b&gt;&amp;#35;\'.jsonl)")]'


@pytest.mark.parametrize(
    ("start", "label"),
    [
        (Request("http://a.example/", method="POST"), "POST http://a.example/"),
        (["http://a.example/"], "http://a.example/"),
        (["http://a.example/", Request("http://b.example/")], "2 start requests"),
        ((url for url in ["http://a.example/"]), "start: <genexpr>"),
        (reactivex.of("http://a.example/"), "start: an Observable"),
    ],
)
def test_the_start_is_named_and_not_consumed(start: Any, label: str) -> None:
    assert next(iter(nodes(mermaid(Crawl(start).pipe(ops.download()))).values())) == label
    if inspect.isgenerator(start):
        assert list(cast("Iterator[str]", start)) == ["http://a.example/"]


def test_a_pipe_that_is_not_finished_has_a_picture_too() -> None:
    assert list(nodes(mermaid(Crawl(START))).values()) == [START, "frontier"]
    assert ElementTree.fromstring(svg(Crawl(START))).tag == f"{SVG}svg"
    only = mermaid(Crawl(START).pipe(ops.download(), ops.batch(2)))
    assert ("download", "Response", "batch(2)") in edges(only)


def texts(picture: str) -> list[str]:
    return [str(each.text) for each in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def test_svg_shows_the_same() -> None:
    shown = texts(svg(whole()))
    assert [text for text in shown if text in LABELS] == LABELS
    for text in ("download", "scrape", "redirects, retries", "links", "Request", "Item"):
        assert text in shown
    assert whole().graph("svg") == svg(whole())


@pytest.mark.parametrize("crawl", [whole(), Crawl(START), Crawl(START + "a" * 300).pipe(ops.download())])
def test_svg_fits_its_text_into_its_boxes_and_its_boxes_into_the_picture(crawl: Crawl[Any]) -> None:
    root = ElementTree.fromstring(svg(crawl))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    assert root.attrib["viewBox"] == f"0 0 {width:.0f} {height:.0f}"
    boxes: list[tuple[float, float, float, float]] = []
    for each in root.iter(f"{SVG}rect"):
        x, y, wide, high = (float(each.attrib[name]) for name in ("x", "y", "width", "height"))
        assert x >= 0
        assert x + wide <= width
        assert y + high <= height
        boxes.append((x, y, wide, high))
    for each in root.iter(f"{SVG}text"):
        text = str(each.text)
        assert len(text) <= LONGEST + len("callback: ")
        if each.get("text-anchor") != "middle" or "transform" in each.attrib:
            continue
        x, y = float(each.attrib["x"]), float(each.attrib["y"])
        room = max(wide for left, top, wide, high in boxes if left <= x <= left + wide and top <= y <= top + high)
        assert len(text) * 7.23 <= room, "12px monospace is 7.23 pixels wide"


def test_svg_is_escaped() -> None:
    picture = svg(Crawl(START).pipe(ops.download(), ops.feed('<script>&"\x07.jsonl')))
    assert "<script>" not in picture
    assert 'feed(<script>&"\N{REPLACEMENT CHARACTER}.jsonl)' in texts(picture)


def test_long_names_are_cut() -> None:
    (label,) = [text for text in texts(svg(Crawl("http://a.example/" + "a" * 300))) if text.startswith("http")]
    assert label == ("http://a.example/" + "a" * 300)[: LONGEST - 1] + "…"


def test_other_formats_are_refused() -> None:
    with pytest.raises(ValueError, match="graph\\('png'\\): the formats are 'mermaid' and 'svg'"):
        whole().graph("png")
