"""A file of 2 GiB from loopback into a folder and into S3: seconds, and peak memory of the process that crawls.

    python tests/benchmarks/large_file.py [--size MIB] [--only folder s3]

Server, store and crawl are processes of their own; the S3 server is moto's, which may hold what it likes.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measured import measure

MIB = 1024 * 1024
BUCKET = "large"
KEYS = {"key": "key", "secret": "secret"}
PATIENT = {"read_timeout": 600}
"""Seconds: moto takes its time to put the parts together, and answers once it has."""


def block(number: int) -> bytes:
    """One MiB that differs from the others."""
    return hashlib.sha256(b"%d" % number).digest() * (MIB // 32)


def serve_file(size: int) -> None:
    """Serve the file with a Content-Length; prints its URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (size * MIB))
        for number in range(size):
            writer.write(block(number))
            await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/large.bin", flush=True)
        await server.serve_forever()

    asyncio.run(main())


def serve_s3() -> None:
    """moto's S3 with a bucket; prints its URL."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    made: Any = boto3
    client = made.client("s3", endpoint_url=url, aws_access_key_id="key", aws_secret_access_key="secret")
    client.create_bucket(Bucket=BUCKET)
    print(url, flush=True)
    sys.stdin.read()


def crawl(url: str, store: str, endpoint: str) -> int:
    """Fetch the file into the store; gives MiB."""
    from streamcrawl import Crawl, Request
    from streamcrawl import operators as ops

    storage = {**KEYS, "endpoint_url": endpoint, "config_kwargs": PATIENT} if endpoint else None
    request = Request(url, reach=("127.0.0.0/8",))
    started = Crawl([{"of": url}]).pipe(
        ops.download(*ops.default_layers(robots_txt=None)),
        ops.scrape(lambda page: None),
        ops.files(store, max_size=2**40, storage=storage, digest="sha256", get_media_requests=lambda item: [request]),
    )
    (item,) = asyncio.run(started.collect())
    (report,) = item["files"]
    if report["status"] != "downloaded":
        raise RuntimeError(report["error"])
    print(report["checksum"], file=sys.stderr)
    return 1


@contextmanager
def process(*arguments: str) -> Generator[str]:
    """A process of this program that serves until the block ends: what it printed first."""
    command = [sys.executable, __file__, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as made:
        assert made.stdout is not None
        try:
            yield made.stdout.readline().strip()
        finally:
            made.kill()


def run(kind: str, size: int, folder: Path, expected: str) -> dict[str, Any]:
    """One crawl in its own process. Raises: RuntimeError if it fails, or stores something else."""
    with process("--serve", str(size)) as url, process("--s3") as endpoint:
        store = f"s3://{BUCKET}/files" if kind == "s3" else str(folder / "store")
        command = [sys.executable, __file__, "--crawl", url, store, endpoint if kind == "s3" else ""]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if done.returncode != 0 or done.stderr.split()[-1:] != [expected]:
        raise RuntimeError(f"{kind} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--size", type=int, default=2048, help="MiB")
    arguments.add_argument("--only", nargs="+", choices=("folder", "s3"), default=["folder", "s3"])
    for hidden, count in (("--serve", 1), ("--crawl", 3)):
        arguments.add_argument(hidden, nargs=count, help=argparse.SUPPRESS)
    arguments.add_argument("--s3", action="store_true", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.serve:
        return serve_file(int(given.serve[0]))
    if given.s3:
        return serve_s3()
    if given.crawl:
        return measure(lambda: crawl(*given.crawl))
    hashing = hashlib.sha256()
    for number in range(given.size):
        hashing.update(block(number))
    print(f"| {given.size} MiB into | seconds | MiB/s | CPU s | peak RSS MB |\n|---|---:|---:|---:|---:|")
    for kind in given.only:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            found = run(kind, given.size, Path(folder), hashing.hexdigest())
            print(f"{time.perf_counter() - start:.0f} s in all", file=sys.stderr)
        rate = given.size / found["seconds"]
        print(f"| {kind} | {found['seconds']:.1f} | {rate:.0f} | {found['cpu']:.1f} | {found['peak_rss'] / 1e6:.0f} |")
    return None


if __name__ == "__main__":
    main()
