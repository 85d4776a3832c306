"""The store in one SQLite file."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import cache_stores_made
import pytest
import zstandard
from cache_stores_made import key_of, page, still_run

from streamcrawl.caching import sqlite_file, sqlite_opened, stored
from streamcrawl.caching.entry import CorruptEntry, Entry
from streamcrawl.caching.packing import unpack
from streamcrawl.caching.sqlite_file import SqliteFile
from streamcrawl.caching.sqlite_store import OpenSqliteStore, sqlite_store
from streamcrawl.caching.stored import CacheStoreError
from streamcrawl.testing.virtual_time import run_virtual

ADVICE = "; delete it if it is a damaged cache, else give another path"


async def pages_in(path: Path, count: int) -> None:
    store = sqlite_store(path).open(still_run())
    await asyncio.gather(*(store.put(key_of(number), page(number)) for number in range(count)))
    await store.close()


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db, db:
        return db.execute(sql).fetchall()


def opened_in(path: Path) -> OpenSqliteStore:
    async def main() -> OpenSqliteStore:
        store = sqlite_store(path).open(still_run())
        await store.close()
        return store

    return asyncio.run(main())


def refused(path: Path) -> str:
    """What is said when it cannot be opened."""
    with pytest.raises(CacheStoreError) as caught:
        opened_in(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_file_with_folders_around_it_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "made" / "here" / "cache.sqlite"
    asyncio.run(pages_in(path, 5))
    assert [each.name for each in path.parent.iterdir()] == ["cache.sqlite"]
    assert query(path, "PRAGMA journal_mode") == [("wal",)]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


def test_what_cannot_be_opened_is_named_with_the_reason(tmp_path: Path) -> None:
    assert refused(tmp_path) == f"cache {tmp_path}: Is a directory"
    (tmp_path / "file").write_text("no database, and long enough to have a header " * 20)
    assert refused(tmp_path / "file") == f"cache {tmp_path / 'file'}: file is not a database{ADVICE}"
    assert refused(tmp_path / "file" / "below") == f"cache {tmp_path / 'file' / 'below'}: Not a directory"
    assert (tmp_path / "file").read_text().startswith("no database")


PAGE = 4096


def cut(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at]


def over(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + b"\xfe" * PAGE + data[at + PAGE :]


def emptied(data: bytes) -> bytes:
    return bytes(len(data))


def renamed(data: bytes) -> bytes:
    return data.replace(b"entries_by_use", b"\xff\xfe\xff\xfe")


DAMAGE = [
    *(cut(at) for at in (100, PAGE - 1, PAGE, 3 * PAGE, 10 * PAGE + 5)),
    *(over(at) for at in (0, 40, 100)),
    emptied,
    renamed,
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_is_damaged_is_named_with_what_to_do_and_is_left_alone(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "cache.sqlite"
    asyncio.run(pages_in(path, 100))
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    said = refused(path)
    assert said.startswith(f"cache {path}: ")
    assert said.endswith(ADVICE)
    assert path.read_bytes() == damaged
    path.unlink()
    asyncio.run(pages_in(path, 1))


def test_a_damaged_part_of_the_file_leaves_the_rest_alone(tmp_path: Path) -> None:
    """Also what is put together with what cannot be read."""
    path = tmp_path / "cache.sqlite"
    asyncio.run(pages_in(path, 100))
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // PAGE * PAGE)
        file.write(b"\xfe" * PAGE)

    async def main() -> None:
        store = sqlite_store(path).open(still_run())
        found = await asyncio.gather(*(store.get(key_of(number)) for number in range(100)), return_exceptions=True)
        lost = [number for number, each in enumerate(found) if isinstance(each, BaseException)]
        assert 0 < len(lost) < 10
        assert str(found[lost[0]]) == f"cache {path}: database disk image is malformed{ADVICE}"
        mixed = await asyncio.gather(
            store.put(key_of(1000), page(1000)),
            store.get(key_of(lost[0])),
            store.put(key_of(lost[0]), page(1)),
            store.put(key_of(1001), page(1001)),
            return_exceptions=True,
        )
        assert [type(each) for each in mixed] == [type(None), CacheStoreError, CacheStoreError, type(None)]
        for number in (1000, 1001):
            assert await store.get(key_of(number)) == [page(number)]
        await store.close()

    asyncio.run(main())


def test_values_of_other_types_than_were_put_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    asyncio.run(pages_in(path, 2))
    query(path, "UPDATE entries SET used = NULL WHERE id = 1")

    async def main() -> None:
        store = sqlite_store(path).open(still_run())
        bad, good = await asyncio.gather(store.get(key_of(0)), store.get(key_of(1)), return_exceptions=True)
        assert isinstance(bad, CacheStoreError)
        assert str(bad).endswith(ADVICE)
        assert good == [page(1)]
        await store.close()

    asyncio.run(main())


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite"
    query(path, "CREATE TABLE items(name)")
    before = path.read_bytes()
    assert refused(path) == f"cache {path}: a database of something else; give another path"
    assert path.read_bytes() == before


def test_tables_of_another_version_are_told(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    asyncio.run(pages_in(path, 1))
    query(path, "PRAGMA user_version = 7")
    assert refused(path) == (
        f"cache {path}: its tables are of version 7, and this release knows version 1; give another path, or delete it"
    )


@contextmanager
def without_rights(folder: Path) -> Generator[None]:
    """In the block this process may not write to the folder, whoever it is."""
    user = os.geteuid()
    folder.chmod(0o555)
    for parent in folder.parents[:3]:
        parent.chmod(0o755)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(user)
        folder.chmod(0o755)


def test_a_folder_without_the_right_to_write_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    with without_rights(folder):
        said = refused(folder / "cache.sqlite")
    assert said == f"cache {folder / 'cache.sqlite'}: Permission denied"


def test_a_damaged_entry_is_no_entry_and_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"

    async def main() -> None:
        run = still_run()
        store = sqlite_store(path).open(run)
        await store.put(key_of(1), page(1))
        await store.put(key_of(2), page(2, vary=(("a", "1"),)))
        await store.put(key_of(2), page(2, vary=(("a", "2"),)))
        query(path, "UPDATE bodies SET body = substr(body, 2) WHERE id IN (1, 2)")
        with pytest.raises(CorruptEntry, match=rf"cache {path}: a stored response was damaged, and is removed"):
            await store.get(key_of(1))
        assert await store.get(key_of(1)) == []
        assert await store.get(key_of(2)) == [page(2, vary=(("a", "2"),))]
        assert run.stats == {"httpcache/retrieve_error": 1}, "the first one is counted by whoever asked"
        assert query(path, "SELECT id FROM entries") == query(path, "SELECT id FROM bodies") == [(3,)]
        query(path, "DELETE FROM bodies")
        with pytest.raises(CorruptEntry):
            await store.get(key_of(2))
        await store.close()

    asyncio.run(main())


def test_reading_does_not_write(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"

    async def main() -> None:
        await pages_in(path, 50)
        run = still_run()
        run.date += 1000
        store = sqlite_store(path).open(run)
        assert query(path, "SELECT count(*) FROM entries") == [(50,)]
        log = path.with_name("cache.sqlite-wal")
        size = log.stat().st_size
        for _ in range(3):
            await asyncio.gather(*(store.get(key_of(number)) for number in range(40)))
        assert log.stat().st_size == size
        await store.close()
        # When they were used is written once, at the end.
        used = query(path, f"SELECT count(*) FROM entries WHERE used = {run.date}")
        assert used == [(40,)]

    asyncio.run(main())


def test_many_calls_are_one_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[object] = []
    transaction = sqlite_opened.transaction

    def counting(db: sqlite3.Connection) -> object:
        begun.append(db)
        return transaction(db)

    monkeypatch.setattr(sqlite_file, "transaction", counting)

    async def main() -> None:
        store = sqlite_store(tmp_path / "cache.sqlite").open(still_run())
        begun.clear()
        await asyncio.gather(*(store.put(key_of(number), page(number)) for number in range(100)))
        assert len(begun) == 1
        await store.close()

    asyncio.run(main())


def test_entries_that_nobody_waits_for_are_few_transactions_and_few_statements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[object] = []
    transaction = sqlite_opened.transaction

    def counting(db: sqlite3.Connection) -> object:
        begun.append(db)
        return transaction(db)

    monkeypatch.setattr(sqlite_file, "transaction", counting)
    one_by_one: list[object] = []

    def put(self: SqliteFile, *given: object) -> None:
        one_by_one.append(given)

    monkeypatch.setattr(SqliteFile, "_put", put)

    async def main() -> None:
        store = sqlite_store(tmp_path / "cache.sqlite").open(still_run())
        begun.clear()
        for number in range(20):
            assert store.put_soon(key_of(number), page(number), print)
            await asyncio.sleep(0)
        await store.get(key_of(0))
        assert len(begun) == 1
        assert one_by_one == []
        assert await store.get(key_of(19)) == [page(19)]
        await store.close()

    asyncio.run(main())


def test_what_cannot_be_written_is_told_to_whoever_did_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_opened, "WAIT", 0.05)
    path = tmp_path / "cache.sqlite"

    async def main() -> None:
        failures: list[Exception] = []
        store = sqlite_store(path).open(still_run())
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for number in range(3):
                assert store.put_soon(key_of(number), page(number), failures.append)
            assert await store.get(key_of(0)) == []
        assert [str(each) for each in failures] == [f"cache {path}: another process does not stop writing to it"] * 3
        await store.close()

    asyncio.run(main())


def test_one_that_cannot_be_packed_or_unpacked_leaves_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cache.sqlite"
    half = page(2).replace(url="https://shop.example/\ud800")

    def without_memory(head: bytes, body: bytes) -> Entry:
        if b"shop.example/3" in head:
            raise MemoryError
        return unpack(head, body)

    async def main() -> None:
        failures: list[Exception] = []
        store = sqlite_store(path).open(still_run())
        for number, entry in enumerate((page(0), page(1), half, page(3))):
            assert store.put_soon(key_of(number), entry, failures.append)
        with pytest.raises(CacheStoreError, match="surrogates not allowed"):
            await store.put(key_of(2), half)
        assert await asyncio.gather(*(store.get(key_of(number)) for number in range(4))) == [
            [page(0)],
            [page(1)],
            [],
            [page(3)],
        ]
        assert len(failures) == 1
        assert str(failures[0]).startswith(f"cache {path}: cannot pack 'https://shop.example/\\ud800': 'utf-8' codec")
        monkeypatch.setattr(stored, "unpack", without_memory)
        got = await asyncio.gather(*(store.get(key_of(number)) for number in (1, 3)), return_exceptions=True)
        assert got[0] == [page(1)]
        assert str(got[1]) == f"cache {path}: cannot unpack a response: MemoryError"
        monkeypatch.undo()
        assert await store.get(key_of(3)) == [page(3)], "it is still there"
        await store.close()

    asyncio.run(main())


def test_one_statement_takes_no_more_than_sqlite_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def strict(path: Path, **options: Any) -> sqlite3.Connection:
        made: sqlite3.Connection = connect(path, **options)
        made.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 15)
        return made

    async def main() -> None:
        failures: list[Exception] = []
        store = sqlite_store(tmp_path / "cache.sqlite").open(still_run())
        for number in range(5):
            assert store.put_soon(key_of(number), page(number), failures.append)
        assert [await store.get(key_of(number)) for number in range(5)] == [[page(number)] for number in range(5)]
        assert failures == []
        await store.close()

    monkeypatch.setattr(sqlite3, "connect", strict)
    asyncio.run(main())


def test_one_that_there_is_no_memory_to_compress_leaves_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cache.sqlite"
    large = page(2, body=b"<p>large</p>" * 100)

    class Small:
        def __init__(self, **options: Any) -> None: ...

        def compress(self, body: bytes) -> bytes:
            if body == large.body:
                raise MemoryError
            return body

    async def main() -> None:
        failures: list[Exception] = []
        store = sqlite_store(path).open(still_run())
        for number, entry in enumerate((page(0), page(1), large, page(3))):
            assert store.put_soon(key_of(number), entry, failures.append)
        found = await asyncio.gather(*(store.get(key_of(number)) for number in range(4)))
        assert found == [[page(0)], [page(1)], [], [page(3)]]
        assert [str(each) for each in failures] == [f"cache {path}: cannot pack 1200 bytes: MemoryError"]
        await store.close()

    monkeypatch.setattr(zstandard, "ZstdCompressor", Small)
    asyncio.run(main())


def test_a_lock_that_another_process_holds_too_long_is_told_and_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_opened, "WAIT", 0.05)
    path = tmp_path / "cache.sqlite"

    async def main() -> None:
        store = sqlite_store(path).open(still_run())
        await store.put(key_of(1), page(1))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            put, got = await asyncio.gather(store.put(key_of(2), page(2)), store.get(key_of(1)), return_exceptions=True)
            assert str(put) == f"cache {path}: another process does not stop writing to it"
            assert got == [page(1)], "reading goes on"
            monkeypatch.setattr(sqlite_opened, "WAIT", 1000.0)  # who has waited in vain waits no more
            with pytest.raises(CacheStoreError):
                await store.put(key_of(3), page(3))
        await store.put(key_of(2), page(2))
        assert await store.get(key_of(2)) == [page(2)]
        await store.close()

    asyncio.run(main())


def test_many_may_make_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    with ThreadPoolExecutor(8) as threads:
        for _ in range(10):
            stores = list(threads.map(opened_in, [path] * 8))
            assert len(stores) == 8
            path.unlink()


FULL = """
import asyncio, resource, sys
from pathlib import Path
from cache_stores_made import key_of, made, page, still_run
from streamcrawl.caching.stored import CacheStoreError
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

