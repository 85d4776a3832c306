"""Feeds read while they come: records a second and peak memory, each in a process of its own.

    python tests/benchmarks/feeds_in.py [--records 1000000] [--only CASE …]

A server in another process makes the feeds while it sends them, over loopback. Every record is made an item of, and
what came is compared with what was sent.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measured import peak_rss

SERVER = Path(__file__).parent.parent / "feed_server.py"
CASES = ("xml", "csv", "xml.gz", "csv.gz")


@contextmanager
def server() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, str(SERVER)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def read(kind: str, url: str) -> None:
    """One feed by a spider; prints what it took."""
    from streamcrawl import Crawl
    from streamcrawl.spiders import CSVFeedSpider, XMLFeedSpider

    class Xml(XMLFeedSpider):
        name = "xml"
        itertag = "product"
        namespaces = (("g", "urn:goods"),)

        def parse_node(self, response: Any, selector: Any) -> Any:
            return {
                "id": selector.attrib["id"],
                "name": selector.xpath("name/text()").get(),
                "price": selector.xpath("g:price/text()").get(),
                "description": selector.xpath("string(description)").get(),
            }

    class Csv(CSVFeedSpider):
        name = "csv"

        def parse_row(self, response: Any, row: Any) -> Any:
            return row

    count = 0
    total = 0

    def take(item: dict[str, str]) -> None:
        nonlocal count, total
        count += 1
        total += int(item["id"])

    import asyncio

    crawl = Crawl.of(Xml if kind.startswith("xml") else Csv, start_urls=[url])

    async def main() -> Any:
        return await crawl.start(take)

    cpu, start = time.process_time(), time.perf_counter()
    summary = asyncio.run(main())
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    assert summary.error is None, summary.error
    assert total == count * (count - 1) // 2, "records are missing or wrong"
    print(json.dumps({"records": count, "seconds": seconds, "cpu": cpu, "peak_rss": peak_rss()}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="*", default=CASES, choices=CASES)
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        read(*options.read)
        return
    sys.path.insert(0, str(SERVER.parent))
    from feed_server import size_of

    print("| feed | records | MB | seconds | records/s | CPU µs a record | peak RSS MB |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    with server() as address:
        for kind in options.only:
            command = [sys.executable, __file__, "--read", kind, f"{address}/{kind}/{options.records}"]
            found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
            assert found["records"] == options.records, found
            size = size_of(kind.partition(".")[0], options.records) / 1e6
            rate = found["records"] / found["seconds"]
            each = found["cpu"] / found["records"] * 1e6
            print(
                f"| {kind} | {found['records']:,} | {size:.0f} | {found['seconds']:.1f} | {rate:,.0f} | {each:.1f} "
                f"| {found['peak_rss'] / 1e6:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
