"""A job's directory: whose it is, and what of it is the job's own."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
import weakref
from hashlib import blake2b
from pathlib import Path
from types import TracebackType

from streamcrawl.errors import JobError

STORE = "frontier.sqlite"
"""The file with the job's requests, progress and tokens."""
LOCK = "lock"

_STORED = re.compile(rf"{re.escape(STORE)}(-wal|-shm|-journal)?")
_SEEN = re.compile(r"seen\.\d+")
_SPOOLED = re.compile(r"sink\.[0-9a-f]{16}\..+")
_HOLDER = re.compile(r"(\d+) (\S+)\n?")

TRIES = 20
PAUSE = 0.02
"""Seconds between two tries: somebody who only looks whether the lock is held holds it himself for a moment."""

FAR = 1 << 20
"""Where Windows locks a byte: a locked one cannot be read by others, and the holder's name stands at the beginning."""


class JobLock:
    """A job directory that this process has, and no other, until it is released or the process dies.

    Args:
        directory: Of the job; made if it is not there.

    Raises: JobError if another process, or another run of this one, has it; if it cannot be written to; if there are
        files in it that are not a job's.
    """

    __slots__ = ("__weakref__", "_fd", "_inode", "directory")

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        self._fd = -1
        _prepare(self.directory)
        self._fd = _taken(self.directory)
        found = os.fstat(self._fd)
        self._inode = found.st_dev, found.st_ino
        _HELD.add(self)
        if not is_job(self.directory):
            self._clean()

    def _clean(self) -> None:
        """Remove what a reset left that was killed half-way: it must not count as seen in the job that begins now."""
        try:
            for path in _own(self.directory):
                path.unlink(missing_ok=True)
        except OSError as error:
            self.release()
            raise _unusable(self.directory, error) from error

    def still_there(self) -> bool:
        """Whether the directory still has the lock that was taken: it was not removed, moved or replaced. One stat."""
        try:
            found = os.stat(self.directory / LOCK)  # noqa: PTH116 - cheaper, and this is asked at every commit
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._inode

    def release(self) -> None:
        """Let others have it. The files stay."""
        fd, self._fd = self._fd, -1
        if fd != -1:
            _HELD.discard(self)
            os.close(fd)

    def remove(self) -> None:
        """Delete the lock's file, and let others have the directory."""
        path = self.directory / LOCK
        if sys.platform == "win32":
            self.release()  # an open file cannot be deleted there
            path.unlink(missing_ok=True)
        else:
            # Deleted while it is held: whoever opened it meanwhile notices that it is not the directory's any more.
            path.unlink(missing_ok=True)
            self.release()

    def __enter__(self) -> JobLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<JobLock {self.directory}: {'held' if self._fd != -1 else 'released'}>"


_HELD: weakref.WeakSet[JobLock] = weakref.WeakSet()


def _let_go_in_child() -> None:
    """A forked child shares the lock: it would keep the job although the process that has it is dead."""
    for lock in tuple(_HELD):
        lock.release()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_let_go_in_child)


def reset(directory: str | os.PathLike[str]) -> tuple[str, ...]:
    """Delete the files of the job in `directory`, so that the next run starts over.

    Gives the names of what else is there, and stays. Nothing happens where no directory is.

    Raises: JobError if somebody has the job, or there is none but other files.
    """
    if not Path(directory).is_dir():
        _prepare(Path(directory), make=False)
        return ()
    lock = JobLock(directory)
    try:
        # The store first: without it the other files count as leftovers, should this be the last that we do.
        for path in (lock.directory / STORE, *_own(lock.directory)):
            path.unlink(missing_ok=True)
        left = _foreign(lock.directory)
        if not left:
            lock.remove()  # else it stays, as the sign that the directory is a job's
    except OSError as error:
        raise _unusable(lock.directory, error) from error
    finally:
        lock.release()
    return left


def spool_of(directory: Path, name: str) -> Path:
    """How the names of the files begin that the job keeps for the sink of this name; a dot and more follow."""
    return directory / f"sink.{blake2b(name.encode(), digest_size=8).hexdigest()}"


def is_job(directory: str | os.PathLike[str]) -> bool:
    """Whether a job was begun in `directory`."""
    return (Path(directory) / STORE).is_file()


def held_by(directory: str | os.PathLike[str]) -> str | None:
    """Who has the job now, such as "process 1234 (host)"; None: nobody."""
    path = Path(directory) / LOCK
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(Path(directory), error) from error
    try:
        return None if _locked(fd, shared=True) else _holder(fd)
    finally:
        os.close(fd)


def _prepare(directory: Path, *, make: bool = True) -> None:
    """Make the directory if it is not there. Raises: JobError if it is none, or not for a job."""
    try:
        if make:
            directory.mkdir(parents=True, exist_ok=True)
        elif not directory.exists():
            return
        foreign = _foreign(directory)
    except (FileExistsError, NotADirectoryError) as error:
        raise JobError(f"job {directory}: not a directory") from error
    except OSError as error:
        raise _unusable(directory, error) from error
    if foreign and not is_job(directory) and not _marked(directory):
        names = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise JobError(f"job {directory}: no job is there, but other files ({names}); give a new or an empty directory")


def _own(directory: Path) -> list[Path]:
    """The job's files but for the lock."""
    return [path for path in directory.iterdir() if _is_own(path.name)]


def _is_own(name: str) -> bool:
    return any(pattern.fullmatch(name) for pattern in (_STORED, _SEEN, _SPOOLED))


def _foreign(directory: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in directory.iterdir() if path.name != LOCK and not _is_own(path.name)))


def _marked(directory: Path) -> bool:
    """Whether a lock of ours is there: what other files stand beside it came later."""
    try:
        return _HOLDER.fullmatch((directory / LOCK).read_text("utf-8")) is not None
    except (OSError, ValueError):
        return False


def _taken(directory: Path) -> int:
    """The lock's file, opened and locked."""
    path, holder = directory / LOCK, ""
    for tries in range(TRIES):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _unusable(directory, error) from error
        try:
            if _locked(fd) and _is_at(fd, path):
                _sign(fd)
                return fd
            holder = _holder(fd)
        except OSError as error:
            os.close(fd)
            raise JobError(f"job {directory}: it cannot be locked: {error.strerror or error}") from error
        os.close(fd)
        if tries < TRIES - 1:
            time.sleep(PAUSE)
    raise JobError(f"job {directory} is in use by {holder}")


def _is_at(fd: int, path: Path) -> bool:
    """Whether the file that we have locked is still the one at `path`: it may have been reset meanwhile."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _sign(fd: int) -> None:
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, f"{os.getpid()} {socket.gethostname()}\n".encode())


def _holder(fd: int) -> str:
    """Who says that he has the lock."""
    os.lseek(fd, 0, os.SEEK_SET)
    found = _HOLDER.fullmatch(os.read(fd, 1024).decode("utf-8", "replace"))
    if found is None:
        return "another process"
    pid, host = found.groups()
    if int(pid) == os.getpid() and host == socket.gethostname():
        return "another run of this process"
    return f"process {pid} ({host})"


if sys.platform == "win32":
    import msvcrt

    def _locked(fd: int, *, shared: bool = False) -> bool:
        """Whether the file is ours now."""
        os.lseek(fd, FAR, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _locked(fd: int, *, shared: bool = False) -> bool:
        """Whether the file is ours now; `shared`: with others who only look."""
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _unusable(directory: Path, error: OSError) -> JobError:
    return JobError(f"job {directory}: cannot be used: {error.strerror or error}")
