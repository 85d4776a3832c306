"""The feed formats that there are, and how one is found: by its name, by a file's extension."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from streamcrawl.errors import FlowError
from streamcrawl.feeds.binary_formats import MARSHAL, MSGPACK, PICKLE
from streamcrawl.feeds.columnar import ARROW, PARQUET
from streamcrawl.feeds.csv_format import CSV
from streamcrawl.feeds.format import FeedFormat
from streamcrawl.feeds.json_formats import JSON, JSONL
from streamcrawl.feeds.xml_format import XML

GROUP = "streamcrawl.formats"
"""The entry points by which other packages bring formats; each gives a FeedFormat."""


@cache
def formats() -> Mapping[str, FeedFormat]:
    """All that are known, by name: the project's own, and those of installed packages."""
    own = (JSONL, JSON, CSV, XML, MSGPACK, PICKLE, MARSHAL, PARQUET, ARROW)
    return {each.name: each for each in own} | _plugged()


def _plugged() -> dict[str, FeedFormat]:
    found: dict[str, FeedFormat] = {}
    for point in entry_points(group=GROUP):
        loaded: Any = point.load()
        if not isinstance(loaded, FeedFormat):
            raise FlowError(f"entry point {point.name} = {point.value} of {GROUP}: {loaded!r} is no FeedFormat")
        found[point.name] = loaded
    return found


ALIASES = {"jl": "jsonl", "jsonlines": "jsonl", "arrows": "arrow", "feather": "arrow", "messagepack": "msgpack"}
"""Other names of formats; those of Scrapy among them."""


def extensions() -> dict[str, str]:
    """The formats' names, by extension."""
    return {end: each.name for each in formats().values() for end in each.extensions}


def format_of(uri: str, suffix: str) -> FeedFormat:
    """The format that the extension `suffix` stands for. Raises: ValueError."""
    found = extensions().get(suffix.lower())
    if found is None:
        known = ", ".join((*extensions(), ".sqlite"))
        raise ValueError(f"feed {uri!r}: no format for the extension {suffix!r} (known: {known}); give format=")
    return formats()[found]


def format_named(name: str) -> FeedFormat:
    """The format of this name. Raises: ValueError."""
    found = formats().get(ALIASES.get(name, name))
    if found is None:
        raise ValueError(f"format={name!r}: one of {', '.join((*formats(), 'sqlite'))}")
    return found
