"""`streamcrawl fetch`: one page."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from streamcrawl.cli.exits import FAILED, FINISHED, WrongUsage, discreet, one_line
from streamcrawl.cli.flows import flow_from

if TYPE_CHECKING:
    from streamcrawl.core import Request
    from streamcrawl.crawl.crawl import Crawl
    from streamcrawl.response import Response

HELP = "fetch one URL and print its body"
DESCRIPTION = """\
Fetch one URL as a crawl would (retries, redirects, cookies, decompression) and print its body.
robots.txt is not asked: you did, not a crawler. A status from 400 up is a failure, its body is printed all the same."""
EXAMPLES = """\
  streamcrawl fetch https://example.com/
  streamcrawl fetch --headers https://example.com/     the status and the header fields
  streamcrawl fetch -H 'Accept-Language: de' https://example.com/
  streamcrawl fetch --spider shop.py https://example.com/     through the layers of that flow
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `streamcrawl fetch` takes."""
    add_request(parser)
    parser.add_argument("--headers", action="store_true", help="print the status and the header fields, not the body")


def add_request(parser: argparse.ArgumentParser) -> None:
    """The URL, and how it is asked for."""
    parser.add_argument("url", metavar="URL", help="absolute: https://…, http://…, file:///…, data:…")
    parser.add_argument(
        "-H",
        dest="fields",
        action="append",
        type=_field,
        default=[],
        metavar="'NAME: VALUE'",
        help="a header field of the request; may be repeated",
    )
    parser.add_argument("--no-redirect", action="store_true", help="do not follow redirects")
    parser.add_argument("--spider", metavar="FILE[:name]", help="through the layers of the flow or spider in that file")


def _field(text: str) -> tuple[str, str]:
    name, mark, value = text.partition(":")
    if not mark or not name.strip() or " " in name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is no header field: 'Name: value'")
    return name.strip(), value.strip()


def execute(arguments: argparse.Namespace) -> int:
    """Print the page."""
    response = brought_or_told(arguments)
    if response is None:
        return FAILED
    if arguments.headers:
        print(head(response))
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(response.body)
        sys.stdout.buffer.flush()
    return told_of_status(response)


def told_of_status(response: Response) -> int:
    """The exit code; a status of failure is said."""
    if response.status >= 400:
        print(f"error: {discreet(response.url)}: HTTP status {status(response)}", file=sys.stderr)
        return FAILED
    return FINISHED


def brought_or_told(arguments: argparse.Namespace) -> Response | None:
    """The page that the arguments ask for; None if it did not come, which is said. Raises: WrongUsage."""
    from streamcrawl.core import Request
    from streamcrawl.errors import InvalidURL, StreamcrawlError
    from streamcrawl.headers import Headers
    from streamcrawl.transport.body import shown

    request = Request(
        arguments.url, headers=Headers(arguments.fields), max_redirects=0 if arguments.no_redirect else None
    )
    with nullcontext() if arguments.spider is None else flow_from(arguments.spider) as crawl:
        try:
            return bring(request, crawl)
        except InvalidURL as error:
            raise WrongUsage(one_line(error)) from error
        except StreamcrawlError as error:
            text = one_line(error)
            url = discreet(arguments.url)
            print(
                f"error: {text if shown(arguments.url) in text or url in text else f'{url}: {text}'}", file=sys.stderr
            )
            return None


def bring(request: Request | str, like: Crawl[Any] | None = None) -> Response:
    """The page, through the default layers, or those of a crawl, but for robots.txt; whatever its status is.

    Raises: StreamcrawlError (InvalidURL, FetchError, …), KeyboardInterrupt.
    """
    from reactivex import operators as rx

    from streamcrawl import operators as ops
    from streamcrawl.crawl.crawl import Crawl
    from streamcrawl.crawl.run import Run
    from streamcrawl.errors import Drop
    from streamcrawl.events import RequestDropped, RequestFailed, RunStopping
    from streamcrawl.operators.download import Download
    from streamcrawl.transport import Wire

    brought: list[Response] = []
    errors: list[Exception] = []

    def on_start(run: Run) -> None:
        run.events.on(RunStopping, lambda event: run.stop(now=True))  # there is one page: nothing else to finish
        run.events.on(RequestFailed, lambda event: errors.append(event.failed.error))
        run.events.on(RequestDropped, lambda event: errors.append(Drop(f"dropped: {event.dropped.reason}")))

    download = None if like is None else like.pipes.download
    if download is None:
        download = Download(ops.default_layers(), Wire())
    layers = tuple(layer for layer in download.layers if getattr(layer, "name", "") != "robots_txt")
    crawl = Crawl(request, scope="any").pipe(replace(download, layers=layers), rx.do_action(brought.append))
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
