"""Log lines on stderr: what the crawl tells, and what the user's own `logging` says."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from streamcrawl.cli.exits import discreet

LEVELS = ("debug", "info", "warning", "error")

LOG = logging.getLogger("streamcrawl")

Write = Callable[[str, int], None]
"""Puts a line (its text, the level of `logging`) where people see it."""


def to_stderr(line: str, level: int) -> None:
    print(line, file=sys.stderr, flush=True)


class Lines(logging.Handler):
    """Formats records as lines; `write` may be changed while it is in use, by who draws on the terminal."""

    def __init__(self) -> None:
        super().__init__()
        self.write: Write = to_stderr

    def emit(self, record: logging.LogRecord) -> None:
        try:
            clock = time.strftime("%H:%M:%S", time.localtime(record.created))
            text = record.getMessage()
            if record.exc_info:
                text += "\n" + (self.formatter or logging.Formatter()).formatException(record.exc_info)
            whose = "" if record.name == LOG.name else f"{record.name}: "
            self.write(f"{clock} {record.levelname.lower():<7} {whose}{discreet(text)}", record.levelno)
        except Exception:
            self.handleError(record)


@contextmanager
def logging_lines(level: str) -> Generator[Lines, None, None]:
    """While the block lasts, all of `logging` from `level` up becomes lines on stderr."""
    root, made = logging.getLogger(), Lines()
    before = root.level
    root.addHandler(made)
    root.setLevel(level.upper())
    logging.getLogger("asyncio").setLevel(logging.WARNING)  # its "Using selector" helps nobody
    try:
        yield made
    finally:
        root.removeHandler(made)
        root.setLevel(before)
