"""A store whose work blocks, done in threads, with a file in pieces as it comes."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterable, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any, Protocol, TypeAlias, TypeVar

from streamcrawl.storage.store import Chunks, Meta, Stat, StoreError, reason

T = TypeVar("T")

Block: TypeAlias = bytes | bytearray | memoryview

SINGLE = frozenset(
    {errno.EILSEQ, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ENOTEMPTY}
)
"""What is the matter with one path, and not with the store."""


class Upload(Protocol):
    """A file on its way in pieces. Its methods block."""

    def write(self, part: Block) -> None:
        """What is to be kept of it beyond this is copied: its memory is used again."""
        ...

    def commit(self) -> None:
        """All is written: from now on readers see it."""
        ...

    def abort(self) -> None:
        """Throw away what was written; it must not raise for what is not there."""
        ...


class Blocking(Protocol):
    """A store whose methods block, and are called in threads. Paths were checked."""

    @property
    def part(self) -> int:
        """Bytes of a piece: each but the last has exactly so many."""
        ...

    @property
    def at_once(self) -> int:
        """How many files it takes at once."""
        ...

    def check(self) -> None:
        """See that it takes files, as far as that can be seen."""
        ...

    def put(self, path: str, data: Block, meta: Meta) -> None: ...

    def begin(self, path: str, meta: Meta) -> Upload: ...

    def stat(self, path: str, digest: str) -> Stat | None: ...

    def read(self, path: str) -> bytes: ...

    def delete(self, path: str) -> bool: ...

    def list(self, folder: str) -> dict[str, Stat]: ...

    def url(self, path: str) -> str: ...

    def close(self) -> None: ...


class Threaded:
    """A `Store` made of what blocks."""

    __slots__ = ("_files", "_name", "_places", "_threads")

    def __init__(self, name: str, files: Blocking) -> None:
        self._name = name
        self._files = files
        self._threads: ThreadPoolExecutor | None = None
        self._places: asyncio.Semaphore | None = None

    def check(self) -> None:
        """See that it takes files. Blocks. Raises: StoreError."""
        try:
            self._files.check()
        except Exception as error:
            raise self._failure("cannot be written", "", error) from error

    async def put(self, path: str, data: Chunks, meta: Meta = Meta()) -> None:  # noqa: B008 - it is frozen
        self._checked(path)
        async with self._place():
            if not isinstance(data, AsyncIterable):
                await self._do("cannot write", path, lambda: self._files.put(path, data, meta))
                return
            parts = in_parts(data, self._files.part)
            first = await anext(parts, b"")
            second = await anext(parts, None) if len(first) >= self._files.part else None
            if second is None:
                await self._do("cannot write", path, lambda: self._files.put(path, first, meta))
            else:
                await self._put_parts(path, meta, first, second, parts)

    async def _put_parts(self, path: str, meta: Meta, first: Block, second: Block, parts: AsyncIterator[Block]) -> None:
        upload = await self._do("cannot write", path, lambda: self._files.begin(path, meta))
        writing = self._writing(path, upload, first)
        try:
            await writing
            writing = self._writing(path, upload, second)
            async for part in parts:  # the next one is read while this one is written
                await writing
                writing = self._writing(path, upload, part)
            await writing
            await self._do("cannot write", path, upload.commit)
        except BaseException:
            await asyncio.shield(self._aborted(path, upload, writing))
            raise

    def _writing(self, path: str, upload: Upload, part: Block) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._do("cannot write", path, lambda: upload.write(part)))

    async def _aborted(self, path: str, upload: Upload, writing: asyncio.Future[None]) -> None:
        await asyncio.wait([writing])
        if not writing.cancelled():
            writing.exception()  # it was raised already, or is of no interest beside what was
        with suppress(StoreError):  # what happened before is what is told
            await self._do("cannot delete", path, upload.abort)

    async def stat(self, path: str, digest: str = "") -> Stat | None:
        self._checked(path)
        async with self._place():
            return await self._do("cannot look up", path, lambda: self._files.stat(path, digest))

    async def read(self, path: str) -> bytes:
        self._checked(path)
        async with self._place():
            return await self._do("cannot read", path, lambda: self._files.read(path))

    async def delete(self, path: str) -> bool:
        self._checked(path)
        async with self._place():
            return await self._do("cannot delete", path, lambda: self._files.delete(path))

    async def list(self, folder: str = "") -> dict[str, Stat]:
        if folder:
            self._checked(folder)
        async with self._place():
            return await self._do("cannot list", folder, lambda: self._files.list(folder))

    def url(self, path: str) -> str:
        self._checked(path)
        return self._files.url(path)

    async def close(self) -> None:
        threads, self._threads = self._threads, None
        await asyncio.get_running_loop().run_in_executor(None, self._files.close)
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)

    # -- how -------------------------------------------------------------------------------------------------------

    def _checked(self, path: str) -> None:
        """Raises: StoreError for a path that leads out of the store."""
        parts = PurePosixPath(path).parts
        if not parts or ".." in parts or path != "/".join(parts) or path.startswith("/") or "\0" in path:
            raise StoreError(f"store {self._name}: {path!r} is no path within it", single=True)

    def _place(self) -> asyncio.Semaphore:
        if self._places is None:
            self._places = asyncio.Semaphore(self._files.at_once)
        return self._places

    async def _do(self, what: str, path: str, work: Callable[[], T]) -> T:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(min(self._files.at_once, 16), thread_name_prefix="store")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except Exception as error:  # each of fsspec's file systems has its own
            raise self._failure(what, path, error) from error

    def _failure(self, what: str, path: str, error: Exception) -> StoreError:
        if isinstance(error, StoreError):
            return error
        single = isinstance(error, (UnicodeError, ValueError)) or getattr(error, "errno", None) in SINGLE
        return StoreError(
            f"store {self._name}: {f'{what} {path}'.strip()}: {reason(error)}", single=single and bool(path)
        )

    def __repr__(self) -> str:
        return f"<Store {self._name}>"


async def in_parts(chunks: AsyncIterable[bytes], size: int) -> AsyncIterator[memoryview]:
    """The same bytes in parts of exactly `size`, but for the last one.

    There are two buffers, used in turn: a part stays as it is while the next one is read.
    """
    spare, buffer, filled = bytearray(), bytearray(size), 0
    async for chunk in chunks:
        begin = 0
        while len(chunk) - begin >= size - filled:
            end = begin + size - filled
            buffer[filled:] = memoryview(chunk)[begin:end]
            begin, filled = end, 0
            spare, buffer = buffer, spare or bytearray(size)
            yield memoryview(spare)
        rest = len(chunk) - begin
        buffer[filled : filled + rest] = memoryview(chunk)[begin:]
        filled += rest
    if filled:
        yield memoryview(buffer)[:filled]


async def in_blocks(chunks: AsyncIterable[bytes], size: int) -> AsyncIterator[Any]:
    """The same bytes in blocks of exactly `size`, but for the last one. Each is given away: it is not kept."""
    block = bytearray()
    async for chunk in chunks:
        begin = 0
        while len(block) + len(chunk) - begin >= size:
            end = begin + size - len(block)
            block += chunk[begin:end] if begin or end < len(chunk) else chunk
            begin = end
            full, block = block, bytearray()
            yield full
            del full
        block += chunk[begin:] if begin else chunk
    if block:
        yield block
