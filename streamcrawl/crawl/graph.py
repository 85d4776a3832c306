"""A crawl as a picture: its pipe from the start to the sinks, the layers inside one another, and the loop back."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, TypeAlias

from reactivex import Observable

from streamcrawl.core import Request
from streamcrawl.crawl.crawl import Crawl
from streamcrawl.streams.naming import name_of
from streamcrawl.streams.sink import SinkOperator
from streamcrawl.transport import Wire

Kind: TypeAlias = Literal["start", "frontier", "operator", "layer", "core", "sink"]

LONGEST = 72
"""Characters of a label."""


@dataclass(frozen=True, slots=True)
class Box:
    """One thing in the pipe."""

    label: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Onion:
    """Layers, the outermost first, around what stands last."""

    title: str
    boxes: tuple[Box, ...]
    back: str
    """What goes from here back to the frontier."""
    down: str
    up: str

    @property
    def cores(self) -> int:
        """How many stand in the middle: a callback and an errback are two."""
        return sum(box.kind == "core" for box in self.boxes)


@dataclass(frozen=True, slots=True)
class Joint:
    """A step of the pipe, and what flows out of it."""

    step: Box | Onion
    flow: str


def steps(crawl: Crawl[Any]) -> list[Joint]:
    """The pipe, from its start to its end."""
    pipe = crawl.pipes
    joints = [Joint(Box(_start(crawl.start_source), "start"), ""), Joint(Box("frontier", "frontier"), "Request")]
    joints += [Joint(_box(operator), "Request") for operator in pipe.requests]
    if pipe.download is not None:
        layers = tuple(Box(_name(layer), "layer") for layer in pipe.download.layers)
        fetch = pipe.download.fetch
        core = Box("fetch" if isinstance(fetch, Wire) else f"fetch: {_name(fetch)}", "core")
        onion = Onion("download", (*layers, core), "redirects, retries", "Request", "Outcome")
        joints.append(Joint(onion, "Response" if pipe.scrape is None else "Outcome"))
    joints += [Joint(_box(operator), "Outcome") for operator in pipe.outcomes]
    if pipe.scrape is not None:
        layers = tuple(Box(_name(layer), "layer") for layer in pipe.scrape.layers)
        core = [Box(f"callback: {_name(pipe.scrape.callback)}", "core")]
        if pipe.scrape.errback is not None:
            core.append(Box(f"errback: {_name(pipe.scrape.errback)}", "core"))
        joints.append(Joint(Onion("scrape", (*layers, *core), "links", "Outcome", "Item, Request"), "Item"))
    joints += [Joint(_box(operator), "Item") for operator in pipe.items]
    return joints


def _box(operator: Any) -> Box:
    return Box(_name(operator), "sink" if isinstance(operator, SinkOperator) else "operator")


def _name(operator: Any) -> str:
    return _short(name_of(operator))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _start(source: Any) -> str:
    if isinstance(source, str):
        return _short(source)
    if isinstance(source, Request):
        return _short(f"{source.method} {source.url}")
    if isinstance(source, (list, tuple, set, frozenset)):
        urls = [each.url if isinstance(each, Request) else str(each) for each in source]  # pyright: ignore[reportUnknownVariableType]
        return _short(urls[0] if len(urls) == 1 else f"{len(urls)} start requests")
    if isinstance(source, Observable):
        return "start: an Observable"
    name = getattr(source, "__name__", type(source).__name__)
    return _short(f"start: {name}" if isinstance(source, (Iterable, AsyncIterable)) else "start")


# -- Mermaid --------------------------------------------------------------------------------------------------------------

_SHAPES: dict[Kind, tuple[str, str]] = {
    "start": ("([", "])"),
    "frontier": ("[[", "]]"),
    "operator": ("[", "]"),
    "layer": ("[", "]"),
    "core": ("(", ")"),
    "sink": ("[(", ")]"),
}


def mermaid(crawl: Crawl[Any]) -> str:
    """The pipe as a Mermaid flowchart: text that Markdown pages show as a picture.

    Source: https://mermaid.js.org/syntax/flowchart.html
    """
    lines = ["flowchart TD"]
    links: list[str] = []
    before, flow = "", ""
    for n, joint in enumerate(steps(crawl)):
        here = f"n{n}"
        if isinstance(joint.step, Onion):
            lines += _subgraph(here, joint.step)
            links.append(f'  {here} -. "{joint.step.back}" .-> n1')
        else:
            lines.append(f"  {_node(here, joint.step)}")
        if before:
            links.append(f'  {before} -- "{flow}" --> {here}' if flow else f"  {before} --> {here}")
        before, flow = here, joint.flow
    return "\n".join([*lines, *links])


def _subgraph(name: str, onion: Onion) -> list[str]:
    nodes = [f"    {_node(f'{name}_{m}', box)}" for m, box in enumerate(onion.boxes)]
    # Down and up again: each layer sees both directions.
    pairs = [f"    {name}_{m} <--> {name}_{m + 1}" for m in range(len(onion.boxes) - onion.cores) if onion.boxes[m].kind == "layer"]
    # The errback stands beside the callback: below the innermost layer, if there is one.
    inner = len(onion.boxes) - onion.cores - 1
    pairs += [f"    {name}_{inner} <--> {name}_{inner + m}" for m in range(2, onion.cores + 1) if inner >= 0]
    return [f'  subgraph {name}["{onion.title}"]', "    direction TB", *nodes, *pairs, "  end"]


def _node(name: str, box: Box) -> str:
    left, right = _SHAPES[box.kind]
    # Mermaid knows entities by name, and reads < and & as HTML; a backtick would begin Markdown.
    label = escape(box.label).replace("#", "#35;").replace("&quot;", "#quot;").replace("`", "'")
    return f'{name}{left}"{label}"{right}'


# -- SVG ------------------------------------------------------------------------------------------------------------------

CHARACTER = 7.3
"""Pixels of one character of 12px monospace, with some to spare."""
HEIGHT = 30
GAP = 34
INSET = 18
MARGIN = 24
TITLE = 26
LAYER_GAP = 8
LANE = 30
"""Pixels between the loop's lines at the right."""

