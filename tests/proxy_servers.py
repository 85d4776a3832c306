"""Small proxies on loopback: HTTP with CONNECT, and SOCKS 4, 4a and 5. They resolve names by themselves."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

ASKS = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno"


@dataclass
class Asked:
    """A request as it arrived at the proxy."""

    line: str
    fields: list[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        return [value for field, value in self.fields if field.lower() == name.lower()]


@dataclass
class Proxy:
    """A proxy on loopback, and what it was asked. Set its fields at any time.

    Args:
        names: Where its names lead: host to port on loopback. Others lead to themselves.
        credentials: What it wants: the value of Proxy-Authorization, or "user:password" for SOCKS.
        answer: What it answers to everything, instead of serving: bytes, such as a status line.
        silent: It takes connections, and says nothing.
    """

    scheme: str = "http"
    names: dict[str, int] = field(default_factory=dict[str, int])
    credentials: str | None = None
    answer: bytes | None = None
    silent: bool = False
    port: int = 0
    connections: int = 0
    asked: list[Asked] = field(default_factory=list[Asked])
    given: list[str] = field(default_factory=list[str])
    """SOCKS credentials."""

    def url(self, credentials: str = "") -> str:
        return f"{self.scheme}://{credentials}{'@' if credentials else ''}127.0.0.1:{self.port}"

    @property
    def targets(self) -> list[str]:
        """What it was asked to connect to, or to bring."""
        return [each.line.split()[1] for each in self.asked]

    async def reach(self, host: str, port: int) -> Streams:
        if host in self.names:
            host, port = "127.0.0.1", self.names[host]
        return await asyncio.open_connection(host, port)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything from one side to the other."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def tunnel(client: Streams, server: Streams) -> None:
    await asyncio.gather(pump(client[0], server[1]), pump(server[0], client[1]))


async def read_head(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.rstrip("\r\n").split("\r\n")
    return Asked(line, [(name, value.strip()) for name, _, value in (each.partition(":") for each in lines)])


async def speak_http(proxy: Proxy, client: Streams) -> None:
    reader, writer = client
    while True:
        asked = await read_head(reader)
        proxy.asked.append(asked)
        method, target, _ = asked.line.split()
        if proxy.silent:
            await reader.read()
            return
        if proxy.answer is not None:
            writer.write(proxy.answer)
            return
        if proxy.credentials is not None and asked.all("proxy-authorization") != [proxy.credentials]:
            writer.write(ASKS)
            continue
        place = target if method == "CONNECT" else target.partition("://")[2].partition("/")[0]
        host, _, port = place.rpartition(":") if ":" in place.rpartition("]")[2] else (place, "", "80")
        try:
            server = await proxy.reach(host.strip("[]"), int(port))
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            continue
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await tunnel(client, server)
            return
        length = int((asked.all("content-length") or ["0"])[0])
        body = await reader.readexactly(length)
        path = "/" + target.partition("://")[2].partition("/")[2]
        hidden = ("connection", "proxy-authorization", "proxy-connection")
        lines = [f"{name}: {value}\r\n" for name, value in asked.fields if name.lower() not in hidden]
        server[1].write(
            f"{method} {path} HTTP/1.1\r\n{''.join(lines)}Connection: close\r\n\r\n".encode("latin-1") + body
        )
        try:
            # What comes after this answer would wait until the server hangs up.
            line, head = (await server[0].readuntil(b"\r\n\r\n")).split(b"\r\n", 1)
            writer.write(line + b"\r\nConnection: close\r\n" + head)
            await pump(server[0], writer)
        finally:
            server[1].close()
        return


async def speak_socks(proxy: Proxy, client: Streams) -> None:
    reader, writer = client
    version = (await reader.readexactly(1))[0]
    if proxy.silent:
        await reader.read()
        return
    if proxy.answer is not None:
        writer.write(proxy.answer)
        return
    host, port = await (greeted4 if version == 4 else greeted5)(proxy, client)
    if not host:
        return
    proxy.asked.append(Asked(f"SOCKS{version} {host}:{port}", []))
    try:
        server = await proxy.reach(host, port)
    except OSError:
        writer.write(b"\x00\x5b" + bytes(6) if version == 4 else b"\x05\x05\x00\x01" + bytes(6))
        return
    writer.write(b"\x00\x5a" + bytes(6) if version == 4 else b"\x05\x00\x00\x01" + bytes(6))
    await tunnel(client, server)


async def greeted5(proxy: Proxy, client: Streams) -> tuple[str, int]:
    """RFC 1928, RFC 1929."""
    reader, writer = client
    methods = await reader.readexactly((await reader.readexactly(1))[0])
    if proxy.credentials is not None:
        if 2 not in methods:
            writer.write(b"\x05\xff")
            return "", 0
        writer.write(b"\x05\x02")
        _, size = await reader.readexactly(2)
        user = await reader.readexactly(size)
        password = await reader.readexactly((await reader.readexactly(1))[0])
        proxy.given.append(f"{user.decode()}:{password.decode()}")
        good = proxy.given[-1] == proxy.credentials
        writer.write(b"\x01\x00" if good else b"\x01\x01")
        if not good:
            return "", 0
    else:
        writer.write(b"\x05\x00")
    _, _, _, kind = await reader.readexactly(4)
    if kind == 3:
        host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
    else:
        host = ".".join(map(str, await reader.readexactly(4)))
    return host, struct.unpack("!H", await reader.readexactly(2))[0]


async def greeted4(proxy: Proxy, client: Streams) -> tuple[str, int]:
    """SOCKS 4, and 4a: an address 0.0.0.x announces a name."""
    reader, _ = client
    _, port, address = struct.unpack("!BH4s", await reader.readexactly(7))
    proxy.given.append((await reader.readuntil(b"\x00"))[:-1].decode())
    if address[:3] == bytes(3):
        return (await reader.readuntil(b"\x00"))[:-1].decode(), port
    return ".".join(map(str, address)), port


SPEAK: dict[str, Callable[[Proxy, Streams], Awaitable[None]]] = {"http": speak_http, "https": speak_http}


@asynccontextmanager
async def proxying(scheme: str = "http", *, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Proxy]:
    """A proxy that runs as long as the block."""
    proxy = Proxy(scheme)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(client: Streams) -> None:
        proxy.connections += 1
        try:
            await SPEAK.get(scheme, speak_socks)(proxy, client)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            client[1].close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve((reader, writer)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
        await asyncio.sleep(0)
