"""The stores of the HTTP cache: pages put and got a second, and what they take on the disk.

    python tests/benchmarks/cache_stores.py [--pages N] [--rounds N] [--folder DIR] [--scrapy PYTHON]

PYTHON is an interpreter that has Scrapy: its storages are measured with the same pages. Each store has a process and a
new folder of its own, in DIR. Pages are of 15 KB, made of words and tags, so that they shrink as pages do; 16 calls are
under way at once, as in a crawl. What was put is got in another order, after the store was opened anew.
Of several rounds the best rates are shown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

SIZE = 15_000
AT_ONCE = 16
OURS = (
    'sqlite_store(compress="zstd")',
    'sqlite_store(compress="gzip")',
    "sqlite_store(compress=None)",
    'sqlite_store(compress="zstd", max_size=half of it)',
    'fs_store("file:…")',
    'fs_store("file:…", compress=None)',
    'fs_store("file:…", max_size=half of it)',
    'fs_store("memory://…")',
    'dbm_store(module="dbm.dumb")',
    "MemoryStore()",
)
SCRAPY = (
    "FilesystemCacheStorage",
    "FilesystemCacheStorage, HTTPCACHE_GZIP",
    "DbmCacheStorage",
)


def body_of(number: int, words: list[str]) -> bytes:
    chance = random.Random(number)
    often = [1 / (place + 1) for place in range(len(words))]
    parts: list[str] = [f"<!DOCTYPE html><title>{number}</title>"]
    size = 0
    while size < SIZE:
        text = " ".join(chance.choices(words, often, k=12))
        parts.append(f'<li class="item"><a href="/page/{chance.randrange(10**6)}">{text}</a></li>')
        size += len(parts[-1])
    return "".join(parts).encode()[:SIZE]


def vocabulary() -> list[str]:
    chance = random.Random(1)
    letters = "etaoinshrdlucmfw"
    return ["".join(chance.choices(letters, k=chance.randint(2, 10))) for _ in range(3000)]


HEADERS = (
    ("Date", "Fri, 01 Mar 2030 12:00:00 GMT"),
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "max-age=3600"),
    ("ETag", '"5f3c-61a0b3d0c0a40"'),
    ("Last-Modified", "Thu, 28 Feb 2030 12:00:00 GMT"),
    ("Server", "nginx"),
    ("Vary", "Accept-Encoding"),
)


def key_of(number: int) -> bytes:
    return random.Random(number).randbytes(20)


def order_of(pages: int) -> list[int]:
    numbers = list(range(pages))
    random.Random(2).shuffle(numbers)
    return numbers


def usage(folder: Path) -> dict[str, int]:
    files = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return {"files": len(files), "bytes": sum(each.st_blocks * 512 for each in files)}


async def all_of(numbers: list[int], call: Callable[[int], Awaitable[None]]) -> float:
    """Calls a second."""
    waiting = iter(numbers)

    async def work() -> None:
        for number in waiting:
            await call(number)

    begin = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return len(numbers) / (time.perf_counter() - begin)


def store_named(name: str, folder: Path, pages: int) -> Any:
    from streamcrawl.caching import MemoryStore, dbm_store, fs_store, sqlite_store

    half = pages * SIZE // 8
    return {
        OURS[0]: lambda: sqlite_store(folder / "cache"),
        OURS[1]: lambda: sqlite_store(folder / "cache", compress="gzip"),
        OURS[2]: lambda: sqlite_store(folder / "cache", compress=None),
        OURS[3]: lambda: sqlite_store(folder / "cache", max_size=half),
        OURS[4]: lambda: fs_store(folder / "cache"),
        OURS[5]: lambda: fs_store(folder / "cache", compress=None),
        OURS[6]: lambda: fs_store(folder / "cache", max_size=half),
        OURS[7]: lambda: fs_store("memory://cache"),
        OURS[8]: lambda: dbm_store(folder / "cache", module="dbm.dumb"),
        OURS[9]: lambda: MemoryStore(2 * pages * SIZE),
    }[name]()


async def measured(name: str, folder: Path, pages: int) -> dict[str, Any]:
    from streamcrawl.caching import Entry
    from streamcrawl.streams.local import LocalRun

    words = vocabulary()
    bodies = [body_of(number, words) for number in range(min(pages, 500))]
    keys = [key_of(number) for number in range(pages)]
    absent = [key_of(number) for number in range(pages, 2 * pages)]
    described = store_named(name, folder, pages)
    run = LocalRun(asyncio.get_running_loop())
    store = described.open(run)

    async def put(number: int) -> None:
        body = bodies[number % len(bodies)]
        url = f"https://www.example.com/page/{number}"
        await store.put(keys[number], Entry(url=url, headers=HEADERS, body=body, response_time=run.now()))

    async def get(number: int) -> None:
        for entry in await store.get(keys[number]):
            assert len(entry.body) == SIZE

    async def miss(number: int) -> None:
        assert await store.get(absent[number]) == []

    puts = await all_of(list(range(pages)), put)
    if name != "MemoryStore()":
        await store.close()
        store = described.open(run)
    gets = await all_of(order_of(pages), get)
    misses = await all_of(order_of(pages), miss)
    await store.close()
    return {"put": puts, "get": gets, "miss": misses, **usage(folder)}


def measured_scrapy(name: str, folder: Path, pages: int) -> dict[str, Any]:
    from scrapy import Request
    from scrapy.http import HtmlResponse
    from scrapy.utils.misc import load_object
    from scrapy.utils.test import get_crawler

    kind, _, gzip = name.partition(", ")
    settings = {"HTTPCACHE_DIR": str(folder / "cache"), "HTTPCACHE_GZIP": bool(gzip), "LOG_ENABLED": False}
    crawler = get_crawler(settings_dict=settings)
    spider = crawler.spider = crawler.spidercls.from_crawler(crawler, name="benchmark")
    words = vocabulary()
    bodies = [body_of(number, words) for number in range(min(pages, 500))]
    requests = [Request(f"https://www.example.com/page/{number}") for number in range(2 * pages)]
    for request in requests:
        crawler.request_fingerprinter.fingerprint(request)  # it is kept: not what is measured

    def opened() -> Any:
        store = load_object(f"scrapy.extensions.httpcache.{kind}")(crawler.settings)
        store.open_spider(spider)
        return store

    def timed(numbers: list[int], call: Callable[[int], None]) -> float:
        begin = time.perf_counter()
        for number in numbers:
            call(number)
        return len(numbers) / (time.perf_counter() - begin)

    store = opened()

    def put(number: int) -> None:
        response = HtmlResponse(requests[number].url, headers=dict(HEADERS), body=bodies[number % len(bodies)])
        store.store_response(spider, requests[number], response)

    def get(number: int) -> None:
        assert len(store.retrieve_response(spider, requests[number]).body) == SIZE

    def miss(number: int) -> None:
        assert store.retrieve_response(spider, requests[pages + number]) is None

    puts = timed(list(range(pages)), put)
    store.close_spider(spider)
    store = opened()
    gets = timed(order_of(pages), get)
    misses = timed(order_of(pages), miss)
    store.close_spider(spider)
    return {"put": puts, "get": gets, "miss": misses, **usage(folder)}


def one(name: str, folder: Path, pages: int) -> dict[str, Any]:
    """Measure one store in this process."""
    if name in SCRAPY:
        return measured_scrapy(name, folder, pages)
    return asyncio.run(measured(name, folder, pages))


def in_process(python: str, name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one store in a process of its own."""
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        command = [python, __file__, "--pages", str(arguments.pages), "--one", name, folder]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the stores are made, and removed again")
    parser.add_argument("--scrapy", metavar="PYTHON", help="an interpreter that has Scrapy")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, folder = arguments.one
        print(json.dumps(one(name, Path(folder), arguments.pages)))
        return
    print("| store | put/s | get/s | get/s of what is absent | bytes a page on the disk | files a page |")
    print("|---|---|---|---|---|---|")
    for name in (*OURS, *(SCRAPY if arguments.scrapy else ())):
        python = arguments.scrapy if name in SCRAPY else sys.executable
        rounds = [in_process(python, name, arguments) for _ in range(arguments.rounds)]
        told = {what: max(each[what] for each in rounds) for what in rounds[0]}
        if "max_size" in name:
            told["get"] = told["miss"] = 0  # which of them are there is chance
        rates = " | ".join(f"{told[what]:,.0f}" if told[what] else "" for what in ("put", "get", "miss"))
        files = told["files"] / arguments.pages
        print(f"| `{name}` | {rates} | {told['bytes'] / arguments.pages:,.0f} | {files:.2g} |", flush=True)


if __name__ == "__main__":
    main()
