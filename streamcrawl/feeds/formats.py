"""The feed formats that there are, and how one is found: by its name, by a file's extension."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

from streamcrawl.errors import FlowError
from streamcrawl.feeds.format import FeedFormat

GROUP = "streamcrawl.formats"
"""The entry points by which other packages bring formats; each gives a FeedFormat."""

OWN = (
    ("json_formats", ("JSONL", "JSON")),
    ("csv_format", ("CSV",)),
    ("xml_format", ("XML",)),
    ("binary_formats", ("MSGPACK", "PICKLE", "MARSHAL")),
    ("columnar", ("PARQUET", "ARROW")),
)
"""Modules here, and the formats in each: loaded one after the other, until the one that is asked for is there."""


def formats() -> Mapping[str, FeedFormat]:
    """All that are known, by name: the project's own, and those of installed packages."""
    own = {each.name: each for each in _own()}
    return own | {name: each for name, each in plugged().items() if name not in own}


def _own() -> Iterator[FeedFormat]:
    for module, names in OWN:
        loaded = import_module(f"streamcrawl.feeds.{module}")
        for name in names:
            yield getattr(loaded, name)


@cache
def plugged() -> Mapping[str, FeedFormat]:
    """Those of installed packages, by name."""
    from importlib.metadata import entry_points  # some 10 ms, for those who need it

    found: dict[str, FeedFormat] = {}
    for point in entry_points(group=GROUP):
        loaded: Any = point.load()
        if not isinstance(loaded, FeedFormat):
            raise FlowError(f"entry point {point.name} = {point.value} of {GROUP}: {loaded!r} is no FeedFormat")
        found[point.name] = loaded
    return found


def _first(fits: Callable[[str, FeedFormat], bool]) -> FeedFormat | None:
    """The first format that fits, by the name that it goes by: what other packages bring is looked for last."""
    own = next((each for each in _own() if fits(each.name, each)), None)
    return own or next((each for name, each in plugged().items() if fits(name, each)), None)


ALIASES = {"jl": "jsonl", "jsonlines": "jsonl", "arrows": "arrow", "feather": "arrow", "messagepack": "msgpack"}
"""Other names of formats; those of Scrapy among them."""


def extensions() -> dict[str, str]:
    """The formats' names, by extension."""
    found: dict[str, str] = {}
    for name, each in formats().items():
        for end in each.extensions:
            found.setdefault(end, name)
    return found


def format_of(uri: str, suffix: str) -> FeedFormat:
    """The format that the extension `suffix` stands for. Raises: ValueError."""
    end = suffix.lower()
    found = _first(lambda _, each: end in each.extensions)
    if found is None:
        known = ", ".join((*extensions(), ".sqlite"))
        raise ValueError(f"feed {uri!r}: no format for the extension {suffix!r} (known: {known}); give format=")
    return found


def format_named(name: str) -> FeedFormat:
    """The format of this name. Raises: ValueError."""
    wanted = ALIASES.get(name, name)
    found = _first(lambda known, _: known == wanted)
    if found is None:
        raise ValueError(f"format={name!r}: one of {', '.join((*formats(), 'sqlite'))}")
    return found
