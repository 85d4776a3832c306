"""How a run ends: the pipe runs out, whatever the cause; then sinks, transports and sources are closed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from streamcrawl.errors import FlowError, JobError, StreamcrawlError
from streamcrawl.events import Stalled

if TYPE_CHECKING:
    from streamcrawl.crawl.run import Run

PATIENCE = 10.0
"""Seconds that an operator on items may take to complete when nothing else is under way."""


class Ending:
    """The end of one run: items that are on their way still arrive, unless nobody wants to wait for them."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._draining = False
        self.drained = asyncio.Event()
        """Nothing will come out of the pipe of items any more."""
        self.now = asyncio.Event()
        """Nobody wants to wait any longer."""

    async def drain(self) -> None:
        """The source is at its end: what is in the pipe runs out."""
        run = self._run
        self._draining = True
        if run.error is not None or self.now.is_set():
            self._cut()
        run.flush_gatherers()
        run.complete_items()
        now, drained = (run.loop.create_task(event.wait()) for event in (self.now, self.drained))
        try:
            while not (now.done() or (drained.done() and not run.tasks and not run.item_tasks)):
                working = {*run.tasks, *run.item_tasks}
                patience = None if working or run.scheduler.pending else PATIENCE
                left = {now, *working, *(() if drained.done() else (drained,))}
                done, _ = await asyncio.wait(left, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    self._never_completed()
                    return
        finally:
            now.cancel()
            drained.cancel()

    def _never_completed(self) -> None:
        run = self._run
        run.stats["operator_errors"] += 1
        holders = ("an operator on items has not completed; the run ends without it", *run.pump.holders())
        run.events.emit(Stalled(seconds=PATIENCE, holders=holders))

    def failed(self) -> None:
        """The run has failed, perhaps while it was ending."""
        if self._draining:
            self._cut()

    def _cut(self) -> None:
        """Do not finish what is on the wire and in callbacks."""
        self._run.settling.freeze()
        self._run.cut = True
        for task in tuple(self._run.tasks):
            task.cancel()
        self._run.nested.give_up()

    async def close(self) -> None:
        """Let everything go, the sinks after their last flush."""
        run = self._run
        run.pump.stop()
        for task in (*run.tasks, *run.item_tasks):
            task.cancel()
        if run.tasks or run.item_tasks:
            await asyncio.wait((*run.tasks, *run.item_tasks))
        try:
            await run.begin.close()
        except Exception as error:
            run.fail(FlowError(f"the start of the crawl failed at its end: {type(error).__name__}: {error}"))
        if run.subscribed or run.sinks:
            await run.settling.close()
        try:
            await run.close_all()  # what they note in the run's state, the job keeps
        finally:
            if run.job is not None:
                self._close_job()
        run.unsubscribe()

    def _close_job(self) -> None:
        run, job = self._run, self._run.job
        assert job is not None
        try:
            done = run.subscribed and run.error is None and run.begin.exhausted and not run.begin.owed
            if done and not run.frontier.waiting and not run.frontier.leased:
                job.finished()
            elif run.subscribed and run.settling.intact:
                run.frontier.commit()
            job.close()
        except Exception as error:
            run.fail(error if isinstance(error, StreamcrawlError) else JobError(f"the job cannot be closed: {error}"))

    def __repr__(self) -> str:
        return f"<Ending of {self._run!r}>"
