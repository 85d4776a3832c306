"""`streamcrawl graph`: a flow as a picture."""

from __future__ import annotations

import argparse
from pathlib import Path

from streamcrawl.cli.exits import WrongUsage
from streamcrawl.cli.flows import FLOW_HELP, flow_from

HELP = "show the pipe of a crawl as a picture"
DESCRIPTION = "Print the pipe of a crawl as a Mermaid flowchart, or as SVG. Nothing is crawled."
EXAMPLES = """\
  streamcrawl graph quotes.py                      Mermaid text, for a Markdown page
  streamcrawl graph quotes.py --svg quotes.svg     a picture in a file
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `streamcrawl graph` takes."""
    parser.add_argument("flow", metavar="PATH.py[:name]", help=FLOW_HELP)
    parser.add_argument(
        "--svg", nargs="?", const="-", metavar="FILE", help="SVG instead of Mermaid, to FILE or else to stdout"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Print or write the picture."""
    if arguments.svg is not None and arguments.svg.endswith(".py"):
        raise WrongUsage(
            f"--svg {arguments.svg}: that would overwrite a Python file; write the flow first, then --svg FILE"
        )
    with flow_from(arguments.flow) as crawl:
        picture = crawl.graph("mermaid" if arguments.svg is None else "svg")
    if arguments.svg in (None, "-"):
        print(picture)
        return 0
    try:
        Path(arguments.svg).write_text(picture + "\n", encoding="utf-8")
    except OSError as error:
        raise WrongUsage(f"{arguments.svg}: {error.strerror or error}") from error
    return 0
