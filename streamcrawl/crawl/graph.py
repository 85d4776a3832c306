"""A crawl as a picture: its pipe from the start to the sinks, the layers inside one another, and the loop back."""

from __future__ import annotations

from collections.abc import AsyncIterable, Collection, Iterable
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, TypeAlias, cast

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
        cores = [Box(f"callback: {_name(pipe.scrape.callback)}", "core")]
        if pipe.scrape.errback is not None:
            cores.append(Box(f"errback: {_name(pipe.scrape.errback)}", "core"))
        joints.append(Joint(Onion("scrape", (*layers, *cores), "links", "Outcome", "Item, Request"), "Item"))
    joints += [Joint(_box(operator), "Item") for operator in pipe.items]
    return joints


def _box(operator: Any) -> Box:
    return Box(_name(operator), "sink" if isinstance(operator, SinkOperator) else "operator")


def _name(operator: Any) -> str:
    return _short(name_of(operator))


def _short(text: str) -> str:
    text = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in " ".join(text.split()))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _start(source: Any) -> str:
    if isinstance(source, str):
        return _short(source)
    if isinstance(source, Request):
        return _short(f"{source.method} {source.url}")
    if isinstance(source, (list, tuple, set, frozenset)):
        urls = [each.url if isinstance(each, Request) else str(each) for each in cast("Collection[object]", source)]
        return _short(urls[0] if len(urls) == 1 else f"{len(urls)} start requests")
    if isinstance(source, Observable):
        return "start: an Observable"
    name = getattr(source, "__name__", type(source).__name__)
    return _short(f"start: {name}" if isinstance(source, (Iterable, AsyncIterable)) else "start")


# -- Mermaid -----------------------------------------------------------------------------------------------------------

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
    pairs = [
        f"    {name}_{m} <--> {name}_{m + 1}"
        for m in range(len(onion.boxes) - onion.cores)
        if onion.boxes[m].kind == "layer"
    ]
    # The errback stands beside the callback: below the innermost layer, if there is one.
    inner = len(onion.boxes) - onion.cores - 1
    pairs += [f"    {name}_{inner} <--> {name}_{inner + m}" for m in range(2, onion.cores + 1) if inner >= 0]
    return [f'  subgraph {name}["{onion.title}"]', "    direction TB", *nodes, *pairs, "  end"]


def _node(name: str, box: Box) -> str:
    left, right = _SHAPES[box.kind]
    # Mermaid knows entities by name, and reads < and & as HTML; a backtick would begin Markdown.
    label = escape(box.label).replace("#", "#35;").replace("&quot;", "#quot;").replace("`", "'")
    return f'{name}{left}"{label}"{right}'


# -- SVG ---------------------------------------------------------------------------------------------------------------

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


_MARKERS = (
    '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 8 4 0 8z" style="fill:#59636e;stroke:none"/></marker>'
    '<marker id="o" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 8 4 0 8z" style="fill:#b5791a;stroke:none"/></marker></defs>'
)


def svg(crawl: Crawl[Any]) -> str:
    """The pipe as an SVG picture, for pages that draw no Mermaid."""
    joints = steps(crawl)
    inner = max(_width(joint.step) for joint in joints)
    centre, top = MARGIN + inner / 2, float(MARGIN)
    parts: list[str] = []
    loops = 0
    for n, joint in enumerate(joints):
        step, height = joint.step, _height(joint.step)
        parts.append(_drawn(step, centre, top))
        if isinstance(step, Onion):
            loops += 1
            start = centre + _width(step) / 2, top + height / 2
            # The frontier stands second; each loop ends a little above the one before.
            end = centre + _width(joints[1].step) / 2, MARGIN + 1.5 * HEIGHT + GAP - 6 * (loops - 1)
            parts.append(_back(step.back, start, MARGIN + inner + LANE * loops, end))
        top += height
        if n + 1 < len(joints):
            parts.append(_arrow(centre, top, joint.flow))
            top += GAP
    wide, high = f"{2 * MARGIN + inner + LANE * loops:.0f}", f"{top + MARGIN:.0f}"
    size = f'viewBox="0 0 {wide} {high}" width="{wide}" height="{high}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>The pipe of a crawl</title>'
    return "\n".join([head, f"<style>{_STYLE}</style>", _MARKERS, *parts, "</svg>"])


def _width(step: Box | Onion) -> float:
    if isinstance(step, Onion):
        title = (len(step.title) + len(_directions(step)) + 3) * CHARACTER
        return max(title, *(_width(box) for box in step.boxes)) + 2 * INSET
    return max(110, len(step.label) * CHARACTER + 28)


def _height(step: Box | Onion) -> float:
    if isinstance(step, Onion):
        return TITLE + len(step.boxes) * (HEIGHT + LAYER_GAP) + INSET - LAYER_GAP
    return HEIGHT


def _directions(onion: Onion) -> str:
    return f"{onion.down} ↓ ↑ {onion.up}"


def _drawn(step: Box | Onion, centre: float, top: float) -> str:
    width = _width(step)
    if isinstance(step, Box):
        return _box_at(step, centre, top, width)
    left, right = centre - width / 2, centre + width / 2
    inner = width - 2 * INSET
    boxes = [_box_at(box, centre, top + TITLE + m * (HEIGHT + LAYER_GAP), inner) for m, box in enumerate(step.boxes)]
    return "\n".join(
        (
            _rectangle(left, top, width, _height(step), 8, "#fafbfc", "#8c959f"),
            _text(left + INSET, top + 18, step.title, 'class="t"'),
            _text(right - INSET, top + 18, _directions(step), 'class="f" text-anchor="end"'),
            *boxes,
        )
    )


def _box_at(box: Box, centre: float, top: float, width: float) -> str:
    corner = HEIGHT / 2 if box.kind in ("start", "sink") else 5
    rectangle = _rectangle(centre - width / 2, top, width, HEIGHT, corner, *_COLOURS[box.kind])
    return rectangle + _text(centre, top + 19, box.label, 'text-anchor="middle"')


def _arrow(centre: float, top: float, flow: str) -> str:
    path = f'<path d="M{centre:.1f} {top:.1f}V{top + GAP - 1:.1f}" marker-end="url(#a)"/>'
    return path + (_text(centre + 8, top + GAP / 2 + 4, flow, 'class="f"') if flow else "")


def _back(label: str, start: tuple[float, float], lane: float, end: tuple[float, float]) -> str:
    """From `start` to the right, up the lane, and back to `end`; the label stands beside the lane, turned."""
    at, middle = lane + 13, (start[1] + end[1]) / 2
    path = f"M{start[0]:.1f} {start[1]:.1f}H{lane:.1f}V{end[1]:.1f}H{end[0] + 1:.1f}"
    turned = f'class="f" text-anchor="middle" transform="rotate(-90 {at:.1f} {middle:.1f})"'
    return f'<path class="b" d="{path}" marker-end="url(#o)"/>' + _text(at, middle, label, turned)


def _rectangle(left: float, top: float, width: float, height: float, corner: float, fill: str, stroke: str) -> str:
    place = f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {place} rx="{corner}" fill="{fill}" stroke="{stroke}"/>'


def _text(left: float, base: float, text: str, more: str) -> str:
    return f'<text {more} x="{left:.1f}" y="{base:.1f}">{escape(text)}</text>'
