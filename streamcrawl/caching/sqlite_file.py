"""The file of `sqlite_store`: everything in here runs in the one thread that the connection belongs to.

What is asked together goes in with one transaction. Reading writes nothing: when an entry was used is kept in memory,
and written with the next transaction that there is.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import cast

from streamcrawl.caching.packing import Compression, Draft, Packed, pack_all
from streamcrawl.caching.sqlite_opened import be_patient, connected, is_busy, is_damage, told, transaction
from streamcrawl.caching.sqlite_rows import COLUMNS, Group, together
from streamcrawl.caching.store import VARIANTS
from streamcrawl.caching.stored import TOUCH, CacheStoreError, Call, Found, whole_of, why
from streamcrawl.streams.counting import count

LARGEST = 900_000_000
"""Bytes of one entry; SQLite's own limit is 1,000,000,000."""
TOUCHES = 1000
"""Uses that are remembered, at most, before they are written."""
SWEEP = 3600.0
"""Seconds between two looks for what is too old."""
CHUNK = 500
"""Entries that are removed with one statement."""
ROUNDS = 10
"""Statements that one put waits for at most, where the file was allowed to be much larger before."""
KEYS = 100_000
"""Keys of a file that are known without looking, at most: some 10 MB."""
EMPTY = 6
"""Pages of a file without entries."""
LOW = 0.95
"""Down to this share of `max_size` is removed when it is full, so that not every put has to."""
LARGE = 1024 * 1024
"""Bytes from which a body is written and read in place: in a statement SQLite makes two copies of it."""

_GET = f"""
SELECT entries.id, variant, stored, used, head, iif(length(body) < {LARGE}, body, length(body))
FROM entries LEFT JOIN bodies USING(id) WHERE key = ? ORDER BY entries.id DESC"""  # noqa: S608 - a number of ours

_PAGES = "(SELECT page_count FROM pragma_page_count) - (SELECT freelist_count FROM pragma_freelist_count)"
_BEFORE = f"""
SELECT id, key, variant FROM entries WHERE key IN ({{}})
UNION ALL SELECT coalesce(max(id), 0), NULL, {_PAGES} FROM entries"""  # noqa: S608 - names and question marks
"""What there is under some keys; and, last, the highest id and how many pages hold something."""


def short(key: bytes) -> int:
    """A key in 64 bits: of two that share them, one may be looked for in vain."""
    return hash(key)


