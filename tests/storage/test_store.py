"""A folder as a store."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from streamcrawl.errors import SinkError
from streamcrawl.storage.folder import PARTS
from streamcrawl.storage.store import SCHEMES, Meta, Place, Stat, StoreError, place_of
from streamcrawl.storage.threaded import in_blocks

MIB = 1024 * 1024


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def pieces(number: int, size: int = 300_000, error: Exception | None = None) -> AsyncIterator[bytes]:
    for n in range(number):
        await asyncio.sleep(0)
        yield bytes([n % 256]) * size
    if error is not None:
        raise error


def whole(number: int, size: int = 300_000) -> bytes:
    return b"".join(bytes([n % 256]) * size for n in range(number))


def test_a_folder(tmp_path: Path) -> None:
    async def work() -> None:
        store = Place(f"file://{tmp_path}/made/here").open()
        await asyncio.gather(*(store.put(f"full/{number % 3}.jpg", b"%d" % number) for number in range(30)))
        await store.put("top.txt", b"old")
        await store.put("top.txt", b"new", Meta("text/plain"))
        await store.close()

    asyncio.run(work())
    stored = files(tmp_path / "made" / "here")
    assert sorted(stored) == ["full/0.jpg", "full/1.jpg", "full/2.jpg", "top.txt"]
    assert stored["top.txt"] == b"new"
    assert all(int(stored[f"full/{number}.jpg"]) % 3 == number for number in range(3))
    assert not (tmp_path / "made" / "here" / PARTS).exists(), "nothing temporary is left"


def test_a_file_in_pieces_is_seen_when_it_is_whole(tmp_path: Path) -> None:
    async def work() -> None:
        store = Place(str(tmp_path)).open()
        seen: list[bool] = []

        async def watched() -> AsyncIterator[bytes]:
            async for piece in pieces(20):
                seen.append((tmp_path / "a" / "big").exists())
                yield piece

        await store.put("a/big", watched())
        assert seen == [False] * 20
        assert await store.read("a/big") == whole(20)
        found = await store.stat("a/big", "sha256")
        assert found is not None
        assert (found.size, found.checksum) == (6_000_000, hashlib.sha256(whole(20)).hexdigest())
        assert abs(found.modified - (tmp_path / "a" / "big").stat().st_mtime) < 1e-6
        await store.put("empty", pieces(0))
        assert await store.read("empty") == b""
        await store.close()

    asyncio.run(work())


@pytest.mark.parametrize("number", [1, 20])
def test_what_breaks_off_leaves_what_was_there(tmp_path: Path, number: int) -> None:
    async def work() -> None:
        store = Place(str(tmp_path)).open()
        await store.put("a", b"old")
        with pytest.raises(RuntimeError, match="broken"):
            await store.put("a", pieces(number, error=RuntimeError("broken")))
        assert await store.read("a") == b"old"
        await store.close()

    asyncio.run(work())
    assert files(tmp_path) == {"a": b"old"}


def test_who_stores_is_cancelled(tmp_path: Path) -> None:
    async def work() -> None:
        store = Place(str(tmp_path)).open()
        under_way = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            async for piece in pieces(10):
                yield piece
            under_way.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(store.put("a", endless()))
        await under_way.wait()
        assert list((tmp_path / PARTS).iterdir())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await store.close()

    asyncio.run(work())
    assert files(tmp_path) == {}


def test_look_up_list_and_delete(tmp_path: Path) -> None:
    async def work() -> None:
        store = Place(str(tmp_path)).open()
        for path in ("b/2", "b/c/3", "a"):
            await store.put(path, path.encode())
        assert await store.stat("nothing", "md5") is None
        assert await store.stat("b") is None, "a folder is no file"
        assert {path: stat.size for path, stat in (await store.list()).items()} == {"a": 1, "b/2": 3, "b/c/3": 5}
        assert list(await store.list("b/c")) == ["b/c/3"]
        assert await store.list("nothing") == {}
        assert (await store.delete("a"), await store.delete("a")) == (True, False)
        assert store.url("b/2") == (tmp_path / "b" / "2").as_uri()
        await store.close()

    asyncio.run(work())


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    parts = tmp_path / PARTS
    parts.mkdir()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here = socket.gethostname()
    names = {
        "dead": f"{here}-{gone.pid}-1",
        "alive": f"{here}-{os.getpid()}-99999",
        "elsewhere": "other.example-5-1",
        "old": "other.example-5-2",
        "not ours": "notes.txt",
    }
    for name in names.values():
        (parts / name).write_bytes(b"half a picture")
    os.utime(parts / names["old"], (0, 0))

    async def work() -> None:
        await Place(str(tmp_path)).open().close()

    asyncio.run(work())
    assert sorted(files(parts)) == sorted(names[key] for key in ("alive", "elsewhere", "not ours"))


@pytest.mark.parametrize("path", ["", "../a", "a/../../b", "/a", "a//b", "a/", "a\0b"])
def test_a_path_out_of_the_store(tmp_path: Path, path: str) -> None:
    with pytest.raises(StoreError, match="is no path within it") as caught:
        asyncio.run(Place(str(tmp_path)).open().put(path, b""))
    assert caught.value.single


@pytest.mark.parametrize(("path", "why"), [("a" * 300, "File name too long"), ("taken", "Is a directory")])
def test_a_name_that_cannot_be_is_that_files_fault_alone(tmp_path: Path, path: str, why: str) -> None:
    (tmp_path / "taken").mkdir()

    async def work() -> None:
        store = Place(str(tmp_path)).open()
        for data in (b"x", pieces(20)):
            with pytest.raises(StoreError, match=f"cannot write {path}: {why}") as caught:
                await store.put(path, data)
            assert caught.value.single
        await store.close()

    asyncio.run(work())
    assert files(tmp_path) == {}


def test_a_folder_that_cannot_be_written_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match=f"cannot write {tmp_path}/file/{PARTS}: Not a directory"):
        Place(str(tmp_path / "file")).open()


def test_a_full_disk_is_no_single_files_fault() -> None:
    async def work() -> None:
        store = Place("/dev/shm" if Path("/dev/shm").is_dir() else "/tmp").open()
        files: Any = store
        real = files._files

        def full(path: str, data: bytes, meta: Meta) -> None:
            raise OSError(28, "No space left on device")

        real.put = full
        with pytest.raises(StoreError, match=r"cannot write a\.jpg: No space left on device") as caught:
            await store.put("a.jpg", b"x")
        assert not caught.value.single
        await store.close()

    asyncio.run(work())


def test_a_scheme_that_nobody_knows() -> None:
    with pytest.raises(SinkError, match="store nosuch://x: Protocol not known: nosuch"):
        Place("nosuch://x").open()


def test_a_scheme_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Own:
        part, at_once = MIB, 1

        def __init__(self) -> None:
            self.kept: dict[str, bytes] = {}

        def check(self) -> None: ...
        def put(self, path: str, data: bytes, meta: Meta) -> None:
            self.kept[path] = data

        def stat(self, path: str, digest: str) -> Stat | None:
            return Stat(5.0, len(self.kept[path]))

        def close(self) -> None: ...

    opened: list[Place] = []

    def opener(place: Place) -> Any:
        opened.append(place)
        return Own()

    monkeypatch.setitem(SCHEMES, "own", opener)

    async def work() -> None:
        store = Place("own://place", {"option": 1}).open()
        await store.put("a", b"abc")
        assert await store.stat("a") == Stat(5.0, 3)
        await store.close()

    asyncio.run(work())
    assert opened == [Place("own://place", {"option": 1})]


def test_credentials_are_not_shown() -> None:
    place = Place("ftp://ada:secret@host.example/a", {"password": "hidden"})
    assert place.name == "ftp://host.example/a"
    assert "hidden" not in repr(place)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("", None, None, None), "store=''"),
        (("folder", None, "public-read", None), "acl='public-read': stores of file: have none"),
        (("s3://b", None, None, {"A b": "x"}), "names and values of header fields"),
        (("s3://b", None, None, {"Cache-Control": "x\ny"}), "names and values of header fields"),
        ((Place("a"), {"key": 1}, None, None), "belong to a store that is given by its URI"),
    ],
)
def test_bad_arguments(arguments: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        place_of(*arguments)


def test_a_folder_takes_no_options(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="a folder takes none"):
        Place(str(tmp_path), {"key": "x"}).open()


def test_blocks_have_one_size() -> None:
    async def work(sizes: list[int]) -> list[int]:
        async def chunks() -> AsyncIterator[bytes]:
            for size in sizes:
                yield bytes(size)

        return [len(block) async for block in in_blocks(chunks(), 10)]

    assert asyncio.run(work([3, 3, 3, 3])) == [10, 2]
    assert asyncio.run(work([35])) == [10, 10, 10, 5]
    assert asyncio.run(work([10, 0, 10])) == [10, 10]
    assert asyncio.run(work([7, 25, 8])) == [10, 10, 10, 10]
    assert asyncio.run(work([])) == []


def test_folders_need_neither_fsspec_nor_pillow(tmp_path: Path) -> None:
    code = f"""
import asyncio, sys
from streamcrawl.operators.images import images
from streamcrawl.storage.store import Place
images("s3://bucket/x", thumbs={{"small": (5, 5)}})
async def main():
    store = Place({str(tmp_path)!r}).open()
    await store.put("a", b"x")
    await store.close()
asyncio.run(main())
print([name for name in ("PIL", "fsspec", "s3fs", "pyarrow") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")
