"""Feeds of any length on loopback, made while they are sent: the server holds a few hundred records at a time.

As a script it serves until it is ended, and prints its address: python tests/feed_server.py
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

BATCH = 200
XML_HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n<catalog xmlns:g="urn:goods"><made>today</made>\n'
XML_TAIL = b"</catalog>\n"
CSV_HEAD = b"id,name,price,description\r\n"
FILLER = (
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut "
    "labore et dolore magna aliqua. "
)


def xml_record(n: int) -> str:
    return (
        f'<product id="{n}"><name>Product {n} &amp; \u00e4</name>'
        f'<g:price currency="EUR">{n % 1000}.{n % 100:02}</g:price>'
        f"<description>{FILLER}<b>{n}</b> {FILLER[: n % 50]}</description><stock>{n % 7}</stock></product>\n"
    )


def csv_record(n: int) -> str:
    return f'{n},"Product ""{n}"" \u00e4",{n % 1000}.{n % 100:02},"{FILLER}\r\nline 2, {FILLER[: n % 50]}"\r\n'


def feed(kind: str, count: int) -> Iterator[bytes]:
    """An XML or CSV feed of so many records, in pieces."""
    yield XML_HEAD if kind == "xml" else CSV_HEAD
    record = xml_record if kind == "xml" else csv_record
    for start in range(0, count, BATCH):
        yield "".join(record(n) for n in range(start, min(start + BATCH, count))).encode()
    if kind == "xml":
        yield XML_TAIL


def size_of(kind: str, count: int) -> int:
    return sum(map(len, feed(kind, count)))


def gzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """/xml/1000, /csv/1000, /xml.gz/1000; with ?break=N the connection ends after N bytes."""
    try:
        while request := (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode():
            path, _, query = request.partition("?")
            kind, _, count = path.strip("/").partition("/")
            if kind.partition(".")[0] not in ("xml", "csv"):
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                continue
            pieces = feed(kind.partition(".")[0], int(count))
            media = b"application/gzip" if kind.endswith(".gz") else b"text/" + kind.encode() + b"; charset=utf-8"
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: " + media + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
            left = int(query.partition("break=")[2] or 1 << 62)
            for piece in gzipped(pieces) if kind.endswith(".gz") else pieces:
                if not piece:
                    continue
                cut = piece[:left]
                left -= len(cut)
                writer.write(b"%x\r\n%b\r\n" % (len(cut), cut))
                await writer.drain()
                if not left:
                    return
            writer.write(b"0\r\n\r\n")
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass  # the reader has had enough
    finally:
        writer.close()


@asynccontextmanager
async def serving() -> AsyncGenerator[str]:
    """The address of a server on this loop."""
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def _forever() -> None:
    async with serving() as address:
        print(address, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_forever())
