"""How far a run is: one live line on a terminal, else a log line every few seconds."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import cycle
from typing import TYPE_CHECKING

from streamcrawl.cli.lines import LOG, Lines
from streamcrawl.cli.memory import resident
from streamcrawl.mistakes import plural

if TYPE_CHECKING:
    from streamcrawl.crawl.run import Run

EVERY = 5.0
"""Seconds between two log lines."""
REDRAWN = 0.2
"""Seconds between two states of the live line."""
WINDOW = 5.0
"""Seconds over which the rate is measured."""

FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
"""One after the other, they turn: a sign of life."""


class Rate:
    """Pages a second, lately."""

    __slots__ = ("_run", "_samples")

    def __init__(self, run: Run) -> None:
        self._run = run
        self._samples: deque[tuple[float, int]] = deque([(run.monotonic(), 0)])

    def __call__(self) -> float:
        now, samples = self._run.monotonic(), self._samples
        samples.append((now, self._run.counts.pages))
        while now - samples[0][0] > WINDOW and len(samples) > 2:
            samples.popleft()
        (start, before), (end, after) = samples[0], samples[-1]
        return (after - before) / (end - start) if end > start else 0.0


def how_far(run: Run, rate: float) -> str:
    """Pages, items, rate, queue, failures and memory, in one line."""
    counts = run.counts
    errors = counts.callback_errors + run.stats.get("items_failed", 0) + run.stats.get("operator_errors", 0)
    parts = [
        f"{counts.pages:,} {plural(counts.pages, 'page')} ({rate:.0f}/s)",
        f"{counts.items:,} {plural(counts.items, 'item')}",
        f"{run.frontier.waiting:,} queued",
        f"{counts.failed:,} failed",
    ]
    if errors:
        parts.append(f"{errors:,} {plural(errors, 'error')}")
    parts.append(f"{resident() / 1e6:.0f} MB")
    stopping = "" if run.reason == "finished" else f"stopping ({run.reason}): "
    return stopping + ", ".join(parts)


@contextmanager
def _every(run: Run, seconds: float, work: Callable[[], None]) -> Generator[None, None, None]:
    """Call `work` on the run's loop until the block is left."""
    timer: asyncio.TimerHandle

    def again() -> None:
        nonlocal timer
        timer = run.loop.call_later(seconds, again)
        work()

    timer = run.loop.call_later(seconds, again)
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def logged(run: Run) -> Generator[None, None, None]:
    """A log line every 5 seconds."""
    rate = Rate(run)
    with _every(run, EVERY, lambda: LOG.info("%s", how_far(run, rate()))):
        yield


def has_terminal() -> bool:
    """Whether stderr is a terminal that a line can be redrawn on."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


@contextmanager
def drawn(run: Run, lines: Lines) -> Generator[None, None, None]:
    """One line at the bottom of the terminal; log lines, and what the flow prints to a terminal, go above it."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console, rate, frames = Console(stderr=True), Rate(run), cycle(FRAMES)

    def line() -> Text:
        spent = int(run.monotonic() - started)
        text = f"{next(frames)} {how_far(run, rate())}  {spent // 60}:{spent % 60:02}"
        drawn = Text(text, no_wrap=True)
        # Room for the ^C^C of the terminal: in a full line it would begin another one.
        drawn.truncate(max(1, console.width - 4), overflow="ellipsis")
        return drawn

    def above(text: str, level: int) -> None:
        console.print(Text(text, style="red" if level >= 40 else "yellow" if level >= 30 else ""), soft_wrap=True)

    started, before = run.monotonic(), lines.write
    live = Live(line(), console=console, auto_refresh=False, transient=True, redirect_stdout=sys.stdout.isatty())
    lines.write = above
    try:
        with live, _every(run, REDRAWN, lambda: live.update(line(), refresh=True)):
            yield
    finally:
        lines.write = before
