"""What every store of the HTTP cache has to do, asked of all of them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import cache_stores_made
import pytest
from cache_stores_made import KINDS, StillRun, key_of, made, page, still_run
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from streamcrawl.caching.entry import CorruptEntry, Entry
from streamcrawl.caching.packing import Compression
from streamcrawl.caching.store import VARIANTS, OpenCacheStore
from streamcrawl.caching.stored import CacheStoreError

FILL = Path(cache_stores_made.__file__)
KILLABLE = ("sqlite", "folder", "dbm")
SHARED = ("sqlite", "folder")
MOST = 256 * 1024


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def opened(
    kind: str, folder: Path, work: Callable[[OpenCacheStore, StillRun], Awaitable[None]], **arguments: Any
) -> dict[str, Any]:
    """Do `work` with an open store; gives the counters of its run."""

    async def main() -> dict[str, Any]:
        run = still_run()
        store = made(kind, folder, **arguments).open(run)
        try:
            await work(store, run)
        finally:
            await store.close()
        return {name: count for name, count in run.stats.items() if count}

    return asyncio.run(main())


@pytest.mark.parametrize("compress", ["zstd", "gzip", None])
def test_what_was_put_is_there_in_the_next_run(kind: str, compress: Compression, tmp_path: Path) -> None:
    pages = [
        page(1),
        page(2, body=b""),
        page(3, body=b"x" * 3_000_000),
        page(4, headers=(("Content-Encoding", "br"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X", "\xe9"))),
        page(5, vary=(("accept", None), ("user-agent", "me")), invalidated=True, status=404, method="HEAD"),
        page(6, size=400_000, body=Random(6).randbytes(400_000)),
    ]

    async def put(store: OpenCacheStore, run: StillRun) -> None:
        await asyncio.gather(*(store.put(key_of(number), each) for number, each in enumerate(pages)))

    async def get(store: OpenCacheStore, run: StillRun) -> None:
        for number, each in enumerate(pages):
            assert await store.get(key_of(number)) == [each]
        assert await store.get(key_of(99)) == []

    assert opened(kind, tmp_path, put, compress=compress) == {}
    # How it is compressed is written with it: another setting reads it as well.
    assert opened(kind, tmp_path, get, compress="gzip" if compress is None else None) == {}


def test_variants_stand_side_by_side_the_last_put_first(kind: str, tmp_path: Path) -> None:
    async def work(store: OpenCacheStore, run: StillRun) -> None:
        languages = [page(number, vary=(("accept-language", name),)) for number, name in enumerate(("de", "en", "fr"))]
        for each in languages:
            await store.put(key_of(1), each)
        assert await store.get(key_of(1)) == languages[::-1]
        again = languages[1].replace(body=b"new")
        await store.put(key_of(1), again)
        assert await store.get(key_of(1)) == [again, languages[2], languages[0]]
        await store.put(key_of(2), page(9))
        await store.delete(key_of(1))
        await store.delete(key_of(77))
        assert await store.get(key_of(1)) == []
        assert await store.get(key_of(2)) == [page(9)]

    opened(kind, tmp_path, work)


def test_a_key_keeps_so_many_variants_and_the_oldest_goes(kind: str, tmp_path: Path) -> None:
    async def work(store: OpenCacheStore, run: StillRun) -> None:
        entries = [page(number, size=20, vary=(("cookie", str(number)),)) for number in range(VARIANTS + 3)]
        for each in entries:
            await store.put(key_of(1), each)
        assert await store.get(key_of(1)) == entries[: -VARIANTS - 1 : -1]

    opened(kind, tmp_path, work)


def test_what_is_asked_at_once_is_answered_in_its_order(kind: str, tmp_path: Path) -> None:
    async def work(store: OpenCacheStore, run: StillRun) -> None:
        asked: list[Awaitable[Any]] = []
        for number in range(40):
            asked += [store.put(key_of(number % 5), page(number)), store.get(key_of(number % 5))]
        found = await asyncio.gather(*asked)
        assert [each for (each,) in found[1::2]] == [page(number) for number in range(40)]
        before, _, after = await asyncio.gather(store.get(key_of(0)), store.delete(key_of(0)), store.get(key_of(0)))
        assert (before, after) == ([page(35)], [])

    opened(kind, tmp_path, work)


def test_the_loop_goes_on_while_the_store_works(kind: str, tmp_path: Path) -> None:
    async def work(store: OpenCacheStore, run: StillRun) -> None:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.001)

        turning = asyncio.create_task(turn())
        await store.put(key_of(1), page(1, body=b"a page like any other " * 1_000_000))
        turning.cancel()
        assert turns > 3
        assert len((await store.get(key_of(1)))[0].body) == 22_000_000

    opened(kind, tmp_path, work, compress="gzip")


def test_whoever_is_cancelled_leaves_the_others_alone(kind: str, tmp_path: Path) -> None:
    async def work(store: OpenCacheStore, run: StillRun) -> None:
        puts = [asyncio.create_task(store.put(key_of(number), page(number))) for number in range(30)]
        await asyncio.sleep(0)
        for each in puts[::2]:
            each.cancel()
        await asyncio.wait(puts)
        assert [task.cancelled() for task in puts[1::2]] == [False] * 15
        for number in range(1, 30, 2):
            assert await store.get(key_of(number)) == [page(number)]

    opened(kind, tmp_path, work)


@pytest.mark.parametrize("kind", ["sqlite", "dbm"])
def test_what_nobody_waits_for_is_seen_by_whoever_asks_and_is_there_at_the_end(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        failures: list[Exception] = []
        store: Any = made(kind, tmp_path).open(still_run())
        for number in range(100):
            assert store.put_soon(key_of(number), page(number), failures.append)
        assert await store.get(key_of(99)) == [page(99)]
        assert store.put_soon(key_of(99), page(7), failures.append)
        assert await store.get(key_of(99)) == [page(7)]
        assert store.put_soon(key_of(100), page(100), failures.append)
        await store.close()
        assert not store.put_soon(key_of(101), page(101), failures.append)
        assert failures == []

    async def work(store: OpenCacheStore, run: StillRun) -> None:
        assert [await store.get(key_of(number)) for number in (0, 98, 99, 100, 101)] == [
            *([page(number)] for number in (0, 98, 7, 100)),
            [],
        ]

    asyncio.run(main())
    opened(kind, tmp_path, work)


@pytest.mark.parametrize("kind", ["sqlite", "dbm"])
def test_no_more_is_taken_without_waiting_than_memory_allows(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        store: Any = made(kind, tmp_path).open(still_run())
        large = page(1, body=b"x" * 1_000_000)
        taken = [store.put_soon(key_of(number), large, print) for number in range(40)]
        assert taken == [True] * 33 + [False] * 7
        await store.put(key_of(20), large)  # after what was asked before it
        assert store.put_soon(key_of(21), large, print)
        await store.put(key_of(21), large)
        taken = [store.put_soon(key_of(22), page(1, body=b"x" * size), print) for size in (10**8, 10, 0)]
        assert taken == [True, False, False], "one larger than that goes alone"
        await store.delete(key_of(22))
        many = [store.put_soon(key_of(number), page(1, body=b""), print) for number in range(40_000)]
        assert 20_000 < many.index(False) == many.count(True) < 40_000, "without a body they take room too"
        await store.close()

    asyncio.run(main())


def test_a_closed_store_says_so(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        store = made(kind, tmp_path).open(still_run())
        asked = asyncio.create_task(store.put(key_of(1), page(1)))
        await asyncio.sleep(0)
        await store.close()
        await store.close()
        await asked
        with pytest.raises(CacheStoreError, match="it is closed"):
            await store.get(key_of(1))

    asyncio.run(main())


def test_what_was_put_too_long_ago_is_not_there_and_goes(kind: str, tmp_path: Path) -> None:
    async def work(store: OpenCacheStore, run: StillRun) -> None:
        await store.put(key_of(1), page(1))
        await store.put(key_of(2), page(2, vary=(("a", "1"),)))
        run.date += 7
        await store.put(key_of(2), page(2, vary=(("a", "2"),)))
        assert len(await store.get(key_of(2))) == 2
        run.date += 7
        assert await store.get(key_of(1)) == []
        assert await store.get(key_of(2)) == [page(2, vary=(("a", "2"),))]
        run.date -= 100  # a clock that is set back makes nothing old
        assert (await store.get(key_of(2)))[0] == page(2, vary=(("a", "2"),))

    opened(kind, tmp_path, work, max_age=10)


def test_an_entry_that_is_too_large_is_not_kept_nor_what_it_replaces(kind: str, tmp_path: Path) -> None:
    noise = Random(1).randbytes(MOST)

    async def work(store: OpenCacheStore, run: StillRun) -> None:
        await store.put(key_of(1), page(1))
        await store.put(key_of(2), page(2))
        await store.put(key_of(1), page(1, body=noise))
        assert await store.get(key_of(1)) == []
        assert await store.get(key_of(2)) == [page(2)]

    assert opened(kind, tmp_path, work, max_size=MOST) == {"httpcache/too_large": 1}


def test_what_was_unused_the_longest_goes_first(kind: str, tmp_path: Path) -> None:
    async def work(store: OpenCacheStore, run: StillRun) -> None:
        for number in range(120):
            await store.put(key_of(number), page(number, size=4000))
            run.date += 4000
            if kind != "memory":  # what lies behind a network is not written to because it was read
                assert await store.get(key_of(0)) == [page(0, size=4000)], number
        found = [number for number in range(120) if await store.get(key_of(number))]
        assert len(found) > 30
        assert found[-30:] == list(range(90, 120))
        assert kind == "memory" or found[0] == 0

    stats = opened(kind, tmp_path, work, max_size=MOST)
    assert stats["httpcache/evicted"] > 10


def test_a_bound_that_was_lowered_holds_from_then_on(kind: str, tmp_path: Path) -> None:
    async def fill(store: OpenCacheStore, run: StillRun) -> None:
        for number in range(200):
            run.date += 1
            await store.put(key_of(number), page(number, size=8000))

    async def one_more(store: OpenCacheStore, run: StillRun) -> None:
        run.date += 1000
        await store.put(key_of(999), page(999))
        assert await store.get(key_of(999)) == [page(999)]

    opened(kind, tmp_path, fill)
    stats = opened(kind, tmp_path, one_more, max_size=MOST)
    assert stats["httpcache/evicted"] > 100
    if kind in SHARED:
        assert size_of(tmp_path) <= MOST


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class Machine(RuleBasedStateMachine):
    """A store beside a dict that does the same. Subclasses say which store, and how it is bounded."""

    kind: str
    max_size: int | None = None
    run: StillRun
    store: OpenCacheStore

    @initialize(compress=st.sampled_from(["zstd", "gzip", None]))
    def begin(self, compress: Compression) -> None:
        self.stack = ExitStack()
        self.folder = Path(self.stack.enter_context(TemporaryDirectory()))
        self.compress: Compression = compress
        self.runner = self.stack.enter_context(asyncio.Runner())
        self.date = cache_stores_made.START
        self.model: dict[bytes, list[tuple[float, Entry]]] = {}
        self.open()

    def open(self) -> None:
        async def main() -> None:
            self.run = still_run()
            self.run.date = self.date
            store = made(self.kind, self.folder, compress=self.compress, max_age=1000, max_size=self.max_size)
            self.store = store.open(self.run)

        self.runner.run(main())

    keys = st.integers(0, 7).map(key_of)
    bodies = st.one_of(st.binary(max_size=300), st.integers(0, 40_000).map(lambda size: b"<p>" * size))
    varies = st.sampled_from([(), (("accept", None),), (("accept", "a"),), (("accept", "a"), ("dnt", "1"))])

    @rule(key=keys, body=bodies, vary=varies, status=st.sampled_from([200, 404]))
    def put(self, key: bytes, body: bytes, vary: Any, status: int) -> None:
        entry = page(0, body=body, vary=vary, status=status)
        self.runner.run(self.store.put(key, entry))
        others = [each for each in self.model.get(key, []) if each[1].vary != vary]
        self.model[key] = [(self.date, entry), *others]
        self.fits = entry.size < 50_000
        if self.max_size is None or self.fits:
            assert self.runner.run(self.store.get(key))[0] == entry

    @rule(puts=st.lists(st.tuples(keys, bodies, varies), min_size=1, max_size=12))
    def put_together(self, puts: list[tuple[bytes, bytes, Any]]) -> None:
        put_soon = getattr(self.store, "put_soon", None)
        entries = [(key, page(0, body=body, vary=vary)) for key, body, vary in puts]

        async def main() -> None:
            if put_soon is None:
                for key, entry in entries:
                    await self.store.put(key, entry)
            else:
                assert all(put_soon(key, entry, failed) for key, entry in entries)

        def failed(error: Exception) -> None:
            raise AssertionError from error

        self.runner.run(main())
        for key, entry in entries:
            others = [each for each in self.model.get(key, []) if each[1].vary != entry.vary]
            self.model[key] = [(self.date, entry), *others]

    @rule(key=keys)
    def delete(self, key: bytes) -> None:
        self.runner.run(self.store.delete(key))
        self.model.pop(key, None)

    @rule(seconds=st.sampled_from([1.0, 100.0, 900.0]))
    def wait(self, seconds: float) -> None:
        self.date += seconds
        self.run.date = self.date

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.store.close())
        self.open()

    def expected(self, key: bytes) -> list[Entry]:
        return [entry for date, entry in self.model.get(key, []) if self.date - date <= 1000]

    @invariant()
    def the_store_has_what_the_dict_has(self) -> None:
        for key in map(key_of, range(8)):
            found = self.runner.run(self.store.get(key))
            if self.max_size is None:
                assert found == self.expected(key)
            else:
                # It may have removed some; what it has is as it was put, and in the same order.
                there = iter(self.expected(key))
                assert all(any(entry == each for each in there) for entry in found)

    @precondition(lambda self: self.max_size is not None and self.kind in SHARED)
    @invariant()
    def it_is_no_larger_than_it_may_be(self) -> None:
        assert self.max_size is not None
        log = Path(self.folder / "cache.sqlite-wal")
        beside = log.stat().st_size + 32 * 1024 if log.exists() else 200  # the index of the log; a mark
        assert size_of(self.folder) <= self.max_size + beside

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.runner.run(self.store.close())
            assert self.run.stats.get("httpcache/retrieve_error", 0) == 0
            self.stack.close()


@pytest.mark.parametrize("max_size", [None, MOST], ids=["unbounded", "bounded"])
def test_any_order_of_calls_does_what_a_dict_does(kind: str, max_size: int | None) -> None:
    machine = type("ThisMachine", (Machine,), {"kind": kind, "max_size": max_size})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=checks),
    )


@pytest.mark.parametrize("kind", SHARED)
def test_two_processes_and_many_tasks_use_one_store_at_once(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        store = made(kind, tmp_path).open(still_run())
        command = [sys.executable, str(FILL), kind, str(tmp_path), "0", "200"]
        other = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        # The same pages from here, and others, and reading what may or may not be there yet.
        gate = asyncio.Semaphore(20)

        async def both(number: int) -> None:
            async with gate:
                await store.put(key_of(number), page(number))
                assert await store.get(key_of(number)) == [page(number)]
                assert await store.get(key_of((number * 7) % 200)) in ([], [page((number * 7) % 200)])

        await asyncio.gather(*map(both, range(100, 300)))
        out, _ = await other.communicate()
        assert other.returncode == 0
        assert len(out.splitlines()) == 200
        for number in range(300):
            assert await store.get(key_of(number)) == [page(number)]
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("kind", KILLABLE)
@pytest.mark.parametrize("after", [1, 60, 150])
def test_a_store_whose_process_was_killed_can_be_read(kind: str, after: int, tmp_path: Path) -> None:
    command = [sys.executable, str(FILL), kind, str(tmp_path), "0", "2000"]
    told: list[int] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told.append(int(line))
            if len(told) == after:
                break
        process.kill()  # SIGKILL, in the middle of eight puts
        told += [int(line) for line in process.stdout.read().split("\n")[:-1]]

    async def work(store: OpenCacheStore, run: StillRun) -> None:
        there = 0
        for number in range(max(told) + 20):
            try:
                found = await store.get(key_of(number))
            except CorruptEntry:
                found = []
            assert found in ([], [page(number)]), "whole, or not there"
            there += len(found)
        assert kind == "dbm" or there >= len(told), "what was told to be in is in"
        await store.put(key_of(1), page(7))
        assert await store.get(key_of(1)) == [page(7)]

    opened(kind, tmp_path, work)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"max_size": 1000}, r"_store\(max_size=1000\): bytes, 65536 or more"),
        ({"compress": "lzma"}, r"_store\(compress='lzma'\): \"zstd\", \"gzip\" or None"),
        ({"max_age": 0}, r"_store\(max_age=0\): seconds, more than 0"),
        ({"max_age": float("nan")}, r"_store\(max_age=nan\)"),
    ],
)
def test_arguments_are_checked_when_built(kind: str, arguments: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        made(kind, tmp_path, **arguments)
