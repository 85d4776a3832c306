"""`file:` URLs."""

from __future__ import annotations

import asyncio
import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from streamcrawl.core import Request
from streamcrawl.errors import BodyTooLarge, FetchError
from streamcrawl.response import Response


def fetch(wire: Any, request: Request, run: Any = None, **options: Any) -> Response:
    async def main() -> Response:
        async with wire(run() if run else None, **options) as fetching:
            response: Response = await fetching(request)
            if request.stream:
                await response.read()
            return response

    return asyncio.run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_a_file(wire: Any, tmp_path: Path, stream: bool) -> None:
    path = tmp_path / "a page #1 \xe4.html"
    path.write_bytes(b"<p>hi</p>" * 100_000)
    response = fetch(wire, Request(path.as_uri(), stream=stream))
    assert response.body == path.read_bytes()
    assert (response.status, response.url) == (200, path.as_uri())
    assert response.headers["content-type"] == "text/html"
    assert response.headers["content-length"] == "900000"
    assert response.headers["last-modified"].endswith("GMT")


def test_kinds(wire: Any, tmp_path: Path) -> None:
    for name, kind in {
        "a.json": "application/json",
        "a.unheard-of": "application/octet-stream",
        "page.html.gz": "application/gzip",
    }.items():
        (tmp_path / name).write_bytes(gzip.compress(b"x"))
        response = fetch(wire, Request((tmp_path / name).as_uri()))
        assert response.headers["content-type"] == kind
        assert response.body == (tmp_path / name).read_bytes()


def test_head_looks_only(wire: Any, tmp_path: Path) -> None:
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    response = fetch(wire, Request(path.as_uri(), method="HEAD"))
    assert response.body == b""
    assert response.headers["content-length"] == str(1 << 40)


@pytest.mark.parametrize("stream", [False, True])
def test_the_limit(wire: Any, tmp_path: Path, stream: bool) -> None:
    path = tmp_path / "big"
    path.write_bytes(bytes(1001))
    with pytest.raises(BodyTooLarge, match=rf"^{path}: the body is 1001 bytes long, the limit is 1000$"):
        fetch(wire, Request(path.as_uri(), stream=stream), max_size=1000)
    assert len(fetch(wire, Request(path.as_uri(), max_size=1001), max_size=1000).body) == 1001


def test_what_cannot_be_read(wire: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for target, text in {
        (tmp_path / "none").as_uri(): rf"^{tmp_path}/none cannot be read: No such file or directory$",
        tmp_path.as_uri(): rf"^{tmp_path} is a directory, not a file$",
        (tmp_path / "pipe").as_uri(): "is not a regular file",
        "file:///dev/zero": "^/dev/zero is not a regular file$",
        "file://elsewhere/etc/hosts": "a file of the machine 'elsewhere' cannot be read",
        "file:///a%00b": "no path in the file URL",
    }.items():
        with pytest.raises(FetchError, match=text):
            fetch(wire, Request(target))
    with pytest.raises(FetchError, match="POST is not possible on a file"):
        fetch(wire, Request(tmp_path.as_uri(), method="POST"))


def test_a_file_that_vanishes_is_told_to_the_reader(wire: Any, tmp_path: Path) -> None:
    path = tmp_path / "short-lived"
    path.write_bytes(b"x")

    async def main() -> None:
        async with wire() as fetching:
            response = await fetching(Request(path.as_uri(), stream=True))
            path.unlink()
            with pytest.raises(FetchError, match=rf"^{path} cannot be read: No such file"):
                await response.read()

    asyncio.run(main())


def test_memory_is_reserved(wire: Any, tmp_path: Path, metered_run: Any) -> None:
    path = tmp_path / "big"
    path.write_bytes(bytes(700 * 1024))

    async def main() -> None:
        run = metered_run()
        async with wire(run) as fetching:
            await fetching(Request(path.as_uri()))
        assert run.reserved == [(700 - 256) * 1024]

    asyncio.run(main())
