"""How many connections stay open, and what happens when there are no file descriptors for more."""

from __future__ import annotations

import asyncio
import errno
import sys
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest

from streamcrawl.core import Request
from streamcrawl.transport import connections

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_idle_connections_are_kept_to_the_hosts_that_were_asked_last(
    monkeypatch: pytest.MonkeyPatch, wire: Any
) -> None:
    monkeypatch.setattr(connections, "most_idle", lambda: 3)

    async def main() -> None:
        opened = 0
        open_now: set[str] = set()
        changed = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal opened
            opened += 1
            host = writer.get_extra_info("sockname")[0]
            open_now.add(host)
            try:
                while True:
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(OK)
            except (asyncio.IncompleteReadError, ConnectionError):
                open_now.discard(host)
                changed.set()
                writer.close()

        server = await asyncio.start_server(serve, "0.0.0.0", 0)
        port = server.sockets[0].getsockname()[1]
        async with wire(reach="any") as fetch:
            for number in range(1, 11):
                assert (await fetch(Request(f"http://127.0.0.{number}:{port}/"))).body == b"ok"
            async with asyncio.timeout(20):
                while len(open_now) > 3:
                    changed.clear()
                    await changed.wait()
            assert open_now == {"127.0.0.8", "127.0.0.9", "127.0.0.10"}
            assert opened == 10
            await fetch(Request(f"http://127.0.0.8:{port}/"))
            assert opened == 10, "the connection that was kept is used"
        server.close()
        await server.wait_closed()

    asyncio.run(main())


def test_requests_for_which_there_is_no_descriptor_wait(monkeypatch: pytest.MonkeyPatch, serve: Any, wire: Any) -> None:
    monkeypatch.setattr(connections, "most_connections", lambda: 2)
    at_once = most = 0

    async def answer(_: Any, writer: asyncio.StreamWriter) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        for _turn in range(20):
            await asyncio.sleep(0)
        at_once -= 1
        writer.write(OK)

    async def main() -> None:
        async with serve(answer) as site, wire(reach="any") as fetch:
            answers = await asyncio.gather(*(fetch(Request(site.url(f"/{number}"))) for number in range(12)))
            assert [each.body for each in answers] == [b"ok"] * 12

    asyncio.run(main())
    assert most == 2


def test_idle_connections_to_one_host_are_bounded_too(monkeypatch: pytest.MonkeyPatch, serve: Any, wire: Any) -> None:
    monkeypatch.setattr(connections, "most_idle", lambda: 3)
    arrived = 0

    async def main() -> None:
        everybody = asyncio.Event()

        async def answer(_: Any, writer: asyncio.StreamWriter) -> None:
            nonlocal arrived
            arrived += 1
            if arrived == 10:
                everybody.set()
            await everybody.wait()
            writer.write(OK)

        async with serve(answer) as site, wire(reach="any") as fetch:
            await asyncio.gather(*(fetch(Request(site.url(f"/{number}"))) for number in range(10)))
            assert site.connections == 10
            async with asyncio.timeout(20):
                while site.open_connections > 3:
                    site.closed.clear()
                    await site.closed.wait()
            assert site.open_connections == 3
            await fetch(Request(site.url("/again")))
            assert site.connections == 10, "one that was kept is used"

    asyncio.run(main())


def test_no_descriptor_left_lets_idle_connections_go(monkeypatch: pytest.MonkeyPatch, serve: Any, wire: Any) -> None:
    connect, failures = aiohttp.TCPConnector._create_connection, 0  # pyright: ignore[reportPrivateUsage] - as overridden

    server: Any = None

    async def fail_twice(self: Any, *arguments: Any) -> Any:
        nonlocal failures
        if server.connections and failures < 2:
            failures += 1
            key: Any = arguments[0].connection_key
            raise aiohttp.ClientConnectorError(key, OSError(errno.EMFILE, "Too many open files"))
        return await connect(self, *arguments)

    monkeypatch.setattr(aiohttp.TCPConnector, "_create_connection", fail_twice)

    async def main() -> None:
        nonlocal server
        async with serve(OK) as server, serve(OK) as other, wire(reach="any") as fetch:
            await fetch(Request(server.url()))
            assert server.open_connections == 1
            assert (await fetch(Request(other.url()))).body == b"ok"
            async with asyncio.timeout(20):
                await server.closed.wait()
            assert (failures, server.open_connections, other.connections) == (2, 0, 1)

    asyncio.run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such bound")
@pytest.mark.parametrize(("soft", "use", "idle"), [(256, 128, 64), (1024, 512, 256), (65_536, 32_768, 1024)])
def test_the_bounds_follow_the_limit_of_the_process(
    monkeypatch: pytest.MonkeyPatch, soft: int, use: int, idle: int
) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", Mock(return_value=(soft, soft)))
    assert (connections.most_connections(), connections.most_idle()) == (use, idle)
    assert use + idle < soft


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such bound")
def test_no_limit_is_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", Mock(return_value=(resource.RLIM_INFINITY,) * 2))
    assert connections.most_idle() == connections.IDLE
    assert connections.most_connections() > 100_000
