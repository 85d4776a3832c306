"""From accepted to safe: flushing the sinks, and settling the leases whose items are safe then (DESIGN law 5)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from streamcrawl.core import Lease
from streamcrawl.errors import SinkError

if TYPE_CHECKING:
    from streamcrawl.crawl.run import Run

EVERY = 1.0
"""Seconds between flushes, while something is accepted."""

SOON = 4096
"""Leases accepted but not safe after which the sinks are flushed at once."""

BOUND = 4 * SOON
"""Leases accepted but not safe above which no request is handed out."""


class Settling:
    """The leases that are accepted, on their way to being settled."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._accepted: list[Lease] = []
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        return len(self._accepted) >= BOUND

    def accepted(self, lease: Lease) -> None:
        """Everything that came of the lease is with every sink."""
        if not self._run.sinks:
            self._run.frontier.settle(lease)
            return
        self._accepted.append(lease)
        if len(self._accepted) == SOON:
            self._begin()
        elif self._timer is None:
            self._timer = self._run.loop.call_later(EVERY, self._begin)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._flushing is None:
            # Not a task of the run's pipe: it does not count as work under way.
            self._flushing = self._run.loop.create_task(self._flush())

    async def _flush(self) -> None:
        safe, self._accepted = self._accepted, []
        flushed = True
        for sink in self._run.sinks:
            try:
                await sink.flush()
            except Exception as error:  # the other sinks still keep what they have
                flushed = False
                self._run.fail(_lost("flushed", error))
        if not flushed:
            return
        for lease in safe:
            self._run.frontier.settle(lease)
        self._flushing = None
        if len(self._accepted) >= SOON:
            self._begin()
        elif self._accepted and self._timer is None:
            self._timer = self._run.loop.call_later(EVERY, self._begin)
        self._run.moved()

    async def close(self) -> None:
        """The last flush, and the end of every sink."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._flushing is not None:
            await asyncio.wait([self._flushing])
        await self._flush()
        if self._timer is not None:
            self._timer.cancel()
        for sink in self._run.sinks:
            try:
                await sink.close()
            except Exception as error:
                self._run.fail(_lost("closed", error))


def _lost(what: str, error: Exception) -> SinkError:
    if isinstance(error, SinkError):
        return error
    lost = SinkError(f"a sink could not be {what}: {error}")
    lost.__cause__ = error
    return lost
