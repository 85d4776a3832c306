"""The scheduler that a run subscribes its pipe with (DESIGN law 7)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from reactivex import abc, typing
from reactivex.disposable import CompositeDisposable, Disposable, SingleAssignmentDisposable
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

_State = TypeVar("_State")


class RunScheduler(PeriodicScheduler):
    """Work that is due now runs inline, so that it stays within the extent of its item; timed work goes to the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, now: Callable[[], float]) -> None:
        super().__init__()
        self._loop = loop
        self._now = now
        self.pending = 0
        """Timers that have not fired yet."""

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self._now(), tz=UTC)

    def schedule(self, action: typing.ScheduledAction[_State], state: _State | None = None) -> abc.DisposableBase:
        return self.invoke_action(action, state=state)

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: typing.ScheduledAction[_State], state: _State | None = None
    ) -> abc.DisposableBase:
        seconds = self.to_seconds(duetime)
        if seconds <= 0:
            return self.schedule(action, state)
        inner = SingleAssignmentDisposable()
        open_ = True
        self.pending += 1

        def close() -> None:
            nonlocal open_
            if open_:
                open_ = False
                self.pending -= 1

        def fire() -> None:
            close()
            inner.disposable = self.invoke_action(action, state=state)

        handle = self._loop.call_later(seconds, fire)

        def cancel() -> None:
            handle.cancel()
            close()

        return CompositeDisposable(inner, Disposable(cancel))

    def schedule_absolute(
        self, duetime: typing.AbsoluteTime, action: typing.ScheduledAction[_State], state: _State | None = None
    ) -> abc.DisposableBase:
        due: Any = self.to_datetime(duetime)
        if due.tzinfo is None:
            due = due.replace(tzinfo=UTC)
        wait: timedelta = due - self.now
        return self.schedule_relative(wait, action, state)
