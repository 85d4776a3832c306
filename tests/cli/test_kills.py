"""A program killed at random moments: here a small one that keeps its own state, rightly or wrongly."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, deque
from pathlib import Path
from random import Random

import pytest

from streamcrawl.cli.kills import (
    Aim,
    Kill,
    Measured,
    Program,
    ProgramFailed,
    Progress,
    aims,
    counted,
    disturbed,
    undisturbed,
)

COUNTING = """
import os, sys, time
from pathlib import Path

mode, many = sys.argv[1], int(sys.argv[2])
Path("job").mkdir(exist_ok=True)
state = Path("job/state")
done = int(state.read_text()) if state.exists() else 0

def note(n):
    Path("job/new").write_text(str(n))
    os.replace("job/new", "job/state")

with open("items.txt", "r+" if Path("items.txt").exists() else "w+") as file:
    if mode == "exact":
        file.truncate(7 * done)
    file.seek(0, 2)
    for n in range(done, many):
        time.sleep(0.005)
        if mode == "careless":
            note(n + 1)
        file.write(f"{n:06}\\n")
        if mode == "exact":
            file.flush()
            note(n + 1)
"""
"""Writes numbers, and goes on where it was. "exact" notes what is written; "careless" notes what is in a buffer yet."""


def progress(folder: Path) -> Progress:
    state = folder / "job" / "state"
    done = int(state.read_text()) if state.exists() else 0
    return Progress(done, done or None)


@pytest.fixture
def counting(tmp_path: Path) -> Path:
    path = tmp_path / "counting.py"
    path.write_text(COUNTING)
    return path


def program(path: Path, *arguments: str, timeout: float = 60) -> Program:
    return Program((sys.executable, str(path), *arguments), progress, timeout)


def numbers(folder: Path) -> Counter[str]:
    return Counter((folder / "items.txt").read_text().splitlines())


def test_it_is_killed_as_often_as_was_said_and_goes_on(counting: Path, tmp_path: Path) -> None:
    exact = program(counting, "exact", "150")
    measured = undisturbed(exact, tmp_path / "whole")
    assert measured.settled == 150
    assert 0 < measured.startup < measured.seconds
    left, kills, told = aims(6, Random(3)), 0, list[Kill]()
    for nth in range(6):
        folder = tmp_path / f"killed-{nth}"
        done = disturbed(exact, folder, measured, left, Random(nth), told.append)
        kills += len(done.kills)
        assert numbers(folder) == numbers(tmp_path / "whole")
        if not left:
            break
    assert kills == len(told) == 6
    assert any(kill.committed and kill.share > 0 for kill in told)


def test_what_a_careless_program_loses_is_lost(counting: Path, tmp_path: Path) -> None:
    careless = program(counting, "careless", "150")
    measured = undisturbed(careless, tmp_path / "whole")
    assert numbers(tmp_path / "whole").total() == 150
    earlier = measured._replace(seconds=0.6 * measured.seconds)
    done = disturbed(careless, tmp_path / "killed", earlier, deque([Aim.END]), Random(1))
    assert done.kills[0].aim is Aim.END
    assert done.kills[0].share > 0
    assert 0 < numbers(tmp_path / "killed").total() < 150


def test_a_program_that_is_finished_is_killed_once_as_it_starts_again(counting: Path, tmp_path: Path) -> None:
    exact = program(counting, "exact", "1")
    # Far too late: it ends long before its moment comes.
    done = disturbed(exact, tmp_path / "killed", Measured(1e-6, 1e4, 1), deque([Aim.END, Aim.END]), Random(1))
    assert [kill.aim for kill in done.kills] == [Aim.OVER]
    assert numbers(tmp_path / "killed") == Counter(["000000"])


def test_what_it_started_dies_with_it(tmp_path: Path) -> None:
    path = tmp_path / "parent.py"
    path.write_text(
        "import pathlib, subprocess, sys, time\n"
        "if pathlib.Path('pid').exists(): sys.exit()\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "pathlib.Path('new').write_text(str(child.pid))\n"
        "pathlib.Path('new').rename('pid')\n"
        "time.sleep(60)\n"
    )
    done = disturbed(program(path), tmp_path / "run", Measured(3.0, 3.0, 0), deque([Aim.WORK]), Random(1))
    assert len(done.kills) == 1
    state = subprocess.run(
        ("ps", "-o", "stat=", "-p", (tmp_path / "run" / "pid").read_text()), capture_output=True, text=True
    )
    assert state.stdout.strip()[:1] in ("", "Z")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit('error: the disk is gone')", "the run undisturbed failed: the disk is gone"),
        ("import sys; sys.exit(3)", "the run undisturbed failed: exit code 3"),
        ("import time; time.sleep(60)", "the run undisturbed did not end within 0.3 s"),
    ],
)
def test_a_program_that_does_not_end_well_undisturbed(code: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text(code)
    with pytest.raises(ProgramFailed) as raised:
        undisturbed(program(path, timeout=0.3), tmp_path / "whole")
    assert str(raised.value) == said


FAILS_AGAIN = """
import pathlib, sys, time
if pathlib.Path("job").exists():
    {then}
pathlib.Path("job").mkdir()
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("sys.exit('in use')", "the run after 1 kill failed: in use"),
        ("time.sleep(60)", "the run after 1 kill did not end within 2 s"),
    ],
)
def test_a_program_that_cannot_go_on_is_told(then: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text(FAILS_AGAIN.format(then=then))
    with pytest.raises(ProgramFailed) as raised:
        disturbed(program(path, timeout=2), tmp_path / "run", Measured(0.8, 0.8, 0), deque([Aim.WORK]), Random(1))
    assert str(raised.value) == said


def test_where_the_kills_are_meant_to_hit() -> None:
    many = aims(100, Random(1))
    assert Counter(many) == {Aim.START: 22, Aim.WORK: 66, Aim.END: 12}
    assert list(many)[-12:] == [Aim.END] * 12
    assert list(aims(100, Random(1))) == list(many) != list(aims(100, Random(2)))
    assert [len(aims(kills, Random(1))) for kills in (1, 2, 3, 20)] == [1, 2, 3, 20]


def test_kills_in_words() -> None:
    kills = [Kill(Aim.WORK, 1.0, True, 0.5), Kill(Aim.START, 0.1, False, 0.5), Kill(Aim.WORK, 0.9, False, 0.6)]
    assert counted(kills) == "1 while it started, 2 at work; 2 before the run's first commit"
    assert str(kills[0]) == "killed after 1.00 s at work, 50% committed"
