"""--record and --replay: a crawl's exchanges into a file, and out of it."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from streamcrawl.cli.exits import FAILED, FINISHED, WrongUsage

if TYPE_CHECKING:
    from streamcrawl.crawl.crawl import Crawl
    from streamcrawl.crawl.run import Run

SHOWN = 5
"""Requests that were not recorded, which are named at the end."""


def add_replay(parser: argparse.ArgumentParser) -> None:
    """--replay."""
    parser.add_argument("--replay", metavar="FILE", help="answer from FILE, which --record has written; no network")


def add_cassettes(parser: argparse.ArgumentParser) -> None:
    """--record and --replay."""
    parser.add_argument("--record", metavar="FILE", help="write every exchange to FILE, a cassette")
    parser.add_argument(
        "--replay", metavar="FILE", help="answer from FILE, no network; with --record of the same FILE, add what is new"
    )


class Missed:
    """What a replay was asked for and did not have."""

    def __init__(self) -> None:
        self.count = 0
        self.texts: list[str] = []
        """Of the first of them."""

    def listen(self, run: Run) -> None:
        """Hear of it, from now on."""
        from streamcrawl.testing.cassette_replay import Missing

        def on_missing(event: Missing) -> None:
            self.count += 1
            if self.count <= SHOWN:
                self.texts.append(event.text)

        run.events.on(Missing, on_missing)

    def told(self, code: int) -> int:
        """Say what was missing; the exit code, which then is no success."""
        for text in self.texts:
            print(f"error: {text}", file=sys.stderr)
        if self.count > SHOWN:
            print(f"error: and {self.count - SHOWN} more that were not recorded", file=sys.stderr)
        return FAILED if self.count and code == FINISHED else code


def with_cassette(crawl: Crawl[Any], arguments: argparse.Namespace) -> Crawl[Any]:
    """The crawl on the cassette that --record and --replay name. Raises: WrongUsage."""
    record: str | None = arguments.record
    replay: str | None = arguments.replay
    for option, path in (("--record", record), ("--replay", replay)):
        if path is not None and (path == "" or path.endswith((".py", "/"))):
            raise WrongUsage(f"{option} {path!r}: the name of a cassette's file")
    if record is None and replay is None:
        return crawl
    if record is not None and replay is not None and record != replay:
        raise WrongUsage(f"--record {record} --replay {replay}: both at once add what is new to one and the same file")
    from streamcrawl.testing.cassette import recording, replaying, with_fetch

    if replay is None:
        return with_fetch(crawl, recording(str(record)))
    if record is None:
        _check(replay)
        crawl = _at_once(crawl)
    return with_fetch(crawl, replaying(replay, mode="none" if record is None else "new"))


def _check(path: str) -> None:
    from pathlib import Path

    from streamcrawl.testing.cassette_file import CassetteError, scan

    try:
        scan(Path(path))
    except CassetteError as error:
        raise WrongUsage(f"--replay {error}") from error


def _at_once(crawl: Crawl[Any]) -> Crawl[Any]:
    """Nobody has to be spared: no delays, and so that it is the same each time, the same chance."""
    options = crawl.options
    slots = {name: replace(slot, delay=0.0) for name, slot in options.slots.items()}
    return crawl.replace(delay=0.0, slots=slots, seed=0 if options.seed is None else options.seed)
