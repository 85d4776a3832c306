"""CPU work, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial
from typing import TypeVar

from reactivex import Observable

from streamcrawl.operators.map_async import map_async

A = TypeVar("A")
B = TypeVar("B")


def offload(
    function: Callable[[A], B], executor: Executor | None = None, *, limit: int = 4
) -> Callable[[Observable[A]], Observable[B]]:
    """Each element becomes what `function` makes of it in a thread or process, while the crawl goes on.

    Args:
        function: An ordinary function. For a process pool it and its argument must be picklable.
        executor: Where it runs; None: the event loop's threads. A pool of yours stays yours to shut down.
        limit: How many at once.

    Emits: one element for each, in the order in which they are ready. What `function` raises is that element's failure.
    Raises: ValueError if `limit` < 1, when built.
    """
    if limit < 1:
        raise ValueError(f"offload(limit={limit}): the limit must be 1 or more")

    def work(element: A) -> Awaitable[B]:
        return asyncio.get_running_loop().run_in_executor(executor, partial(function, element))

    work.__name__ = getattr(function, "__name__", "offload")
    return map_async(work, limit)
