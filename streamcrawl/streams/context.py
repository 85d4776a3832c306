"""What a crawl's run and a stage used alone have in common: clocks, chance, extent, tasks, telling."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from reactivex import abc
from reactivex.disposable import Disposable

from streamcrawl.core import Dropped, Extent, Failed, Flushed, Request, ScrapeInput
from streamcrawl.events import Events, Notice
from streamcrawl.streams.counting import Counters
from streamcrawl.streams.scheduler import RunScheduler

_ids = count(1)


class RunContext:
    """The parts of `core.Run` that need no crawl."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, seed: int | None = None) -> None:
        self.loop = loop
        self.id = f"run-{next(_ids)}"
        self.events = Events(self.id)
        self.stats: dict[str, Any] = Counters()
        self.random = Random(seed)  # noqa: S311 - jitter and sampling, no secrets
        self.monotonic: Callable[[], float] = loop.time
        # A loop in virtual time brings its own date.
        self.now: Callable[[], float] = getattr(loop, "now", time.time)
        self.scheduler = RunScheduler(loop, self.now)
        self.extent: Extent | None = None
        self.page: ScrapeInput | None = None
        self.source: object = None
        self.congestion = 0
        self.enough = False
        self.durable = False
        self.spider: Any = None
        self.stopping = False
        self.cut = False
        self.starting: Callable[[Any], None] | None = None
        self._resumes: list[Callable[[], None]] = []
        self._room = asyncio.Event()
        self._room.set()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.item_tasks: set[asyncio.Task[Any]] = set()
        self.gatherers: list[Callable[[], None]] = []
        self.sinks: list[Flushed] = []
        self.closers: list[Callable[[], Awaitable[None]]] = []
        self.error: Exception | None = None
        self._named: dict[str, int] = defaultdict(int)
        self._states: dict[str, MutableMapping[str, Any]] = {}

    def state(self, name: str) -> MutableMapping[str, Any]:
        return self._states.setdefault(name, {})

    def known(self, request: Request) -> bool:
        return False

    def gave_none(self, function: Callable[..., Any]) -> None:
        """Without a crawl it may be that the callback is there for what it does."""

    async def reserve(self, request: Request, size: int) -> None:
        """Without a crawl there is no ceiling."""

    def landed(self, request: Request) -> None:
        """Without a crawl there are no places."""

    def outside(self, place: str) -> None:
        """Without a crawl there is no lease to lose."""

    def adopt(self, sink: Flushed) -> None:
        self.sinks.append(sink)

    def sink_key(self, name: str) -> str:
        self._named[name] += 1
        return name if self._named[name] == 1 else f"{name} ({self._named[name]})"

    def token(self, sink: str) -> Any:
        return None

    def spool(self, name: str) -> Path | None:
        return None

    def closing(self, close: Callable[[], Awaitable[None]]) -> None:
        self.closers.append(close)

    async def close_all(self) -> None:
        """Call what `closing` was given, the last first. What one of them raises is told, and the others are called."""
        while self.closers:
            try:
                await self.closers.pop()()
            except Exception as error:
                self.events.emit(Notice(text=f"while closing: {error}", level="warning"))

    def spawn(self, work: Coroutine[Any, Any, None], *, items: bool = False) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        (self.item_tasks if items else self.tasks).add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        self.item_tasks.discard(task)
        if not task.cancelled():
            error = task.exception()
            if isinstance(error, Exception):
                self.fail(error)
        self.moved()

    def fail(self, error: Exception) -> None:
        if self.error is None:
            self.error = error
        self.moved()

    def gather(self, flush: Callable[[], None]) -> abc.DisposableBase:
        self.gatherers.append(flush)
        return Disposable(lambda: self.gatherers.remove(flush) if flush in self.gatherers else None)

    def congest(self, change: int) -> None:
        self.congestion += change
        if self.congestion:
            self._room.clear()
        else:
            # From the loop, not from within the sink that made room: its extent is not ours.
            self.loop.call_soon(self._have_room)

    def _have_room(self) -> None:
        if self.congestion == 0:
            self._room.set()
            for resume in self._resumes:
                resume()
            self.moved()

    async def room(self) -> None:
        await self._room.wait()

    def on_room(self, resume: Callable[[], None]) -> None:
        self._resumes.append(resume)

    def on_start(self, take: Callable[[Any], None]) -> None:
        self.starting = take

    def refused(self, outcome: Failed | Dropped) -> None:
        """Without a crawl nobody counts."""

    def moved(self) -> None:
        """Something ended that others may have waited for."""
