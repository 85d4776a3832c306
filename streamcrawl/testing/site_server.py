"""Web servers on loopback for tests and demos: answers by path, and a log of what arrived. Standard library only.

with serve({"/": "<a href=/next>next</a>", "/next": Answer(status=503, headers={"Retry-After": "1"})}) as site:
    ...  # site.url, site.arrivals, site.count("/next")
"""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self, TypeAlias, cast

_LENGTH = re.compile(rb"\ncontent-length: *(\d+)", re.IGNORECASE)

HeaderFields: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answers.

    Args:
        body: A str is sent as HTML in UTF-8.
        status: The HTTP status.
        headers: As mapping, or as pairs where a field is repeated. Content-Length and Content-Type are added unless
            given; a Content-Length that differs from the body's ends the connection after the body.
        delay: Seconds before the answer.
        chunks: The body instead of `body`, sent chunked.
        pause: Seconds before each of the chunks.
        cut: The connection is closed after the body or the last chunk; a chunked body then has no end.
        raw: Bytes that are sent instead of an HTTP answer; then the connection is closed.
    """

    body: bytes | str = b""
    status: int = 200
    headers: HeaderFields = ()
    delay: float = 0.0
    chunks: Iterable[bytes] | None = None
    pause: float = 0.0
    cut: bool = False
    raw: bytes | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request as it arrived.

    Args:
        time: Of `time.monotonic()`.
        connection: Numbers the connections from 1.
        head: The request line and header fields, as sent.
    """

    method: str
    target: str
    body: bytes
    time: float
    connection: int
    head: bytes

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def headers(self) -> dict[str, str]:
        """By name in lower case; repeated fields are joined."""
        found: dict[str, str] = {}
        for line in self.head.split(b"\r\n")[1:]:
            name, _, value = line.decode("latin-1").partition(":")
            key, value = name.strip().lower(), value.strip()
            if key:
                found[key] = f"{found[key]}, {value}" if key in found else value
        return found

    @property
    def cookies(self) -> dict[str, str]:
        """Cookies sent, by name."""
        pairs = (part.strip().partition("=") for part in self.headers.get("cookie", "").split(";"))
        return {name: value for name, _, value in pairs if name}


Reply: TypeAlias = Answer | bytes | str | int
"""An Answer, a body, or a status without body."""

Handler: TypeAlias = Callable[[Arrival], Reply | Awaitable[Reply]]
"""Called in the server's thread, on its loop."""

Routes: TypeAlias = Mapping[str, Reply | Handler]
"""By target with query, by path, or by the beginning of a path: "/shop/*"; the longest wins, and "*" is for all."""


