"""Ctrl-C: once to finish what is under way, twice to stop now."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from streamcrawl.events import Notice

if TYPE_CHECKING:
    from streamcrawl.crawl.run import Run


@contextmanager
def interrupting(run: Run) -> Generator[None]:
    """SIGINT and SIGTERM end `run` in good order while the block lasts; the second of them ends it now.

    A callback that blocks the loop keeps it from hearing of either: the third raises KeyboardInterrupt where it stands.
    Signals reach the main thread only; in another one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    times = 0

    def interrupt() -> None:
        again = times > 1
        text = "stopping now" if again else "finishing what is under way; once more to stop now"
        run.events.emit(Notice(text=f"interrupted: {text}", level="warning"))
        run.stop("interrupted", now=again)

    def on_signal(number: int, frame: FrameType | None) -> None:
        # Not loop.add_signal_handler, whose handlers a blocked loop never runs.
        nonlocal times
        times += 1
        if times > 2:
            raise KeyboardInterrupt
        loop.call_soon_threadsafe(interrupt)

    before = {each: signal.signal(each, on_signal) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
