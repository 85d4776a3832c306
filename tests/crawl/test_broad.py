"""What a crawl of many hosts is told, and what it lets go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamcrawl import Crawl
from streamcrawl import operators as ops
from streamcrawl.events import Notice
from streamcrawl.transport import connections, guarded


@pytest.mark.parametrize(("descriptors", "told"), [(256, True), (100_000, False)])
def test_more_places_than_descriptors_are_told(monkeypatch: pytest.MonkeyPatch, descriptors: int, told: bool) -> None:
    for module in (connections, guarded):
        monkeypatch.setattr(module, "descriptors", lambda: descriptors)

    async def main() -> list[str]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]

        def parse(_: Any) -> None: ...

        crawl = Crawl(f"http://127.0.0.1:{port}/", concurrency=500).pipe(ops.download(), ops.scrape(parse))
        run = crawl.start()
        texts: list[str] = []
        run.events.on(Notice, lambda notice: texts.append(notice.text))
        summary = await run
        server.close()
        await server.wait_closed()
        assert summary.pages == 1
        return [text for text in texts if "ulimit" in text]

    found = asyncio.run(main())
    if told:
        text = (
            "concurrency=500, but this process may have 256 files open at a time (ulimit -n): 128 connections are used"
        )
        assert found == [f"{text} at once, other requests wait"]
    else:
        assert found == []