class Site:
    """A server on loopback in a thread of its own. `serve()` makes it; it is entered as a context manager.

    Args:
        routes: What is answered; 404 for what is not among them. May be changed while it runs.
        host: The address it listens at; "127.0.0.1", or another of 127.0.0.0/8.
        port: 0 takes a free one.
        tls: Serves https with this context.
        keep: How many arrivals are remembered, the last ones; None: all.
    """

    def __init__(
        self,
        routes: Routes | Handler,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        keep: int | None = None,
    ) -> None:
        self.routes = routes
        self.arrivals: deque[Arrival] = deque(maxlen=keep)
        self.served = 0
        """Requests that arrived, remembered or not."""
        self.connections = 0
        self.active = 0
        """Requests that are being answered."""
        self.peak = 0
        """The most requests that were answered at once."""
        self.url = ""
        """Such as "http://127.0.0.1:40123", without a slash."""
        self._address = (host, port)
        self._tls = tls
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._open: set[_Connection] = set()

    def count(self, target: str) -> int:
        """How many remembered arrivals there were for a path, or for a target with query."""
        return sum(target in (arrival.target, arrival.path) for arrival in tuple(self.arrivals))

    def counts(self) -> Counter[str]:
        """Remembered arrivals by target."""
        return Counter(arrival.target for arrival in tuple(self.arrivals))

    def times(self, target: str) -> list[float]:
        """When the remembered arrivals for a path or target came, by `time.monotonic()`."""
        return [arrival.time for arrival in tuple(self.arrivals) if target in (arrival.target, arrival.path)]

    def start(self) -> Self:
        """Listen. Raises: OSError if the port is taken, RuntimeError if it runs already."""
        if self._thread is not None:
            raise RuntimeError(f"{self!r} is running already")
        self._loop = loop = asyncio.new_event_loop()
        listening: Future[str] = Future()
        # All in the thread: who starts a site may have a loop running in its own.
        self._thread = threading.Thread(target=self._run, args=(loop, listening), name="site", daemon=True)
        self._thread.start()
        try:
            self.url = listening.result()
        except BaseException:
            self._thread.join()
            self._thread = self._loop = None
            raise
        return self

    def stop(self) -> None:
        """End every connection and the thread; of no effect if it does not run."""
        if self._thread is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._thread = self._loop = None

    def _run(self, loop: asyncio.AbstractEventLoop, listening: Future[str]) -> None:
        asyncio.set_event_loop(loop)
        try:
            server = loop.run_until_complete(
                loop.create_server(lambda: _Connection(self, loop), *self._address, ssl=self._tls, backlog=1024)
            )
            host, port = server.sockets[0].getsockname()[:2]
            listening.set_result(f"{'https' if self._tls else 'http'}://{host}:{port}")
            loop.run_forever()
            self._accept_no_more(loop, server)
            self._end_all(loop)
        except OSError as error:
            listening.set_exception(error)
        finally:
            loop.close()

    def _accept_no_more(self, loop: asyncio.AbstractEventLoop, server: asyncio.Server) -> None:
        with suppress(NotImplementedError):  # on Windows
            for listening in server.sockets:
                loop.remove_reader(listening.fileno())
        for _ in range(3):  # what was accepted just now becomes a connection, which a closed server would not let it
            loop.run_until_complete(asyncio.sleep(0))
        server.close()

    def _end_all(self, loop: asyncio.AbstractEventLoop) -> None:
        for connection in tuple(self._open):
            connection.abort()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(asyncio.sleep(0))  # aborted transports close their sockets in the next turn

    def reply(self, arrival: Arrival) -> Reply | Awaitable[Reply]:
        """What is answered to a request."""
        routes = self.routes
        found = routes if callable(routes) else _find(routes, arrival)
        return found(arrival) if callable(found) else found

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = f"{self.url}, {self.served} served" if self._thread is not None else "stopped"
        return f"<{type(self).__name__} {state}>"


serve = Site
"""A server for these routes, to be used as a context manager."""


def _find(routes: Routes, arrival: Arrival) -> Reply | Handler:
    for key in (arrival.target, arrival.path):
        if key in routes:
            return routes[key]
    fitting = [key for key in routes if key.endswith("*") and arrival.path.startswith(key[:-1])]
    return routes[max(fitting, key=len)] if fitting else Answer("not found", 404)


