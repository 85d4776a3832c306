"""`streamcrawl view`: a page as the crawler sees it, in the browser."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from streamcrawl.cli.exits import FAILED, FINISHED
from streamcrawl.cli.fetch import add_request, brought_or_told, told_of_status

if TYPE_CHECKING:
    from streamcrawl.response import Response

HELP = "open a page in the browser as the crawler sees it"
DESCRIPTION = """\
Fetch a page and open what came in the browser: as it was read, before any script has run. Its scripts do not run there
either; pictures and styles are loaded from where the page has them."""
EXAMPLES = """\
  streamcrawl view https://example.com/
  streamcrawl view --no-browser https://example.com/     only print the file's name
"""

SUFFIXES = {"html": ".html", "xml": ".xml", "json": ".json", "text": ".txt"}
NO_SCRIPTS = '<meta http-equiv="Content-Security-Policy" content="script-src \'none\'">'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `streamcrawl view` takes."""
    add_request(parser)
    parser.add_argument("--no-browser", action="store_true", help="print the path of the file, and open nothing")


def execute(arguments: argparse.Namespace) -> int:
    """Open the page."""
    import webbrowser

    response = brought_or_told(arguments)
    if response is None:
        return FAILED
    path = saved(response)
    if arguments.no_browser:
        print(path)
    elif not webbrowser.open(path.as_uri()):
        print(f"error: no browser could be opened; the page is in {path}", file=sys.stderr)
        return FAILED
    return FINISHED if response.status < 400 else told_of_status(response)


def saved(response: Response) -> Path:
    """The page in a file of its own, which stays."""
    kind = (response.headers.get("content-type") or "").partition(";")[0].strip().lower()
    if kind.startswith(("image/", "audio/", "video/", "font/")) or kind in ("application/pdf", "application/zip"):
        suffix, body = f".{kind.partition('/')[2].partition('+')[0]}", response.body
    elif response.kind == "html":
        suffix, body = ".html", readable(response)
    else:
        suffix, body = SUFFIXES[response.kind], response.body
    folder = Path(tempfile.mkdtemp(prefix="streamcrawl-"))
    path = folder / f"page{suffix}"
    path.write_bytes(body)
    return path


def readable(response: Response) -> bytes:
    """The page's text in UTF-8, with its own address as the base of its links, and without scripts."""
    from html import escape

    from streamcrawl.errors import InvalidURL

    text = response.text.removeprefix("\ufeff")
    at = after_doctype(text)
    try:
        base = f'<base href="{escape(response.urljoin(""))}">'
    except InvalidURL:
        base = ""  # a page that is in its URL, say: nothing is beside it
    # A byte order mark tells the encoding, whatever the page itself says of it.
    return f"\ufeff{text[:at]}{base}{NO_SCRIPTS}{text[at:]}".encode("utf-8", "replace")


def after_doctype(text: str) -> int:
    """Where what is put in comes first in the page's head, and its doctype still before it."""
    at = 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if text.startswith("<!--", at):
            end = text.find("-->", at + 4)
            if end < 0:
                return 0
            at = end + 3
        elif text[at : at + 9].lower() == "<!doctype":
            return text.find(">", at) + 1
        else:
            return 0
