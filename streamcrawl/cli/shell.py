"""`streamcrawl shell`: Python, with a page at hand."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from streamcrawl.cli.exits import WrongUsage, one_line
from streamcrawl.cli.fetch import bring
from streamcrawl.cli.flows import flow_from

if TYPE_CHECKING:
    from pathlib import Path

    from streamcrawl.core import Request
    from streamcrawl.crawl.crawl import Crawl
    from streamcrawl.response import Response

HELP = "try selectors on a page, in Python"
DESCRIPTION = """\
Python with a page at hand: `response` (or `page`), its `request`, `sel`, which selects in it; `fetch(url)` for another
one, `view(response)` to see it in the browser; `crawl`, `ops`, `Request` and `Crawl`.
It is IPython where that is installed (pip install 'streamcrawl[shell]'), else Python's own prompt."""
EXAMPLES = """\
  streamcrawl shell https://example.com/
  streamcrawl shell --spider shop.py https://example.com/      through the layers of that flow, which is `crawl`
  streamcrawl shell https://example.com/ -c 'sel.css("h1::text").get()'
  echo 'print(sel.css("h1::text").get())' | streamcrawl shell https://example.com/
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `streamcrawl shell` takes."""
    parser.add_argument("url", metavar="URL", nargs="?", help="fetched first; `response` is what it gave")
    parser.add_argument("-c", dest="code", metavar="CODE", help="run CODE, print what it comes to, and end")
    parser.add_argument(
        "--spider", metavar="FILE[:name]", help="fetch through the layers of the flow or spider in FILE"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Prompt until the user has had enough."""
    from streamcrawl.errors import InvalidURL, StreamcrawlError

    with nullcontext() if arguments.spider is None else flow_from(arguments.spider) as crawl:
        names = namespace(crawl)
        if arguments.url is not None:
            try:
                names["fetch"](arguments.url)
            except InvalidURL as error:
                raise WrongUsage(one_line(error)) from error
            except StreamcrawlError as error:
                print(f"error: {one_line(error)}", file=sys.stderr)  # the prompt is of use without the page too
                if arguments.code is not None:
                    return 1
        if arguments.code is not None:
            evaluate(arguments.code, names)
        else:
            prompt(names)
    return 0


def namespace(crawl: Crawl[Any] | None = None) -> dict[str, Any]:
    """What is at hand in the shell. `crawl`: pages come through its layers."""
    from streamcrawl import operators as ops
    from streamcrawl.core import Request
    from streamcrawl.crawl.crawl import Crawl

    def fetch(request: Request | str) -> Response:
        """Fetch a URL or a Request; `response` is what came."""
        response = at_once(request, names["crawl"])
        names.update(response=response, page=response, request=response.request, sel=selector(response))
        return response

    def view(response: Response | None = None) -> Path:
        """See a response, or the present one, in the browser as the crawler sees it. Gives the path of its file."""
        import webbrowser

        from streamcrawl.cli.view import saved

        shown = names["response"] if response is None else response
        if shown is None:
            raise ValueError("there is no response yet: fetch(url) brings one")
        path = saved(shown)
        webbrowser.open(path.as_uri())
        return path

    names: dict[str, Any] = {
        "Crawl": Crawl,
        "Request": Request,
        "crawl": crawl,
        "fetch": fetch,
        "ops": ops,
        "view": view,
    }
    names.update(dict.fromkeys(("response", "page", "request", "sel")))
    return names


def at_once(request: Request | str, crawl: Crawl[Any] | None) -> Response:
    """The page, also where an event loop is running, as in a cell with `await` in it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return bring(request, crawl)
    with ThreadPoolExecutor(1, "streamcrawl") as threads:
        return threads.submit(bring, request, crawl).result()


def selector(response: Response) -> Any:
    """What selects in the response; None if it is nothing to select in: a picture."""
    kind = (response.headers.get("content-type") or "").partition("/")[0].strip().lower()
    if kind in ("image", "audio", "video", "font"):
        return None
    try:
        return response.selector
    except ValueError:  # text that is no JSON, for example
        return None


def banner(names: dict[str, Any]) -> str:
    """What is at hand, for the reader."""
    from streamcrawl.version import __version__

    page = names["response"]
    rows = {
        "response": repr(page) if page is not None else "nothing yet",
        "sel": "selects in it: sel.css(…), sel.xpath(…)",
        "fetch(url)": "brings a page into `response`",
        "view()": "shows it in the browser",
        "crawl": repr(names["crawl"]) if names["crawl"] is not None else "",
    }
    told = [f"  {name:<10} {text}" for name, text in rows.items() if text]
    return "\n".join((f"streamcrawl {__version__}", *told, "  Crawl, Request, ops"))


def evaluate(code: str, names: dict[str, Any]) -> None:
    """Run the code; the value of an expression is printed. Raises: WrongUsage for what is no Python."""
    try:
        compiled = compile(code, "<code>", "eval")
    except SyntaxError:
        try:
            compiled = compile(code, "<code>", "exec")
        except SyntaxError as error:
            raise WrongUsage(f"-c {code!r}: {error.msg}") from error
    value = eval(compiled, names)  # noqa: S307 - what the user typed
    if value is not None:
        print(value)


def prompt(names: dict[str, Any]) -> None:
    """IPython where it is installed, else `code.interact`."""
    ipython: Any = None
    with suppress(ImportError):
        ipython = import_module("IPython")  # an extra: it may not be there
    if ipython is None:
        import code

        with_completion(names)
        with no_prompts() if not sys.stdin.isatty() else nullcontext():
            code.interact(banner(names), local=names, exitmsg="")
        return
    print(banner(names), file=sys.stderr)
    ipython.start_ipython(argv=["--no-banner"], user_ns=names)


@contextmanager
def no_prompts() -> Generator[None, None, None]:
    """Lines come out of a pipe: nobody is to be asked for them."""
    before: list[tuple[str, Any]] = [(name, getattr(sys, name)) for name in ("ps1", "ps2") if hasattr(sys, name)]
    sys.ps1 = sys.ps2 = ""
    try:
        yield
    finally:
        del sys.ps1, sys.ps2
        for name, mark in before:
            setattr(sys, name, mark)


def with_completion(names: dict[str, Any]) -> None:
    """Tab completes names, where Python has readline."""
    try:
        import readline
        import rlcompleter
    except ImportError:
        return
    readline.set_completer(rlcompleter.Completer(names).complete)
    readline.parse_and_bind("tab: complete")
