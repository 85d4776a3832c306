"""HTTP/2, against a small server of the h2 library."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
import trustme

from streamcrawl.core import Request
from streamcrawl.errors import BodyTooLarge, ConnectError, FetchTimeout, ProtocolError, ResolveError, TruncatedBody
from streamcrawl.headers import Headers

PAGE = b"<p>page</p>" * 20_000


@dataclass
class H2Site:
    """What the server saw."""

    port: int = 0
    connections: int = 0
    requests: list[list[tuple[str, str]]] = field(default_factory=list[list[tuple[str, str]]])
    bodies: list[bytes] = field(default_factory=list[bytes])

    def url(self, path: str) -> str:
        return f"https://127.0.0.1:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        paths: dict[int, str] = {}
        uploads: dict[int, bytes] = {}
        unsent: dict[int, bytes] = {}
        try:
            while data := await reader.read(65536):
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        fields: list[tuple[str, str]] = [(str(name), str(value)) for name, value in event.headers or ()]
                        self.requests.append(fields)
                        paths[event.stream_id] = dict(fields)[":path"]
                    elif isinstance(event, h2.events.DataReceived):
                        uploads[event.stream_id] = uploads.get(event.stream_id, b"") + event.data
                        connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    elif isinstance(event, h2.events.StreamEnded):
                        self.bodies.append(uploads.get(event.stream_id, b""))
                        self.answer(connection, event.stream_id, paths[event.stream_id], unsent)
                    elif isinstance(event, h2.events.StreamReset):
                        unsent.pop(event.stream_id, None)
                push(connection, unsent)
                writer.write(connection.data_to_send())
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    def answer(self, connection: Any, stream: int, path: str, unsent: dict[int, bytes]) -> None:
        if path == "/silent":
            return
        head = [(":status", "200"), ("x-two", "a"), ("x-two", "b")]
        if path == "/gzip":
            head.append(("content-encoding", "gzip"))
        connection.send_headers(stream, head)
        if path == "/reset":
            connection.send_data(stream, b"part")
            connection.reset_stream(stream)
            return
        unsent[stream] = gzip.compress(PAGE) if path == "/gzip" else PAGE


def push(connection: Any, unsent: dict[int, bytes]) -> None:
    """Send as much as the client's windows allow."""
    for stream, left in list(unsent.items()):
        while left and (room := min(connection.local_flow_control_window(stream), connection.max_outbound_frame_size)):
            connection.send_data(stream, left[:room])
            left = left[room:]
        unsent[stream] = left
        if not left:
            connection.end_stream(stream)
            del unsent[stream]


@asynccontextmanager
async def serving_h2(authority: trustme.CA) -> AsyncGenerator[H2Site]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)  # pyright: ignore[reportUnknownMemberType] - pyOpenSSL's
    context.set_alpn_protocols(["h2"])
    site = H2Site()
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.get_running_loop().create_task(site.serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


def test_many_requests_on_one_connection(wire: Any, authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    async def main() -> None:
        async with serving_h2(authority) as site, wire(http2=True, verify=trusting) as fetch:
            first = await fetch(Request(site.url("/page?q=1#part"), headers=Headers([("X-A", "1"), ("x-a", "2")])))
            assert (first.status, first.protocol, first.ip_address) == (200, "HTTP/2", "127.0.0.1")
            assert first.body == PAGE
            assert first.headers.getall("x-two") == ["a", "b"]
            fields = site.requests[0]
            assert (":path", "/page?q=1") in fields
            assert (":authority", f"127.0.0.1:{site.port}") in fields
            assert [value for name, value in fields if name == "x-a"] == ["1", "2"]
            assert "gzip, deflate, br, zstd" in dict(fields)["accept-encoding"]
            answers = await asyncio.gather(*(fetch(Request(site.url("/gzip"))) for _ in range(5)))
            assert all(each.body == PAGE for each in answers)
            assert all(each.wire_size < 2000 for each in answers)
            assert site.connections == 1

    asyncio.run(main())


def test_bodies_go_out_and_come_as_streams(wire: Any, authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    async def main() -> None:
        async with serving_h2(authority) as site, wire(http2=True, verify=trusting) as fetch:
            upload = bytes(200_000)
            response = await fetch(Request(site.url("/gzip"), method="POST", body=upload, stream=True))
            assert b"".join([piece async for piece in response.stream]) == PAGE
            assert site.bodies == [upload]

    asyncio.run(main())


def test_errors_are_the_same_as_of_http_1(wire: Any, authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        refused = f"https://127.0.0.1:{taken.getsockname()[1]}/"

        async def main() -> None:
            async with serving_h2(authority) as site, wire(http2=True, verify=trusting, timeout=30) as fetch:
                with pytest.raises(
                    ConnectError, match=r"^https://127.0.0.1:\d+/: cannot connect to 127.0.0.1, port \d+: "
                ):
                    await fetch(Request(refused))
                with pytest.raises(ResolveError, match=r"the host nohost\.invalid has no address"):
                    await fetch(Request("https://nohost.invalid/"))
                with pytest.raises(TruncatedBody, match=r"/reset: the body ended before its time, after \d+ bytes"):
                    await fetch(Request(site.url("/reset")))
                with pytest.raises(FetchTimeout, match=r"/silent: no complete answer within 0.05 s$"):
                    await fetch(Request(site.url("/silent"), timeout=0.05))
                with pytest.raises(BodyTooLarge, match="limit of 70000 bytes"):
                    await fetch(Request(site.url("/gzip"), max_size=70_000))
                assert (await fetch(Request(site.url("/page")))).body == PAGE

        asyncio.run(main())


def test_http_1_where_the_server_speaks_no_other(
    wire: Any, serve: Any, server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async def main() -> None:
        ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        async with serve(ok, tls=server_tls) as site, wire(http2=True, verify=trusting) as fetch:
            response = await fetch(Request(site.url()))
            assert (response.body, response.protocol) == (b"ok", "HTTP/1.1")
            site.answer = b"nonsense\r\n\r\n"
            with pytest.raises(ProtocolError, match="the answer is not HTTP"):
                await fetch(Request(site.url()))

    asyncio.run(main())
