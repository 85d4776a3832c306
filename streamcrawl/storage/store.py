"""A place for files that a crawl fetches: a folder, or anything that fsspec reaches."""

from __future__ import annotations

import asyncio
import os
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any, cast

from streamcrawl.errors import SinkError
from streamcrawl.storage.paths import local_path

_numbers = count(1)


class Store:
    """Files by path, under one root.

    Args:
        uri: A path or `file:` URI of a folder, or what fsspec takes ("s3://bucket/prefix", "memory://name").

    fsspec, and what it needs for the scheme, is imported with the first `put`, and not for folders.
    """

    __slots__ = ("_filesystem", "_folder", "_root", "uri")

    def __init__(self, uri: str | os.PathLike[str]) -> None:
        self.uri = os.fspath(uri)
        self._folder = local_path(uri)
        self._filesystem: Any = None
        self._root = ""

    def prepare(self) -> None:
        """Make the folder, and see that it takes files; nothing is asked of other stores. Raises: SinkError."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            probe = self._folder / _temporary("probe")
            probe.open("xb").close()
            probe.unlink()
        except OSError as error:
            raise SinkError(f"store {self.uri}: cannot write {self._folder}: {error.strerror or error}") from error

    async def put(self, path: str, data: bytes) -> None:
        """Store `data` at `path`, in a thread. Readers see the old file or the new one, never a part of it.

        Raises: ValueError for a path that leads out of the store, SinkError if it cannot be written.
        """
        parts = PurePosixPath(path).parts
        if not parts or ".." in parts or parts[0] == "/":
            raise ValueError(f"store {self.uri}: {path!r} is no path within it")
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._put, parts, data)
        except Exception as error:  # each of fsspec's file systems has its own
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise SinkError(f"store {self.uri}: cannot write {path}: {why}") from error

    def _put(self, parts: tuple[str, ...], data: bytes) -> None:
        if self._folder is not None:
            _replace(self._folder.joinpath(*parts), data)
            return
        if self._filesystem is None:
            # fsspec has no annotations.
            from fsspec.core import url_to_fs  # type: ignore[import-untyped] # pyright: ignore

            self._filesystem, self._root = cast("tuple[Any, str]", url_to_fs(self.uri))
        # Object stores show an object once it is whole.
        self._filesystem.pipe_file("/".join((self._root.rstrip("/"), *parts)), data)

    def __repr__(self) -> str:
        return f"<Store {self.uri}>"


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(_temporary(path.name))
    try:
        try:
            temporary.write_bytes(data)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _temporary(name: str) -> str:
    return f".{name}.{os.getpid()}-{next(_numbers)}.part"
