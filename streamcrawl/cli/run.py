"""`streamcrawl run`: the crawl of a flow file."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from streamcrawl.cli.cassettes import Missed, add_cassettes, with_cassette
from streamcrawl.cli.exits import WrongUsage
from streamcrawl.cli.flows import FLOW_HELP, add_spider_arguments, flow_from
from streamcrawl.cli.jobs import said_of_reset
from streamcrawl.cli.lines import LEVELS, LOG, logging_lines

if TYPE_CHECKING:
    from streamcrawl.crawl.crawl import Crawl

HELP = "run the crawl in a Python file"
DESCRIPTION = """\
Run the crawl, or the spider, in a Python file. Progress, failures and the summary go to stderr; stdout is for items.
Ctrl-C once: no new requests, what is under way is finished and written; twice: stop now.
With --job DIR the crawl is kept there: however it was stopped, the same command goes on."""
EXAMPLES = """\
  streamcrawl run quotes.py -O quotes.jsonl             overwrite quotes.jsonl with the items
  streamcrawl run shop.py:books -o all.csv -o -         append to all.csv, and to stdout
  streamcrawl run quotes.py --limit-pages 10 --quiet    ten pages, and only errors on stderr
  streamcrawl run shop.py -O all.csv --job shop-job     stop it, kill it: the same command goes on
  streamcrawl run shop.py:Shop -a category=books        the spider of that class, with an argument
  streamcrawl run shop.py --record shop.cassette        keep every exchange; --replay needs no network
"""

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
"""Seconds in what stands behind the number of an age."""


FORMATS = ".jsonl, .json, .csv, .xml, .msgpack, .pickle, .marshal, .parquet, .arrow, .sqlite"
"""An extension for each format of `ops.feed`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `streamcrawl run` takes."""
    parser.add_argument("flow", metavar="PATH.py[:name]", help=FLOW_HELP)
    add_spider_arguments(parser)
    parser.add_argument(
        "-o",
        dest="feeds",
        action="append",
        type=lambda uri: (uri, "append"),
        default=[],
        metavar="FILE",
        help="append the items to FILE, beside what the flow writes itself; may be repeated; - is stdout. "
        f"The format is that of its extension ({FORMATS}; compressed with .gz, .bz2, .xz, .zst too), "
        "or FILE:FORMAT says it. FILE may be a URI: s3://bucket/items.jsonl",
    )
    parser.add_argument(
        "-O",
        dest="feeds",
        action="append",
        type=lambda uri: (uri, "overwrite"),
        metavar="FILE",
        help="the same, but overwrite FILE",
    )
    add_limits(parser)
    parser.add_argument(
        "--concurrency", type=positive, metavar="N", help="requests at once; with one start host also to that host"
    )
    parser.add_argument(
        "--scope", metavar="S", help="where links may lead: host, domain, any, or domain names with commas between"
    )
    add_job(parser)
    add_cassettes(parser)
    add_loudness(parser)


def add_job(parser: argparse.ArgumentParser) -> None:
    """--job, --reset and --recrawl."""
    parser.add_argument(
        "--job", metavar="DIR", help="keep the crawl in DIR, made if it is not there; `streamcrawl jobs DIR` shows it"
    )
    anew = parser.add_mutually_exclusive_group()
    anew.add_argument("--reset", action="store_true", help="forget what the job has, and start over")
    anew.add_argument(
        "--recrawl",
        nargs="?",
        type=age,
        const=0.0,
        metavar="AGE",
        help="when the job is finished, ask again for pages older than AGE (1d, 12h, 30m, 90s); all if left out",
    )


def age(text: str) -> float:
    """Seconds in "1d", "12h", "30m", "90s" or "90"."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text, re.ASCII)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no age: a number with d, h, m or s behind it, such as 12h")
    return float(found[1]) * UNITS[found[2]]


def add_limits(parser: argparse.ArgumentParser) -> None:
    """--limit-pages and --limit-items."""
    parser.add_argument("--limit-pages", type=positive, metavar="N", help="end after N pages")
    parser.add_argument("--limit-items", type=positive, metavar="N", help="end after N items")


def add_loudness(parser: argparse.ArgumentParser) -> None:
    """--quiet or --log-level."""
    loud = parser.add_mutually_exclusive_group()
    loud.add_argument("--quiet", "-q", action="store_true", help="only errors on stderr: no progress, no summary")
    loud.add_argument(
        "--log-level",
        choices=LEVELS,
        default="info",
        metavar="L",
        help=f"{', '.join(LEVELS)}; info if left out, debug tells every request and shows tracebacks",
    )


