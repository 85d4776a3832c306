"""Which fingerprints were seen: an exact set on disk whose speed and memory do not depend on its size.

Fingerprints are random, so a hash table needs no hash of its own, and so large that no cache helps: what counts is the
number of system calls. A file (a *level*) is an open-addressing table of fixed capacity, and where it is full the next,
larger one begins; nothing is ever moved. A lookup of an absent key reads one bucket in each level.

    level   = header (one page), buckets
    header  = magic, slots, keys, settled (1: the number of keys is right, 0: a writer was at it)
    bucket  = 32 slots of 16 bytes, filled in order; the rest is zero; a full bucket continues in the next one
    bucket of a key = its upper 32 bits, scaled: sorted keys lie in the order of their buckets
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable
from io import FileIO
from pathlib import Path
from struct import Struct

KEY = 16
SLOTS = 32
BUCKET = KEY * SLOTS
PAGE = 4096
"""Bytes of the header: buckets then never straddle the pages of the file's cache."""

FIRST = 1024 * 1024
"""Slots of the first level: it costs 16 MB of disk at most, and each level costs a lookup some 1.3 us."""

GROWTH = 4
"""How many times larger the next level is."""

GATHERED = 16 * 1024
"""Fresh keys that are written together where no commit has to come first."""

_MAGIC = b"scseen\x01\n"
_HEADER = Struct("<8sQQQ")
_upper = Struct(">I").unpack_from
_NUMBER = re.compile("0|[1-9][0-9]*")
_EMPTY = bytes(KEY)
_LAST = BUCKET - KEY
_ZERO = bytes.fromhex("7d0c35a1e8f94b26b3d7604ec2915fa8")
"""What stands in the files for the key of zeroes, which is how an empty slot looks. Any value as random as a key."""


class DamagedFile(ValueError):
    """A file of the set that is not as it was left. Delete them all and fill the set again."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name


def seek_and_read(fd: int, size: int, offset: int) -> bytes:
    os.lseek(fd, offset, os.SEEK_SET)
    return os.read(fd, size)


def seek_and_write(fd: int, data: bytes, offset: int) -> int:
    os.lseek(fd, offset, os.SEEK_SET)
    return os.write(fd, data)


# Windows has no pread. No mmap: pages that are mapped count as the process's memory.
read_at: Callable[[int, int, int], bytes] = getattr(os, "pread", seek_and_read)
write_at: Callable[[int, bytes, int], int] = getattr(os, "pwrite", seek_and_write)


def _write_all(fd: int, data: bytes, offset: int) -> None:
    # A disk that fills up takes a part first, and tells why when asked to take the rest.
    while (written := write_at(fd, data, offset)) < len(data):
        data, offset = data[written:], offset + written


def _holds(bucket: bytes, key: bytes) -> bool:
    """Whether one of the bucket's slots is the key: the end of one and the beginning of the next may look like it."""
    at = bucket.find(key)
    while at >= 0 and at % KEY:
        at = bucket.find(key, at + 1)
    return at >= 0


