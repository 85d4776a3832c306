"""Ctrl-C: once to finish what is under way, twice to stop now."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from streamcrawl.events import Notice

if TYPE_CHECKING:
    from streamcrawl.crawl.run import Run


@contextmanager
def interrupting(run: Run) -> Iterator[None]:
    """SIGINT and SIGTERM end `run` in good order while the block lasts; the second of them ends it now.

    Signals reach the main thread only; elsewhere, and where loops take no signal handlers (Windows), nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    times = 0

    def interrupt() -> None:
        nonlocal times
        times += 1
        again = times > 1
        text = "stopping now" if again else "finishing what is under way; once more to stop now"
        run.events.emit(Notice(text=f"interrupted: {text}", level="warning"))
        run.stop("interrupted", now=again)

    try:
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, interrupt)
    except NotImplementedError:
        yield
        return
    try:
        yield
    finally:
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)
