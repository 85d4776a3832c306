"""Feeds: items a second of each format, beside Scrapy's exporters; and the memory that a large feed to S3 takes.

    python tests/benchmarks/feeds_out.py [--items 100000] [--rounds 5] [--only NAME …] [--scrapy PYTHON]
    python tests/benchmarks/feeds_out.py --large [--mb 1000]

Both write the same items to a file, in turn, each in a process of its own; Scrapy runs in the environment of the Python
that `--scrapy` names. For the large feed, crawl and S3 server (moto's, which may hold what it likes) are processes too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measured import measure

NAMES = {
    "jsonl": "JsonLinesItemExporter",
    "json": "JsonItemExporter",
    "csv": "CsvItemExporter",
    "xml": "XmlItemExporter",
    "pickle": "PickleItemExporter",
    "marshal": "MarshalItemExporter",
    "msgpack": "",
    "parquet": "",
    "arrow": "",
    "sqlite": "",
    "jsonl.gz": "",
    "jsonl.zst": "",
}
"""The formats, each with Scrapy's exporter."""
LARGE = ("large.jsonl", "large-{part:04}.jsonl", "large.jsonl.gz", "large-{part:04}.parquet")
KEYS = {"key": "key", "secret": "secret"}


def item(n: int) -> dict[str, Any]:
    """A product, as shops have them."""
    return {
        "url": f"https://shop.example/products/{n}",
        "name": f"Teapot number {n}, with a lid & a “handle”",
        "price": n / 100,
        "stock": n % 7,
        "tags": ["tea", "kitchen", f"series-{n % 50}"],
        "text": "Porcelain, dishwasher safe, holds one litre. " * 8,
    }


# ---- one measured process


def ours(name: str, count: int, path: Path) -> None:
    import asyncio

    from streamcrawl.operators.feed import feed
    from streamcrawl.streams.local import LocalRun

    async def write() -> None:
        opened = feed(path).open(LocalRun(asyncio.get_running_loop()))
        for n in range(count):
            waiting: Any = opened.accept(item(n), (0, 0, 0))
            if waiting is not None:
                await waiting
        await opened.flush()
        await opened.close()

    feed(path)  # what is imported for the format is not measured

    def work() -> int:
        asyncio.run(write())
        return count

    measure(work)


def theirs(name: str, count: int, path: Path) -> None:
    from scrapy import exporters  # type: ignore[import-not-found,unused-ignore] # pyright: ignore

    with path.open("wb") as file:
        made: Any = getattr(exporters, NAMES[name])(file)

        def work() -> int:
            made.start_exporting()
            for n in range(count):
                made.export_item(item(n))
            made.finish_exporting()
            return count

        measure(work)


def nothing(name: str, count: int, path: Path) -> None:
    """What making the items takes."""

    def work() -> int:
        for n in range(count):
            item(n)
        return count

    measure(work)


def large(name: str, megabytes: int, endpoint: str) -> None:
    """A crawl whose start gives so many bytes of items."""
    from streamcrawl import Crawl
    from streamcrawl import operators as ops

    def items() -> Iterator[dict[str, Any]]:
        for n in range(megabytes * 100):
            yield {"n": n, "text": f"{n} tea " * 1400}

    begun: Crawl[Any] = Crawl(items())
    crawl = begun.pipe(
        ops.download(),
        ops.scrape(lambda page: ()),
        ops.feed(f"s3://feeds/{name}", storage={**KEYS, "endpoint_url": endpoint}),
    )

    def work() -> int:
        summary = crawl.run()
        assert summary.error is None, summary.error
        return summary.items

    measure(work)


# ---- what starts them


def run(python: str, what: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run([python, __file__, what, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(names: list[str], count: int, rounds: int, scrapy: str) -> None:
    print("| format | items/s | CPU µs an item | Scrapy items/s | CPU µs | × | lowest × |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        base = [run(sys.executable, "nothing", "", str(count), folder) for _ in range(rounds)]
        made = statistics.median(each["cpu"] for each in base)
        for name in names:
            path = Path(folder) / f"items.{name}"
            found: list[tuple[float, float]] = []
            for _ in range(rounds):
                mine = run(sys.executable, "ours", name, str(count), str(path))["cpu"] - made
                other = run(scrapy, "theirs", name, str(count), str(path))["cpu"] - made if NAMES[name] else 0.0
                found.append((mine, other))
            path.unlink()
            mine, other = (statistics.median(each) for each in zip(*found, strict=True))
            cells = [f"{count / mine:,.0f}", f"{mine / count * 1e6:.1f}", "", "", "", ""]
            if other:
                ratios = [theirs / ours for ours, theirs in found]
                cells[2:] = [f"{count / other:,.0f}", f"{other / count * 1e6:.1f}"]
                cells += [f"{statistics.median(ratios):.1f}", f"{min(ratios):.1f}"]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


@contextmanager
def s3() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, __file__, "s3", "", "0", ""], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def serve_s3(name: str, count: int, path: Path) -> None:
    import boto3  # type: ignore[import-untyped,unused-ignore] # pyright: ignore
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client: Any = boto3.client("s3", endpoint_url=url, aws_access_key_id="key", aws_secret_access_key="secret")  # pyright: ignore
    client.create_bucket(Bucket="feeds")
    print(url, flush=True)
    while True:
        time.sleep(3600)


def large_feeds(names: list[str], megabytes: int) -> None:
    print("| feed | items | seconds | CPU s | peak RSS MB |")
    print("|---|---:|---:|---:|---:|")
    for name in ("nothing.jsonl", *names):
        with s3() as endpoint:
            found = run(sys.executable, "large", name, "0" if name == "nothing.jsonl" else str(megabytes), endpoint)
        cells = f"{found['pages']:,} | {found['seconds']:.1f} | {found['cpu']:.1f} | {found['peak_rss'] / 1e6:.0f}"
        print(f"| {name} | {cells} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--scrapy", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--mb", type=int, default=1000)
    options = parser.parse_args()
    if options.large:
        large_feeds(options.only or list(LARGE), options.mb)
    else:
        compare(options.only or list(NAMES), options.items, options.rounds, options.scrapy)


PROCESSES: dict[str, Callable[[str, int, Any], None]] = {
    "ours": ours,
    "theirs": theirs,
    "nothing": nothing,
    "large": large,
    "s3": serve_s3,
}

if __name__ == "__main__":
    if len(sys.argv) == 5 and sys.argv[1] in PROCESSES:
        made, name, count, place = sys.argv[1:]
        PROCESSES[made](name, int(count), place if made == "large" else Path(place))
    else:
        main()
