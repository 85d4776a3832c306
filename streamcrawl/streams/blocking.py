"""Asynchronous work for a caller who has no event loop: it is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any


def waited_for(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `work` to its end on a loop of its own, in a thread of its own, while the caller waits.

    Of its own, because `subscribe` is called inside reactivex's trampoline, which is bound to the caller's thread and
    would keep back what the pipe schedules until `subscribe` has returned.

    Raises: what `work` raises. Ctrl-C cancels it first.
    """
    context = copy_context()
    tasks: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append((asyncio.get_running_loop(), task))
        await work()

    with ThreadPoolExecutor(1, "streamcrawl") as threads:
        future = threads.submit(lambda: context.run(asyncio.run, main()))
        try:
            future.result()
        except KeyboardInterrupt:
            for loop, task in tasks:
                loop.call_soon_threadsafe(task.cancel)
            raise
