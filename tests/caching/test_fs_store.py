"""The store in a folder, or in what fsspec reaches."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.request import Request, urlopen

import pytest
from cache_stores_made import START, key_of, page, still_run

from streamcrawl.caching.entry import CorruptEntry
from streamcrawl.caching.fs_store import TOUCH, fs_store
from streamcrawl.caching.objects import MARKED, Remote, Stored
from streamcrawl.caching.room import ROUNDS, Room
from streamcrawl.caching.stored import CacheStoreError


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def refused(uri: object, **arguments: Any) -> str:
    """What is said when it cannot be opened."""

    async def main() -> None:
        fs_store(str(uri), **arguments).open(still_run())

    with pytest.raises(CacheStoreError) as caught:
        asyncio.run(main())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_file_for_each_key_and_a_mark(tmp_path: Path) -> None:
    async def main() -> None:
        store = fs_store(f"file://{tmp_path}/made/here").open(still_run())
        for number in range(3):
            await store.put(bytes([number]) * 16, page(number))
            await store.put(bytes([number]) * 16, page(number, vary=(("a", "b"),)))
        await store.close()

    asyncio.run(main())
    found = files(tmp_path / "made" / "here")
    assert found == [f"{number:02x}/{f'{number:02x}' * 15}" for number in range(3)] + ["CACHEDIR.TAG"]
    mark = (tmp_path / "made" / "here" / "CACHEDIR.TAG").read_text()
    assert mark.startswith("Signature: 8a477f597d28d172789f06886806bc55\n"), "as backup programs look for it"


def test_what_cannot_be_opened_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert refused(tmp_path / "file") == f"cache {tmp_path}/file: Not a directory"
    assert refused(tmp_path / "file" / "below") == f"cache {tmp_path}/file/below: Not a directory"
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.tex").write_text("")
    assert refused(tmp_path / "theirs") == (
        f"cache {tmp_path}/theirs: no cache of ours is there, but other files ('thesis.tex'); "
        "give a new or an empty folder"
    )
    (tmp_path / "theirs" / "CACHEDIR.TAG").write_bytes(MARKED.partition(b"#")[0])
    assert "is a cache of something else; give another place" in refused(tmp_path / "theirs")
    (tmp_path / "theirs" / "CACHEDIR.TAG").write_bytes(MARKED.replace(b"version 1", b"version 22"))
    assert refused(tmp_path / "theirs") == (
        f"cache {tmp_path}/theirs: it is of version 22, and this release knows version 1; "
        "give another place, or delete it"
    )
    assert refused("nosuch://x") == "cache nosuch://x: it cannot be used: Protocol not known: nosuch"


def test_options_are_for_what_is_not_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"options=\['key'\]\): a folder takes none"):
        fs_store(tmp_path, options={"key": "secret"})
    assert "hidden" not in repr(fs_store("s3://bucket", options={"secret": "hidden"}))


@pytest.mark.parametrize("damage", [b"", b"x", b"scS\x02" + b"x" * 100])
def test_a_damaged_object_is_no_entry_and_is_removed(damage: bytes, tmp_path: Path) -> None:
    async def main() -> None:
        run = still_run()
        store = fs_store(tmp_path).open(run)
        (tmp_path / "00").mkdir()
        path = tmp_path / "00" / key_of(1).hex()[2:]
        path.write_bytes(damage)
        with pytest.raises(CorruptEntry, match=f"cache {tmp_path}: a stored response was damaged"):
            await store.get(key_of(1))
        assert not path.exists()
        assert await store.get(key_of(1)) == []
        await store.put(key_of(1), page(1, vary=(("a", "1"),)))
        await store.put(key_of(1), page(1, vary=(("a", "2"),)))
        path.write_bytes(path.read_bytes()[:-1])  # as a power cut may leave it: the older variant is cut off
        assert await store.get(key_of(1)) == [page(1, vary=(("a", "2"),))]
        assert await store.get(key_of(1)) == [page(1, vary=(("a", "2"),))]
        assert run.stats == {"httpcache/retrieve_error": 1}
        await store.close()

    asyncio.run(main())


def test_what_was_left_by_the_killed_is_cleaned_away_and_nothing_else(tmp_path: Path) -> None:
    async def main() -> None:
        store = fs_store(tmp_path, max_size=100_000).open(still_run())
        folder = tmp_path / "00"
        folder.mkdir()
        name = key_of(1).hex()[2:]
        for other in (f".{name}.1-1.part", f".{name}.1-2.part", "notes.txt", name + ".orig"):
            (folder / other).write_bytes(b"x" * 90_000)
        (tmp_path / "README").write_text("")
        monkey = pytest.MonkeyPatch()
        with monkey.context() as patch:
            patch.setattr("streamcrawl.caching.objects.STALE", -1.0)
            for number in range(100):
                await store.put(key_of(number), page(number, size=4000))
        left = [each for each in files(tmp_path) if not re.fullmatch(r"00/[0-9a-f]{38}", each)]
        assert left == [f"00/{name}.orig", "00/notes.txt", "CACHEDIR.TAG", "README"]
        await store.close()

    asyncio.run(main())


def test_a_young_temporary_file_is_somebody_elses_work(tmp_path: Path) -> None:
    async def main() -> None:
        store = fs_store(tmp_path, max_size=100_000).open(still_run())
        (tmp_path / "00").mkdir()
        (tmp_path / "00" / f".{key_of(1).hex()[2:]}.1-1.part").write_bytes(b"x")
        await store.put(key_of(2), page(2))
        assert len(files(tmp_path)) == 3
        await store.close()

    asyncio.run(main())


def test_a_file_that_is_read_now_and_then_is_marked_as_used(tmp_path: Path) -> None:
    async def main() -> None:
        run = still_run()
        store = fs_store(tmp_path, max_size=100_000).open(run)
        await store.put(key_of(1), page(1))
        path = tmp_path / "00" / key_of(1).hex()[2:]
        assert path.stat().st_mtime == START
        run.date += TOUCH - 1
        await store.get(key_of(1))
        assert path.stat().st_mtime == START, "not with every read"
        run.date += 2
        await store.get(key_of(1))
        assert path.stat().st_mtime == run.date
        await store.close()

    asyncio.run(main())


def test_a_miss_need_not_be_asked_for_again_when_the_page_comes(tmp_path: Path) -> None:
    async def main() -> None:
        store = fs_store(tmp_path).open(still_run())
        asked: list[str] = []
        objects = store._objects  # pyright: ignore[reportPrivateUsage] - what goes over the wire is to be counted
        read = objects.read

        def counting(name: str, now: float, touch: float | None) -> bytes | None:
            asked.append(name)
            return read(name, now, touch)

        cast(Any, store)._objects = type("Counting", (), {"read": staticmethod(counting), "write": objects.write})()
        assert await store.get(key_of(1)) == []
        await store.put(key_of(1), page(1))
        assert len(asked) == 1
        await store.put(key_of(1), page(1, vary=(("a", "b"),)))
        assert len(asked) == 2
        assert len(await store.get(key_of(1))) == 2
        await store.close()

    asyncio.run(main())


def test_listings_that_are_out_of_date_end_sometime() -> None:
    class Stale:
        removed = 0

        def listed(self, now: float) -> Iterator[Stored]:
            yield from (Stored(f"00/{number:030x}", 10_000, 0.0) for number in range(100))

        def remove(self, name: str) -> None:
            self.removed += 1

    stale = Stale()
    room = Room(cast(Any, stale), 100_000, None)
    assert room.made("00/" + "f" * 30, 10, 0.0)
    assert 90 <= stale.removed <= 100 * ROUNDS


def test_a_file_system_that_wants_its_folders_made(tmp_path: Path) -> None:
    async def main() -> None:
        store = fs_store(f"local://{tmp_path}/made/here").open(still_run())  # fsspec's own, not ours
        await store.put(key_of(1), page(1))
        assert await store.get(key_of(1)) == [page(1)]
        await store.close()

    asyncio.run(main())
    assert files(tmp_path) == [f"made/here/00/{key_of(1).hex()[2:]}", "made/here/CACHEDIR.TAG"]


def test_a_place_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from threading import Event

    answered = Event()
    monkeypatch.setattr(sys.modules["streamcrawl.caching.fs_store"], "PATIENCE", 0.05)

    def prepare(remote: Remote) -> None:
        answered.wait(60)

    monkeypatch.setattr(Remote, "prepare", prepare)
    try:
        assert refused("memory://slow") == "cache memory://slow: no answer for 0.05 s"
    finally:
        answered.set()


def test_a_folder_needs_no_fsspec(tmp_path: Path) -> None:
    code = f"""