def positive(text: str) -> int:
    """A whole number, 1 or more."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return number


def execute(arguments: argparse.Namespace) -> int:
    """Run the flow; the exit code says how it went."""
    from streamcrawl.cli.watching import level_of, watched
    from streamcrawl.descriptors import more_descriptors

    more_descriptors()
    given, missed = dict(arguments.arguments), Missed()
    with logging_lines(level_of(arguments)) as lines, flow_from(arguments.flow, given) as crawl:
        made = with_cassette(adapted(crawl, arguments), arguments)
        if arguments.reset:
            _start_over(made)
        return missed.told(watched(made, lines, quiet=arguments.quiet, on_start=missed.listen))


def _start_over(crawl: Crawl[Any]) -> None:
    """Reset the crawl's job, if it was begun. Raises: JobError."""
    from streamcrawl.frontier.job import is_job, reset

    directory = crawl.options.job
    assert directory is not None
    begun = is_job(directory)
    left = reset(directory)
    if begun:
        LOG.info("%s", said_of_reset(directory, left))


def adapted(crawl: Crawl[Any], arguments: argparse.Namespace) -> Crawl[Any]:
    """The flow's crawl as the command line wants it. Raises: WrongUsage."""
    if crawl.pipes.download is None:
        raise WrongUsage(f"{arguments.flow}: the crawl has no ops.download() in its pipe")
    changes: dict[str, Any] = {}
    if arguments.concurrency is not None:
        changes["concurrency"] = arguments.concurrency
        if has_one_host(crawl):
            changes["per_host"] = max(arguments.concurrency, crawl.options.per_host)
    if arguments.scope is not None:
        names = arguments.scope.split(",")
        changes["scope"] = names[0].strip() if len(names) == 1 else tuple(name.strip() for name in names)
    for name in ("limit_pages", "limit_items"):
        if getattr(arguments, name) is not None:
            changes[name] = getattr(arguments, name)
    changes |= job_of(crawl, arguments)
    try:
        return with_feeds(crawl.replace(**changes), arguments.feeds)
    except ValueError as error:
        raise WrongUsage(str(error)) from error


def job_of(crawl: Crawl[Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """The options that --job and --recrawl change. Raises: WrongUsage if there is no job."""
    changes = {name: value for name in ("job", "recrawl") if (value := getattr(arguments, name)) is not None}
    if arguments.job == "":
        raise WrongUsage("--job '': the name of a directory")
    if (arguments.reset or arguments.recrawl is not None) and arguments.job is None and crawl.options.job is None:
        raise WrongUsage(f"{'--reset' if arguments.reset else '--recrawl'}: of which job? Give --job DIR")
    return changes


def has_one_host(crawl: Crawl[Any]) -> bool:
    """Whether it is known that all start requests go to one host."""
    from streamcrawl.core import Request
    from streamcrawl.urls import host_of, normalize

    start = crawl.start_source
    if isinstance(start, (str, Request)):
        return True
    if not isinstance(start, (list, tuple, set, frozenset)):
        return False  # it is not asked before the crawl asks it
    urls = [each.url if isinstance(each, Request) else str(each) for each in start]
    return len({host_of(normalize(url)) for url in urls}) == 1


def with_feeds(crawl: Crawl[Any], feeds: list[tuple[str, Any]]) -> Crawl[Any]:
    """The crawl with more feeds at its end. Raises: WrongUsage for one that cannot be, and for two on one file."""
    from streamcrawl import operators as ops
    from streamcrawl.errors import FlowError

    for given, mode in feeds:
        uri, format = format_in(given)
        if mode == "append" and (format == "json" or (format is None and uri.lower().endswith(".json"))):
            raise WrongUsage(f"-o {uri}: a JSON array cannot be appended to: overwrite it (-O), or use a .jsonl file")
        try:
            crawl = crawl.pipe(ops.feed(uri, format=format, mode="overwrite" if uri == "-" else mode))
        except (ValueError, FlowError) as error:
            raise WrongUsage(str(error).partition(";")[0]) from error
    return crawl


def format_in(given: str) -> tuple[str, str | None]:
    """The file, and the format that a `:FORMAT` behind it says, if there is one."""
    from streamcrawl.feeds.formats import ALIASES, formats

    file, _, name = given.rpartition(":")
    return (file, name) if file and (name in formats() or name in ALIASES or name == "sqlite") else (given, None)
