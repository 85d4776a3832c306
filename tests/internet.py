"""An Internet on this machine: every address leads to loopback, names have the addresses that a test gives them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

LOCAL = "127.0.0.1"


class Internet(asyncio.SelectorEventLoop):
    """An event loop on which every address leads to this machine; it notes which were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        self.asked.append(address[0])
        await super().sock_connect(sock, (LOCAL, *address[1:2]))


class Names(AbstractResolver):
    """A resolver with answers of its own: addresses by name, which may change."""

    def __init__(self, **names: Iterable[str]) -> None:
        self.names = {name.replace("_", "."): tuple(addresses) for name, addresses in names.items()}
        self.asked: list[str] = []
        self.closed = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [
            ResolveResult(hostname=host, host=each, port=port, family=socket.AF_INET, proto=0, flags=0)
            for each in self.names[host]
        ]

    async def close(self) -> None:
        self.closed += 1


def on_internet(main: Callable[[Internet], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=Internet) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Internet)
        runner.run(main(loop))
