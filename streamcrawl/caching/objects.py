"""What `fs_store` writes to: named objects in a folder, or in anything that fsspec reaches.

Everything in here blocks: it is called in threads.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from streamcrawl.caching.stored import CacheStoreError, make_folder, why

MARK = "CACHEDIR.TAG"
"""Backup programs know it, and leave out the folder (https://bford.info/cachedir/)."""
_SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55\n"
_OURS = "# HTTP cache of streamcrawl, version "
VERSION = 1
MARKED = f"{_SIGNATURE}{_OURS}{VERSION}\n".encode()

_NAME = re.compile(r"[0-9a-f]{2}/[0-9a-f]{30,}")
_TEMPORARY = re.compile(r"\.[0-9a-f]+\.\d+-\d+\.part")
STALE = 3600.0
"""Seconds after which a temporary file was left by somebody who was killed."""

FLAT = ("abfs", "abfss", "adl", "az", "gcs", "gs", "oci", "oss", "s3", "s3a")
"""Schemes without folders: what is not found when it is written is the bucket, and that is not ours to make."""

_numbers = count(1)


class Stored(NamedTuple):
    """One object in a listing. `used`: when it was read or written last, as far as that is known."""

    name: str
    size: int
    used: float


class Objects(Protocol):
    """Named objects. A name is "ab/cdef…", in hexadecimal digits. Whatever fails raises an Exception of any kind."""

    def prepare(self) -> None:
        """See that it can be used. Raises: CacheStoreError."""
        ...

    def read(self, name: str, now: float, touch: float | None) -> bytes | None:
        """What is there, or None. Where it costs little, a use is noted if the last one is `touch` seconds old."""
        ...

    def write(self, name: str, parts: list[bytes | memoryview], now: float) -> None:
        """The object has these bytes then, or those from before, where the file system can do that."""
        ...

    def remove(self, name: str) -> None:
        """Nothing happens if it is not there."""
        ...

    def listed(self, now: float) -> Iterator[Stored]:
        """All objects, a part of them after the other in memory."""
        ...


class Folder:
    """Objects in a folder of this machine."""

    __slots__ = ("_label", "_root")

    def __init__(self, label: str, root: Path) -> None:
        self._label = label
        self._root = root

    def prepare(self) -> None:
        try:
            make_folder(self._root)
            mark = self._root / MARK
            if mark.exists():
                check_mark(self._label, mark.read_bytes())
                mark.touch()  # is it ours to write?
                return
            # Another process may be writing the mark just now.
            foreign = next((path.name for path in self._root.iterdir() if f".{MARK}." not in path.name), None)
            if foreign is not None and not mark.exists():
                raise CacheStoreError(
                    f"{self._label}: no cache of ours is there, but other files ({foreign!r}); "
                    "give a new or an empty folder"
                )
            _replace(mark, [MARKED])
        except OSError as error:
            raise CacheStoreError(f"{self._label}: {why(error)}") from error

    def read(self, name: str, now: float, touch: float | None) -> bytes | None:
        path = self._root / name
        try:
            with path.open("rb", buffering=0) as file:
                data = file.readall()
                if touch is not None and abs(now - os.fstat(file.fileno()).st_mtime) > touch:
                    os.utime(path, (now, now))
        except FileNotFoundError:
            return None
        return data

    def write(self, name: str, parts: list[bytes | memoryview], now: float) -> None:
        _replace(self._root / name, parts, now)

    def remove(self, name: str) -> None:
        (self._root / name).unlink(missing_ok=True)

    def listed(self, now: float) -> Iterator[Stored]:
        for folder in sorted(os.listdir(self._root)):  # noqa: PTH208 - names alone are wanted
            if len(folder) == 2:
                yield from self._listed(folder)

    def _listed(self, folder: str) -> Iterator[Stored]:
        try:
            with os.scandir(self._root / folder) as entries:
                for entry in entries:
                    try:
                        found = entry.stat()
                    except FileNotFoundError:
                        continue  # another process was faster
                    name = f"{folder}/{entry.name}"
                    if _NAME.fullmatch(name):
                        yield Stored(name, found.st_size, found.st_mtime)
                    elif _TEMPORARY.fullmatch(entry.name) and time.time() - found.st_ctime > STALE:
                        Path(entry.path).unlink(missing_ok=True)
        except NotADirectoryError:
            return


def _replace(path: Path, parts: list[bytes | memoryview], now: float | None = None) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{next(_numbers)}.part")
    try:
        try:
            _write(temporary, parts)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(temporary, parts)
        if now is not None:
            os.utime(temporary, (now, now))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write(path: Path, parts: list[bytes | memoryview]) -> None:
    with path.open("wb") as file:
        file.writelines(parts)


class Remote:
    """Objects behind fsspec, which is imported with the first use.

    Args:
        options: What fsspec's file system is made with.
    """

    __slots__ = ("_filesystem", "_flat", "_label", "_options", "_root", "_uri")

    def __init__(self, label: str, uri: str, options: Mapping[str, Any]) -> None:
        self._label = label
        self._uri = uri
        self._options = options
        self._flat = uri.partition(":")[0] in FLAT
        self._filesystem: Any = None
        self._root = ""

    def prepare(self) -> None:
        try:
            self._connect()
            mark = self._read(MARK)
            if mark is None:
                self.write(MARK, [MARKED], 0.0)
        except Exception as error:  # each of fsspec's file systems has its own
            raise CacheStoreError(f"{self._label}: it cannot be used: {why(error)}") from error
        if mark is not None:
            check_mark(self._label, mark)

    def _connect(self) -> None:
        # fsspec has no annotations.
        from fsspec.core import url_to_fs  # type: ignore[import-untyped] # pyright: ignore

        # s3fs would ask for the size of each object first, to fetch large ones in parts: two requests for one.
        single = {"max_concurrency": 1} if self._uri.startswith(("s3:", "s3a:")) else {}
        self._filesystem, root = cast("tuple[Any, str]", url_to_fs(self._uri, **{**single, **self._options}))
        self._root = root.rstrip("/")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _read(self, name: str) -> bytes | None:
        try:
            return bytes(self._filesystem.cat_file(self._path(name)))
        except FileNotFoundError:
            return None

    def read(self, name: str, now: float, touch: float | None) -> bytes | None:
        return self._read(name)

    def write(self, name: str, parts: list[bytes | memoryview], now: float) -> None:
        path, data = self._path(name), b"".join(parts)
        try:
            self._filesystem.pipe_file(path, data)
        except FileNotFoundError:
            if self._flat:
                raise
            self._filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._filesystem.pipe_file(path, data)

    def remove(self, name: str) -> None:
        try:
            self._filesystem.rm_file(self._path(name))
        except FileNotFoundError:
            return

    def listed(self, now: float) -> Iterator[Stored]:
        later = now - time.time()  # its dates are not those of the run's clock
        for folder in self._ls(self._root):
            if folder["type"] != "directory":
                continue
            short = folder["name"].rstrip("/").rpartition("/")[2]
            for each in self._ls(self._path(short)) if len(short) == 2 else ():
                name = f"{short}/{each['name'].rpartition('/')[2]}"
                if each["type"] == "file" and _NAME.fullmatch(name):
                    yield Stored(name, each["size"] or 0, _written(each) + later)

    def _ls(self, path: str) -> list[dict[str, Any]]:
        self._filesystem.invalidate_cache(path)
        try:
            return cast("list[dict[str, Any]]", self._filesystem.ls(path, detail=True))
        except FileNotFoundError:
            return []


def check_mark(label: str, mark: bytes) -> None:
    """Raises: CacheStoreError if this mark is not that of a cache of ours that this release can read."""
    text = mark.decode("utf-8", "replace")
    _, ours, version = text.partition(_OURS)
    if not ours:
        raise CacheStoreError(f"{label}: its {MARK} says that it is a cache of something else; give another place")
    if version.strip() != str(VERSION):
        raise CacheStoreError(
            f"{label}: it is of version {version.strip()}, and this release knows version {VERSION}; "
            "give another place, or delete it"
        )


def _written(info: dict[str, Any]) -> float:
    """When it was written, as fsspec's file systems call it; 0 where they do not tell."""
    for name in ("LastModified", "mtime", "last_modified", "modified", "updated", "created"):
        value = info.get(name)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, (int, float)):
            return float(value)
        if isinstance(value, str):
            try:
                return datetime.fromisoformat(value).timestamp()
            except ValueError:
                continue
    return 0.0
