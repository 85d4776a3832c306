"""How the command line ends: the exit codes, and what is wrong usage."""

from __future__ import annotations

from streamcrawl import mistakes
from streamcrawl.mistakes import discreet as discreet

FINISHED = 0
FAILED = 1
USAGE = 2
INTERRUPTED = 130


class WrongUsage(Exception):
    """What was asked for cannot be done as it was asked; the text is one line that names the thing."""


def one_line(error: BaseException) -> str:
    """The error in one line: the project's own speak for themselves, others with their type."""
    text = discreet(" ".join(str(error).split()))
    return text if text and isinstance(error, WrongUsage) else mistakes.one_line(error)
