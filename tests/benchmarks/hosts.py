"""Does one slow host take the places of the quick ones? Ten loopback ports, one of which answers in five seconds.

    python tests/benchmarks/hosts.py [--seconds N] [--per-host N …]

Nine ports answer in 100 ms, the tenth in 5 s, 80 requests at once. The table has the pages a second that the nine reach
alone and beside the tenth, in the same span of time after a warm-up.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from streamcrawl import Crawl
from streamcrawl import operators as ops

QUICK, SLOW = 0.1, 5.0
CONCURRENCY = 80
CHAINS = 100
"""Links that the first page of a host has; each leads to a page with one link, so that work never ends."""
WARM_UP = 6.0
"""Seconds before counting: by then the slow host has every place that it will get."""


async def serve(reports: Connection, delays: list[float]) -> None:
    """One server a port, answering every page after the port's delay; reports the ports."""
    servers = [await asyncio.start_server(answering(delay), "127.0.0.1", 0) for delay in delays]
    reports.send([server.sockets[0].getsockname()[1] for server in servers])
    await asyncio.Event().wait()


def answering(delay: float) -> Any:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                path = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1]
                if path == b"/robots.txt":
                    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    continue
                await asyncio.sleep(delay)
                body = b"<title>a page</title>"
                head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(body)
                writer.write(head + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    return answer


def served(reports: Connection, delays: list[float]) -> None:
    """The server process."""
    asyncio.run(serve(reports, delays))


async def pages_per_second(ports: list[int], quick: set[int], per_host: int, seconds: float) -> float:
    """How many pages a second come from the quick ports while all `ports` are crawled."""
    counted = 0

    def parse(page: Any) -> Iterator[Any]:
        nonlocal counted
        host, _, path = page.url.removeprefix("http://").partition("/")
        if begin <= time.monotonic() < begin + seconds and int(host.rpartition(":")[2]) in quick:
            counted += 1
        if path == "":
            yield from page.follow_all([f"/{chain}/0" for chain in range(CHAINS)])
        else:
            chain, _, number = path.partition("/")
            yield page.follow(f"/{chain}/{int(number) + 1}")

    start = [f"http://127.0.0.1:{port}/" for port in ports]
    crawl = Crawl(start, concurrency=CONCURRENCY, per_host=per_host)
    begin = time.monotonic() + WARM_UP
    run = crawl.pipe(ops.download(), ops.scrape(parse)).start()
    await asyncio.sleep(begin + seconds - time.monotonic())
    run.stop(now=True)
    await run
    return counted / seconds


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--seconds", type=float, default=20.0)
    arguments.add_argument("--per-host", type=int, nargs="+", default=[8, CONCURRENCY])
    given = arguments.parse_args()
    receive, send = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.Process(target=served, args=(send, [QUICK] * 9 + [SLOW]), daemon=True)
    server.start()
    try:
        ports: list[int] = receive.recv()
        quick = set(ports[:9])
        print("| per_host | nine alone, pages/s | nine beside the tenth | ratio |")
        print("|---:|---:|---:|---:|")
        for per_host in given.per_host:
            alone = asyncio.run(pages_per_second(ports[:9], quick, per_host, given.seconds))
            beside = asyncio.run(pages_per_second(ports, quick, per_host, given.seconds))
            print(f"| {per_host} | {alone:.0f} | {beside:.0f} | {beside / alone:.2f} |", flush=True)
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
