"""How long an answer may take."""

from __future__ import annotations

import math

from streamcrawl.core import Request, Run
from streamcrawl.mistakes import shortened
from streamcrawl.streams.layer import Hooks, NamedLayer, layer


def timeout(seconds: float) -> NamedLayer:
    """Give each request that has no timeout of its own this one.

    Args:
        seconds: For the whole exchange, from connecting to the last byte; more than 0.

    Emits: what comes from below; `fetch` makes `Failed` with `FetchTimeout` of a request that took longer.
    Raises: ValueError unless `seconds` is finite and more than 0, when built.
    """
    try:
        fits = seconds > 0 and math.isfinite(seconds)
    except OverflowError:  # a whole number beyond what a float can be
        fits = False
    if not fits:
        raise ValueError(f"timeout({shortened(seconds, 80)}): a finite number of seconds, more than 0")

    def down(request: Request) -> Request:
        return request if request.timeout is not None else request.replace(timeout=seconds)

    def make(run: Run) -> Hooks:
        return Hooks(down=down)

    return layer("timeout", make)
