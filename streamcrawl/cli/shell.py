"""`streamcrawl shell`: Python, with a page at hand."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from streamcrawl.cli.exits import WrongUsage, one_line
from streamcrawl.cli.fetch import bring

if TYPE_CHECKING:
    from streamcrawl.core import Request
    from streamcrawl.response import Response

HELP = "try selectors on a page, in Python"
DESCRIPTION = """\
Python with a page at hand: `response`, `fetch(url)` for another one, `ops`, `Request` and `Crawl`.
It is IPython where that is installed (pip install 'streamcrawl[shell]'), else Python's own prompt."""
EXAMPLES = """\
  streamcrawl shell https://example.com/
  echo 'print(response.css("h1::text").get())' | streamcrawl shell https://example.com/
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `streamcrawl shell` takes."""
    parser.add_argument("url", metavar="URL", nargs="?", help="fetched first; `response` is what it gave")


def execute(arguments: argparse.Namespace) -> int:
    """Prompt until the user has had enough."""
    from streamcrawl.errors import InvalidURL, StreamcrawlError

    names = namespace()
    if arguments.url is not None:
        try:
            names["fetch"](arguments.url)
        except InvalidURL as error:
            raise WrongUsage(one_line(error)) from error
        except StreamcrawlError as error:
            print(f"error: {one_line(error)}", file=sys.stderr)  # the prompt is of use without the page too
    prompt(names)
    return 0


def namespace() -> dict[str, Any]:
    """What is at hand in the shell."""
    from streamcrawl import operators as ops
    from streamcrawl.core import Request
    from streamcrawl.crawl.crawl import Crawl

    def fetch(request: Request | str) -> Response:
        """Fetch a URL or a Request through the default layers; `response` is what came."""
        names["response"] = response = bring(request)
        return response

    names: dict[str, Any] = {"Crawl": Crawl, "Request": Request, "fetch": fetch, "ops": ops, "response": None}
    return names


def banner(names: dict[str, Any]) -> str:
    """What is at hand, for the reader."""
    from streamcrawl.version import __version__

    page = names["response"]
    return "\n".join(
        (
            f"streamcrawl {__version__}",
            f"  response   {page!r}" if page is not None else "  response   nothing yet",
            "  fetch(url) brings a page into `response`",
            "  ops, Request, Crawl",
        )
    )


def prompt(names: dict[str, Any]) -> None:
    """IPython where it is installed, else `code.interact`."""
    ipython: Any = None
    with suppress(ImportError):
        ipython = import_module("IPython")  # an extra: it may not be there
    if ipython is None:
        import code

        with_completion(names)
        code.interact(banner(names), local=names, exitmsg="")
        return
    print(banner(names), file=sys.stderr)
    ipython.start_ipython(argv=["--no-banner"], user_ns=names)


def with_completion(names: dict[str, Any]) -> None:
    """Tab completes names, where Python has readline."""
    try:
        import readline
        import rlcompleter
    except ImportError:
        return
    readline.set_completer(rlcompleter.Completer(names).complete)
    readline.parse_and_bind("tab: complete")
