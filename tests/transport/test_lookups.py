"""Names that are slow to fail hold up no others, and nobody waits for them at the end."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from streamcrawl.transport.lookups import SystemResolver, Threads
from streamcrawl.transport.resolver import Names

DEAD = 40
"""Names, more than the event loop has threads on any machine (32)."""


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The resolver answers nothing of names that begin with "dead" until this is set."""
    released = threading.Event()

    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        if host.startswith("dead"):
            released.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "no name server answers")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield released
    released.set()


def test_dead_names_hold_up_neither_names_nor_files(release: threading.Event) -> None:
    async def main() -> None:
        names = Names()
        dead = [asyncio.create_task(names.addresses(f"dead{number}.example")) for number in range(DEAD)]
        try:
            async with asyncio.timeout(20):
                assert await names.addresses("quick.example") == ["192.0.2.1"]
                assert await asyncio.to_thread(lambda: 7) == 7
            assert not any(task.done() for task in dead)
        finally:
            release.set()
        assert [type(each) for each in await asyncio.gather(*dead, return_exceptions=True)] == [socket.gaierror] * DEAD
        await names.aclose()

    asyncio.run(main())


def test_a_name_that_nobody_waits_for_any_more_is_not_waited_for(release: threading.Event) -> None:
    async def main() -> None:
        names = Names()
        waiting = asyncio.create_task(names.addresses("dead.example"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        await names.aclose()

    asyncio.run(main())  # closes the loop, and what belongs to it
    assert not release.is_set()
    release.set()  # the thread finds its loop closed


def test_a_process_ends_while_a_name_is_looked_up() -> None:
    program = (
        "import asyncio, socket, time\n"
        "from streamcrawl.transport.resolver import Names\n"
        "socket.getaddrinfo = lambda *_, **__: time.sleep(600)\n"
        "async def main():\n"
        "    names = Names()\n"
        "    try:\n"
        "        async with asyncio.timeout(0.1):\n"
        "            await names.addresses('dead.example')\n"
        "    except TimeoutError:\n"
        "        await names.aclose()\n"
        "asyncio.run(main())\n"
    )
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert time.monotonic() - begun < 60


def test_threads_are_as_many_as_needed_and_no_more_than_allowed() -> None:
    async def main() -> None:
        go, at_once, most, lock = threading.Event(), 0, 0, threading.Lock()

        def work() -> int:
            nonlocal at_once, most
            with lock:
                at_once += 1
                most = max(most, at_once)
            go.wait(30)
            with lock:
                at_once -= 1
            return 1

        threads = Threads(3)
        calls = [threads.call(work) for _ in range(10)]
        assert repr(threads).endswith("calls waiting>")
        go.set()
        assert await asyncio.gather(*calls) == [1] * 10
        assert 1 <= most <= 3
        assert await threads.call(lambda: 2) == 2
        threads.close()

    asyncio.run(main())


def test_the_systems_resolver_knows_this_machine() -> None:
    async def main() -> None:
        resolver = SystemResolver()
        try:
            found = await resolver.resolve("127.0.0.1", 80, socket.AF_UNSPEC)
            assert [each["host"] for each in found] == ["127.0.0.1"]
        finally:
            await resolver.close()

    asyncio.run(main())