_COLOURS: dict[Kind, tuple[str, str]] = {
    "start": ("#e8f1ff", "#3b6fb6"),
    "frontier": ("#fff3dc", "#b5791a"),
    "operator": ("#ffffff", "#59636e"),
    "layer": ("#f4f0ff", "#7a5cc0"),
    "core": ("#e6f6ec", "#2f855a"),
    "sink": ("#ffecec", "#b83232"),
}

_STYLE = (
    "text{font:12px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#1f2328}"
    ".f{fill:#59636e;font-size:11px}.t{font-weight:bold}"
    "path{fill:none;stroke:#59636e;stroke-width:1.4}.b{stroke:#b5791a;stroke-dasharray:5 4}"
)


def svg(crawl: Crawl[Any]) -> str:
    """The pipe as an SVG picture, for pages that draw no Mermaid."""
    joints = steps(crawl)
    inner = max(_width(joint.step) for joint in joints)
    loops = sum(isinstance(joint.step, Onion) for joint in joints)
    right = MARGIN + inner
    parts: list[str] = []
    top: float = MARGIN
    centre = MARGIN + inner / 2
    frontier = 0.0
    lane = 0
    for n, joint in enumerate(joints):
        if n == 1:
            frontier = top + HEIGHT / 2
        height = _height(joint.step)
        parts.append(_drawn(joint.step, centre, top))
        if isinstance(joint.step, Onion):
            lane += 1
            half = _width(joint.step) / 2
            parts.append(_back(joint.step.back, centre + half, top + height / 2, right + LANE * lane, frontier - 6 * (lane - 1), centre + _width(joints[1].step) / 2))
        top += height
        if n + 1 < len(joints):
            parts.append(_arrow(centre, top, top + GAP, joint.flow))
            top += GAP
    width, height = right + LANE * loops + MARGIN, top + MARGIN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" role="img">'
    return "\n".join([head, "<title>The pipe of a crawl</title>", f"<style>{_STYLE}</style>", _MARKERS, *parts, "</svg>"])


_MARKERS = (
    '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 8 4 0 8z" style="fill:#59636e;stroke:none"/></marker>'
    '<marker id="o" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 8 4 0 8z" style="fill:#b5791a;stroke:none"/></marker></defs>'
)


def _width(step: Box | Onion) -> float:
    if isinstance(step, Onion):
        title = (len(step.title) + len(_directions(step)) + 3) * CHARACTER
        return max(title, *(_width(box) for box in step.boxes)) + 2 * INSET
    return max(110, len(step.label) * CHARACTER + 28)


def _directions(onion: Onion) -> str:
    return f"{onion.down} ↓ ↑ {onion.up}"


def _height(step: Box | Onion) -> float:
    if isinstance(step, Onion):
        return TITLE + len(step.boxes) * (HEIGHT + LAYER_GAP) + INSET - LAYER_GAP
    return HEIGHT


def _drawn(step: Box | Onion, centre: float, top: float) -> str:
    width = _width(step)
    if isinstance(step, Box):
        return _rectangle(step, centre, top, width)
    height = _height(step)
    inner = width - 2 * INSET
    rows = [
        f'<rect x="{centre - width / 2:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" rx="8" fill="#fafbfc" stroke="#8c959f"/>',
        f'<text class="t" x="{centre - width / 2 + INSET:.1f}" y="{top + 18:.1f}">{escape(step.title)}</text>',
        f'<text class="f" x="{centre + width / 2 - INSET:.1f}" y="{top + 18:.1f}" text-anchor="end">{escape(_directions(step))}</text>',
    ]
    for m, box in enumerate(step.boxes):
        rows.append(_rectangle(box, centre, top + TITLE + m * (HEIGHT + LAYER_GAP), inner))
    return "\n".join(rows)


def _rectangle(box: Box, centre: float, top: float, width: float) -> str:
    fill, stroke = _COLOURS[box.kind]
    corner = HEIGHT / 2 if box.kind in ("start", "sink") else 5
    return (
        f'<rect x="{centre - width / 2:.1f}" y="{top:.1f}" width="{width:.1f}" height="{HEIGHT}" rx="{corner}" fill="{fill}" stroke="{stroke}"/>'
        f'<text x="{centre:.1f}" y="{top + 19:.1f}" text-anchor="middle">{escape(box.label)}</text>'
    )


def _arrow(centre: float, top: float, bottom: float, flow: str) -> str:
    path = f'<path d="M{centre:.1f} {top:.1f}V{bottom - 1:.1f}" marker-end="url(#a)"/>'
    return path + (f'<text class="f" x="{centre + 8:.1f}" y="{(top + bottom) / 2 + 4:.1f}">{escape(flow)}</text>' if flow else "")


def _back(label: str, left: float, low: float, lane: float, high: float, end: float) -> str:
    at, middle = lane + 13, (low + high) / 2
    return (
        f'<path class="b" d="M{left:.1f} {low:.1f}H{lane:.1f}V{high:.1f}H{end + 1:.1f}" marker-end="url(#o)"/>'
        f'<text class="f" x="{at:.1f}" y="{middle:.1f}" text-anchor="middle" transform="rotate(-90 {at:.1f} {middle:.1f})">{escape(label)}</text>'
    )