class SqliteFile:
    """One connection. Arguments as those of `sqlite_store`. Raises: CacheStoreError."""

    def __init__(self, path: Path, *, max_size: int | None, compress: Compression, max_age: float | None) -> None:
        self._path = path
        self._max_size = max_size
        self._compress: Compression = compress
        self._max_age = max_age
        self._used: dict[int, float] = {}
        """By id, when: not yet in the file."""
        self._swept: float | None = None
        self._patient = True
        self._damaged = False
        """Whoever asked was told that the file is."""
        self.keys: set[int] | None = None
        """The keys of the file; None if they are too many, or others write to it too."""
        self.counts: dict[str, int] = {}
        """For the run's stats; whoever takes them puts an empty dict there."""
        self.threads = 1
        """How many compress at once."""
        with told(path):
            self._db = connected(path)
        try:
            with told(path):
                self._page: int = self._db.execute("PRAGMA page_size").fetchone()[0]
                self._together = max(1, self._db.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // COLUMNS)
                """Entries that may be put with one statement."""
                self._shrink()
                self._version = self._data_version()
                self.keys = self._all_keys()
        except BaseException:
            self._db.close()
            raise

    def work(self, calls: list[Call]) -> None:
        """Answer these calls, in their order."""
        self._pack(calls)  # before the file is locked
        sound = [call for call in calls if call.error is None]
        if not sound:
            return
        if any(call.what != "get" for call in sound) or len(self._used) >= TOUCHES:
            self._write(sound)
        else:
            for call in sound:
                self._read(call)
        self._check(sound)
        if self.keys is not None and (len(self.keys) > KEYS or not self._is_alone()):
            self.keys = None

    def _pack(self, calls: list[Call]) -> None:
        puts = [(call, call.draft) for call in calls if call.draft is not None]
        try:
            packed = pack_all([draft for _, draft in puts], self._compress, self.threads)
        except Exception:  # each for itself: one that cannot be packed is no reason to lose the others
            for call, draft in puts:
                self._pack_alone(call, draft)
        else:
            for (call, _), each in zip(puts, packed, strict=True):
                call.packed = each

    def _pack_alone(self, call: Call, draft: Draft) -> None:
        try:
            (call.packed,) = pack_all([draft], self._compress)
        except Exception as error:
            call.error = CacheStoreError(f"cache {self._path}: cannot pack {len(draft.body)} bytes: {why(error)}")
            call.error.__cause__ = error

    def _is_alone(self) -> bool:
        """Whether nobody else has written since the file was opened, as far as that can be known."""
        with suppress(sqlite3.Error):
            return self._data_version() == self._version
        return False

    def _data_version(self) -> int:
        """Changes when another connection has written."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def _all_keys(self) -> set[int] | None:
        keys = {short(key) for (key,) in self._db.execute("SELECT key FROM entries LIMIT ?", (KEYS + 1,))}
        return keys if len(keys) <= KEYS else None

    def _write(self, calls: list[Call]) -> None:
        # All of the rows before the first statement: after each of those the thread waits for the loop, and the loop
        # then for what is done here.
        groups = [Group.of(several) for several in together(calls, self._together)]
        try:
            with told(self._path), transaction(self._db):
                self._note_uses()
                self._sweep(calls[-1].now)
                for group in groups:
                    if len(group.calls) == 1 or not self._put_all(group):
                        for call in group.calls:
                            self._do(call)
        except CacheStoreError as error:
            self._be_patient(not is_busy(error.__cause__))
            # A part that is damaged spoils its whole transaction: there each is for itself.
            several = len(calls) > 1 and is_damage(error.__cause__)
            for call in calls:
                if call.what == "get":
                    self._read(call)  # it saw what is not there now
                elif several:
                    self._write([call])
                else:
                    self._failed(call, error)
        else:
            self._be_patient(True)

    def _be_patient(self, patient: bool) -> None:
        """Whether to wait for others who write. Who has waited in vain once does not let every page wait as long."""
        if patient != self._patient:
            self._patient = patient
            be_patient(self._db, patient)

    def _do(self, call: Call) -> None:
        if call.what == "get":
            call.result = self._rows(call)
        elif call.packed is not None:
            self._put(call.key, call.packed, call.now)
        else:
            ids = self._db.execute("SELECT id FROM entries WHERE key = ?", (call.key,)).fetchall()
            self._remove([id for (id,) in ids])

    def _read(self, call: Call) -> None:
        try:
            with told(self._path):
                self._db.execute("BEGIN")  # nobody replaces an entry between its head and its body
                try:
                    call.result = self._rows(call)
                finally:
                    self._db.execute("ROLLBACK")
        except CacheStoreError as error:
            self._failed(call, error)

    def _failed(self, call: Call, error: CacheStoreError) -> None:
        call.error = error
        self._damaged = self._damaged or is_damage(error.__cause__)

    def _rows(self, call: Call) -> list[Packed]:
        """The key's variants as they lie there, the one that was put last first."""
        found: list[Packed] = []
        for id, variant, stored, used, head, body in self._db.execute(_GET, (call.key,)).fetchall():
            if self._max_age is not None and call.now - stored > self._max_age:
                continue  # the next sweep removes it
            if self._max_size is not None and abs(call.now - used) > TOUCH:
                self._used[id] = call.now
            if isinstance(body, int):
                body = self._read_large(id)
            found.append(Packed(variant, stored, head or b"", body or b""))
        return found

    def _read_large(self, id: int) -> bytes:
        with self._db.blobopen("bodies", "body", id, readonly=True) as blob:
            return blob.read()

    def _check(self, calls: list[Call]) -> None:
        """Make entries of what was read; what is damaged goes."""
        for call in calls:
            if call.what != "get" or call.error is not None:
                continue
            try:
                entries, damaged = whole_of(call.result)
            except Exception as error:  # there is no memory for a large one: the others have theirs
                call.error = CacheStoreError(f"cache {self._path}: cannot unpack a response: {why(error)}")
                call.error.__cause__ = error
                continue
            call.result = Found(entries, len(damaged))
            if damaged:
                with suppress(CacheStoreError), told(self._path), transaction(self._db):
                    self._remove_damaged(call.key, damaged)

    def _remove_damaged(self, key: bytes, damaged: list[Packed]) -> None:
        heads = {each.variant: each.head for each in damaged}
        # Somebody may have put a whole one there since.
        rows = self._db.execute(_GET, (key,)).fetchall()
        self._remove([id for id, variant, _, _, head, _ in rows if heads.get(variant) == (head or b"")])

    def _put(self, key: bytes, packed: Packed, now: float) -> None:
        rows = self._db.execute("SELECT id, variant FROM entries WHERE key = ? ORDER BY id DESC", (key,)).fetchall()
        others = [id for id, variant in rows if variant != packed.variant]
        gone = [id for id, variant in rows if variant == packed.variant] + others[VARIANTS - 1 :]
        if gone:
            self._remove(gone)
        if not self._made_room(packed.size):
            self._count("too_large", 1)
            return
        made = self._db.execute(
            "INSERT INTO entries(key, variant, stored, used, size) VALUES (?, ?, ?, ?, ?)",
            (key, packed.variant, packed.stored, now, packed.size),
        )
        id = cast(int, made.lastrowid)
        if len(packed.body) < LARGE:
            self._db.execute("INSERT INTO bodies VALUES (?, ?, ?)", (id, packed.head, packed.body))
            return
        self._db.execute("INSERT INTO bodies VALUES (?, ?, zeroblob(?))", (id, packed.head, len(packed.body)))
        with self._db.blobopen("bodies", "body", id) as blob:
            view = memoryview(packed.body)
            for begin in range(0, len(view), LARGE):
                blob.write(view[begin : begin + LARGE])

    def _put_all(self, group: Group) -> bool:
        """Put entries of different keys with few statements. False: not possible."""
        if group.largest >= LARGE:
            return False
        calls = group.calls
        marks = ",".join("?" * len(calls))
        *rows, (last, _, pages) = self._db.execute(_BEFORE.format(marks), group.keys).fetchall()
        if not self._has_room(group.size, len(calls), pages):
            return False
        if rows:
            variants = {call.key: cast(Packed, call.packed).variant for call in calls}
            others = Counter(key for _, key, variant in rows if variant != variants[key])
            if any(number >= VARIANTS for number in others.values()):
                return False
            self._remove([id for id, key, variant in rows if variant == variants[key]])
        ids = range(last + 1, last + 1 + len(calls))
        group.heads[::COLUMNS] = ids
        group.bodies[::3] = ids
        self._db.execute(f"INSERT INTO entries VALUES {','.join(['(?,?,?,?,?,?)'] * len(calls))}", group.heads)  # noqa: S608
        self._db.execute(f"INSERT INTO bodies VALUES {','.join(['(?,?,?)'] * len(calls))}", group.bodies)  # noqa: S608
        return True

    def _has_room(self, size: int, number: int, pages: int) -> bool:
        """Whether so many entries of so many bytes fit into a file of so many pages, and nothing has to go for them."""
        if self._max_size is None:
            return True
        return pages + size * 21 // 20 // self._page + 4 * number <= self._max_size // self._page

    def _made_room(self, size: int) -> bool:
        """Whether so many bytes may come in; what was unused the longest has gone for them."""
        if size > LARGEST:
            return False
        if self._max_size is None:
            return True
        most: int = self._max_size // self._page
        # A page is never quite full; and what an entry has in the tables' inner pages.
        need = size * 21 // 20 // self._page + 4
        if need + EMPTY > most:
            return False
        if self._pages() + need <= most:
            return True
        wanted = min(int(most * LOW), most - need)
        rounds = 0
        over = self._pages() > most  # it may have more now than it was allowed to have: that goes bit by bit
        while (pages := self._pages()) > max(wanted, EMPTY) and not (over and rounds == ROUNDS):
            if not self._evict((pages - wanted) * self._page):
                break
            rounds += 1
        return True

    def _pages(self) -> int:
        """Pages of the file that hold something."""
        (pages,) = self._db.execute(f"SELECT {_PAGES}").fetchone()
        return int(pages)

    def _evict(self, excess: int) -> int:
        """Remove what was unused the longest, some `excess` bytes; gives how many entries."""
        gone: list[int] = []
        rows = self._db.execute("SELECT id, size FROM entries ORDER BY used LIMIT ?", (CHUNK,))
        for id, size in rows.fetchall():
            gone.append(id)
            excess -= size
            if excess <= 0:
                break
        self._remove(gone)
        self._count("evicted", len(gone))
        return len(gone)

    def _sweep(self, now: float) -> None:
        """Now and then, remove what is too old."""
        if self._max_age is None or (self._swept is not None and abs(now - self._swept) < SWEEP):
            return
        self._swept = now
        rows = self._db.execute("SELECT id FROM entries WHERE stored < ?", (now - self._max_age,)).fetchall()
        self._remove([id for (id,) in rows])
        self._count("expired", len(rows))

    def _remove(self, ids: list[int]) -> None:
        for begin in range(0, len(ids), CHUNK):
            chunk = ids[begin : begin + CHUNK]
            marks = ",".join("?" * len(chunk))
            for table in ("entries", "bodies"):
                self._db.execute(f"DELETE FROM {table} WHERE id IN ({marks})", chunk)  # noqa: S608 - question marks
        for id in ids:
            self._used.pop(id, None)

    def _note_uses(self) -> None:
        if self._used:
            rows = [(used, id) for id, used in self._used.items()]
            self._db.executemany("UPDATE entries SET used = ? WHERE id = ?", rows)
            self._used.clear()

    def _count(self, name: str, more: int) -> None:
        if more:
            count(self.counts, name, more)

    def _shrink(self) -> None:
        """Give free pages back to the disk where the file is larger than it may be."""
        if self._max_size is not None:
            (pages,) = self._db.execute("PRAGMA page_count").fetchone()
            excess = pages - self._max_size // self._page
            if excess > 0:
                with suppress(sqlite3.OperationalError):  # another process is writing: the next one may do it
                    # Not `execute`, which takes one step of a statement without columns: one page.
                    self._db.executescript(f"PRAGMA incremental_vacuum({excess})")

    def close(self) -> None:
        """Note what was used, and leave one whole file. Raises: CacheStoreError."""
        try:
            with told(self._path):
                if self._used:
                    with transaction(self._db):
                        self._note_uses()
                self._shrink()
        except CacheStoreError as error:
            if not (self._damaged and is_damage(error.__cause__)):
                raise
        finally:
            self._db.close()

    def __repr__(self) -> str:
        return f"<SqliteFile {self._path}>"
