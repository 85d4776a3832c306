"""Host names to addresses: looked up once for a run, and checked by what a request may reach."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TypeAlias

from aiohttp.abc import AbstractResolver, ResolveResult

from streamcrawl.transport.addresses import Permits
from streamcrawl.transport.lookups import SystemResolver
from streamcrawl.transport.reach import refused

MakeResolver: TypeAlias = Callable[[], AbstractResolver]
"""Called on the run's event loop, once."""

SECONDS = 300.0
"""For how long an answer serves; the operating system tells nothing of its time to live."""

NAMES = 10_000
"""Names whose addresses are kept at a time: some 10 MB."""


class Names:
    """The names of one run: each is looked up once in a while, however many connections ask for it at the same time.

    Args:
        make: Makes the resolver, when the first name is asked for; None: the operating system's.
    """

    __slots__ = ("_asking", "_found", "_make", "_resolver")

    def __init__(self, make: MakeResolver | None = None) -> None:
        self._make: MakeResolver = SystemResolver if make is None else make
        self._resolver: AbstractResolver | None = None
        self._found: dict[str, tuple[float, list[ResolveResult]]] = {}
        """By name, the oldest first: until when the addresses serve."""
        self._asking: dict[str, asyncio.Task[list[ResolveResult]]] = {}

    async def addresses(self, name: str) -> list[str]:
        """The name's addresses. Raises: OSError."""
        return [each["host"] for each in await self.resolve(name, 0)]

    async def resolve(self, name: str, port: int) -> list[ResolveResult]:
        """The name's addresses, another one first each time. Raises: OSError."""
        kept = self._found.get(name)
        if kept is not None and kept[0] > asyncio.get_running_loop().time():
            found = kept[1]
            found.append(found.pop(0))
        else:
            # Shielded: who gives up waiting does not take the answer from the others.
            found = await asyncio.shield(self._ask(name))
        return [{**each, "port": port} for each in found]

    def _ask(self, name: str) -> asyncio.Task[list[ResolveResult]]:
        task = self._asking.get(name)
        if task is None:
            task = self._asking[name] = asyncio.get_running_loop().create_task(self._learn(name))
            task.add_done_callback(_retrieved)
        return task

    async def _learn(self, name: str) -> list[ResolveResult]:
        try:
            if self._resolver is None:
                self._resolver = self._make()
            found = await self._resolver.resolve(name, 0, socket.AF_UNSPEC)
            if not found:
                raise socket.gaierror(socket.EAI_NONAME, f"no address for {name}")
            self._found.pop(name, None)
            if len(self._found) >= NAMES:
                del self._found[next(iter(self._found))]
            self._found[name] = asyncio.get_running_loop().time() + SECONDS, list(found)
            return found
        finally:
            del self._asking[name]

    async def aclose(self) -> None:
        """Let the resolver go."""
        asking = tuple(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        if self._resolver is not None:
            await self._resolver.close()
            self._resolver = None

    def __repr__(self) -> str:
        return f"<Names: {len(self._found)} known, {len(self._asking)} being asked for>"


class CheckedResolver(AbstractResolver):
    """A resolver of aiohttp that gives those addresses only which may be connected to. Closing it closes nothing."""

    def __init__(self, names: Names, permitted: Permits) -> None:
        self._names = names
        self._permitted = permitted

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises: OSError; AddressRefused if the name has addresses and none may be connected to."""
        found = await self._names.resolve(host, port)
        if self._permitted.everything:
            return found
        objections = [self._permitted.objection(each["host"]) for each in found]
        if all(objections):
            raise refused(host, found[0]["host"], objections[0])
        return [each for each, objection in zip(found, objections, strict=True) if not objection]

    async def close(self) -> None: ...


def _retrieved(task: asyncio.Task[list[ResolveResult]]) -> None:
    """asyncio would complain of an error that nobody waited for any more."""
    if not task.cancelled():
        task.exception()
