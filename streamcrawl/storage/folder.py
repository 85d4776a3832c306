"""A folder of this machine as a store: a file appears whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import socket
from contextlib import suppress
from io import BufferedReader
from itertools import count
from pathlib import Path
from typing import BinaryIO

from streamcrawl.storage.paths import local_path
from streamcrawl.storage.store import Meta, Place, Stat, StoreError
from streamcrawl.storage.threaded import Block

PARTS = ".parts"
"""Where files are while they are written, in the store itself: renaming works within one file system."""
OLD = 86_400.0
"""Seconds after which an unfinished file is nobody's, whoever wrote it."""

_numbers = count(1)
_NAME = re.compile(r"(.*)-(\d+)-\d+")


class Folder:
    """Files below a folder."""

    part = 1024 * 1024
    at_once = 64

    def __init__(self, root: Path) -> None:
        self._root = root
        self._parts = root / PARTS

    def check(self) -> None:
        """Make the folder, see that it takes files, and delete what killed runs have left."""
        try:
            self._parts.mkdir(parents=True, exist_ok=True)
            probe = self._temporary()
            probe.open("xb").close()
            now = probe.stat().st_mtime  # by the clock that says how old the other files are
            probe.unlink()
        except OSError as error:
            raise StoreError(
                f"store {self._root}: cannot write {error.filename or self._root}: {error.strerror or error}"
            ) from error
        self._sweep(now)

    def put(self, path: str, data: Block, meta: Meta) -> None:
        temporary, target = self._temporary(), self._root / path
        try:
            self._write(temporary, data)
            _moved(temporary, target)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise

    def _write(self, temporary: Path, data: Block) -> None:
        try:
            temporary.write_bytes(data)
        except FileNotFoundError:  # another run on the same folder took it away when it ended
            self._parts.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)

    def begin(self, path: str, meta: Meta) -> _Growing:
        temporary = self._temporary()
        self._write(temporary, b"")
        return _Growing(temporary, self._root / path)

    def stat(self, path: str, digest: str) -> Stat | None:
        target = self._root / path
        try:
            with target.open("rb") as file:
                checksum = _digest(file, digest) if digest else None
                found = os.fstat(file.fileno())
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        return Stat(found.st_mtime, found.st_size, checksum)

    def read(self, path: str) -> bytes:
        return (self._root / path).read_bytes()

    def delete(self, path: str) -> bool:
        try:
            (self._root / path).unlink()
        except FileNotFoundError:
            return False
        return True

    def list(self, folder: str) -> dict[str, Stat]:
        found: dict[str, Stat] = {}
        for directory, folders, names in os.walk(self._root / folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(directory, name)
                with suppress(FileNotFoundError):
                    stat = path.stat()
                    found[path.relative_to(self._root).as_posix()] = Stat(stat.st_mtime, stat.st_size)
        return found

    def url(self, path: str) -> str:
        return (self._root / path).absolute().as_uri()

    def close(self) -> None:
        with suppress(OSError):  # another run has files in it
            self._parts.rmdir()

    def _temporary(self) -> Path:
        return self._parts / f"{socket.gethostname()}-{os.getpid()}-{next(_numbers)}"

    def _sweep(self, now: float) -> None:
        for path in tuple(self._parts.iterdir()):
            with suppress(FileNotFoundError):
                if _left_over(path, now):
                    path.unlink()

    def __repr__(self) -> str:
        return f"<Folder {self._root}>"


class _Growing:
    """A file that is being written under another name."""

    def __init__(self, temporary: Path, target: Path) -> None:
        self._temporary = temporary
        self._target = target
        self._file: BinaryIO = temporary.open("wb", buffering=0)

    def write(self, part: Block) -> None:
        view = memoryview(part)
        while view:
            view = view[self._file.write(view) :]

    def commit(self) -> None:
        self._file.close()
        _moved(self._temporary, self._target)

    def abort(self) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)


def folder_of(place: Place) -> Folder:
    """The folder that a path or `file:` URI names. Raises: ValueError for options, of which it has none."""
    if place.storage:
        raise ValueError(f"storage={{{next(iter(place.storage))!r}: …}}: a folder takes none")
    path = local_path(place.uri)
    assert path is not None
    return Folder(path)


def _moved(temporary: Path, target: Path) -> None:
    try:
        temporary.replace(target)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # A folder within the store is another file system.
        beside = target.with_name(f".{temporary.name}.part")
        try:
            shutil.copyfile(temporary, beside)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
        temporary.unlink(missing_ok=True)


def _left_over(path: Path, now: float) -> bool:
    match = _NAME.fullmatch(path.name)
    if match is None:
        return False
    if match[1] == socket.gethostname():
        try:
            os.kill(int(match[2]), 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            pass
    return now - path.stat().st_mtime > OLD


def _digest(file: BufferedReader, digest: str) -> str:
    return hashlib.file_digest(file, lambda: hashlib.new(digest, usedforsecurity=False)).hexdigest()
