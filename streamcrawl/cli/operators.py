"""`streamcrawl operators`: every operator installed."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator
from typing import Any

from streamcrawl.cli.exits import one_line

HELP = "list every operator installed"
DESCRIPTION = """\
List every operator installed, one line each: the project's own, then those of other packages
(entry point group streamcrawl.operators), with the package's name."""
EXAMPLES = """\
  streamcrawl operators
  streamcrawl operators | grep -i json
"""

GROUP = "streamcrawl.operators"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`streamcrawl operators` takes nothing."""


def execute(arguments: argparse.Namespace) -> int:
    """Print the list."""
    rows = [*own(), *foreign()]
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print(f"{name:<{width}}  {text}".rstrip())
    return 0


def own() -> Iterator[tuple[str, str]]:
    """The project's operators: name and what the user gets."""
    from streamcrawl import operators

    for name in operators.__all__:
        yield name, first_line(getattr(operators, name))


def foreign() -> Iterator[tuple[str, str]]:
    """Those of other distributions; one that cannot be loaded is a line too."""
    from importlib.metadata import entry_points

    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        whose = f"[{point.dist.name}]" if point.dist is not None else "[?]"
        try:
            text = first_line(point.load())
        except Exception as error:  # somebody else's code: anything may happen
            text = f"cannot be loaded: {one_line(error)} ({point.value})"
        yield point.name, f"{text} {whose}".strip()


def first_line(operator: Any) -> str:
    """The first line of the docstring."""
    return (inspect.getdoc(operator) or "").partition("\n")[0]
