"""Where the bytes of a feed go: a file that can be cut back, or a stream that cannot."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol


class Output(Protocol):
    """Takes whole records. Every method may raise OSError."""

    slow: ClassVar[bool]
    """Whether writing takes so long that it is done in a thread."""

    @property
    def size(self) -> int:
        """Bytes of it that there are."""
        ...

    @property
    def offset(self) -> int | None:
        """Bytes up to the end of the last whole record; None if it cannot be cut back there."""
        ...

    def write(self, data: bytes) -> None: ...

    def mark(self, *, durable: bool) -> Any:
        """Make safe what was written, even for a power cut if `durable`.

        Gives what a resumed run needs beside the offset; None: nothing.
        """
        ...

    def sync(self) -> None:
        """Returns when what was written survives a power cut."""
        ...

    def close(self) -> None:
        """Nothing more comes: it is complete."""
        ...

    def abandon(self) -> None:
        """Nothing more can come: it stays as it is. Raises nothing."""
        ...


class FileOutput:
    """A file, unbuffered.

    Args:
        file: Opened for reading and writing.
        offset: Where its whole records end; what follows is cut off.
        rename: What the file is called once it is complete; None: it has its name.
    """

    __slots__ = ("_file", "_offset", "_path", "_rename")
    slow: ClassVar[bool] = False

    def __init__(self, file: BinaryIO, path: Path, offset: int, rename: Path | None = None) -> None:
        file.truncate(offset)
        file.seek(offset)
        self._file = file
        self._path = path
        self._offset = offset
        self._rename = rename

    @property
    def offset(self) -> int:
        return self._offset

    def write(self, data: bytes) -> None:
        """Append, all or nothing."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            # A disk that is full takes a part: nobody shall read half a record.
            self._file.truncate(self._offset)
            self._file.seek(self._offset)
            raise
        self._offset += len(data)

    @property
    def size(self) -> int:
        return self._offset

    def mark(self, *, durable: bool) -> None:
        if durable:
            self.sync()

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
        if self._rename is not None:
            self._path.replace(self._rename)

    def abandon(self) -> None:
        """A file that was to be renamed keeps its temporary name: it is not what was asked for."""
        with suppress(OSError):
            self._file.close()

    def __repr__(self) -> str:
        return f"<FileOutput {self._path}, {self._offset} bytes>"


class StreamOutput:
    """A pipe, a terminal, a device: it takes bytes and keeps none."""

    __slots__ = ("_file", "size")
    slow: ClassVar[bool] = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = 0

    @property
    def offset(self) -> None:
        return None

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self.size += len(data)

    def mark(self, *, durable: bool) -> None:
        """There is nothing to keep."""

    def sync(self) -> None:
        """There is nothing to keep."""

    def close(self) -> None:
        self._file.close()

    def abandon(self) -> None:
        with suppress(OSError):
            self._file.close()


class StdOutput:
    """This process's standard output, as it is when it is written to."""

    __slots__ = ("size",)
    slow: ClassVar[bool] = False

    def __init__(self) -> None:
        self.size = 0

    @property
    def offset(self) -> None:
        return None

    def write(self, data: bytes) -> None:
        out = sys.stdout
        binary = getattr(out, "buffer", None)
        if binary is None:  # a notebook's
            out.write(data.decode())
        else:
            out.flush()
            binary.write(data)
        out.flush()
        self.size += len(data)

    def mark(self, *, durable: bool) -> None:
        """There is nothing to keep."""

    def sync(self) -> None:
        """There is nothing to keep."""

    def close(self) -> None:
        """It is not ours."""

    def abandon(self) -> None:
        """Nor is it to be abandoned."""


def open_file(path: Path) -> BinaryIO:
    """The file for reading and writing, unbuffered, made with its folders if it is not there; nothing is cut off.

    What is no regular file is opened for writing only. Raises: OSError.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("x+b", buffering=0)
    return path.open("r+b" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "wb", buffering=0)


def is_stream(path: Path) -> bool:
    """Whether the path is there and is neither file nor folder: a pipe, a device."""
    return path.exists() and not path.is_file() and not path.is_dir()
