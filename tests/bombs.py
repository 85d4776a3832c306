"""A gibibyte of zeros in a few kilobytes, served to this process: `python bombs.py CODING` prints what became of it."""

from __future__ import annotations

import asyncio
import json
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from resource import RUSAGE_SELF, getrusage
from typing import Any

import reactivex as rx
from reactivex import operators as rxo

from streamcrawl import Failed, Headers, Request, Response
from streamcrawl import operators as ops
from streamcrawl.core import Fetch, Layer
from streamcrawl.errors import FetchError
from streamcrawl.transport import Decoder, Wire
from streamcrawl.transport.decoding import plan, zstd

GIB = 2**30
LIMIT = 4 * 2**20
BLOCK = bytes(LIMIT)
BLOCKS = GIB // LIMIT


def deflated(wbits: int) -> bytes:
    packer = zlib.compressobj(9, wbits=wbits)
    first = packer.compress(BLOCK) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(BLOCK) + packer.flush(zlib.Z_FULL_FLUSH)  # it refers to nothing, so it can be repeated
    return first + block * (BLOCKS - 1)


def brotlied() -> bytes:
    packer: Any = import_module("brotli").Compressor(quality=1)
    parts: list[bytes] = [*(packer.process(BLOCK) for _ in range(BLOCKS)), packer.finish()]
    return b"".join(parts)


def zstandard() -> bytes:
    frame: bytes = zstd().compress(BLOCK)
    return frame * BLOCKS


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gzip": ("gzip", lambda: deflated(31)),
    "deflate": ("deflate", lambda: deflated(15)),
    "bare deflate": ("deflate", lambda: deflated(-15)),
    "br": ("br", brotlied),
    "zstd": ("zstd", zstandard),
    "gzip in gzip": ("gzip, gzip", lambda: zlib.compress(deflated(31), wbits=31)),
}


def real_size(bomb: bytes, headers: Headers) -> int:
    """What it comes to, for whoever lets it."""
    return sum(map(len, Decoder(plan(headers)[0], 2 * GIB, "bomb").feed(bomb)))


def peak() -> int:
    """Bytes of memory that this process has had at most."""
    most = getrusage(RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


async def what_came(outcome: Response | Failed) -> str:
    """The outcome in a word; a streamed body is read to its end."""
    if isinstance(outcome, Failed):
        return type(outcome.error).__name__
    response, size = outcome, outcome.size
    if response.stream is None:
        return f"{size} bytes"
    try:
        async for chunk in response.stream:
            size += len(chunk)
    except FetchError as error:
        return f"{type(error).__name__} within the limit" if size <= LIMIT else f"{size} bytes"
    return f"{size} bytes"


async def became(url: str, fetch: Fetch | Wire, layer: Layer, *, stream: bool = False) -> str:
    request = Request(url, max_size=LIMIT, stream=stream, reach=("any",))
    outcomes: list[str] = await rx.of(request).pipe(
        ops.download(layer, fetch=fetch), ops.map_async(what_came, 1), rxo.to_list()
    )
    return outcomes[0]


async def main(name: str) -> None:
    coding, make = BOMBS[name]
    bomb, headers = make(), Headers({"Content-Encoding": coding})

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(bomb)}\r\n\r\n"
        writer.write(head.encode() + bomb)
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()

    async def undecoded(request: Request) -> Response:
        return Response(request.url, headers=headers, body=bomb, request=request)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    before = peak()
    found: dict[str, Any] = {
        "fetch": await became(url, Wire(), ops.timeout(60)),
        "layer": await became(url, undecoded, ops.decompress()),
        "streamed": await became(url, Wire(decompress=False), ops.decompress(truncated="keep"), stream=True),
    }
    found |= {"grown": peak() - before, "size": len(bomb), "real size": real_size(bomb, headers)}
    server.close()
    await server.wait_closed()
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
