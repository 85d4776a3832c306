"""A run's job: opened before the first request, committed with every flush, noted as finished last (DESIGN §7)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

from streamcrawl.crawl.wiring import Pipe
from streamcrawl.errors import FlowError, JobError
from streamcrawl.events import Notice
from streamcrawl.frontier.job import JobLock, spool_of
from streamcrawl.streams.declared import Declared, Operator, declared
from streamcrawl.streams.naming import name_of

if TYPE_CHECKING:
    from streamcrawl.crawl.run import Run
    from streamcrawl.frontier.store import Store


HOLDING = ("buffer", "window", "delay", "throttle_with", "take_last", "last", "min", "max", "to_")
HOLDING_TOO = {"average", "count", "debounce", "pairwise", "reduce", "sample", "sum"}
"""How reactivex's operators begin, or are called, that keep items whose pages count as done."""


class Durable:
    """The job of one run.

    Args:
        recrawl: Seconds: of a finished job, ask again for what was fetched longer ago. None: a finished job stays so.
    """

    def __init__(self, run: Run, directory: Path, recrawl: float | None) -> None:
        self._run = run
        self._directory = directory
        self._recrawl = recrawl
        self._lock: JobLock | None = None
        self._store: Store | None = None
        self._tokens: dict[str, Any] = {}

    def open(self) -> bool:
        """Take the job. False if it is finished, and nothing is to be done.

        Raises: JobError; FlowError for a pipe that would lose items of a job.
        """
        _check(self._run.crawl.pipes)
        self._lock = JobLock(self._directory)
        try:
            return self._opened()
        except OSError as error:
            raise JobError(f"job {self._directory}: it cannot be opened: {error.strerror or error}") from error

    def _opened(self) -> bool:
        run = self._run
        store = self._store = run.frontier.open(self._directory, self._still_there)
        if store.meta("finished", False):
            if self._recrawl is None:
                self._tell(
                    f"job {self._directory} is finished, nothing is asked for; "
                    "recrawl it (--recrawl), or start over (--reset)",
                    "info",
                )
                return False
            again = store.again(run.now() - self._recrawl)
            if not again:
                self._tell(f"job {self._directory}: nothing in it is as old as that, nothing is asked for", "info")
                return False
            store.note("finished", False)
            self._tell(
                f"job {self._directory}: {again} {'request is' if again == 1 else 'requests are'} asked again; "
                "feeds that are not appended to are written anew",
                "info",
            )
        elif self._recrawl is not None and store.last():
            self._tell(f"job {self._directory} is not finished: it goes on, and can be recrawled then", "info")
        store.note("sessions", store.meta("sessions", 0) + 1)
        run.frontier.load()
        self._tokens = store.tokens()
        if run.frontier.clock_was_set:
            seconds = -run.frontier.clock_was_set
            self._tell(
                f"the clock is {seconds:.0f} s behind the job's last commit: what waits for its time is moved with it"
            )
        self._compare(store)
        return True

    def token(self, sink: str) -> Any:
        """What the sink of this name gave last."""
        return self._tokens.get(sink)

    def spool(self, name: str) -> Path:
        """How the names of files begin that the job keeps for the sink of this name."""
        return spool_of(self._directory, name)

    def begun(self) -> None:
        """The pipe is there: tell of sinks that the job has a token of, and the pipe has no more."""
        here = {sink.key for sink in self._run.sinks}
        for sink in sorted(set(self._tokens) - here):
            self._tell(f"job {self._directory} was writing to {sink}, and this flow does not")

    def finished(self) -> None:
        """Nothing waits, and every sink is closed."""
        if self._store is not None:
            self._store.note("finished", True)
            self._run.frontier.commit()

    def close(self) -> None:
        """Let others have the job. Raises: JobError."""
        try:
            if self._store is not None:
                self._run.frontier.close()
        finally:
            if self._lock is not None:
                self._lock.release()

    def _still_there(self) -> None:
        if self._lock is not None and not self._lock.still_there():
            raise JobError(
                f"job {self._directory}: the directory was removed or replaced while the crawl ran; "
                "what was fetched since cannot be kept in it"
            )

    def _compare(self, store: Store) -> None:
        """Tell if the flow is another one than that which began the job."""
        now = flow_of(self._run.crawl.pipes)
        before: dict[str, str] | None = store.meta("flow")
        store.note("flow", now)
        if before is None or before == now:
            return
        same_python = before.get("python") == now["python"]
        changed = [
            f"{part} was {before.get(part)}, is {value}" if part != "code" else "the code of its callback was edited"
            for part, value in now.items()
            if before.get(part) != value and part != "python" and (part != "code" or same_python)
        ]
        if changed:
            self._tell(
                f"job {self._directory} was begun by another version of this flow: {'; '.join(changed)}. "
                "What waits goes through this one"
            )

    def _tell(self, text: str, level: str = "warning") -> None:
        self._run.events.emit(Notice(text=text, level=level))

    def __repr__(self) -> str:
        return f"<Durable {self._directory}>"


def _check(pipe: Pipe) -> None:
    for operator in pipe.items:
        name = name_of(operator)
        kind = name.partition("(")[0]
        holds = kind.startswith(HOLDING) or kind in HOLDING_TOO
        if holds and _is_plain(operator) and not declared(operator).at_most_once:
            raise FlowError(
                f"{name} holds items whose pages count as done: a job could lose them. Use ops.batch or ops.map_async, "
                "which a job can rely on, or say that it may: ops.at_most_once(...)"
            )


def _is_plain(operator: Operator) -> bool:
    """Whether it is one of reactivex, and not one of the project or of the user."""
    inner = operator.operator if isinstance(operator, Declared) else operator
    return str(getattr(inner, "__module__", "")).startswith("reactivex")


def flow_of(pipe: Pipe) -> dict[str, str]:
    """What tells two versions of a flow apart."""
    operators = [*pipe.requests, pipe.download, *pipe.outcomes, pipe.scrape, *pipe.items]
    callback = pipe.scrape.callback if pipe.scrape is not None else None
    owner = getattr(callback, "__self__", None)
    if owner is not None and getattr(callback, "__name__", "") == "_parse":
        callback = getattr(owner, "parse", callback)  # what a spider has instead
    return {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "pipe": " | ".join(_plain(name_of(operator)) for operator in operators if operator is not None),
        "callback": str(getattr(callback, "__qualname__", callback)),
        "spider": "" if owner is None else type(owner).__qualname__,
        "code": _code(callback),
    }


def _plain(name: str) -> str:
    """Without the line that it stands in: other lines may have been added above."""
    return name.partition(" at ")[0]


def _code(function: Any) -> str:
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if not isinstance(code, CodeType):
        return ""
    hashed = blake2b(digest_size=8)
    for part in _parts(code):
        hashed.update(part)
    return hashed.hexdigest()


def _parts(code: CodeType) -> Iterator[bytes]:
    yield code.co_code
    yield repr(code.co_names).encode()
    for constant in code.co_consts:
        text = repr(constant)
        if isinstance(constant, CodeType):
            yield from _parts(constant)
        elif isinstance(constant, frozenset):
            yield "".join(sorted(text)).encode()  # its order differs from process to process
        else:
            yield text.encode()
