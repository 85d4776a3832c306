"""The file of `dbm_store`: everything in here runs in one thread.

Two records for each key: its variants, one after the other, and what has to be known of them without reading them.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from streamcrawl.caching.packing import Compression, Packed, pack_all, split
from streamcrawl.caching.store import VARIANTS
from streamcrawl.caching.stored import TOUCH, CacheStoreError, Call, Found, Oldest, make_folder, whole_of, why
from streamcrawl.streams.counting import count

MARK = b"streamcrawl http cache"
VERSION = b"1"
TOTAL = b"total"
"""Where the sum of all sizes is kept between two runs."""
_DATA, _INDEX = b"d", b"i"
_NOTE = struct.Struct("<dQ")
"""When it was used; bytes of all variants."""

LOW = 0.9
"""Down to this share of `max_size` is removed when it is full."""
SHARE = 20
"""A sync is due when as many times its duration have passed since the last one."""


class DbmFile:
    """Arguments as those of `dbm_store`. Raises: CacheStoreError."""

    def __init__(
        self, path: Path, module: ModuleType, *, max_size: int | None, compress: Compression, max_age: float | None
    ) -> None:
        self._path = path
        self._max_size = max_size
        self._compress: Compression = compress
        self._max_age = max_age
        self._total = 0
        self._due = 0.0
        self.set_aside: Path | None = None
        """Where the file is that was there before, if it was damaged."""
        self.counts: dict[str, int] = {}
        """For the run's stats; whoever takes them puts an empty dict there."""
        self._lock = Lock(path)
        try:
            self._db = self._opened(module)
        except BaseException:
            self._lock.release(clean=not self._lock.was_killed)
            raise

    def _opened(self, module: ModuleType) -> Any:
        if self._path.is_dir():
            raise CacheStoreError(f"cache {self._path}: is a folder; the path of a file is needed")
        try:
            return self._begun(module)
        except CacheStoreError:
            raise
        except Exception as error:  # each module has its own
            if not self._lock.was_killed:
                raise CacheStoreError(f"cache {self._path}: it cannot be opened: {why(error)}") from error
        self.set_aside = _moved_away(self._path)
        try:
            return self._begun(module)
        except Exception as error:
            raise CacheStoreError(f"cache {self._path}: it cannot be opened: {why(error)}") from error

    def _begun(self, module: ModuleType) -> Any:
        db = module.open(os.fspath(self._path), "c")
        try:
            version = db.get(MARK)
            if version is None:
                if next(iter(db.keys()), None) is not None:
                    raise CacheStoreError(f"cache {self._path}: a file of something else; give another path")
                db[MARK] = VERSION
            elif version != VERSION:
                raise CacheStoreError(
                    f"cache {self._path}: its records are of version {version.decode('utf-8', 'replace')}, and this "
                    f"release knows version {VERSION.decode()}; give another path, or delete it"
                )
            if self._max_size is not None:
                total = None if self._lock.was_killed else db.get(TOTAL)
                self._total = int(total) if total is not None else sum(size for _, _, size in _records(db))
                if total is not None:
                    del db[TOTAL]
        except BaseException:
            with suppress(Exception):
                db.close()
            raise
        return db

    def work(self, calls: list[Call]) -> None:
        """Answer these calls, in their order."""
        for call in calls:
            try:
                self._do(call)
            except Exception as error:  # each module has its own
                call.error = CacheStoreError(f"cache {self._path}: {why(error)}")
                call.error.__cause__ = error
        self._sync()

    def _do(self, call: Call) -> None:
        if call.what == "get":
            call.result = self._get(call.key, call.now)
        elif call.draft is not None:
            self._put(call.key, pack_all([call.draft], self._compress)[0], call.now)
        else:
            self._remove(call.key)

    def _get(self, key: bytes, now: float) -> Found:
        data = self._db.get(_DATA + key)
        if data is None:
            return Found([])
        packed, whole = split(data)
        whole = whole and bool(packed)  # one that was cut to nothing is damaged too
        young = [each for each in packed if not self._too_old(each, now)]
        entries, damaged = whole_of(young)
        if damaged or not whole or len(young) < len(packed):
            gone = set(map(id, damaged))
            self._keep(key, [each for each in young if id(each) not in gone], now)
        elif self._max_size is not None and abs(now - self._note(key)[0]) > TOUCH:
            self._db[_INDEX + key] = _NOTE.pack(now, len(data))
        return Found(entries, len(damaged) + (not whole))

    def _put(self, key: bytes, packed: Packed, now: float) -> None:
        before = split(self._db.get(_DATA + key) or b"")[0]
        others = [each for each in before if each.variant != packed.variant and not self._too_old(each, now)]
        kept = [packed, *others[: VARIANTS - 1]]
        size = sum(each.size for each in kept)
        if self._max_size is not None and size > self._max_size:
            count(self.counts, "too_large")
            kept = others
        elif self._max_size is not None and self._total - self._note(key)[1] + size > self._max_size:
            self._make_room(key, size, self._max_size)
        self._keep(key, kept, now)

    def _keep(self, key: bytes, packed: list[Packed], now: float) -> None:
        if not packed:
            self._remove(key)
            return
        data = b"".join(part for each in packed for part in (each.head, each.body))
        if self._max_size is not None:
            self._total += len(data) - self._note(key)[1]
        self._db[_INDEX + key] = _NOTE.pack(now, len(data))
        self._db[_DATA + key] = data

    def _remove(self, key: bytes) -> None:
        if self._max_size is not None:
            self._total -= self._note(key)[1]
        for kind in (_DATA, _INDEX):
            if kind + key in self._db:
                del self._db[kind + key]

    def _note(self, key: bytes) -> tuple[float, int]:
        return _noted(self._db.get(_INDEX + key))

    def _make_room(self, key: bytes, size: int, most: int) -> None:
        """Remove what was unused the longest."""
        oldest = Oldest[bytes](self._total + size - most * LOW)
        for name, used, bytes_ in _records(self._db):
            if name != key:
                oldest.show(used, bytes_, name)
        for name, _ in oldest.names():
            if self._total + size <= most * LOW:
                return
            self._remove(name)
            count(self.counts, "evicted")

    def _too_old(self, packed: Packed, now: float) -> bool:
        return self._max_age is not None and now - packed.stored > self._max_age

    def _sync(self) -> None:
        """Now and then, have the module write what it holds back."""
        sync = getattr(self._db, "sync", None)
        begin = time.monotonic()
        if sync is None or begin < self._due:
            return
        with suppress(Exception):  # a disk that is full says so at the next put as well
            sync()
        took = time.monotonic() - begin
        self._due = begin + max(1.0, SHARE * took)

    def close(self) -> None:
        """Raises: CacheStoreError."""
        try:
            if self._max_size is not None:
                self._db[TOTAL] = str(self._total).encode()
            self._db.close()
        except Exception as error:
            self._lock.release(clean=False)
            raise CacheStoreError(f"cache {self._path}: {why(error)}") from error
        self._lock.release(clean=True)

    def __repr__(self) -> str:
        return f"<DbmFile {self._path}>"


