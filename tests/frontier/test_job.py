"""A job's directory: one process has it, whatever happens to the process; what is the job's own is reset."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamcrawl.errors import JobError
from streamcrawl.frontier.job import LOCK, STORE, JobLock, held_by, is_job, reset

HOLDER = """
import sys
from streamcrawl.frontier.job import JobLock
lock = JobLock(sys.argv[1])
print("taken", flush=True)
sys.stdin.readline()
"""


@contextmanager
def another_process(directory: Path, script: str = HOLDER) -> Generator[subprocess.Popen[str], None, None]:
    """A process that has the job, until it is told to end."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", script, str(directory)], stdin=pipe, stdout=pipe, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        try:
            yield process
        finally:
            process.kill()


def begun(directory: Path, *others: str) -> Path:
    """A directory with the files of a job, and others."""
    directory.mkdir()
    for name in (STORE, f"{STORE}-wal", f"{STORE}-shm", "seen.0", "seen.1", *others):
        (directory / name).write_bytes(b"x")
    return directory


def test_the_directory_is_made_and_signed(tmp_path: Path) -> None:
    directory = tmp_path / "some" / "job"
    with JobLock(directory) as lock:
        assert (directory / LOCK).read_text() == f"{os.getpid()} {socket.gethostname()}\n"
        assert repr(lock) == f"<JobLock {directory}: held>"
    assert repr(lock) == f"<JobLock {directory}: released>"


def test_another_process_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    with another_process(tmp_path / "job") as holder:
        said = f"process {holder.pid} ({socket.gethostname()})"
        with pytest.raises(JobError) as refused:
            JobLock(tmp_path / "job")
        assert str(refused.value) == f"job {tmp_path / 'job'} is in use by {said}"
        assert held_by(tmp_path / "job") == said


def test_the_lock_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    with another_process(tmp_path / "job") as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait(30)
        assert held_by(tmp_path / "job") is None
        with JobLock(tmp_path / "job"):
            assert (tmp_path / "job" / LOCK).read_text().startswith(f"{os.getpid()} ")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_a_forked_child_does_not_keep_the_lock_of_a_dead_parent(tmp_path: Path) -> None:
    script = """
import os, sys
from streamcrawl.frontier.job import JobLock
lock = JobLock(sys.argv[1])
child = os.fork()
if child == 0:
    sys.stdin.readline()
    os._exit(0)
print("taken", flush=True)
os.waitpid(child, 0)
"""
    with another_process(tmp_path / "job", script) as holder:
        assert held_by(tmp_path / "job") is not None, "the child let go for both"
        holder.kill()
        holder.wait(30)
        JobLock(tmp_path / "job").release()
        assert holder.stdin is not None
        holder.stdin.write("the child ends\n")


def test_a_second_run_of_this_process_is_refused(tmp_path: Path) -> None:
    with JobLock(tmp_path), pytest.raises(JobError, match=r"in use by another run of this process$"):
        JobLock(tmp_path)
    JobLock(tmp_path).release()


