"""Virtual time: an asyncio loop whose clock jumps to the next timer when nothing is ready.

Operators, callbacks, sinks and your own `asyncio.sleep` all run on it, and an hour takes no time. Work in threads
(`run_in_executor`, `asyncio.to_thread`) is waited for really; sockets, pipes and subprocesses are not served.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from datetime import UTC, datetime
from types import CodeType, FrameType
from typing import Any, ParamSpec, Self, TypeAlias, TypeVar, TypeVarTuple, cast, overload

T = TypeVar("T")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")

YEAR = 365 * 86400.0
START = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
"""The date on which virtual time begins, in seconds since the epoch."""


class Deadlock(RuntimeError):
    """Nothing can move any more: the text lists the tasks that wait, and where."""

    def __init__(self, why: str, tasks: set[asyncio.Task[Any]]) -> None:
        lines = sorted(_where(task) for task in tasks)
        super().__init__("\n  ".join([f"{why}; {len(lines)} tasks wait{':' if lines else ''}", *lines]))
        self.tasks = lines


def _where(task: asyncio.Task[Any]) -> str:
    """One line on what a task waits for: the innermost coroutine that has a frame."""
    waits: Any = task.get_coro()
    frame: FrameType | None = None
    code: CodeType | None = getattr(waits, "cr_code", None)
    while waits is not None:
        frame = getattr(waits, "cr_frame", None) or getattr(waits, "ag_frame", None) or frame
        waits = getattr(waits, "cr_await", None) or getattr(waits, "ag_await", None)
    name = code.co_qualname if code is not None else repr(task.get_coro())
    at = f" at {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}" if frame is not None else ""
    return f"{task.get_name()} ({name}){at}"


class _Selector(selectors.DefaultSelector):
    """Never waits by itself: the loop decides between waiting for threads and jumping."""

    loop: VirtualLoop

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if len(self.get_map()) > 0:  # the first one is the loop's own wake-up pipe
            raise RuntimeError("VirtualLoop serves no sockets, pipes or subprocesses: use a fake, or asyncio.run()")
        return super().register(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        return self.loop.idle(timeout, super().select)


_Ready: TypeAlias = "list[tuple[selectors.SelectorKey, int]]"


class _When(float):
    """A time that comes after an equal one that was made before it."""

    __slots__ = ("nth",)
    nth: int

    def __lt__(self, other: float) -> bool:
        if isinstance(other, _When) and float(self) == float(other):
            return self.nth < other.nth
        return float(self) < float(other)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time: it begins at 0.0 on 2030-01-01 UTC and jumps from timer to timer.

    Args:
        limit: Virtual seconds after which `Deadlock` is raised: a timer that repeats for ever cannot hang a test.
        patience: Real seconds to wait for work in threads before `Deadlock` is raised.

    Raises: ValueError if one of them is not positive, when built. `Deadlock` from the run, when nothing can move.
    """

    def __new__(cls, *, limit: float = YEAR, patience: float = 60.0, start: float = START) -> Self:
        # Checked here: a loop that was made but not begun complains when it is collected.
        if not limit > 0:
            raise ValueError(f"limit is {limit!r}: it must be more than 0 seconds")
        if not patience > 0:
            raise ValueError(f"patience is {patience!r}: it must be more than 0 seconds")
        return super().__new__(cls)

    def __init__(self, *, limit: float = YEAR, patience: float = 60.0, start: float = START) -> None:
        self._time = 0.0
        self._start = start
        self._limit = limit
        self._patience = patience
        self._outside = 0
        self._timers = 0
        self.errors: list[BaseException] = []
        """What callbacks raised with nobody there to catch it."""
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        # asyncio adds it to the time to see what is due. Its 1e-9 is lost in the rounding after 97 days.
        self._clock_resolution = 1e-6
        self.set_exception_handler(lambda _, context: self._note(context))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._time

    def now(self) -> float:
        """The virtual date, in seconds since the epoch."""
        return self._start + self._time

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Timers of one moment fire in the order in which they were set, so that runs can be compared."""
        ordered = _When(when)
        self._timers += 1
        ordered.nth = self._timers
        return super().call_at(ordered, callback, *args, context=context)

    def idle(self, timeout: float | None, wait: Callable[[float], _Ready]) -> _Ready:
        """Nothing is ready: wait for threads if any works for us, else jump over `timeout` seconds."""
        ready: _Ready = []
        if self._outside:
            ready = wait(self._patience)
            if not ready:
                raise Deadlock(f"work in a thread has not ended in {self._patience:g} real seconds", self._waiting())
            return ready
        if timeout is None:
            # A thread that was not started by run_in_executor may still call us.
            if threading.active_count() > 1:
                ready = wait(1.0)
            if not ready:
                raise Deadlock("nothing is ready and no timer is set", self._waiting())
            return ready
        if self._time + timeout > self._limit:
            raise Deadlock(f"not done after {self._limit:g} virtual seconds", self._waiting())
        self._time += timeout
        return ready

    def _waiting(self) -> set[asyncio.Task[Any]]:
        return asyncio.all_tasks(self)

    def _note(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.errors.append(error if isinstance(error, BaseException) else RuntimeError(context.get("message")))

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._outside += 1
        future.add_done_callback(self._back)
        return future

    def _back(self, future: asyncio.Future[Any]) -> None:
        self._outside -= 1

    async def shutdown_default_executor(self, *args: Any) -> None:
        self._outside += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._outside -= 1

    def __repr__(self) -> str:
        state = "running" if self.is_running() else "closed" if self.is_closed() else "idle"
        return f"<VirtualLoop at {self._time:g} s, {state}, {self._outside} calls in threads>"


def run_virtual(
    work: Coroutine[Any, Any, T] | Callable[[], Coroutine[Any, Any, T]],
    *,
    limit: float = YEAR,
    patience: float = 60.0,
    start: float = START,
) -> T:
    """What the coroutine returns, run to its end on a new loop in virtual time.

    Tasks that it leaves behind are cancelled, as `asyncio.run` does.

    Args:
        work: A coroutine, or a function that makes one.
        limit: Virtual seconds that it may take.
        patience: Real seconds that work in a thread may take.
        start: The date on which it begins, in seconds since the epoch.

    Raises: what the coroutine raises; what a callback on the loop raised with nobody there to catch it; `Deadlock`;
        TypeError for what is no coroutine.
    """
    coroutine = work() if callable(work) else work
    if not isinstance(coroutine, Coroutine):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
        advice = ": write run_virtual(crawl.collect)" if hasattr(coroutine, "collect") else ""
        raise TypeError(f"run_virtual() takes a coroutine, or a function that makes one, and not {work!r}{advice}")
    try:
        loop = VirtualLoop(limit=limit, patience=patience, start=start)
        try:
            result = loop.run_until_complete(loop.create_task(coroutine, name="main"))
        finally:
            _close(loop)
    finally:
        coroutine.close()  # does nothing unless it was never begun
    if loop.errors:
        raise loop.errors[0]
    return result


def _close(loop: VirtualLoop) -> None:
    try:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        try:
            for task in tasks:
                loop.run_until_complete(_ended(loop, task))
        except Deadlock:
            return  # a task would not be cancelled; the error on its way says more
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def _ended(loop: VirtualLoop, task: asyncio.Task[Any]) -> asyncio.Future[None]:
    future: asyncio.Future[None] = loop.create_future()

    def done(task: asyncio.Task[Any]) -> None:
        future.set_result(None)
        if not task.cancelled() and (error := task.exception()) is not None:
            loop.errors.append(error)

    task.add_done_callback(done)
    return future


@overload
def virtual(function: Callable[P, Awaitable[T]], /) -> Callable[P, T]: ...
@overload
def virtual(
    *, limit: float = YEAR, patience: float = 60.0
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, T]]: ...
def virtual(
    function: Callable[P, Awaitable[T]] | None = None, /, *, limit: float = YEAR, patience: float = 60.0
) -> Callable[P, T] | Callable[[Callable[P, Awaitable[T]]], Callable[P, T]]:
    """A plain test function out of an async one: it runs in virtual time. `@virtual` or `@virtual(limit=60)`.

    Args:
        limit: Virtual seconds that the test may take.
        patience: Real seconds that work in a thread may take.

    Raises: as `run_virtual` does.
    """

    def decorate(test: Callable[P, Awaitable[T]]) -> Callable[P, T]:
        @functools.wraps(test)
        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            work = cast("Coroutine[Any, Any, T]", test(*args, **kwargs))
            return run_virtual(work, limit=limit, patience=patience)

        return run

    return decorate if function is None else decorate(function)
