"""`streamcrawl jobs`: what stands in a job's directory."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from streamcrawl.frontier.overview import HostCounts, Overview

HELP = "look at a job: what waits, is done, has failed; retry, reset"
DESCRIPTION = """\
Show what stands in a job's directory (`streamcrawl run … --job DIR`): what waits, is in flight, done, failed, by host.
A run may be writing there meanwhile; for --retry-failed and --reset none may have the job."""
EXAMPLES = """\
  streamcrawl jobs shop-job                     how far it is
  streamcrawl jobs shop-job --failed            what failed, and why
  streamcrawl jobs shop-job --retry-failed      let that wait again; the next run asks for it
  streamcrawl jobs shop-job --json              for programs
"""

HOSTS = 10
REASONS = 4
"""Reasons for refusals that stand in the table; --json has all."""

Line: TypeAlias = tuple[tuple[str, str], ...]
"""Pieces of text, each with its style on a terminal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `streamcrawl jobs` takes."""
    parser.add_argument("job", metavar="DIR", help="the job's directory")
    parser.add_argument(
        "--hosts",
        type=_count,
        default=HOSTS,
        metavar="N",
        help=f"show N hosts, those with most waiting; {HOSTS} if left out",
    )
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object; with --failed one a line")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--failed", action="store_true", help="list the requests that failed: URL and reason")
    what.add_argument("--retry-failed", action="store_true", help="let the failed requests wait again")
    what.add_argument("--reset", action="store_true", help="delete the job's own files: the next run starts over")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 0 or more")
    return int(text)


def execute(arguments: argparse.Namespace) -> int:
    """Show the job, or do to it what is asked for. Raises: JobError."""
    if arguments.retry_failed:
        _retry(arguments.job, as_json=arguments.json)
    elif arguments.reset:
        _reset(arguments.job, as_json=arguments.json)
    elif arguments.failed:
        _list_failed(arguments.job, as_json=arguments.json)
    else:
        _show(arguments.job, arguments.hosts, as_json=arguments.json)
    return 0


def _retry(directory: str, *, as_json: bool) -> None:
    from streamcrawl.frontier.overview import retry_failed

    many = retry_failed(directory)
    if as_json:
        _print_json({"directory": directory, "waiting_again": many})
    elif many:
        print(f"job {directory}: {many:,} failed {'request waits' if many == 1 else 'requests wait'} again")
    else:
        print(f"job {directory}: nothing has failed")


def _reset(directory: str, *, as_json: bool) -> None:
    from streamcrawl.frontier.job import reset
    from streamcrawl.frontier.overview import check_job

    check_job(directory)
    left = reset(directory)
    if as_json:
        _print_json({"directory": directory, "left": left})
    else:
        print(said_of_reset(directory, left))


def said_of_reset(directory: object, left: tuple[str, ...]) -> str:
    """What became of a job that was reset, in one line."""
    stays = f"; left alone: {', '.join(left[:5])}{', …' if len(left) > 5 else ''}" if left else ""
    return f"job {directory}: reset, the next run starts over{stays}"


def _list_failed(directory: str, *, as_json: bool) -> None:
    from streamcrawl.frontier.overview import failures

    none = True
    for failed in failures(directory):
        none = False
        if as_json:
            _print_json({"id": failed.id, "url": failed.url, "reason": failed.reason})
        else:
            print(f"{failed.url}\t{' '.join(failed.reason.split())}")
    if none and not as_json:
        print(f"job {directory}: nothing has failed", file=sys.stderr)


def _show(directory: str, hosts: int, *, as_json: bool) -> None:
    from streamcrawl.frontier.overview import overview

    found = overview(directory, hosts)
    if as_json:
        import msgspec

        _print_json(msgspec.to_builtins(found))
    else:
        _print_lines(table(found, time.time()))


def _print_json(value: Any) -> None:
    import msgspec

    print(msgspec.json.encode(value).decode())


def _print_lines(lines: Iterable[Line]) -> None:
    """Coloured on a terminal, plain elsewhere."""
    if not sys.stdout.isatty():
        for line in lines:
            print("".join(text for text, _ in line).rstrip())
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for line in lines:
        console.print(Text.assemble(*line), no_wrap=True, overflow="ellipsis", crop=True)


def table(job: Overview, now: float) -> Iterator[Line]:
    """The lines of the table. `now`: seconds since the epoch."""
    yield (("job ", ""), (job.directory, "bold"), (": ", ""), *_standing(job))
    yield ()
    yield from _counts(job, now)
    if job.hosts:
        yield ()
        yield from _hosts(job.hosts, job.host_count)
    yield ()
    runs = "1 run" if job.sessions == 1 else f"{job.sessions:,} runs"
    last = "" if job.last_commit is None else f", last commit {_span(now - job.last_commit)} ago"
    yield ((f"  {runs}, {job.start_taken:,} of the start taken{last}", "dim"),)


def _standing(job: Overview) -> Line:
    if job.used_by is not None:
        return ((f"running, {job.used_by} has it", "cyan"),)
    if job.finished:
        return (("finished", "green"),)
    return (("not finished; the same command goes on", "yellow"),)


def _counts(job: Overview, now: float) -> Iterator[Line]:
    due = "" if job.next_due is None else f"the first {_until(job.next_due - now)}"
    flying = "" if job.used_by is not None else "asked again by the next run"
    refused = sum(job.dropped.values())
    reasons = [f"{many:,} {_reason(reason)}" for reason, many in list(job.dropped.items())[:REASONS]]
    if len(job.dropped) > REASONS:
        reasons.append("…")
    rows = (
        ("waiting", job.waiting, "", ""),
        ("later", job.later, due, ""),
        ("in flight", job.in_flight, flying, ""),
        ("done", job.done, "", "green"),
        ("failed", job.failed, "--failed lists them, --retry-failed asks again", "red"),
        ("dropped", refused, ", ".join(reasons), "yellow"),
        ("retried", job.retried, "", ""),
        ("moved", job.moved, "", ""),
    )
    width = max(len(f"{many:,}") for _, many, _, _ in rows)
    for name, many, remark, style in rows:
        if many or name in ("waiting", "done", "failed"):
            yield (
                (f"  {name:<10}", ""),
                (f"{many:>{width},}", f"bold {style}".strip() if many else "dim"),
                (f"   {remark}" if many and remark else "", "dim"),
            )


def _reason(reason: str) -> str:
    """Why requests were dropped, and what can be done about it."""
    from streamcrawl.robots import NOT_REACHED

    return f"{reason} (--retry-failed asks again)" if reason == NOT_REACHED else reason


def _hosts(hosts: tuple[HostCounts, ...], total: int) -> Iterator[Line]:
    columns = ("waiting", "in flight", "later", "done", "failed", "dropped")
    rows = [(each.waiting, each.in_flight, each.later, each.done, each.failed, each.dropped) for each in hosts]
    shown = [n for n, name in enumerate(columns) if name in ("waiting", "done") or any(row[n] for row in rows)]
    title = "host" if total == len(hosts) else f"host ({len(hosts)} of {total:,})"
    first = max(len(title), *(len(each.name) for each in hosts))
    widths = {n: max(len(columns[n]), *(len(f"{row[n]:,}") for row in rows)) for n in shown}
    yield ((f"  {title:<{first}}" + "".join(f"   {columns[n]:>{widths[n]}}" for n in shown), "dim"),)
    for each, row in zip(hosts, rows, strict=True):
        yield (
            (f"  {each.name:<{first}}", ""),
            *((f"   {row[n]:>{widths[n]},}", "" if row[n] else "dim") for n in shown),
        )


def _until(seconds: float) -> str:
    return f"in {_span(seconds)}" if seconds > 0 else "is due"


def _span(seconds: float) -> str:
    """A span of time, roughly."""
    seconds = max(0.0, seconds)
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
