"""Whole files on their way to where they belong: with patience, and where it can be, while they are still growing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeAlias

from streamcrawl.core import Run
from streamcrawl.errors import SinkError
from streamcrawl.feeds.events import Told
from streamcrawl.storage.objects import BLOCK, ObjectLost, Storage, Upload

TRIES = 5
"""How often a file is tried to be stored, in one run."""
PAUSE = 1.0
"""Seconds after the first of them; each further pause is twice as long."""

Convert: TypeAlias = Callable[[Path, Path], None]
"""Makes of the file that was written the one that readers want."""


async def store(run: Run, storage: Storage, told: Told, path: Path, uri: str, growing: Growing | None) -> None:
    """Bring the file to `uri`; a server that is down is waited for. Raises: SinkError."""
    pause = PAUSE
    for tries in range(1, TRIES + 1):
        try:
            if growing is not None and tries == 1:
                await growing.finish()
            else:
                await run.loop.run_in_executor(None, storage.put, path, uri)
            return
        except ObjectLost as error:
            if not error.again or tries == TRIES:
                raise
            told.notice(f"{error}; again in {pause:g} s")
        await asyncio.sleep(pause)
        pause *= 2


async def converted(run: Run, convert: Convert | None, path: Path) -> Path:
    """The file that readers want, made of the one at `path`. Raises: SinkError."""
    if convert is None:
        return path
    made = path.with_name(f"{path.name}.out")
    try:
        await run.loop.run_in_executor(None, convert, path, made)
    except Exception as error:  # of a library that writes the format
        made.unlink(missing_ok=True)
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise SinkError(f"{path} cannot be converted: {' '.join(why.split())}") from error
    return made


class Growing:
    """An object that is uploaded while its file grows, so far as the file will not be cut back any more.

    What fails is begun again with what comes then; in the end the whole file can still be put.
    """

    def __init__(self, run: Run, storage: Storage, told: Told, path: Path, uri: str) -> None:
        self._run = run
        self._storage = storage
        self._told = told
        self._path = path
        self._uri = uri
        self._upload: Upload | None = None
        self._file: BinaryIO | None = None
        self._task: asyncio.Task[None] | None = None
        self._end = 0
        self._sent = 0
        self._failures = 0

    def advance(self, end: int) -> None:
        """The file stays as it is up to `end`."""
        self._end = max(self._end, end)
        if self._task is None and self._end - self._sent >= BLOCK and self._failures < TRIES:
            self._task = self._run.loop.create_task(self._send())

    async def _send(self) -> None:
        try:
            while self._end - self._sent >= BLOCK and self._failures < TRIES:
                await self._run.loop.run_in_executor(None, self._send_block)
        except (SinkError, OSError) as error:
            again = isinstance(error, ObjectLost) and error.again
            self._failures = self._failures + 1 if again else TRIES
            self._told.notice(f"{error}; it is begun again later")
            await self._run.loop.run_in_executor(None, self._drop)
        finally:
            self._task = None

    def _send_block(self) -> None:
        if self._upload is None:
            self._upload = self._storage.upload(self._uri)
            if self._upload is None:  # it takes whole files only
                self._failures = TRIES
                return
            self._file = self._path.open("rb")
        assert self._file is not None
        data = self._file.read(BLOCK)
        self._upload.write(data)
        self._sent += len(data)

    async def finish(self) -> None:
        """The file is whole: send what is left, and show the object. Raises: SinkError."""
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._run.loop.run_in_executor(None, self._finish)

    def _finish(self) -> None:
        if self._upload is None or self._file is None:
            self._storage.put(self._path, self._uri)
            return
        try:
            while data := self._file.read(BLOCK):
                self._upload.write(data)
            self._upload.commit()
        except BaseException:
            self._drop()
            raise
        self._file.close()
        self._upload = self._file = None

    async def abandon(self) -> None:
        """Nothing is shown, and nothing stays."""
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._run.loop.run_in_executor(None, self._drop)

    def _drop(self) -> None:
        upload, self._upload = self._upload, None
        file, self._file = self._file, None
        self._sent = 0
        if upload is not None:
            upload.abandon()
        if file is not None:
            with suppress(OSError):
                file.close()

    def __repr__(self) -> str:
        return f"<Growing {self._path.name}: {self._sent} of {self._end} bytes sent>"
