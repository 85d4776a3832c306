"""A loopback world of many hosts, each an address of its own in 127.0.0.0/8, of which a share misbehaves.

Host n is 127.(1 + n / 62500).(n / 250 % 250 + 1).(n % 250 + 1), all on one port; what it does depends on n alone.
"""

from __future__ import annotations

import asyncio
import random
import resource
from multiprocessing.connection import Connection
from typing import Any, cast

LARGE_SITE = 400
"""Pages of a host that has many; the others have three."""

SHARES = (
    ("refuse", 5),
    ("silent", 5),
    ("drip", 3),
    ("reset", 3),
    ("broken", 5),
    ("loop", 3),
    ("slow-robots", 3),
    ("broken-robots", 2),
    ("huge-robots", 1),
    ("endless", 2),
    ("large", 1),
)
"""What hosts do, in percent of them; the others are in order, and small."""

HUGE = 1_000_000
"""Bytes of a huge robots.txt."""

ROBOTS_SECONDS = 5.0

FORWARD = frozenset(("small", "large", "slow-robots", "huge-robots"))
"""Whose pages come."""


def address_of(number: int) -> str:
    """The host's address."""
    return f"127.{1 + number // 62_500}.{number // 250 % 250 + 1}.{number % 250 + 1}"


def number_of(address: str) -> int:
    """The host whose address it is."""
    _, first, second, third = map(int, address.split("."))
    return (first - 1) * 62_500 + (second - 1) * 250 + third - 1


def kind_of(number: int, well: bool = False) -> str:
    """What the host does.

    Args:
        number: Its own.
        well: None of them misbehaves.
    """
    at = number * 37 % 100
    for kind, share in SHARES:
        if at < share:
            return "small" if well and kind not in FORWARD else kind
        at -= share
    return "small"


def url_of(number: int, port: int, well: bool = False) -> str:
    """The host's first page. Nobody listens on the port before that of the world."""
    return f"http://{address_of(number)}:{port - (kind_of(number, well) == 'refuse')}/0"


def pages_of(kind: str) -> int:
    """Pages that the host has."""
    return LARGE_SITE if kind == "large" else 3


def expected(hosts: int, well: bool = False) -> int:
    """Pages that a crawl of the world can get."""
    return sum(pages_of(kind) for number in range(hosts) if (kind := kind_of(number, well)) in FORWARD)


class Host(asyncio.Protocol):
    """One connection to one host."""

    hosts = 0
    well = False
    port = 0

    def __init__(self) -> None:
        self.timer: asyncio.TimerHandle | None = None
        self.closed = False
        self.writable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.number = number_of(transport.get_extra_info("sockname")[0])
        self.kind = kind_of(self.number, self.well)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self.timer is not None:
            self.timer.cancel()

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True

    def data_received(self, data: bytes) -> None:
        path = data.split(b" ", 2)[1].decode()
        if self.kind == "silent":
            return
        if self.kind == "reset":
            self.transport.abort()
        elif path == "/robots.txt":
            self.robots()
        else:
            self.page(int(path[1:] or 0))

    def robots(self) -> None:
        if self.kind == "broken-robots":
            self.answer(b"", "503 Service Unavailable")
        elif self.kind == "huge-robots":
            self.answer(b"User-agent: *\nDisallow: /private/\n".ljust(HUGE, b"#"), kind="text/plain")
        elif self.kind == "slow-robots":
            self.timer = asyncio.get_running_loop().call_later(ROBOTS_SECONDS, self.answer, b"", "404 Not Found")
        else:
            self.answer(b"", "404 Not Found")

    def page(self, page: int) -> None:
        if self.kind == "broken":
            self.answer(b"", "500 Internal Server Error")
        elif self.kind == "loop":
            target = url_of((self.number + 100) % self.hosts, self.port)
            self.answer(b"", "302 Found", more=f"Location: {target}\r\n")
        elif self.kind in ("drip", "endless"):
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1000000000\r\n\r\n")
            self.more()
        else:
            self.answer(self.text(page))

    def more(self) -> None:
        """The next piece of a body that never ends."""
        if self.closed:
            return
        if self.writable:
            self.transport.write(b"x" if self.kind == "drip" else b"x" * 65_536)
        pause = 1.0 if self.kind == "drip" else 0.05
        self.timer = asyncio.get_running_loop().call_later(pause, self.more)

    def text(self, page: int) -> bytes:
        own = range(1, pages_of(self.kind)) if page == 0 else ()
        chance = random.Random(self.number * 1_000 + page)
        links = [f"/{each}" for each in own]
        links += [url_of(chance.randrange(self.hosts), self.port, self.well) for _ in range(5)]
        body = "".join(f'<p><a href="{link}">{link}</a></p>' for link in links)
        filler = "<p>Some text that is neither long nor short.</p>" * 40
        return f"<title>{self.number} {page}</title>{body}{filler}".encode()

    def answer(self, body: bytes, status: str = "200 OK", kind: str = "text/html", more: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
        self.transport.write(head.encode() + body)


async def serve(reports: Connection, hosts: int, well: bool) -> None:
    """Serve the world, and report the port."""
    Host.hosts, Host.well = hosts, well
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Host, "0.0.0.0", 0, backlog=4096)
    Host.port = server.sockets[0].getsockname()[1]
    reports.send(Host.port)
    await asyncio.Event().wait()


def served(reports: Connection, hosts: int, well: bool) -> None:
    """The server process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(cast(Any, serve(reports, hosts, well)))
