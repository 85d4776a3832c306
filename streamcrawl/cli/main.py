"""The console script: `streamcrawl COMMAND …`. One command, one module beside this one."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Protocol

from streamcrawl.cli import (
    bench,
    chaos,
    check,
    demo,
    fetch,
    gallery,
    graph,
    jobs,
    listing,
    operators,
    parse,
    run,
    shell,
    view,
)
from streamcrawl.cli.exits import FAILED, INTERRUPTED, USAGE, WrongUsage, one_line
from streamcrawl.cli.parser import Parser
from streamcrawl.version import __version__

EXAMPLES = """\
examples:
  streamcrawl demo                               crawl a small shop on this machine, to see it work
  streamcrawl run quotes.py -O quotes.jsonl      run the crawl in quotes.py, its items into a file
  streamcrawl run quotes.py --limit-pages 10     only the first pages
  streamcrawl run quotes.py --job quotes-job     stop it, kill it: the same command goes on
  streamcrawl jobs quotes-job                    how far it is, what failed
  streamcrawl shell https://example.com/         try selectors on a page
  streamcrawl check quotes.py                    try its callbacks on the pages of their contracts

exit codes: 0 finished, 1 the crawl failed, 2 wrong usage, 130 interrupted
"""


class Command(Protocol):
    """A module that is a command."""

    @property
    def HELP(self) -> str:  # noqa: N802 - a constant of the module
        """One line."""
        ...

    @property
    def DESCRIPTION(self) -> str: ...  # noqa: N802

    @property
    def EXAMPLES(self) -> str: ...  # noqa: N802

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def execute(self, arguments: argparse.Namespace) -> int:
        """Do it, and give the exit code. Heavy modules are imported here, not above."""
        ...


COMMANDS: dict[str, Command] = {
    "run": run,
    "list": listing,
    "jobs": jobs,
    "check": check,
    "parse": parse,
    "fetch": fetch,
    "view": view,
    "shell": shell,
    "demo": demo,
    "gallery": gallery,
    "graph": graph,
    "operators": operators,
    "chaos": chaos,
    "bench": bench,
}


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    plain = argparse.RawDescriptionHelpFormatter
    # argparse's own list of commands has no room for the longest name on its line.
    listed = "\n".join(f"  {name:<11}{command.HELP}" for name, command in COMMANDS.items())
    made = Parser(
        prog="streamcrawl",
        usage="streamcrawl [--help] [--version] COMMAND ...",
        description="A web crawler made of reactive streams.",
        epilog=f"commands:\n{listed}\n\n`streamcrawl COMMAND --help` says more.\n\n{EXAMPLES}",
        formatter_class=plain,
    )
    made.add_argument("--version", action="version", version=f"streamcrawl {__version__}")
    commands = made.add_subparsers(dest="command", metavar="COMMAND", prog="streamcrawl", help=argparse.SUPPRESS)
    for name, command in COMMANDS.items():
        added = commands.add_parser(
            name, description=command.DESCRIPTION, epilog=f"examples:\n{command.EXAMPLES}", formatter_class=plain
        )
        command.add_arguments(added)
        added.set_defaults(execute=command.execute, parser=added)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code; nothing is raised.

    Args:
        argv: The arguments after the program's name; None: those of this process.
    """
    made = parser()
    try:
        arguments = _parsed(made, argv)
    except SystemExit as end:  # argparse's way to end, after --help too
        return end.code if isinstance(end.code, int) else 0
    if arguments.command is None:
        made.print_help(sys.stderr)
        return USAGE
    code = _executed(arguments)
    return _flushed(code)


def _parsed(made: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments. argparse takes no more names that come after an option; those are added here."""
    arguments, rest = made.parse_known_args(_joined(sys.argv[1:] if argv is None else argv))
    if rest and (not hasattr(arguments, "names") or any(each.startswith("-") for each in rest)):
        getattr(arguments, "parser", made).error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.names = [*arguments.names, *rest]
    return arguments


def _joined(argv: Sequence[str]) -> list[str]:
    """The arguments with `-O -:json` as one of them: to argparse the second would be an option of its own."""
    joined: list[str] = []
    for each in argv:
        if joined and joined[-1] in ("-o", "-O") and each.startswith("-:"):
            joined[-1] += each
        else:
            joined.append(each)
    return joined


def _executed(arguments: argparse.Namespace) -> int:
    try:
        return int(arguments.execute(arguments))
    except WrongUsage as error:
        return _told(arguments, error, USAGE)
    except BrokenPipeError:
        return FAILED  # who read us, `head` for example, has had enough
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        return _told(arguments, error, FAILED)


def _told(arguments: argparse.Namespace, error: Exception, code: int) -> int:
    if getattr(arguments, "log_level", None) == "debug":
        import traceback

        shown = error.__cause__ if isinstance(error, WrongUsage) and error.__cause__ is not None else error
        traceback.print_exception(shown)
    print(f"error: {one_line(error)}", file=sys.stderr)
    return code


def _flushed(code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code or FAILED
    return code
