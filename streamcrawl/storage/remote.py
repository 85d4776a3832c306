"""What fsspec reaches, as a store."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from os import getpid
from typing import Any, cast

from streamcrawl.storage.objects import WHOLE
from streamcrawl.storage.store import Meta, Place, Stat
from streamcrawl.storage.threaded import Block, Upload

_numbers = count(1)

SFTP = {"connect_timeout": 30, "keepalive_interval": 15, "known_hosts": (), "skip_instance_cache": True}
"""Else a server that has gone without a word is waited for without end, any key is taken for the server's (`()`: it has
to be among OpenSSH's known hosts), and a connection that was lost is used again."""


class Remote:
    """Files below a place of one of fsspec's file systems."""

    part = 5 * 1024 * 1024
    at_once = 16

    def __init__(self, place: Place) -> None:
        self._fs, root = self._reached(place)
        self._root = root.rstrip("/")
        self._is_whole = place.scheme in WHOLE
        self._is_sftp = place.scheme in ("sftp", "ssh")

    def _reached(self, place: Place) -> tuple[Any, str]:
        """The file system, and where in it."""
        # fsspec has no annotations.
        from fsspec.core import url_to_fs  # type: ignore[import-untyped] # pyright: ignore

        options = {**(SFTP if place.scheme in ("sftp", "ssh") else {}), **place.storage}
        return cast("tuple[Any, str]", url_to_fs(place.uri, **options))

    def check(self) -> None:
        """See that the bucket is there and the credentials are known; of other stores nothing is asked."""
        bucket = self._root.partition("/")[0]
        if self._is_whole and self._fs.protocol != "memory":
            try:
                self._fs.ls(bucket, detail=False)
            except FileNotFoundError as error:
                raise FileNotFoundError(f"there is no bucket {bucket!r}") from error

    def put(self, path: str, data: Block, meta: Meta) -> None:
        target = self._at(path)
        if self._is_whole:
            self._fs.pipe_file(target, bytes(data))
            return
        self._fs.makedirs(self._fs._parent(target), exist_ok=True)
        temporary = _temporary(target)
        self._fs.pipe_file(temporary, bytes(data))
        self._fs.mv(temporary, target)

    def begin(self, path: str, meta: Meta) -> Upload:
        target = self._at(path)
        if not self._is_whole:
            self._fs.makedirs(self._fs._parent(target), exist_ok=True)
        # In fsspec's memory an open file is there from the beginning.
        return _Growing(self._fs, target, self._is_whole and self._fs.protocol != "memory", self.part)

    def stat(self, path: str, digest: str) -> Stat | None:
        self._fs.invalidate_cache()
        try:
            info = self._fs.info(self._at(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        if info["type"] != "file":
            return None
        return self._stat(info, self._at(path), digest)

    def _stat(self, info: dict[str, Any], target: str, digest: str) -> Stat:
        checksum = None
        if digest:
            checksum = self._digest(target, digest)
        return Stat(_modified(info), int(info["size"] or 0), checksum)

    def _digest(self, target: str, digest: str) -> str | None:
        """It would have to be read."""
        return None

    def read(self, path: str) -> bytes:
        return bytes(self._fs.cat_file(self._at(path)))

    def delete(self, path: str) -> bool:
        try:
            self._fs.rm_file(self._at(path))
        except FileNotFoundError:
            return False
        return True

    def list(self, folder: str) -> dict[str, Stat]:
        self._fs.invalidate_cache()
        start = len(self._root) + 1 if self._root else 0
        found = self._fs.find(self._at(folder), detail=True)
        return {name[start:]: Stat(_modified(info), int(info["size"] or 0)) for name, info in sorted(found.items())}

    def url(self, path: str) -> str:
        return str(self._fs.unstrip_protocol(self._at(path)))

    def close(self) -> None:
        """fsspec keeps its connections, for whoever opens the same store again; but one of SFTP is this store's own."""
        if self._is_sftp:
            from fsspec.asyn import sync  # type: ignore[import-untyped] # pyright: ignore

            with suppress(Exception):  # it may be lost already
                cast("Any", sync)(self._fs.loop, _hung_up, self._fs, timeout=5)

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._root}>"


async def _hung_up(fs: Any) -> None:
    """What sshfs does when its object is collected, in whatever loop that happens."""
    await fs._pool.close()
    await fs._stack.aclose()


class _Growing:
    """A file that is being written: in parts that are made whole at the end, or under another name."""

    def __init__(self, fs: Any, target: str, is_whole: bool, part: int) -> None:
        self._fs = fs
        self._target = target
        self._temporary = target if is_whole else _temporary(target)
        # Pieces are a matter of stores that have them: a server of SFTP hangs up on one who sends 5 MiB in a packet.
        self._file = fs.open(self._temporary, "wb", **({"block_size": part} if is_whole else {}))

    def write(self, part: Block) -> None:
        self._file.write(bytes(part))

    def commit(self) -> None:
        self._file.close()
        if self._temporary != self._target:
            self._fs.mv(self._temporary, self._target)

    def abort(self) -> None:
        # Closing it would make a whole file of what was written.
        with suppress(Exception):
            self._file.discard()
        with suppress(AttributeError):
            self._file.closed = True
        if self._temporary != self._target:
            with suppress(Exception):
                self._fs.rm_file(self._temporary)


def _modified(info: dict[str, Any]) -> float:
    """Seconds since the epoch. A time without its zone is UTC."""
    for name in ("mtime", "LastModified", "last_modified", "modified", "updated", "created"):
        value = info.get(name)
        if isinstance(value, (int, float)):
            return float(value)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return 0.0


def _temporary(target: str) -> str:
    folder, _, name = target.rpartition("/")
    return f"{folder}/.{name[:100]}.{getpid()}-{next(_numbers)}.part"
