"""Loopback servers that answer with exactly the bytes a test gives them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pytest
import trustme

from streamcrawl.core import Request
from streamcrawl.streams.local import LocalRun
from streamcrawl.transport import OpenWire, Wire


@dataclass
class Seen:
    """A request as it arrived."""

    line: str
    fields: list[tuple[str, str]]
    body: bytes
    reader: asyncio.StreamReader

    async def hung_up(self) -> None:
        """Wait until the client closes the connection."""
        await self.reader.read()

    def all(self, name: str) -> list[str]:
        return [value for field, value in self.fields if field.lower() == name.lower()]


Answer: TypeAlias = "bytes | Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]"


@dataclass
class Site:
    """A server on loopback, and what it saw."""

    answer: Answer
    closing: bool = False
    port: int = 0
    scheme: str = "http"
    connections: int = 0
    open_connections: int = 0
    seen: list[Seen] = field(default_factory=list[Seen])
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever a client has closed a connection."""

    def url(self, path: str = "/") -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        try:
            while True:
                seen = await read_request(reader)
                self.seen.append(seen)
                if isinstance(self.answer, bytes):
                    writer.write(self.answer)
                else:
                    await self.answer(seen, writer)
                await writer.drain()
                if self.closing:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open_connections -= 1
            self.closed.set()
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.rstrip("\r\n").split("\r\n")
    fields = [(name, value.strip()) for name, _, value in (each.partition(":") for each in lines)]
    length = next((int(value) for name, value in fields if name.lower() == "content-length"), 0)
    return Seen(line, fields, await reader.readexactly(length), reader)


@asynccontextmanager
async def serving(answer: Answer, *, closing: bool = False, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Site]:
    site = Site(answer, closing, scheme="https" if tls else "http")
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(site.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
        await asyncio.sleep(0)


class MeteredRun(LocalRun):
    """A run that notes what is reserved."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self.reserved: list[int] = []
        self.gate: asyncio.Event | None = None
        """Set it to let reservations through."""

    async def reserve(self, request: Request, size: int) -> None:
        self.reserved.append(size)
        if self.gate is not None:
            await self.gate.wait()


@asynccontextmanager
async def wired(run: MeteredRun | None = None, **options: Any) -> AsyncGenerator[OpenWire]:
    wire = Wire(**options).open(run or MeteredRun())
    try:
        yield wire
    finally:
        await wire.aclose()
        await asyncio.sleep(0)


Serve: TypeAlias = Callable[..., AbstractAsyncContextManager[Site]]
Wired: TypeAlias = Callable[..., AbstractAsyncContextManager[OpenWire]]


@pytest.fixture
def serve() -> Serve:
    return serving


@pytest.fixture
def wire() -> Wired:
    return wired


@pytest.fixture
def metered_run() -> Callable[[], MeteredRun]:
    return MeteredRun


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def certificate(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("127.0.0.1")


@pytest.fixture
def server_tls(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """Of a server whose certificate is for 127.0.0.1; a test may change it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)  # pyright: ignore[reportUnknownMemberType] - pyOpenSSL's
    return context


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """A client that trusts the test authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)  # pyright: ignore[reportUnknownMemberType] - pyOpenSSL's
    return context
