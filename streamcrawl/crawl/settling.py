"""From accepted to safe: flushing the sinks, and settling the leases whose items are safe then (DESIGN law 5, §7).

In a job one commit holds what belongs together: every sink's token, the leases settled, the requests found, and for
each page under way what of it is in the tokens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from streamcrawl.core import Lease, Progress
from streamcrawl.errors import JobError, SinkError, StreamcrawlError
from streamcrawl.frontier.progress import progress_record

if TYPE_CHECKING:
    from streamcrawl.crawl.run import Run

EVERY = 1.0
"""Seconds between flushes, while something is accepted."""

SOON = 4096
"""Leases accepted but not safe after which the sinks are flushed at once."""

BOUND = 4 * SOON
"""Leases accepted but not safe above which no request is handed out."""

Snapshot = tuple[int, frozenset[int]]
"""A page's finished ordinals: (all below this, these above it)."""


class Settling:
    """The leases that are accepted, on their way to being settled."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._accepted: list[Lease] = []
        self._cut: list[Lease] = []
        """Accepted leases that are not to be settled: their pages were broken off."""
        self._held: list[tuple[str, Lease, int, int]] = []
        """What sinks hold since the last commit: (sink, lease, ordinal, number)."""
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._frozen: dict[Lease, Snapshot] | None = None
        self._due = False
        """Something came since the last flush."""
        self._lost = False
        """A flush or a commit has failed: nothing can be settled any more."""

    @property
    def full(self) -> bool:
        return len(self._accepted) >= BOUND

    @property
    def intact(self) -> bool:
        """Whether every flush and every commit went well."""
        return not self._lost

    def accepted(self, lease: Lease) -> None:
        """Everything that came of the lease is with every sink."""
        run = self._run
        # A hop or a retry is in the frontier already, whatever else is given up.
        broken_off = lease.cut or (run.cut and lease.verdict not in ("retried", "moved"))
        if run.durable and broken_off:
            if lease.scraped:
                self._cut.append(lease)
        elif not run.sinks or not lease.scraped:
            self._settle(lease)  # nothing of it waits for a flush
            if not run.durable:
                return
        else:
            self._accepted.append(lease)
            if len(self._accepted) == SOON:
                self._begin()
        self.stir()

    def _settle(self, lease: Lease) -> None:
        if lease.id:
            self._run.frontier.settle(lease)
        else:
            self._run.begin.safe(lease)

    def stir(self) -> None:
        """There is something to be flushed or committed, before long."""
        self._due = True
        if self._timer is None:
            self._timer = self._run.loop.call_later(EVERY, self._begin)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._flushing is None:
            # Not a task of the run's pipe: it does not count as work under way.
            self._flushing = self._run.loop.create_task(self._flush())

    async def _flush(self) -> None:
        try:
            await self._once()
        except Exception as error:  # a bug of ours: nothing may be settled after it
            self._lost = True
            self._run.fail(error)
        self._flushing = None
        if self._lost:
            return
        if len(self._accepted) >= SOON:
            self._begin()
        elif self._due:
            self.stir()
        self._run.moved()

    async def _once(self) -> None:
        """Flush every sink, and settle what is safe then."""
        run = self._run
        self._due = False
        safe, self._accepted = self._accepted, []
        cut = len(self._cut)
        finished = dict(self._finished()) if run.durable else {}
        tokens: list[tuple[str, Any]] = []
        for sink in tuple(run.sinks):
            try:
                token, held = await sink.flush()
            except Exception as error:  # the other sinks still keep what they have
                self._lost = True
                run.fail(lost("flushed", error))
            else:
                if token is not None:
                    tokens.append((sink.key, token))
                if run.durable:
                    self._held += [(sink.key, *each) for each in held]
        if run.durable and any(sink.unsure for sink in run.sinks):
            self._lost = True  # one was cut off within an item: the last commit stands
        if self._lost:
            return
        if not run.durable:
            for lease in safe:
                self._settle(lease)
            return
        try:
            self._commit(safe, tokens, finished)
            del self._cut[:cut]
        except Exception as error:
            self._lost = True
            run.fail(error if isinstance(error, StreamcrawlError) else JobError(f"a commit failed: {error}"))

    def _finished(self) -> Iterator[tuple[Lease, Snapshot]]:
        """What is finished of the pages that have items under way: safe, once every sink has been flushed."""
        if self._frozen is not None:
            yield from self._frozen.items()
            return
        for lease in (*self._run.live.values(), *self._cut):
            progress = lease.progress
            if progress is not None and lease.scraped and lease.id:
                snapshot = _snapshot(progress)
                if snapshot != progress.safe or progress.partial or progress.digest != _digest(lease):
                    yield lease, snapshot

    def _commit(self, safe: list[Lease], tokens: list[tuple[str, Any]], finished: dict[Lease, Snapshot]) -> None:
        frontier = self._run.frontier
        settled = {lease.id for lease in safe}
        for sink, part, ordinal, number in self._held:
            lease = part.page
            progress = lease.progress
            if progress is None:
                continue
            if lease.id:
                if lease.id in settled:
                    continue
                finished.setdefault(lease, progress.safe)
            progress.hold(sink, ordinal, number)  # the start notes its items itself
        frontier.keep(tokens, [(lease.id, _record(lease, snapshot)) for lease, snapshot in finished.items()])
        for lease in safe:
            self._settle(lease)
        self._run.begin.note()
        # A page whose callback broke off may be asked for again when it is mended: it goes on after what it gave.
        broken = [lease for lease in safe if lease.verdict == "failed" and lease.progress is not None]
        records = [(each.id, _record(each, _snapshot(progress_of(each)))) for each in broken if each.scraped]
        frontier.keep((), records)
        frontier.tell()
        frontier.commit()
        self._held.clear()

    async def close(self) -> None:
        """The last flush, and the end of every sink."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._flushing is not None:
            await asyncio.wait([self._flushing])
        if not self._lost or not self._run.durable:
            self._lost = False
            await self._once()
        if self._timer is not None:
            self._timer.cancel()
        for sink in self._run.sinks:
            try:
                await sink.close()
            except Exception as error:
                self._lost = True
                self._run.fail(lost("closed", error))

    def freeze(self) -> None:
        """The run is cut short: what ends from now on may have been told that there is no answer."""
        if self._run.durable and self._frozen is None:
            self._frozen = dict(self._finished())

    async def begin(self) -> None:
        """With a job: the sinks' first tokens, so that a crash before the first flush is taken back too."""
        await self._once()


def _snapshot(progress: Progress) -> Snapshot:
    return progress.prefix, frozenset(progress.beyond)


def progress_of(lease: Lease) -> Progress:
    """What a lease of a job always has."""
    assert lease.progress is not None
    return lease.progress


def _digest(lease: Lease) -> bytes:
    """Of the body that its page has now."""
    return lease.found.digest if lease.found is not None else progress_of(lease).digest


def _record(lease: Lease, snapshot: Snapshot) -> bytes:
    """What the job keeps of a page under way."""
    progress = progress_of(lease)
    prefix, beyond = progress.safe = snapshot
    progress.digest = _digest(lease)
    for ordinal in [each for each in progress.partial if each < prefix or each in beyond]:
        del progress.partial[ordinal]
    parts = [(ordinal, sink, number) for ordinal, held in progress.partial.items() for sink, number in held]
    return progress_record(prefix, beyond, parts, progress.digest)


def lost(what: str, error: Exception) -> StreamcrawlError:
    """The error of a sink as the run's."""
    if isinstance(error, (SinkError, JobError)):
        return error
    made = SinkError(f"a sink could not be {what}: {error}")
    made.__cause__ = error
    return made
