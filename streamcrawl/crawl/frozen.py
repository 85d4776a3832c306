"""The garbage collector while a run has the process to itself."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Generator
from contextlib import contextmanager

LATER = 2.0
"""Seconds after which what was imported on first use is there too."""


@contextmanager
def frozen() -> Generator[None]:
    """While the block lasts, full collections pass over what was there before: modules, most of all.

    Looking through them takes a tenth of a second and more, in which nothing else happens. What comes later is
    collected as ever; a program that has frozen objects itself is left alone. To be entered in a running loop.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    again = asyncio.get_running_loop().call_later(LATER, gc.freeze)
    try:
        yield
    finally:
        again.cancel()
        gc.unfreeze()