class _Connection(asyncio.Protocol):
    """One connection: requests are answered one after the other, also if they come pipelined."""

    def __init__(self, site: Site, loop: asyncio.AbstractEventLoop) -> None:
        self._site = site
        self._loop = loop
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._transport = cast(asyncio.Transport, None)
        self._number = 0
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._site.connections += 1
        self._number = self._site.connections
        self._site._open.add(self)  # pyright: ignore[reportPrivateUsage] # one thing in two classes

    def connection_lost(self, exc: Exception | None) -> None:
        self._site._open.discard(self)  # pyright: ignore[reportPrivateUsage] # likewise
        self._writable.set()
        if self._task is not None:
            self._task.cancel()

    def abort(self) -> None:
        self._transport.abort()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next()

    def _next(self) -> None:
        while self._task is None and not self._transport.is_closing():
            arrival = self._take()
            if arrival is None:
                return
            self._begin(arrival)

    def _take(self) -> Arrival | None:
        """The next request, if it is here whole."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self._buffer[:end])
        method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        target = rest.rpartition(" ")[0]
        found = _LENGTH.search(head)
        size = int(found[1]) if found else 0
        if not target or b"\ntransfer-encoding:" in head.lower():  # a chunked request is more than tests need
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self._transport.close()
            return None
        if len(self._buffer) < end + 4 + size:
            return None
        body = bytes(self._buffer[end + 4 : end + 4 + size])
        del self._buffer[: end + 4 + size]
        return Arrival(method, target, body, time.monotonic(), self._number, head)

    def _begin(self, arrival: Arrival) -> None:
        site = self._site
        site.arrivals.append(arrival)
        site.served += 1
        site.active += 1
        site.peak = max(site.peak, site.active)
        try:
            reply = site.reply(arrival)
        except Exception as error:  # a handler's bug is to be seen by who asked
            reply = Answer(f"{type(error).__name__}: {error}", 500)
        if not isinstance(reply, Awaitable):
            answer = _answer(reply)
            if not answer.delay and answer.chunks is None:
                site.active -= 1  # before the answer is seen: who has it finds the counts right
                self._end(answer, arrival, _whole(answer, arrival))
                return
            reply = answer
        self._task = self._loop.create_task(self._later(reply, arrival))

    async def _later(self, reply: Answer | Awaitable[Reply], arrival: Arrival) -> None:
        try:
            answer = reply if isinstance(reply, Answer) else _answer(await reply)
            if answer.delay:
                await asyncio.sleep(answer.delay)
            last = _whole(answer, arrival) if answer.chunks is None else await self._send_chunks(answer, arrival)
        except Exception as error:
            answer = Answer(f"{type(error).__name__}: {error}", 500, cut=True)
            last = _whole(answer, arrival)
        finally:
            self._site.active -= 1
            self._task = None
        self._end(answer, arrival, last)
        self._next()

    async def _send_chunks(self, answer: Answer, arrival: Arrival) -> bytes:
        """Gives what ends the body."""
        self._transport.write(_head(answer, ("Transfer-Encoding", "chunked")))
        for chunk in () if arrival.method == "HEAD" else answer.chunks or ():
            if answer.pause:
                await asyncio.sleep(answer.pause)
            self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await self._writable.wait()
            if self._transport.is_closing():
                return b""
        return b"" if answer.cut or arrival.method == "HEAD" else b"0\r\n\r\n"

    def _end(self, answer: Answer, arrival: Arrival, last: bytes) -> None:
        self._transport.write(last)
        if answer.cut or answer.raw is not None or _is_last(arrival) or _misstated(answer, arrival):
            self._transport.close()


def _answer(reply: Reply) -> Answer:
    if isinstance(reply, Answer):
        return reply
    return Answer(status=reply) if isinstance(reply, int) else Answer(reply)


def _is_last(arrival: Arrival) -> bool:
    head = arrival.head.lower()
    return b"connection: close" in head or head.partition(b"\r\n")[0].endswith(b"http/1.0")


def _pairs(answer: Answer) -> list[tuple[str, str]]:
    fields = answer.headers
    pairs = cast("Mapping[str, str]", fields).items() if isinstance(fields, Mapping) else fields
    return list(pairs)


def _misstated(answer: Answer, arrival: Arrival) -> bool:
    """Whether the answer's own Content-Length is not that of its body."""
    if not answer.headers:
        return False
    sizes = [value for name, value in _pairs(answer) if name.lower() == "content-length"]
    return arrival.method != "HEAD" and answer.chunks is None and bool(sizes) and sizes != [str(len(_body(answer)))]


def _body(answer: Answer) -> bytes:
    return answer.body.encode() if isinstance(answer.body, str) else answer.body


def _head(answer: Answer, framing: tuple[str, str]) -> bytes:
    pairs = _pairs(answer)
    names = {name.lower() for name, _ in pairs}
    if framing[0].lower() not in names:
        pairs.append(framing)
    if "content-type" not in names and (answer.body or answer.chunks is not None):
        kind = "application/octet-stream" if isinstance(answer.body, bytes) and answer.chunks is None else "text/html"
        pairs.append(("Content-Type", f"{kind}; charset=utf-8" if kind == "text/html" else kind))
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = ""
    fields = "".join(f"{name}: {value}\r\n" for name, value in pairs)
    return f"HTTP/1.1 {answer.status} {phrase}\r\n{fields}\r\n".encode("latin-1")


def _whole(answer: Answer, arrival: Arrival) -> bytes:
    if answer.raw is not None:
        return answer.raw
    body = _body(answer)
    if answer.status in (204, 304) or answer.status < 200:
        return _head(Answer(status=answer.status, headers=answer.headers), ("Connection", "keep-alive"))
    head = _head(answer, ("Content-Length", str(len(body))))
    return head if arrival.method == "HEAD" else head + body