def _records(db: Any) -> list[tuple[bytes, float, int]]:
    """(Key, when used, bytes) of everything. A list: some modules lose their place when a record is removed."""
    keys = [bytes(name) for name in db.keys() if name[:1] == _INDEX]  # noqa: SIM118 - not every module can be iterated
    return [(name[1:], *_noted(db.get(name))) for name in keys]


def _noted(note: bytes | None) -> tuple[float, int]:
    if note is None or len(note) != _NOTE.size:
        return 0.0, 0
    used, size = _NOTE.unpack(note)
    return float(used), int(size)


def _moved_away(path: Path) -> Path:
    """Put the files of the database aside; gives the name of the first."""
    names = [
        each
        for each in sorted(path.parent.iterdir())
        if each.name.startswith(path.name) and not each.name.endswith((".lock", ".damaged"))
    ]
    moved = [each.replace(each.with_name(f"{each.name}.damaged")) for each in names]
    return moved[0] if moved else path


class Lock:
    """The file beside the database that says whose it is: most modules see to nothing when two write at once.

    Args:
        path: Of the database.

    Raises: CacheStoreError if another run has it, or it cannot be made.
    """

    __slots__ = ("_fd", "was_killed")

    def __init__(self, path: Path) -> None:
        name = path.with_name(f"{path.name}.lock")
        try:
            make_folder(path.parent)
            self._fd = os.open(name, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise CacheStoreError(f"cache {path}: {why(error)}") from error
        if not _locked(self._fd):
            os.close(self._fd)
            raise CacheStoreError(f"cache {path}: another run is using it, and a DBM file is for one at a time")
        self.was_killed = os.read(self._fd, 16) == _OPEN
        """Whether the last one that had it never closed it."""
        self._write(_OPEN)

    def _write(self, text: bytes) -> None:
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        os.write(self._fd, text)

    def release(self, *, clean: bool) -> None:
        """Let others have it. `clean`: the database was closed as it should be."""
        if clean:
            self._write(b"")
        os.close(self._fd)


_OPEN = b"open\n"

if sys.platform == "win32":
    import msvcrt

    def _locked(fd: int) -> bool:
        # Far behind the text: a locked byte cannot be read by others there.
        os.lseek(fd, 1 << 20, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        os.lseek(fd, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _locked(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
