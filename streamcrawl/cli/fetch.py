"""`streamcrawl fetch`: one page."""

from __future__ import annotations

import argparse
import sys
from http import HTTPStatus
from typing import TYPE_CHECKING

from streamcrawl.cli.exits import FAILED, FINISHED, WrongUsage, one_line

if TYPE_CHECKING:
    from streamcrawl.core import Request
    from streamcrawl.response import Response

HELP = "fetch one URL and print its body"
DESCRIPTION = """\
Fetch one URL as a crawl would (retries, redirects, cookies, decompression) and print its body.
robots.txt is not asked: you did, not a crawler. A status from 400 up is a failure, its body is printed all the same."""
EXAMPLES = """\
  streamcrawl fetch https://example.com/
  streamcrawl fetch --headers https://example.com/     the status and the header fields
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `streamcrawl fetch` takes."""
    parser.add_argument("url", metavar="URL", help="absolute: https://…, http://…, file:///…, data:…")
    parser.add_argument("--headers", action="store_true", help="print the status and the header fields, not the body")


def execute(arguments: argparse.Namespace) -> int:
    """Print the page."""
    from streamcrawl.errors import InvalidURL, StreamcrawlError

    try:
        response = bring(arguments.url)
    except InvalidURL as error:
        raise WrongUsage(one_line(error)) from error
    except StreamcrawlError as error:
        text = one_line(error)
        print(f"error: {text if arguments.url in text else f'{arguments.url}: {text}'}", file=sys.stderr)
        return FAILED
    if arguments.headers:
        print(head(response))
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(response.body)
        sys.stdout.buffer.flush()
    if response.status >= 400:
        print(f"error: {response.url}: HTTP status {status(response)}", file=sys.stderr)
        return FAILED
    return FINISHED


def bring(request: Request | str) -> Response:
    """The page, through the default layers but for robots.txt; whatever its status is.

    Raises: StreamcrawlError (InvalidURL, FetchError, …), KeyboardInterrupt.
    """
    from reactivex import operators as rx

    from streamcrawl import operators as ops
    from streamcrawl.crawl.crawl import Crawl
    from streamcrawl.crawl.run import Run
    from streamcrawl.errors import Drop
    from streamcrawl.events import RequestDropped, RequestFailed, RunStopping

    brought: list[Response] = []
    errors: list[Exception] = []

    def on_start(run: Run) -> None:
        run.events.on(RunStopping, lambda event: run.stop(now=True))  # there is one page: nothing else to finish
        run.events.on(RequestFailed, lambda event: errors.append(event.failed.error))
        run.events.on(RequestDropped, lambda event: errors.append(Drop(f"dropped: {event.dropped.reason}")))

    layers = ops.default_layers(robots_txt=None)
    crawl = Crawl(request, scope="any").pipe(ops.download(*layers), rx.do_action(brought.append))
    summary = crawl.run(on_start)
    if brought:
        return brought[0]
    if summary.reason == "interrupted":
        raise KeyboardInterrupt
    raise errors[0] if errors else Drop(f"no response ({summary.reason})")


def head(response: Response) -> str:
    """The status and the header fields, as HTTP/1.1 writes them."""
    fields = [f"{name}: {value}" for name, value in response.headers.pairs()]
    return "\n".join([f"{response.protocol or 'status'} {status(response)}", *fields])


def status(response: Response) -> str:
    """Such as "404 Not Found"."""
    try:
        return f"{response.status} {HTTPStatus(response.status).phrase}"
    except ValueError:
        return str(response.status)
