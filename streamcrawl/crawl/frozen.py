"""The garbage collector while a run has the process to itself."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Generator
from contextlib import contextmanager

LATER = 2.0
"""Seconds after which what was imported on first use is there too."""
YOUNG = 5_000
"""Objects that are made before the collector looks for cycles among them: a page with its links makes and drops a
thousand, and to look among those is in vain."""


@contextmanager
def frozen() -> Generator[None]:
    """While the block lasts, full collections pass over what was there before: modules, most of all.

    Looking through them takes a tenth of a second and more, in which nothing else happens. What comes later is
    collected as ever, if not as often; a program that has frozen objects itself is left alone. To be entered in a
    running loop.
    """
    if gc.get_freeze_count():
        yield
        return
    young, *others = gc.get_threshold()
    gc.freeze()
    again = asyncio.get_running_loop().call_later(LATER, gc.freeze)
    if young:  # 0: it is not to collect by itself
        gc.set_threshold(max(young, YOUNG), *others)
    try:
        yield
    finally:
        again.cancel()
        gc.unfreeze()
        gc.set_threshold(young, *others)
