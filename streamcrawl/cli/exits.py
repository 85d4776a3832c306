"""How the command line ends: the exit codes, and what is wrong usage."""

from __future__ import annotations

from streamcrawl.errors import StreamcrawlError

FINISHED = 0
FAILED = 1
USAGE = 2
INTERRUPTED = 130


class WrongUsage(Exception):
    """What was asked for cannot be done as it was asked; the text is one line that names the thing."""


def one_line(error: BaseException) -> str:
    """The error in one line: the project's own speak for themselves, others with their type."""
    text = " ".join(str(error).split())
    if isinstance(error, (StreamcrawlError, WrongUsage)):
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
