"""The tree that `streamcrawl.errors` draws is the tree there is."""

from __future__ import annotations

import importlib
import pkgutil
import re

import streamcrawl
from streamcrawl import errors
from streamcrawl.errors import StreamcrawlError

LINE = re.compile(r"^ {4}(?P<lead>(?:│   |    )*[├└]── )?(?P<name>\w+)(?: \(\w+\))? *(?P<said>.*)$")


def drawn() -> dict[str, tuple[str, str]]:
    """By name: what it is drawn under, and what is said of it."""
    above: list[str] = []
    found: dict[str, tuple[str, str]] = {}
    for line in (errors.__doc__ or "").splitlines():
        match = LINE.match(line)
        if match is not None:
            depth = len(match["lead"] or "") // 4
            above[depth:] = [match["name"]]
            found[match["name"]] = (above[depth - 1] if depth else "", match["said"])
    return found


def there_are(error: type[StreamcrawlError] = StreamcrawlError) -> dict[str, type[StreamcrawlError]]:
    found = {error.__name__: error}
    for each in error.__subclasses__():
        if each.__module__.startswith("streamcrawl."):
            found |= there_are(each)
    return found


def test_the_tree_is_drawn_as_it_is() -> None:
    for module in pkgutil.walk_packages(streamcrawl.__path__, "streamcrawl."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    tree = drawn()
    real = there_are()
    assert {name: under for name, (under, _) in tree.items() if under} == {
        name: each.__mro__[1].__name__ for name, each in real.items() if each is not StreamcrawlError
    }
    for name, (_, said) in tree.items():
        home = real[name].__module__.removeprefix("streamcrawl.")
        assert (home == "errors") == ("`" not in said), f"{name}: where it is imported from is said if it is elsewhere"
        assert home == "errors" or f"`{home}`" in said, f"{name} is in {home}"
