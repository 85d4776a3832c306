"""A program that crawls, run in a folder of its own: undisturbed, or killed at random moments and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import NamedTuple

from streamcrawl.errors import StreamcrawlError

JOB = "job"
"""The directory in the program's folder in which it keeps what it needs to go on."""

LOOK = 0.02
"""Seconds between two looks at what the program does."""

SHARE = 0.4
"""Seconds of work that lie between two kills on average, at least."""

EARLY = 0.25
"""How many of the kills are meant to hit the start-up."""


class ProgramFailed(StreamcrawlError):
    """A program that was run did not end well by itself."""


class Aim(StrEnum):
    """When a kill is meant to hit."""

    START = "while it started"
    WORK = "at work"
    END = "near the end"
    OVER = "after the end"


class Progress(NamedTuple):
    """How far a crawl is, by what it has committed.

    Args:
        settled: Requests that are done with, in all runs.
        commit: Differs from commit to commit; None if there was none.
    """

    settled: int = 0
    commit: object = None


@dataclass(frozen=True, slots=True)
class Program:
    """What is run in a folder that it may write to; run again there, it goes on.

    Args:
        command: Its arguments, the same each time.
        progress: How far it is, read from the folder without disturbing it.
        timeout: Seconds that one run may take.
        environment: Variables that it gets beside those of this process.
    """

    command: tuple[str, ...]
    progress: Callable[[Path], Progress]
    timeout: float = 600.0
    environment: Mapping[str, str] | None = None


class Measured(NamedTuple):
    """An undisturbed run: seconds until it had made its job, seconds in all, requests settled."""

    startup: float
    seconds: float
    settled: int


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill.

    Args:
        aim: When it was meant to hit.
        moment: Seconds after the program was started.
        committed: Whether that run had committed anything.
        share: Of the whole crawl, what was committed by then, 0 to 1.
    """

    aim: Aim
    moment: float
    committed: bool
    share: float

    def __str__(self) -> str:
        return f"killed after {self.moment:.2f} s {self.aim}, {self.share:.0%} committed"


class Round(NamedTuple):
    """A crawl from its beginning to its end, with the kills on the way, and the seconds that all took."""

    kills: list[Kill]
    seconds: float


def aims(kills: int, random: Random) -> deque[Aim]:
    """When so many kills are meant to hit: some at start-up, the last ones near the end, the others anywhere."""
    ends = max(1, kills // 8) if kills > 1 else 0
    early = round((kills - ends) * EARLY)
    first = [Aim.START] * early + [Aim.WORK] * (kills - ends - early)
    random.shuffle(first)
    return deque([*first, *[Aim.END] * ends])


def undisturbed(program: Program, folder: Path) -> Measured:
    """Run the program to its end. Raises: ProgramFailed with its last words."""
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    startup = 0.0
    with _Started(program, folder) as process:
        while process.wait(LOOK) is None:
            if not startup and (folder / JOB).exists():
                startup = time.monotonic() - started
    seconds = time.monotonic() - started
    process.check("undisturbed")
    return Measured(startup or seconds, seconds, program.progress(folder).settled)


def disturbed(
    program: Program,
    folder: Path,
    measured: Measured,
    left: deque[Aim],
    random: Random,
    tell: Callable[[Kill], None] = lambda kill: None,
) -> Round:
    """Run the program in `folder` again and again, each time killed, until it ends by itself.

    Args:
        measured: Its undisturbed run, by which the moments are drawn.
        left: The kills that are still to be done; those done are taken out. If it ends before its moment has come,
            it is killed once more as it is started over what it has finished.
        tell: Gets each kill.

    Raises: ProgramFailed if a run that was not killed does not end well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kills: list[Kill] = []
    started = time.monotonic()
    over = False
    before = program.progress(folder)
    while True:
        moment = _moment(Aim.OVER if over else left[0], before, measured, len(left), random) if left else None
        ended = _run(program, folder, moment)
        if ended is None:
            assert moment is not None
            after = program.progress(folder)
            share = min(1.0, after.settled / measured.settled) if measured.settled else 0.0
            aim = Aim.OVER if over else left[0]
            left.popleft()
            kills.append(Kill(aim, moment, after.commit != before.commit, share))
            tell(kills[-1])
            before = after
            if not over:
                continue
            ended = _run(program, folder, None)
        assert ended is not None
        ended.check(f"after {len(kills)} {'kill' if len(kills) == 1 else 'kills'}")
        if over or not left:
            return Round(kills, time.monotonic() - started)
        over = True


def _moment(aim: Aim, progress: Progress, measured: Measured, left: int, random: Random) -> float:
    """Seconds after its start at which the program is killed."""
    if aim in (Aim.START, Aim.OVER):
        return random.uniform(0.0, measured.startup)
    done = progress.settled / measured.settled if measured.settled else 0.0
    rest = (measured.seconds - measured.startup) * max(0.0, 1.0 - done)
    if aim is Aim.END:
        return measured.startup + random.uniform(0.85, 1.0) * rest
    share = max(rest / (left + 1), SHARE)
    return measured.startup + random.uniform(0.0, 2 * share)


def _run(program: Program, folder: Path, moment: float | None) -> _Started | None:
    """Run the program until it ends by itself; None if it was killed before, at its moment."""
    with _Started(program, folder) as process:
        if process.wait(program.timeout if moment is None else min(moment, program.timeout)) is None:
            if moment is None or moment > program.timeout:
                process.late = True
            elif process.kill():
                return None
    return process


class _Started:
    """The program running; killed with all that it started when the block is left."""

    def __init__(self, program: Program, folder: Path) -> None:
        self.late = False
        """Whether it took longer than it may."""
        self._program = program
        self._deadline = time.monotonic() + program.timeout
        self._log = folder.with_name(folder.name + ".log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - what the user wants run
                program.command,
                cwd=folder,
                env={**os.environ, **(program.environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )

    def wait(self, seconds: float) -> int | None:
        """Its exit code, or None if it goes on after so many seconds."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            if time.monotonic() >= self._deadline:
                self.late = True
                self.kill()
                return self._process.returncode
            return None

    def check(self, when: str) -> None:
        """Raises: ProgramFailed if it did not end well by itself."""
        if self.late:
            raise ProgramFailed(f"the run {when} did not end within {self._program.timeout:g} s")
        if self._process.returncode:
            raise ProgramFailed(f"the run {when} failed: {self._last_words()}")

    def _last_words(self) -> str:
        said = [line for line in self._log.read_text("utf-8", "replace").splitlines() if line.strip()]
        if not said:
            return f"exit code {self._process.returncode}"
        last = said[-1].removeprefix("error: ")
        return last if len(said) == 1 else f"{last} ({said[0].strip()})"

    def kill(self) -> bool:
        """Kill it, with all that it started. False if it had just ended well by itself."""
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        return self._process.wait() != 0

    def __enter__(self) -> _Started:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()


def counted(kills: Iterable[Kill]) -> str:
    """When the kills hit, in words."""
    all_kills = list(kills)
    said = [f"{many} {aim}" for aim in Aim if (many := sum(kill.aim is aim for kill in all_kills))]
    blind = sum(not kill.committed for kill in all_kills)
    return f"{', '.join(said)}; {blind} before the run's first commit"
