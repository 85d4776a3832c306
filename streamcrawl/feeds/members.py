"""The output of a compressed feed: whole members only, so that it can be cut between any two of them.

What is not yet a whole member is kept beside it, in the job's own files: a flush need not end a member, however
little came since the last one.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from streamcrawl.errors import SinkError
from streamcrawl.feeds.compression import Codec, Compressor
from streamcrawl.feeds.outputs import Output, open_file


class Rest:
    """What a compressed feed has beyond its last whole member, in a file of the job for each member.

    Args:
        prefix: How the names of the files begin.
        token: (member, bytes) of an earlier run of the job: (number, size).

    A file goes when two flushes have come after its member: then a commit no longer needs it.
    """

    def __init__(self, prefix: Path, token: tuple[int, int] | None) -> None:
        self._prefix = prefix
        self.number, self.size = token or (0, 0)
        self._waiting: list[bytes] = []
        self._past: list[Path] = []
        self._done: list[Path] = []
        self._file: BinaryIO | None = None
        path = self._path(self.number)
        for other in prefix.parent.glob(f"{prefix.name}.rest.*"):
            if other != path or token is None:
                other.unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self._prefix.with_name(f"{self._prefix.name}.rest.{number}")

    def read(self) -> bytes:
        """What there is of an earlier run. Raises: SinkError, OSError."""
        if not self.size:
            return b""
        path = self._path(self.number)
        if not path.exists() or path.stat().st_size < self.size:
            raise SinkError(f"{path} is gone or damaged, and {self.size} bytes of the feed were in it")
        with path.open("rb") as file:
            return file.read(self.size)

    def add(self, data: bytes) -> None:
        self._waiting.append(data)

    def whole(self) -> None:
        """The member is in the feed: another begins."""
        self._close()
        self._done.append(self._path(self.number))
        self._waiting.clear()
        self.number += 1
        self.size = 0

    def write(self, *, durable: bool) -> list[int]:
        """Put to the disk what was added. Gives the token. Raises: OSError."""
        if self._waiting:
            if self._file is None:
                self._file = open_file(self._path(self.number))
            self._file.truncate(self.size)
            self._file.seek(self.size)
            data = memoryview(b"".join(self._waiting))
            size = len(data)
            while data:
                data = data[self._file.write(data) :]
            self._waiting.clear()
            self.size += size
        if durable and self._file is not None:
            os.fsync(self._file.fileno())
        for path in self._past:
            path.unlink(missing_ok=True)
        self._past, self._done = self._done, []
        return [self.number, self.size]

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def close(self) -> None:
        """The files stay: the job may go on from an earlier token."""
        with suppress(OSError):
            self._close()


class MemberOutput:
    """Compresses what is written, and hands on whole members.

    Args:
        below: Where the members go.
        rest: Keeps what is not yet a whole member; None: it is held in memory only, there is no job.

    Every method but `abandon` may raise OSError; what was written by then is kept for the next try.
    """

    slow: ClassVar[bool] = True

    def __init__(self, below: Output, codec: Codec, level: int | None, rest: Rest | None) -> None:
        self._below = below
        self._codec = codec
        self._level = level
        self._rest = rest
        self._compressor: Compressor = codec.compressor(level)
        self._chunks: list[bytes] = []
        self._plain = 0
        self._ready: list[bytes] = []
        self._any = bool(below.offset)
        if rest is not None:
            self._take(rest.read())

    @property
    def offset(self) -> int | None:
        """Bytes up to the end of the last whole member."""
        return self._below.offset

    @property
    def size(self) -> int:
        """Bytes written, compressed, as far as that is known."""
        return (self._below.offset or 0) + sum(map(len, self._chunks)) + sum(map(len, self._ready))

    def write(self, data: bytes) -> None:
        self._deliver()
        if self._rest is not None and data:
            self._rest.add(data)
        self._take(data)
        if self._plain >= self._codec.member:
            self._end_member()
            with suppress(OSError):  # the next write tells: what was given has been taken
                self._deliver()

    def _take(self, data: bytes) -> None:
        if data:
            self._chunks.append(self._compressor.compress(data))
            self._plain += len(data)

    def _end_member(self) -> None:
        self._chunks.append(self._compressor.flush())
        self._ready.append(b"".join(self._chunks))
        self._chunks = []
        self._plain = 0
        self._any = True
        self._compressor = self._codec.compressor(self._level)

    def _deliver(self) -> None:
        if self._ready:
            self._below.write(b"".join(self._ready))
            self._ready.clear()
            if self._rest is not None:
                self._rest.whole()

    def mark(self, *, durable: bool) -> Any:
        """Make safe what was written; gives what a resumed run needs beside the offset."""
        self._deliver()
        if self._rest is not None:
            token = self._rest.write(durable=durable)
            if durable:
                self._below.sync()
            return token
        if durable and self._plain:
            self._end_member()
            self._deliver()
        if durable:
            self._below.sync()
        return None

    def sync(self) -> None:
        self._below.sync()

    def close(self) -> None:
        self.finish()
        self._below.close()
        if self._rest is not None:
            self._rest.close()

    def finish(self) -> None:
        """End the last member; a feed of nothing is an empty one."""
        if self._plain or not (self._any or self._ready):
            self._end_member()
        self._deliver()

    def abandon(self) -> None:
        self._below.abandon()
        if self._rest is not None:
            self._rest.close()

    def __repr__(self) -> str:
        return f"<MemberOutput {self._below!r}: {self._plain} bytes in {self._codec.name} to come>"
