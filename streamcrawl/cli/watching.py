"""A crawl run for somebody who looks on: its progress, its failures, its summary, its exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import msgspec

from streamcrawl.cli.exits import FAILED, FINISHED, INTERRUPTED, WrongUsage, one_line
from streamcrawl.cli.lines import LOG, Lines
from streamcrawl.cli.progress import drawn, has_terminal, logged
from streamcrawl.crawl.crawl import Crawl
from streamcrawl.crawl.run import Run
from streamcrawl.crawl.summary import Summary
from streamcrawl.crawl.telling import tell
from streamcrawl.errors import FlowError
from streamcrawl.events import RequestFailed

ALREADY_FINISHED = "already finished"
"""The reason of a run whose job had nothing left to do: that was told, and there is no sum to show."""


def level_of(arguments: argparse.Namespace) -> str:
    """The level of the log lines."""
    return "error" if arguments.quiet else arguments.log_level


def watched(
    crawl: Crawl[Any], lines: Lines, *, quiet: bool = False, on_start: Callable[[Run], None] | None = None
) -> int:
    """Run `crawl` to its end and give the exit code.

    Args:
        crawl: What to run.
        lines: The handler of log lines; the live line must not be torn by them.
        quiet: Nothing but errors is shown.
        on_start: Called with the run before its first request.
    """
    runs: list[Run] = []
    failures: list[Exception] = []
    error: Exception | None = None
    with ExitStack() as ends:

        def begun(run: Run) -> None:
            runs.append(run)
            if on_start is not None:
                on_start(run)
            tell(run)
            run.events.on(RequestFailed, lambda event: failures.append(event.failed.error) if not failures else None)
            if not quiet:
                draws = has_terminal() and not (sys.stdout.isatty() and writes_to_stdout(crawl))
                ends.enter_context(drawn(run, lines) if draws else logged(run))

        try:
            crawl.run(begun)
        except Exception as raised:
            error = raised
    summary = runs[0].summary if runs else None
    if summary is None:
        if isinstance(error, FlowError):  # a spider that cannot be made, for example: there was no run
            raise WrongUsage(one_line(error)) from error
        raise error or RuntimeError("the run ended without a summary")
    code = _told(summary, error, quiet, failures, nowhere=bool(summary.counts.items) and ends_with_callback(crawl))
    if not quiet and error is None:
        _tell_of_job(crawl, summary)
    return code


def ends_with_callback(crawl: Crawl[Any]) -> bool:
    """Whether nothing follows the callback: the items that it gives are counted, and gone."""
    from streamcrawl.operators.scrape import Scrape

    return bool(crawl.operators) and isinstance(crawl.operators[-1], Scrape)


def writes_to_stdout(crawl: Crawl[Any]) -> bool:
    """Whether a feed of the crawl goes to stdout."""
    return any(getattr(operator, "uri", None) == "-" for operator in crawl.operators)


def _tell_of_job(crawl: Crawl[Any], summary: Summary) -> None:
    """How a run that was stopped before its end goes on."""
    directory = crawl.options.job
    if directory is not None and summary.reason not in ("finished", ALREADY_FINISHED):
        print(f"job {directory}: {summary.waiting:,} waiting; the same command goes on", file=sys.stderr)


def _told(
    summary: Summary, error: Exception | None, quiet: bool, failures: list[Exception], *, nowhere: bool = False
) -> int:
    if not quiet and summary.reason != ALREADY_FINISHED and (error is None or summary.counts.offered.total):
        # The error stands below, as the last line.
        print(msgspec.structs.replace(summary, error=None), file=sys.stderr)
        if nowhere:
            print("  the items were kept nowhere: -O items.jsonl writes them", file=sys.stderr)
    if error is not None:
        LOG.debug("the run was stopped by", exc_info=error)
        print(f"error: {one_line(error)}", file=sys.stderr)
        return FAILED
    if summary.reason == "interrupted":
        return INTERRUPTED
    if not summary.ok:
        print(f"error: {_trouble(summary, failures)}", file=sys.stderr)
        return FAILED
    return FINISHED


def _trouble(summary: Summary, failures: list[Exception]) -> str:
    """Why a run that came to its end is no success."""
    kinds = {
        "in callbacks": summary.counts.callback_errors,
        "on items": summary.stats.get("items_failed", 0),
        "in operators": summary.stats.get("operator_errors", 0),
    }
    told = [f"{count} {'error' if count == 1 else 'errors'} {where}" for where, count in kinds.items() if count]
    if told:
        return ", ".join(told)
    if failures:
        return f"no page was reached: {one_line(failures[0])}"
    dropped = ", ".join(summary.counts.dropped)
    return f"no page was reached: {summary.dropped} dropped ({dropped})" if dropped else "no page was reached"
