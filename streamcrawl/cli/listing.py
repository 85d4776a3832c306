"""`streamcrawl list`: what can be run in a file."""

from __future__ import annotations

import argparse
from typing import Any

from streamcrawl.cli.exits import FINISHED, WrongUsage
from streamcrawl.cli.flows import all_in, file_from, is_crawl, is_spider

HELP = "list the crawls and spiders in a Python file"
DESCRIPTION = "List what `streamcrawl run` can run in a Python file: crawls, functions that return one, spiders."
EXAMPLES = """\
  streamcrawl list shop.py
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `streamcrawl list` takes."""
    parser.add_argument("flow", metavar="PATH.py", help="a Python file")


def execute(arguments: argparse.Namespace) -> int:
    """Print a line for each: how to name it, what it is."""
    with file_from(arguments.flow) as file:
        found = all_in(file)
        if not found:
            raise WrongUsage(f"{file.path}: no Crawl and no Spider in it")
        rows = [(f"{file.path}:{name}", said_of(value)) for name, value in found.items()]
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print(f"{name:<{width}}  {text}")
    return FINISHED


def said_of(value: Any) -> str:
    """What it is, in a few words."""
    if is_crawl(value):
        start = value.start_source
        return f"Crawl of {start!r}" if len(repr(start)) <= 60 else "Crawl"
    if is_spider(value):
        return f"Spider {value.name!r}"
    return "function that makes a Crawl"