def test_looking_whether_it_is_held_takes_it_from_nobody(tmp_path: Path) -> None:
    """The one who looks holds the lock for a moment; a run that begins in this moment is not refused."""
    JobLock(tmp_path).release()
    over = threading.Event()
    seen: set[str | None] = set()

    def look() -> None:
        while not over.is_set():
            seen.add(held_by(tmp_path))

    lookers = [threading.Thread(target=look)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(100):
            JobLock(tmp_path).release()
        deadline = time.monotonic() + 30
        while None not in seen and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        over.set()
        for looker in lookers:
            looker.join()
    assert None in seen
    assert seen <= {None, "another run of this process", "another process"}


def test_nobody_has_what_is_not_there(tmp_path: Path) -> None:
    assert held_by(tmp_path) is None
    assert held_by(tmp_path / "nothing") is None


def test_still_there(tmp_path: Path) -> None:
    directory = tmp_path / "job"
    with JobLock(directory) as lock:
        assert lock.still_there()
        shutil.rmtree(directory)
        assert not lock.still_there()
        with JobLock(directory):  # the same path, another directory
            assert not lock.still_there()


def test_still_there_notices_that_it_was_moved(tmp_path: Path) -> None:
    with JobLock(tmp_path / "job") as lock:
        (tmp_path / "job").rename(tmp_path / "moved")
        assert not lock.still_there()
        (tmp_path / "moved").rename(tmp_path / "job")
        assert lock.still_there()


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(tmp_path: Path) -> None:
    """A reset removes the file between another's opening and locking it: that one must lock the new file."""
    directory = tmp_path / "job"
    wrong: list[str] = []

    def work() -> None:
        for _ in range(100):
            try:
                lock = JobLock(directory)
            except JobError:
                continue
            if not lock.still_there():
                wrong.append("locked what is not there")
            lock.remove()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_cannot_be_a_job_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    full = tmp_path / "full"
    full.mkdir()
    for name in ("a.txt", "b.txt", "c.txt", "d.txt", "seen.1"):
        (full / name).write_text("x")
    for directory, why in (
        (file, "not a directory"),
        (file / "job", "not a directory"),
        (full, "no job is there, but other files (a.txt, b.txt, c.txt, ...); give a new or an empty directory"),
    ):
        with pytest.raises(JobError) as refused:
            JobLock(directory)
        assert str(refused.value) == f"job {directory}: {why}"
    assert sorted(path.name for path in full.iterdir()) == ["a.txt", "b.txt", "c.txt", "d.txt", "seen.1"]


@contextmanager
def nobody() -> Generator[None, None, None]:
    """As a user without rights, if we are the one who has all."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="the system has other rights")
def test_a_directory_that_cannot_be_written_to() -> None:
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        directory.chmod(0o555)
        with nobody():
            for path in (directory, directory / "job"):
                with pytest.raises(JobError, match=rf"^job {path}: cannot be used: Permission denied$"):
                    JobLock(path)
        directory.chmod(0o755)


def test_reset_deletes_the_jobs_own_files(tmp_path: Path) -> None:
    directory = begun(tmp_path / "job")
    JobLock(directory).release()
    assert is_job(directory)
    assert reset(directory) == ()
    assert list(directory.iterdir()) == []
    assert reset(directory) == reset(tmp_path / "nothing") == ()
    assert not (tmp_path / "nothing").exists()


def test_reset_leaves_other_files_alone_and_names_them(tmp_path: Path) -> None:
    directory = begun(tmp_path / "job", "items.jsonl", "seenit.txt", "my.lock")
    assert reset(directory) == ("items.jsonl", "my.lock", "seenit.txt")
    assert not is_job(directory)
    with JobLock(directory):  # a new job may begin beside them
        assert (directory / "items.jsonl").read_bytes() == b"x"
    assert reset(directory) == ("items.jsonl", "my.lock", "seenit.txt")


def test_reset_is_refused_while_somebody_has_the_job(tmp_path: Path) -> None:
    directory = begun(tmp_path / "job")
    with another_process(directory) as holder:
        with pytest.raises(JobError, match=f"in use by process {holder.pid} "):
            reset(directory)
        assert len(list(directory.iterdir())) == 6


def test_reset_of_what_is_no_job_is_refused(tmp_path: Path) -> None:
    (tmp_path / "seen.txt").write_text("mine")
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(JobError, match="no job is there, but other files"):
        reset(tmp_path)
    with pytest.raises(JobError, match="not a directory"):
        reset(tmp_path / "thesis.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seen.txt", "thesis.txt"]


def test_what_a_reset_left_that_was_killed_is_not_taken_for_seen(tmp_path: Path) -> None:
    directory = begun(tmp_path / "job")
    (directory / STORE).unlink()
    with JobLock(directory):
        assert [path.name for path in directory.iterdir()] == [LOCK]
