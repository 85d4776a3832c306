"""`streamcrawl chaos`: a flow killed at random moments, and what it lost by that."""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import chdir, closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from streamcrawl.cli.exits import FAILED, FINISHED, WrongUsage
from streamcrawl.cli.flows import FLOW_HELP, flow_from
from streamcrawl.cli.kills import JOB, Kill, Measured, Program, Progress, aims, counted, disturbed, undisturbed
from streamcrawl.cli.run import positive

if TYPE_CHECKING:
    from streamcrawl.cli.compare import Difference, Records
    from streamcrawl.crawl.crawl import Crawl

HELP = "kill a flow at random moments, and see that nothing is lost"
DESCRIPTION = """\
Run the flow once undisturbed, with a job. Then run it in another folder, killed with SIGKILL at random moments and
started again by the same command, and compare what both left behind: every file that the flow wrote (JSON Lines, JSON
and CSV as sets of records, SQLite table by table, others by content) and what became of every page.

Both runs have an empty folder of their own as working directory: the flow's sinks must have relative paths, and what
it reads a path that is absolute or made of __file__. The site is asked twice, and more; a page that differs from one
request to the next (a timestamp, a price) stands in the table as lost and foreign: --ignore the field."""
EXAMPLES = """\
  streamcrawl chaos shop.py                                  20 kills, the sinks of the flow itself
  streamcrawl chaos shop.py -O items.jsonl --kills 50        the flow has no sink: its items into a file
  streamcrawl chaos shop.py --ignore fetched_at --keep both  the folders stay, for a look
"""

SHOWN = 160
"""Characters of a record that is shown."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a program that was killed again and again.

    Args:
        measured: Its undisturbed run.
        kills: All kills, in their order.
        rounds: Crawls from the beginning to the end that it took for so many kills.
        seconds: What these took.
        differences: Sink by sink; of each round.
    """

    measured: Measured
    kills: tuple[Kill, ...]
    rounds: int
    seconds: float
    differences: tuple[tuple[Difference, ...], ...]

    @property
    def same(self) -> bool:
        """Whether nothing was lost, doubled or foreign."""
        return all(each.same for one_round in self.differences for each in one_round)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `streamcrawl chaos` takes."""
    parser.add_argument("flow", metavar="PATH.py[:name]", help=FLOW_HELP)
    parser.add_argument(
        "-O",
        dest="feeds",
        action="append",
        default=[],
        metavar="FILE",
        help="write the items to FILE too, as `streamcrawl run -O` does; may be repeated",
    )
    parser.add_argument("--kills", type=positive, default=20, metavar="N", help="how many kills; 20 if left out")
    parser.add_argument("--seed", type=int, metavar="N", help="draw the same moments again")
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="FIELD", help="a field that does not count; may be repeated"
    )
    parser.add_argument(
        "--keep", metavar="DIR", help="keep both folders in DIR; if left out, they are kept only if something differs"
    )
    parser.add_argument(
        "--timeout", type=positive, default=600, metavar="S", help="seconds that one run may take; 600 if left out"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Crawl, kill, compare, and print the table. Raises: WrongUsage, ProgramFailed."""
    from streamcrawl.cli.compare import pages_in, sinks_in

    given = _absolute(arguments.flow)
    base = _base(arguments.keep)
    keep = arguments.keep is not None
    try:
        formats = _checked(given, base / "checked", arguments.feeds)
        command = (sys.executable, "-m", "streamcrawl", "run", given, "--job", JOB, "--quiet")
        program = Program((*command, *_feeds(arguments.feeds)), progress_of, arguments.timeout)
        seed = Random().randrange(10**6) if arguments.seed is None else arguments.seed  # noqa: S311 - no secret

        def left_in(folder: Path) -> Mapping[str, Records]:
            found = sinks_in(folder, ignore=arguments.ignore, formats=formats, job=JOB)
            return found | pages_in(folder / JOB)

        outcome = chaos(program, base, arguments.kills, seed, left_in)
        keep = keep or not outcome.same
        unsteady = [] if outcome.same else differing_anyway(program, base, left_in)
    finally:
        if not keep:
            shutil.rmtree(base, ignore_errors=True)
    print(table({"": outcome}))
    print()
    for line in (*summary(outcome, seed), *examples(outcome)):
        print(line)
    if unsteady:
        print(f"Without any kill these differ from one run to the next, too: {', '.join(unsteady)} (--ignore FIELD)")
    if keep:
        print(f"What the runs left is in {base}")
    return FINISHED if outcome.same else FAILED


