"""A store of files."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamcrawl.errors import SinkError
from streamcrawl.storage.store import Store


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/made/here")

    async def work() -> None:
        await asyncio.gather(*(store.put(f"full/{number % 3}.jpg", b"%d" % number) for number in range(30)))
        await store.put("top.txt", b"old")
        await store.put("top.txt", b"new")

    store.prepare()
    asyncio.run(work())
    stored = files(tmp_path / "made" / "here")
    assert sorted(stored) == ["full/0.jpg", "full/1.jpg", "full/2.jpg", "top.txt"], "nothing temporary is left"
    assert stored["top.txt"] == b"new"
    assert all(int(stored[f"full/{number}.jpg"]) % 3 == number for number in range(3))


def test_what_fsspec_reaches() -> None:
    from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped] # pyright: ignore

    store = Store("memory://pictures/here/")
    store.prepare()
    asyncio.run(store.put("full/a.jpg", b"abc"))
    memory: Any = MemoryFileSystem()
    assert memory.cat_file("/pictures/here/full/a.jpg") == b"abc"


@pytest.mark.parametrize("path", ["", "../a", "a/../../b", "/a"])
def test_a_path_out_of_the_store(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="is no path within it"):
        asyncio.run(Store(tmp_path).put(path, b""))


def test_a_folder_that_cannot_be_written_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match=f"cannot write {tmp_path}/file: File exists"):
        Store(tmp_path / "file").prepare()
    with pytest.raises(SinkError, match=r"cannot write a\.jpg: Not a directory"):
        asyncio.run(Store(tmp_path / "file" / "below").put("a.jpg", b""))


def test_a_scheme_that_nobody_knows() -> None:
    with pytest.raises(SinkError, match=r"store nosuch://x: cannot write a\.jpg: Protocol not known: nosuch"):
        asyncio.run(Store("nosuch://x").put("a.jpg", b""))


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "inside").mkdir()
    with pytest.raises(SinkError, match="cannot write taken: Is a directory"):
        asyncio.run(Store(tmp_path).put("taken", b"x"))
    assert files(tmp_path) == {}


def test_folders_need_neither_fsspec_nor_pillow(tmp_path: Path) -> None:
    code = f"""
import asyncio, sys
from streamcrawl.operators.images import images
from streamcrawl.storage.store import Store
images("s3://bucket/x", thumbs={{"small": (5, 5)}})
asyncio.run(Store({str(tmp_path)!r}).put("a", b"x"))
print([name for name in ("PIL", "fsspec", "s3fs", "pyarrow") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")