import asyncio, sys
from cache_stores_made import key_of, page, still_run
from streamcrawl.caching.fs_store import TOUCH, fs_store
async def main():
    fs_store("s3://bucket/x", options={{"key": "k"}})
    store = fs_store({str(tmp_path)!r}).open(still_run())
    await store.put(key_of(1), page(1))
    await store.close()
asyncio.run(main())
print([name for name in ("fsspec", "s3fs", "aiobotocore") if name in sys.modules])
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")


class S3:
    """moto's S3 server on loopback."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"

    def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        asked = Request(f"{self.url}/{path}", body or None, {"Content-Type": "text/plain"}, method=method)
        with urlopen(asked, timeout=30) as answer:
            return bytes(answer.read())

    @property
    def options(self) -> dict[str, Any]:
        client = {"endpoint_url": self.url, "region_name": "us-east-1"}
        return {"key": "AKIAEXAMPLE", "secret": "example", "client_kwargs": client}

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture
def s3() -> Iterator[S3]:
    server = S3()
    yield server
    server.stop()


def test_a_bucket(s3: S3) -> None:
    s3.ask("PUT", "pages")

    async def main() -> None:
        for _ in range(2):
            run = still_run()
            store = fs_store("s3://pages/one/crawl", options=s3.options, max_size=100_000).open(run)
            numbers = range(60)
            await asyncio.gather(*(store.put(key_of(number), page(number, size=4000)) for number in numbers))
            there = [number for number in numbers if await store.get(key_of(number))]
            assert 20 < len(there) < 60
            for number in there:
                assert await store.get(key_of(number)) == [page(number, size=4000)]
            assert run.stats["httpcache/evicted"] >= 60 - len(there)
            await store.delete(key_of(there[0]))
            await store.delete(key_of(there[0]))
            assert await store.get(key_of(there[0])) == []
            await store.put(key_of(there[0]), page(5))
            last.append(there[0])
            await store.close()

    last: list[int] = []
    asyncio.run(main())
    listed = s3.ask("GET", "pages?list-type=2&prefix=one/crawl/").decode()
    assert sum(map(int, re.findall(r"<Size>(\d+)</Size>", listed))) < 100_000 + len(MARKED)
    # S3 tells times by the second, so of the others there is no telling which have gone.
    assert f"<Key>one/crawl/00/{key_of(last[-1]).hex()[2:]}</Key>" in listed


def test_a_bucket_that_is_not_there_is_told_and_not_made(s3: S3) -> None:
    said = refused("s3://nosuch/crawl", options=s3.options)
    assert said == "cache s3://nosuch/crawl: it cannot be used: The specified bucket does not exist"
    assert b"nosuch" not in s3.ask("GET", "")


def test_wrong_credentials_are_told(s3: S3) -> None:
    s3.ask("PUT", "pages")
    s3.ask("POST", "moto-api/reset-auth", b"0")
    try:
        said = refused("s3://pages/crawl", options=s3.options)
    finally:
        s3.ask("POST", "moto-api/reset-auth", b"inf")
    assert said.startswith("cache s3://pages/crawl: it cannot be used: ")
    assert "Access Key Id you provided does not exist" in said
    assert "example" not in said.replace("AKIAEXAMPLE", ""), "the secret is not told"


def test_a_bucket_that_goes_away_in_the_middle_is_named(s3: S3) -> None:
    s3.ask("PUT", "pages")

    async def main() -> None:
        store = fs_store("s3://pages/crawl", options=s3.options).open(still_run())
        s3.ask("POST", "moto-api/reset")
        with pytest.raises(CacheStoreError, match=r"cache s3://pages/crawl: cannot write 00/0+1: The specified bucket"):
            await store.put(key_of(1), page(1))
        await store.close()

    asyncio.run(main())