def chaos(
    program: Program,
    base: Path,
    kills: int,
    seed: int,
    left_in: Callable[[Path], Mapping[str, Records]],
    *,
    each: int | None = None,
    rounds: int | None = None,
) -> Outcome:
    """Run the program undisturbed in `base`/undisturbed, then killed in `base`/killed-1 and so on, and compare.

    Where a crawl has come to its end before it was killed often enough, another one begins in the next folder.

    Args:
        kills: How often it is killed, in all rounds.
        seed: Of the moments.
        left_in: What is compared: the sinks in a folder that a run has left.
        each: Kill one crawl no more often than that.
        rounds: Begin no more than so many crawls.

    Raises: ProgramFailed if a run that was not killed does not end well.
    """
    from streamcrawl.cli.compare import compare

    random = Random(seed)  # noqa: S311 - no secret
    whole = base / "undisturbed"
    _say("undisturbed …")
    measured = undisturbed(program, whole)
    _say(f"… {measured.seconds:.1f} s; and now with {kills} {'kill' if kills == 1 else 'kills'}")
    left = aims(kills, random)
    done: list[Kill] = []
    differences: list[tuple[Difference, ...]] = []
    seconds = 0.0
    while left and (rounds is None or len(differences) < rounds):
        folder = base / f"killed-{len(differences) + 1}"
        now = deque(left.popleft() for _ in range(min(each or kills, len(left))))
        one_round = disturbed(program, folder, measured, now, random, lambda kill: _say(f"  {kill}"))
        left.extendleft(reversed(now))
        done += one_round.kills
        seconds += one_round.seconds
        differences.append(tuple(compare(left_in(whole), left_in(folder))))
    return Outcome(measured, tuple(done), len(differences), seconds, tuple(differences))


def differing_anyway(program: Program, base: Path, left_in: Callable[[Path], Mapping[str, Records]]) -> list[str]:
    """The sinks that differ between two undisturbed runs: of those it cannot be said what a kill has cost."""
    from streamcrawl.cli.compare import compare

    _say("something differs: once more undisturbed, to see whether it does so by itself …")
    undisturbed(program, base / "undisturbed-2")
    found = compare(left_in(base / "undisturbed"), left_in(base / "undisturbed-2"))
    return [each.sink for each in found if not each.same]


def progress_of(folder: Path) -> Progress:
    """What the job in a program's folder has committed. The process that wrote it is dead.

    A copy is looked at: opening the file itself would mend it, which is to be left to the next run.
    """
    import msgspec

    from streamcrawl.frontier.job import STORE
    from streamcrawl.frontier.store import DONE

    files = [path for end in ("", "-wal") if (path := folder / JOB / f"{STORE}{end}").exists()]
    with tempfile.TemporaryDirectory() as copy:
        for path in files:
            shutil.copy(path, copy)
        try:
            with closing(sqlite3.connect(Path(copy, STORE))) as sql:
                (settled,) = sql.execute("SELECT COUNT(*) FROM requests WHERE state >= ?", (DONE,)).fetchone()
                told = sql.execute("SELECT value FROM meta WHERE name = 'told'").fetchone()
        except sqlite3.OperationalError:  # it was not made yet
            return Progress()
    return Progress(settled, None if told is None else msgspec.msgpack.decode(told[0]))


# -- what is shown -----------------------------------------------------------------------------------------------------