def _used(bucket: bytes) -> int:
    """Bytes of the bucket's slots in use. No key is all zeroes, but one may end in zeroes."""
    return -(-len(bucket.rstrip(b"\0")) // KEY) * KEY


def _expect_random(fd: int) -> None:
    """Tell the system, where it listens, not to read ahead: it would bring in 32 pages for each that is asked for."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)


def _as_stored(keys: list[bytes]) -> list[bytes]:
    """The keys as they stand in a file, those of a bucket together."""
    keys = sorted(keys)
    if keys[0] == _EMPTY:
        keys[0] = _ZERO
    return keys


class Level:
    """One file: a hash table of fixed capacity."""

    def __init__(self, file: FileIO, name: str, slots: int, keys: int, settled: bool) -> None:
        self._file = file
        self.name = name
        self.slots = slots
        self.keys = keys
        self.fd = file.fileno()
        self.buckets = slots // SLOTS
        self.shift = 33 - self.buckets.bit_length()
        """By how much the upper 32 bits of a key are shifted to give its bucket."""
        self.room = slots * 3 // 4 - keys
        """Keys that it takes before the next level begins."""
        self._settled = settled

    @classmethod
    def begin(cls, file: FileIO, name: str, slots: int) -> Level:
        """Make the file, which is empty, an empty table. The header comes last: without it nothing was begun."""
        try:
            file.truncate(PAGE + slots * KEY)
            level = cls(file, name, slots, 0, True)
            level.settle()
            _expect_random(level.fd)
        except BaseException:
            file.close()
            raise
        return level

    @classmethod
    def open(cls, path: Path) -> Level | None:
        """The table in the file; None if it was never begun. Raises: DamagedFile, OSError."""
        file = FileIO(path, "r+b")
        try:
            size = os.fstat(file.fileno()).st_size
            header = read_at(file.fileno(), _HEADER.size, 0)
            if not header.strip(b"\0"):
                file.close()
                return None
            if len(header) < _HEADER.size:
                raise DamagedFile(str(path), f"its header has {len(header)} bytes instead of {_HEADER.size}")
            magic, slots, keys, settled = _HEADER.unpack(header)
            if magic != _MAGIC:
                raise DamagedFile(str(path), f"it begins with {magic!r} instead of {_MAGIC!r}")
            if not _possible(slots) or size != PAGE + slots * KEY:
                raise DamagedFile(str(path), f"it has {size} bytes, which is not right for {slots} slots")
            level = cls(file, str(path), slots, keys, bool(settled))
            if not settled or keys > slots:
                level.count()
            _expect_random(level.fd)
        except BaseException:
            file.close()
            raise
        return level

    def settle(self, settled: bool = True) -> None:
        """Note in the file how many keys it has; or that whoever opens it must count them."""
        _write_all(self.fd, _HEADER.pack(_MAGIC, self.slots, self.keys, settled), 0)
        self._settled = settled

    def count(self) -> None:
        """Count the keys: whoever wrote last was killed and did not note their number."""
        keys, span = 0, 2048 * BUCKET
        for offset in range(PAGE, PAGE + self.slots * KEY, span):
            data = read_at(self.fd, span, offset)
            if not data.strip(b"\0"):
                continue
            keys += sum(_used(data[at : at + BUCKET]) for at in range(0, len(data), BUCKET)) // KEY
        self.room += self.keys - keys
        self.keys = keys

    def read(self, bucket: int) -> bytes:
        data = read_at(self.fd, BUCKET, PAGE + bucket * BUCKET)
        if len(data) < BUCKET:
            raise DamagedFile(self.name, f"it ends in bucket {bucket} of {self.buckets}: somebody has cut it")
        return data

    def holds(self, key: bytes) -> bool:
        """Whether the key is in it, with all that is rare. `key`: not the one of zeroes."""
        first = _upper(key)[0] >> self.shift
        for step in range(self.buckets):
            data = self.read((first + step) % self.buckets)
            if _holds(data, key):
                return True
            if data.endswith(_EMPTY):
                return False
        return False

    def insert(self, keys: list[bytes]) -> None:
        """Take the keys in, those that it lacks. `keys`: those of a bucket together; no more than there is room for."""
        if self._settled:
            self.settle(False)
        shift = self.shift
        bucket, group = -1, list[bytes]()
        for key in keys:
            its = _upper(key)[0] >> shift
            if its != bucket:
                if group:
                    self._put(bucket, group)
                bucket, group = its, []
            group.append(key)
        if group:
            self._put(bucket, group)

    def _put(self, first: int, group: list[bytes]) -> None:
        """Take in keys of the same bucket."""
        for step in range(self.buckets):
            bucket = (first + step) % self.buckets
            data = self.read(bucket)
            group = [key for key in group if key not in data or not _holds(data, key)]
            used = _used(data)
            taken = group[: (BUCKET - used) // KEY]
            if taken:
                _write_all(self.fd, b"".join(taken), PAGE + bucket * BUCKET + used)
                self.keys += len(taken)
                self.room -= len(taken)
                group = group[len(taken) :]
            if not group:
                return
        raise DamagedFile(self.name, f"no slot of {self.slots} is free, where {self.keys} keys are said to be in it")

    def close(self, sync: bool) -> None:
        """Note the number of keys, see everything onto the disk if so wished, and let the file go."""
        try:
            if not self._settled:
                self.settle()
            if sync:
                os.fsync(self.fd)
        finally:
            self._file.close()

    def abandon(self) -> None:
        """Let the file go as it is."""
        self._file.close()


def _possible(slots: int) -> bool:
    return slots >= SLOTS and slots & (slots - 1) == 0 and slots // SLOTS <= 1 << 32


def _checked(name: str, value: int) -> int:
    if not _possible(value):
        raise ValueError(f"{name} is {value}; it must be a power of two, {SLOTS} or more")
    return value


def delete(path: Path) -> None:
    """Delete the files of the set at `path`, whatever state they are in."""
    # The first one first: if this is interrupted, what is left is told as damaged and not taken for the set.
    for file in _files(path).values():
        file.unlink(missing_ok=True)


def _files(path: Path) -> dict[int, Path]:
    """The levels' files by number, in order."""
    prefix = f"{path.name}."
    endings = {file.name[len(prefix) :]: file for file in path.parent.iterdir() if file.name.startswith(prefix)}
    return dict(sorted((int(ending), file) for ending, file in endings.items() if _NUMBER.fullmatch(ending)))


def _sync_directory(path: Path) -> None:
    if os.name != "nt":  # there a directory cannot be opened, nor need be
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class Seen:
    """A set of fingerprints: keys of 16 random bytes each. It only grows.

    With a path, what was added is *fresh*, and in memory, until `write` brings it into the files; a process that is
    killed loses its fresh keys and no others. A power cut may take any that were written since the files were opened:
    then `forget` and fill the set again, unless they were closed with `sync`. Without a path the set is in memory as
    long as it is small; from then on new keys go, by themselves, to temporary files that nobody else sees.

    Args:
        path: The files' name, to which a number is added; its directory is there. None: no files that stay.
        memory: Keys that are kept in memory where there is no path; 0 or more.
        first: Slots of the first file, a power of two, 32 or more; a slot takes 16 bytes, and a quarter stays free.
        growth: How many times larger the next file is; a power of two.

    Raises: DamagedFile, when built or at any use, if a file is not as it was left: `delete` or `forget` and fill the
    set again. OSError, if the disk is full, for example; what was fresh still is. ValueError for a wrong argument.
    """

    def __init__(self, path: Path | None, *, memory: int, first: int = FIRST, growth: int = GROWTH) -> None:
        if memory < 0:
            raise ValueError(f"memory is {memory}; it must be 0 keys or more")
        if growth < 1 or growth & (growth - 1):
            raise ValueError(f"growth is {growth}; it must be a power of two")
        self._path = path
        self._memory = 0 if path else memory
        self._first = _checked("first", first)
        self._growth = growth
        self._levels: list[Level] = []
        self._begin()
        if path is not None:
            self._open(path)

    def _begin(self) -> None:
        self._fresh: set[bytes] = set()
        self._kept: set[bytes] | None = set() if self._memory == 0 else None
        """Keys that stay in memory; None: there is room in memory, and all are among the fresh ones."""
        self._most = None if self._path else self._memory or GATHERED
        self._tables: tuple[tuple[int, int, Level], ...] = ()

    def _open(self, path: Path) -> None:
        try:
            for number, file in _files(path).items():
                if number != len(self._levels):
                    missing = path.with_name(f"{path.name}.{len(self._levels)}")
                    raise DamagedFile(str(missing), f"it is missing or empty, and {file.name} is there")
                level = Level.open(file)
                if level is not None:
                    self._levels.append(level)
        except BaseException:
            self._abandon()
            raise
        self._index()

    def _index(self) -> None:
        # What a lookup needs, and nothing else to be looked up: it is asked for each link.
        self._tables = tuple((level.fd, level.shift, level) for level in reversed(self._levels))

    def _abandon(self) -> None:
        for level in self._levels:
            level.abandon()
        self._levels.clear()
        self._index()

    def __contains__(self, key: bytes) -> bool:
        if key in self._fresh or (self._kept and key in self._kept):
            return True
        tables = self._tables
        if not tables:
            return False
        upper = _upper(key)[0]
        for fd, shift, level in tables:
            bucket = read_at(fd, BUCKET, (upper >> shift) * BUCKET + PAGE)
            at = bucket.find(key)
            if at >= 0 and at % KEY == 0 and key != _EMPTY:
                return True
            # Not in the bucket; unless it looks so for a rare reason, or the bucket is full, or the file was cut.
            if (at >= 0 or bucket[_LAST:] != _EMPTY) and level.holds(_ZERO if key == _EMPTY else key):
                return True
        return False

    def add(self, key: bytes) -> None:
        """Take a key in that is not there yet: one that is written already would take another slot, and count twice."""
        self._fresh.add(key)
        if self._most is not None and len(self._fresh) >= self._most:
            self.write()

    def write(self) -> None:
        """Bring the fresh keys into the files; without a path, as soon as there are too many for memory.

        Raises: OSError, DamagedFile; what could not be written is fresh still.
        """
        if self._kept is None:
            if len(self._fresh) >= self._memory:
                self._kept, self._fresh, self._most = self._fresh, set(), GATHERED
            return
        if not self._fresh:
            return
        if wrong := set(map(len, self._fresh)) - {KEY}:
            raise ValueError(f"a key has {wrong.pop()} bytes; it must have {KEY}")
        # A level gets keys in the order of the set, which is random: the lowest alone would crowd its first buckets.
        keys = list(self._fresh)
        done = 0
        while done < len(keys):
            level = self._newest()
            some = keys[done : done + level.room]
            self._bring(some, level)
            done += len(some)

    def _bring(self, keys: list[bytes], level: Level) -> None:
        """Move fresh keys into the level."""
        there: Iterable[bytes] = ()
        try:
            level.insert(_as_stored(keys))
            there = keys
        except OSError:
            level.count()  # what was taken of the last ones, nobody knows
            there = [key for key in keys if level.holds(_ZERO if key == _EMPTY else key)]
            raise
        finally:
            self._fresh.difference_update(there)

    def _newest(self) -> Level:
        """The level that takes new keys."""
        levels = self._levels
        if levels and levels[-1].room > 0:
            return levels[-1]
        number = len(levels)
        slots = levels[-1].slots * self._growth if levels else self._first
        if self._path is None:
            file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - it is open as long as the set is
            level = Level.begin(file, f"temporary file {number} of fingerprints", slots)
        else:
            if levels:
                levels[-1].settle()
            path = self._path.with_name(f"{self._path.name}.{number}")
            level = Level.begin(FileIO(path, "w+b"), str(path), slots)
        levels.append(level)
        self._index()
        return level

    def replay(self, keys: Iterable[bytes]) -> None:
        """Take in those of the keys that are not there, into the files at once: they are committed already."""
        for key in keys:
            if key not in self:
                self.add(key)
                if len(self._fresh) >= GATHERED:
                    self.write()
        self.write()

    def forget(self) -> None:
        """Begin empty: the files are deleted."""
        self._abandon()
        self._begin()
        if self._path is not None:
            delete(self._path)

    def close(self, sync: bool) -> None:
        """Let the files go. Keys that are fresh are lost, but for a `write` before.

        Args:
            sync: What was written is on the disk when this returns, and a power cut after it takes nothing away.
        """
        sync = sync and self._path is not None
        try:
            while self._levels:
                self._levels.pop().close(sync)
            if sync and self._path is not None:
                _sync_directory(self._path.parent)
        finally:
            self._abandon()

    def __len__(self) -> int:
        return len(self._fresh) + len(self._kept or ()) + sum(level.keys for level in self._levels)

    def __repr__(self) -> str:
        return f"<Seen {len(self)} keys, {len(self._fresh)} fresh, {len(self._levels)} files>"
