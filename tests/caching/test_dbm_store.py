"""The store in a DBM file."""

from __future__ import annotations

import asyncio
import dbm.dumb
import importlib
import sys
from pathlib import Path

import pytest
from cache_stores_made import key_of, page, still_run

from streamcrawl.caching.dbm_store import dbm_store
from streamcrawl.caching.entry import CorruptEntry
from streamcrawl.caching.stored import CacheStoreError
from streamcrawl.events import Event


def available() -> list[str]:
    """The modules of DBM files that this Python has; the names of all are known to the standard library."""
    found: list[str] = []
    for name in ("dbm.gnu", "dbm.ndbm", "dbm.sqlite3", "dbm.dumb"):
        try:
            importlib.import_module(name)
        except ImportError:
            continue
        found.append(name)
    return found


@pytest.mark.parametrize("module", available())
def test_every_module_keeps_what_was_put(module: str, tmp_path: Path) -> None:
    path = tmp_path / "made" / "cache"

    async def main() -> None:
        store = dbm_store(path, module=module, max_size=200_000).open(still_run())
        for number in range(100):
            await store.put(key_of(number), page(number, size=100))
        await store.delete(key_of(3))
        await store.close()
        store = dbm_store(path, module=module, max_size=200_000).open(still_run())
        for number in range(100):
            assert await store.get(key_of(number)) == ([page(number, size=100)] if number != 3 else [])
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("module", "said"), [("dbm.nosuch", r"dbm_store\(module='dbm.nosuch'\): it cannot be imported: No module"),
                         ("json", r"dbm_store\(module='json'\): it has no function open\(path, flag\)")],
)  # fmt: skip
def test_a_module_that_is_none_is_told_when_built(module: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        dbm_store(tmp_path / "cache", module=module)


def refused(path: Path, module: str = "dbm") -> str:
    """What is said when it cannot be opened."""

    async def main() -> None:
        dbm_store(path, module=module).open(still_run())

    with pytest.raises(CacheStoreError) as caught:
        asyncio.run(main())
    return str(caught.value)


def test_what_cannot_be_opened_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert refused(tmp_path / "folder") == f"cache {tmp_path}/folder: is a folder; the path of a file is needed"
    (tmp_path / "text").write_text("no database")
    assert refused(tmp_path / "text").startswith(f"cache {tmp_path}/text: it cannot be opened: db type could not")
    assert refused(tmp_path / "text" / "below") == f"cache {tmp_path}/text/below: Not a directory"
    with dbm.dumb.open(str(tmp_path / "theirs")) as theirs:
        theirs["a"] = "b"
    assert refused(tmp_path / "theirs") == f"cache {tmp_path}/theirs: a file of something else; give another path"
    with dbm.dumb.open(str(tmp_path / "theirs")) as theirs:
        assert dict(theirs) == {b"a": b"b"}, "it is left alone"
        theirs[b"streamcrawl http cache"] = b"7"
    assert "its records are of version 7, and this release knows version 1" in refused(tmp_path / "theirs")


def test_one_run_at_a_time(tmp_path: Path) -> None:
    async def main() -> None:
        store = dbm_store(tmp_path / "cache").open(still_run())
        with pytest.raises(CacheStoreError, match="another run is using it, and a DBM file is for one at a time"):
            dbm_store(tmp_path / "cache").open(still_run())
        await store.put(key_of(1), page(1))
        await store.close()
        store = dbm_store(tmp_path / "cache").open(still_run())
        assert await store.get(key_of(1)) == [page(1)]
        await store.close()

    asyncio.run(main())


def test_a_damaged_entry_is_no_entry_and_is_removed(tmp_path: Path) -> None:
    async def main() -> None:
        for number in (1, 2, 3):
            store = dbm_store(tmp_path / "cache", module="dbm.dumb").open(still_run())
            await store.put(key_of(number), page(number, vary=(("a", "1"),)))
            await store.put(key_of(number), page(number, vary=(("a", "2"),)))
            await store.close()
        with dbm.dumb.open(str(tmp_path / "cache")) as raw:
            whole = raw[b"d" + key_of(1)]
            raw[b"d" + key_of(1)] = whole[:-1]  # of the variant that was put first
            raw[b"d" + key_of(2)] = b"x" + raw[b"d" + key_of(2)]
            raw[b"d" + key_of(3)] = b""
        run = still_run()
        store = dbm_store(tmp_path / "cache", module="dbm.dumb").open(run)
        assert await store.get(key_of(1)) == [page(1, vary=(("a", "2"),))]
        assert run.stats == {"httpcache/retrieve_error": 1}
        assert await store.get(key_of(1)) == [page(1, vary=(("a", "2"),))]
        for number in (2, 3):
            with pytest.raises(CorruptEntry, match="was damaged, and is removed"):
                await store.get(key_of(number))
            assert await store.get(key_of(number)) == []
        assert run.stats == {"httpcache/retrieve_error": 1}
        await store.close()

    asyncio.run(main())


def test_a_file_that_a_killed_run_left_damaged_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "cache"

    async def main() -> None:
        store = dbm_store(path, module="dbm.dumb").open(still_run())
        await store.put(key_of(1), page(1))
        await store.close()
        index = path.with_name("cache.dir")
        index.write_bytes(index.read_bytes()[:-9])
        said = refuse_here()
        assert "it cannot be opened" in said, "nobody was killed: somebody else did that, and should know"
        path.with_name("cache.lock").write_text("open\n")
        run = still_run()
        told: list[Event] = []
        run.events.subscribe(told.append)
        store = dbm_store(path, module="dbm.dumb").open(run)
        assert await store.get(key_of(1)) == []
        await store.put(key_of(1), page(2))
        await store.close()
        assert [getattr(event, "text", "") for event in told] == [
            f"cache {path}: it was damaged when a run was killed, and is kept as {path}.bak.damaged"
        ]
        store = dbm_store(path, module="dbm.dumb").open(run)
        assert await store.get(key_of(1)) == [page(2)]
        await store.close()
        assert len(told) == 1

    def refuse_here() -> str:
        with pytest.raises(CacheStoreError) as caught:
            dbm_store(path, module="dbm.dumb").open(still_run())
        return str(caught.value)

    asyncio.run(main())


def test_a_module_that_fails_in_the_middle_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(dict[bytes, bytes]):
        broken = False

        def __setitem__(self, name: bytes, value: bytes) -> None:
            if self.broken:
                raise OSError(28, "No space left on device")
            super().__setitem__(name, value)

        def close(self) -> None:
            if self.broken:
                raise OSError(28, "No space left on device")

    made: list[Failing] = []

    class Module:
        @staticmethod
        def open(path: str, flag: str) -> Failing:
            made.append(Failing())
            return made[-1]

    monkeypatch.setitem(sys.modules, "failing_dbm", Module)

    async def main() -> None:
        store = dbm_store(tmp_path / "cache", module="failing_dbm").open(still_run())
        await store.put(key_of(1), page(1))
        made[0].broken = True
        with pytest.raises(CacheStoreError, match=f"cache {tmp_path}/cache: No space left on device"):
            await store.put(key_of(2), page(2))
        assert await store.get(key_of(1)) == [page(1)]
        assert await store.get(key_of(2)) == []
        with pytest.raises(CacheStoreError, match="No space left on device"):
            await store.close()

    asyncio.run(main())