def table(outcomes: Mapping[str, Outcome]) -> str:
    """The comparison of each outcome, sink by sink, as one Markdown table.

    Args:
        outcomes: By name; the name stands in a column of its own, unless there is only one.
    """
    named = len(outcomes) > 1
    title = ["sink", "undisturbed", "killed", "lost", "doubled", "foreign"]
    rows = [([name] if named else []) + row for name, outcome in outcomes.items() for row in _rows(outcome)]
    lines = [([""] if named else []) + title, *rows]
    words = 2 if named else 1
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    rule = ["-" * width if n < words else "-" * (width - 1) + ":" for n, width in enumerate(widths)]

    def shown(line: list[str]) -> str:
        cells = [
            text.ljust(width) if n < words else text.rjust(width)
            for n, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        return f"| {' | '.join(cells)} |"

    return "\n".join(map(shown, [lines[0], rule, *rows]))


def _rows(outcome: Outcome) -> Iterable[list[str]]:
    by_sink: dict[str, list[Difference]] = {}
    for one_round in outcome.differences:
        for each in one_round:
            by_sink.setdefault(each.sink, []).append(each)
    for sink, found in by_sink.items():
        least, most = min(each.after for each in found), max(each.after for each in found)
        after = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        sums = (
            sum(each.lost for each in found),
            sum(each.doubled for each in found),
            sum(each.foreign for each in found),
        )
        yield [sink, f"{found[0].undisturbed:,}", after, *(f"{number:,}" for number in sums)]


def summary(outcome: Outcome, seed: int) -> list[str]:
    """How it went, in words."""
    kills = len(outcome.kills)
    crawls = "" if outcome.rounds == 1 else f", in {outcome.rounds} crawls"
    return [
        f"{kills} {'kill' if kills == 1 else 'kills'}{crawls}: {counted(outcome.kills)}.",
        f"{outcome.measured.seconds:.1f} s undisturbed, {outcome.seconds:.1f} s with kills; --seed {seed}.",
    ]


def examples(outcome: Outcome) -> list[str]:
    """Some records of each kind that differ."""
    lines: list[str] = []
    for one_round in outcome.differences:
        for each in one_round:
            for kind, record in each.examples:
                shown = record if len(record) <= SHOWN else f"{record[: SHOWN - 1]}…"
                lines.append(f"{kind}, {each.sink}: {shown}".encode("utf-8", "replace").decode())
    return lines


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- the flow ----------------------------------------------------------------------------------------------------------


def _absolute(given: str) -> str:
    head, colon, name = given.rpartition(":")
    named = bool(colon) and head.endswith(".py")
    return f"{Path(head).resolve()}:{name}" if named else str(Path(given).resolve())


def _base(keep: str | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="streamcrawl-chaos-"))
    base = Path(keep).resolve()
    if base.exists() and (not base.is_dir() or any(base.iterdir())):
        raise WrongUsage(f"--keep {keep}: it must be an empty folder, or one that is not there")
    base.mkdir(parents=True, exist_ok=True)
    return base


def _checked(given: str, folder: Path, feeds: list[str]) -> dict[str, str]:
    """The formats of the flow's feeds, by path. Raises: WrongUsage for a flow that cannot be compared with itself."""
    folder.mkdir()
    try:
        with chdir(folder), flow_from(given) as crawl:
            return _comparable(given, crawl, folder, feeds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # whatever it writes when it is loaded


def _comparable(given: str, crawl: Crawl[Any], folder: Path, feeds: list[str]) -> dict[str, str]:
    """The formats of the flow's feeds. Raises: WrongUsage."""
    if crawl.pipes.download is None:
        raise WrongUsage(f"{given}: the crawl has no ops.download() in its pipe")
    for name in ("limit_pages", "limit_items"):
        if getattr(crawl.options, name) is not None:
            raise WrongUsage(f"{given}: {name} ends it somewhere else each time: nothing can be compared")
    for written in (*map(_written, crawl.operators), *feeds):
        if written is not None and not _is_within(written, folder):
            raise WrongUsage(f"{written}: both runs would write to it; give the sink a relative path")
    return _formats(crawl, folder)


def _written(operator: Any) -> str | None:
    """The path or URI that a sink of the project writes to."""
    store = getattr(getattr(operator, "options", None), "store", None)
    for owner, name in ((operator, "uri"), (operator, "path"), (operator, "store"), (store, "uri")):
        value = getattr(owner, name, None)
        if isinstance(value, (str, os.PathLike)):
            return os.fspath(value)
    return None


def _is_within(written: str, folder: Path) -> bool:
    from streamcrawl.storage.paths import local_path

    path = None if written == "-" else local_path(written)
    if path is None:
        return written == "-"
    return (folder / path).resolve().is_relative_to(folder.resolve())


def _formats(crawl: Crawl[Any], folder: Path) -> dict[str, str]:
    from streamcrawl.storage.paths import local_path

    found: dict[str, str] = {}
    for operator in crawl.operators:
        uri, kind = getattr(operator, "uri", None), getattr(operator, "format", None)
        path = local_path(uri) if isinstance(uri, str) and uri != "-" else None
        if path is not None and isinstance(kind, str):
            found[(folder / path).resolve().relative_to(folder.resolve()).as_posix()] = kind
    return found


def _feeds(feeds: Iterable[str]) -> Iterable[str]:
    for feed in feeds:
        yield from ("-O", feed)