async def main():
    store = made(sys.argv[1], Path(sys.argv[2])).open(still_run())
    errors = []
    for number in range(400):
        try:
            await store.put(key_of(number), page(number, size=int(sys.argv[3])))
        except CacheStoreError as error:
            errors.append(str(error))
            assert number > 10 or sys.argv[1] == "folder"
    assert errors
    print(errors[0])
    found = [number for number in range(400) if await store.get(key_of(number))]
    assert all([await store.get(key_of(number)) == [page(number, size=int(sys.argv[3]))] for number in found])
    assert len(found) == 400 - len(errors)
    try:
        await store.close()
    except CacheStoreError:
        pass

asyncio.run(main())
"""


@pytest.mark.parametrize(("kind", "size"), [("sqlite", 2000), ("folder", 1_000_000)])
def test_a_disk_that_is_full_is_told_and_what_is_there_stays(kind: str, size: int, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(cache_stores_made.__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL, kind, str(tmp_path), str(size)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    name = "cache.sqlite" if kind == "sqlite" else "cache"
    assert done.stdout.startswith(f"cache {tmp_path / name}: ")
    assert "disk" in done.stdout or "File too large" in done.stdout


def test_a_large_body_is_whole_while_another_process_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    bodies = [bytes([number]) * (sqlite_file.LARGE + number) for number in range(6)]

    async def main() -> None:
        one, two = (sqlite_store(path, compress=None).open(still_run()) for _ in range(2))
        await one.put(key_of(1), page(0, body=bodies[0]))

        async def replace() -> None:
            for number, body in enumerate(bodies * 4):
                await one.put(key_of(1), page(number % 6, body=body))

        replacing = asyncio.create_task(replace())
        seen: set[int] = set()
        while not replacing.done():
            (entry,) = await two.get(key_of(1))
            assert entry == page(entry.body[0], body=bodies[entry.body[0]])
            seen.add(entry.body[0])
        assert len(seen) > 1
        await one.close()
        await two.close()

    asyncio.run(main())


def test_it_works_in_virtual_time(tmp_path: Path) -> None:
    async def main() -> None:
        run = still_run()
        store = sqlite_store(tmp_path / "cache.sqlite").open(run)
        await asyncio.gather(*(store.put(key_of(number), page(number)) for number in range(20)))
        assert await store.get(key_of(7)) == [page(7)]
        assert run.loop.time() == 0.0
        await store.close()

    run_virtual(main)


def test_it_knows_what_is_not_there_until_somebody_else_writes(tmp_path: Path) -> None:
    async def main() -> None:
        run = still_run()
        path = tmp_path / "cache.sqlite"
        one = sqlite_store(path).open(run)
        await one.put(key_of(1), page(1))
        assert [one.absent(key_of(number)) for number in (1, 2)] == [False, True]
        other = sqlite_store(path).open(run)
        assert [other.absent(key_of(number)) for number in (1, 2)] == [False, True]
        await other.put(key_of(2), page(2))
        await one.get(key_of(1))  # sees that there is somebody else
        assert not one.absent(key_of(2))
        assert await one.get(key_of(2)) == [page(2)]
        await one.close()
        await other.close()

    asyncio.run(main())
