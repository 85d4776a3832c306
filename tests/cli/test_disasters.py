"""What goes wrong under a job: a clear message and a nonzero exit, or the right result, and never a silent loss.

When the cause is repaired, the same command finishes with the result of an undisturbed run.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from subprocess import Popen

import pytest
from forked import Forked

from streamcrawl.cli.compare import Records, compare, pages_in, sinks_in
from streamcrawl.frontier.overview import overview
from streamcrawl.testing.site import Arrival, Reply, Site, serve

PAGES = 120
HELD = 60
"""So many requests are answered before the others wait."""


class Gated:
    """Pages that link to their children; one in ten answers 503 to the first two requests of a crawl.

    While it is closed, it answers some more requests, and the others wait.
    """

    def __init__(self) -> None:
        self.refused: Counter[tuple[str, str]] = Counter()
        self.arrived = 0
        self.enough = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.go: asyncio.Event | None = None
        self.free = 0
        """So many requests are answered while it is closed."""
        self.open = True

    async def __call__(self, arrival: Arrival) -> Reply:
        if self.go is None:
            self.loop, self.go = asyncio.get_running_loop(), asyncio.Event()
        if arrival.path == "/robots.txt":
            return 404
        n = int(arrival.path.strip("/") or 0)
        self.arrived += 1
        if self.arrived > self.free and not self.open:
            self.enough.set()
            await self.go.wait()
        key = (arrival.headers.get("x-crawl", ""), arrival.path)
        self.refused[key] += 1
        if n % 10 == 7 and self.refused[key] <= 2:
            return 503
        return "".join(f'<a href="/{each}">x</a>' for each in range(3 * n + 1, min(3 * n + 4, PAGES)))

    def close(self, free: int) -> None:
        """From now on requests beyond the first ones wait, until `let_go`."""
        self.open, self.free = False, free
        self.arrived = 0
        self.enough.clear()
        if self.go is not None:
            self.go.clear()

    def let_go(self) -> None:
        self.open = True
        if self.loop is not None and self.go is not None:
            self.loop.call_soon_threadsafe(self.go.set)


FLOW = """
import os
from pathlib import Path
from streamcrawl import Crawl, operators as ops
from streamcrawl.backoff import backoff

def parse(page):
    for n in range(8):
        yield {{"url": page.url, "n": n, "text": f"{{n}} " * 200}}
    yield from page.follow_all(css="a")
{more}
layers = ops.default_layers(
    retry=ops.retry(times=4, wait=backoff({wait}, ceiling={wait}, jitter=0.0)),
    default_headers=ops.default_headers({{"X-Crawl": os.environ["CRAWL"]}}),
)
crawl = Crawl("{url}/").pipe(
    ops.download(*layers),
    ops.scrape(parse),
    ops.feed(Path("{sinks}", "items.jsonl")),
    ops.feed(Path("{sinks}", "items.csv")),
    ops.sqlite(Path("{sinks}", "items.sqlite")),
)
"""


class Crawls:
    """The flow in a folder, run by the real command line."""

    def __init__(self, base: Path, site: Site, gate: Gated, wanted: dict[str, Records], forked: Forked) -> None:
        self.base = base
        self.forked = forked
        self.wanted = wanted
        self.folder = base / "crawl"
        self.folder.mkdir()
        self.site = site
        self.gate = gate
        self.job: Path | str = "job"

    def write(self, more: str = "", *, wait: float = 0.05, sinks: Path | str = "") -> None:
        text = FLOW.format(url=self.site.url, more=more, wait=wait, sinks=sinks)
        (self.base / "flow.py").write_text(text)

    def command(self, *arguments: str) -> tuple[str, ...]:
        return ("run", str(self.base / "flow.py"), "--job", str(self.job), "--quiet", *arguments)

    def environment(self, **further: str) -> dict[str, str]:
        return {**os.environ, "PYTHONUTF8": "1", "CRAWL": str(self.base), **further}

    def begin(self, *arguments: str, before: Callable[[], None] | None = None, **environment: str) -> Popen[str]:
        return Popen(
            (sys.executable, "-m", "streamcrawl", *self.command(*arguments)),
            cwd=self.folder,
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=before,
        )

    def run(self, *arguments: str, before: Callable[[], None] | None = None, **environment: str) -> tuple[int, str]:
        """The exit code, and what was said on stderr."""
        if before is None:
            done = self.forked.run(self.command(*arguments), self.folder, self.environment(**environment))
            return done.returncode, done.stderr
        with self.begin(*arguments, before=before, **environment) as process:
            try:
                _, said = process.communicate(timeout=60)
            finally:
                process.kill()
        return process.returncode, said

    def goes_on(self) -> None:
        """The same command, to the end."""
        assert self.run() == (0, "")

    def stopped_half_way(self, act: Callable[[Popen[str]], None], free: int = HELD) -> tuple[int, str]:
        """Run it, and `act` when half of the site is crawled and committed and the other half waits."""
        self.gate.close(free)
        with self.begin() as process:
            try:
                assert self.gate.enough.wait(30)
                self.wait_for_commit()
                act(process)
                self.gate.let_go()
                _, said = process.communicate(timeout=60)
            finally:
                process.kill()
                self.gate.let_go()
        return process.returncode, said

    def wait_for_commit(self) -> None:
        """Until a good part of the crawl is committed."""
        uri = f"{(self.folder / self.job / 'frontier.sqlite').as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as job:
            settled = 0
            for _ in range(1000):
                (settled,) = job.execute("SELECT COUNT(*) FROM requests WHERE state >= 2").fetchone()
                if settled >= HELD // 2:
                    return
                threading.Event().wait(0.02)
        raise AssertionError(f"{settled} requests are settled")

    def killed_half_way(self) -> None:
        code, _ = self.stopped_half_way(lambda process: process.kill())
        assert code == -signal.SIGKILL

    def check(self, sinks: Path | None = None, job: Path | None = None) -> None:
        """What is there is what an undisturbed run gives."""
        left = sinks_in(sinks or self.folder) | pages_in(job or self.folder / "job")
        differences = compare(self.wanted, left)
        bad = {each.sink: (each.lost, each.doubled, each.foreign) for each in differences if not each.same}
        assert bad == {}, "(lost, doubled, foreign)"
        counts = {each.sink: each.after for each in differences}
        assert counts["items.jsonl"] == 8 * counts["pages"] == 8 * PAGES
        assert counts["items.csv"] == counts["items.sqlite: items"] == counts["items.jsonl"]


@pytest.fixture(scope="module")
def gate() -> Gated:
    return Gated()


@pytest.fixture(scope="module")
def site(gate: Gated) -> Iterator[Site]:
    with serve(gate) as made:
        yield made


@pytest.fixture(scope="module")
def wanted(site: Site, gate: Gated, tmp_path_factory: pytest.TempPathFactory, forked: Forked) -> dict[str, Records]:
    """What an undisturbed run leaves."""
    crawls = Crawls(tmp_path_factory.mktemp("whole"), site, gate, {}, forked)
    crawls.write()
    assert crawls.run() == (0, "")
    return sinks_in(crawls.folder) | pages_in(crawls.folder / "job")


@pytest.fixture
def crawls(tmp_path: Path, site: Site, gate: Gated, wanted: dict[str, Records], forked: Forked) -> Crawls:
    return Crawls(tmp_path, site, gate, wanted, forked)


def error_in(said: str) -> str:
    """The last line, which says why it ended."""
    assert "Traceback" not in said
    line = said.splitlines()[-1]
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


# -- no room -----------------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(path: Path, size: str) -> Generator[None, None, None]:
    """A file system of its own, of this size."""
    path.mkdir()
    done = subprocess.run(("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)), capture_output=True)
    if done.returncode:
        pytest.skip("mounting a small file system takes root; the limit on file sizes stands in for it")
    try:
        yield
    finally:
        subprocess.run(("umount", "--lazy", str(path)), check=True)


@pytest.mark.parametrize(
    ("which", "room"), [("sinks", 200_000), ("job", 200_000), ("both", 100_000), ("both", 700_000)]
)
def test_a_full_disk(which: str, room: int, crawls: Crawls, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "16m"):
        if which != "sinks":
            crawls.job = disk / "job"
        sinks = disk if which != "job" else crawls.folder
        crawls.write(sinks="" if which == "job" else disk)
        free = shutil.disk_usage(disk).free
        (disk / ".filler").write_bytes(bytes(free - room))
        code, said = crawls.run()
        assert code == 1, said
        error = error_in(said)
        assert "full" in error or "No space left on device" in error
        (disk / ".filler").unlink()
        crawls.goes_on()
        crawls.check(sinks, disk / "job" if which != "sinks" else None)


def limited(size: int) -> Callable[[], None]:
    """Files of the process that calls it cannot grow beyond so many bytes."""

    def limit() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.parametrize("size", [40_000, 300_000])
def test_files_that_cannot_grow(size: int, crawls: Crawls) -> None:
    crawls.write()
    code, said = crawls.run(before=limited(size))
    assert code == 1, said
    assert re.search(r"disk I/O error|File too large", error_in(said))
    crawls.goes_on()
    crawls.check()


# -- somebody has been at the files ------------------------------------------------------------------------------------


def test_the_job_is_removed_while_it_runs(crawls: Crawls) -> None:
    crawls.write()
    code, said = crawls.stopped_half_way(lambda process: shutil.rmtree(crawls.folder / "job"))
    assert code == 1
    assert "the directory was removed or replaced while the crawl ran" in error_in(said)
    crawls.goes_on()
    crawls.check()


def moved(path: Path, target: Path) -> None:
    path.rename(target)


def test_the_job_is_moved_away_while_it_runs_and_brought_back(crawls: Crawls) -> None:
    crawls.write()
    job, away = crawls.folder / "job", crawls.base / "away"
    code, said = crawls.stopped_half_way(lambda process: moved(job, away))
    assert code == 1
    assert "the directory was removed or replaced while the crawl ran" in error_in(said)
    shutil.rmtree(job, ignore_errors=True)
    away.rename(job)
    crawls.goes_on()
    crawls.check()


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("items.jsonl", "shortened"),
        ("items.jsonl", "removed"),
        ("items.csv", "shortened"),
        ("items.sqlite", "shortened"),
        ("items.sqlite", "removed"),
    ],
)
def test_a_sink_that_somebody_shortened(name: str, how: str, crawls: Crawls) -> None:
    crawls.write()
    crawls.killed_half_way()
    path = crawls.folder / name
    beside = [path.with_name(f"{name}{end}") for end in ("-wal", "-shm")]
    there = {each: each.read_bytes() for each in (path, *beside) if each.exists()}
    arrived = crawls.site.served
    for each in there:
        each.unlink()
    if how == "shortened":
        path.write_bytes(there[path][: len(there[path]) // 2])
    code, said = crawls.run()
    assert code == 1, said
    assert name in error_in(said)
    assert crawls.site.served == arrived, "it asked for pages before it looked at its sinks"
    for each, data in there.items():
        each.write_bytes(data)
    crawls.goes_on()
    crawls.check()


@pytest.mark.parametrize("name", ["items.jsonl", "items.csv"])
def test_a_feed_that_is_longer_than_the_job_knows(name: str, crawls: Crawls) -> None:
    crawls.write()
    crawls.killed_half_way()
    with (crawls.folder / name).open("ab") as file:
        file.write(b'{"url": "of somebody else", "n": 1}\n{"cut off')
    crawls.goes_on()
    crawls.check()


def test_rows_that_somebody_deleted(crawls: Crawls) -> None:
    """A table may be worked on between two runs: what was deleted stays deleted, and nothing else is missing."""
    crawls.write()
    crawls.killed_half_way()
    with closing(sqlite3.connect(crawls.folder / "items.sqlite")) as table:
        gone = table.execute("DELETE FROM items WHERE n = 3").rowcount
        table.commit()
    assert gone > 10
    crawls.goes_on()
    left = sinks_in(crawls.folder) | pages_in(crawls.folder / "job")
    found = {each.sink: each for each in compare(crawls.wanted, left) if not each.same}
    assert set(found) == {"items.sqlite: items"}
    assert found["items.sqlite: items"][3:6] == (gone, 0, 0)


def test_fingerprints_that_somebody_removed(crawls: Crawls) -> None:
    crawls.write()
    crawls.killed_half_way()
    for path in (crawls.folder / "job").glob("seen.*"):
        path.unlink()
    crawls.goes_on()
    crawls.check()


def test_a_frontier_that_is_damaged(crawls: Crawls) -> None:
    crawls.write()
    crawls.killed_half_way()
    path = crawls.folder / "job" / "frontier.sqlite"
    wal = path.with_name("frontier.sqlite-wal")
    there = {each: each.read_bytes() for each in (path, wal) if each.exists()}
    for each, data in there.items():
        each.write_bytes(data[:100] + b"\xa5" * (len(data) - 100))
    arrived = crawls.site.served
    code, said = crawls.run()
    assert code == 1, said
    assert "job" in error_in(said)
    assert crawls.site.served == arrived
    for each in path.parent.glob("frontier.sqlite*"):
        each.unlink()
    for each, data in there.items():
        each.write_bytes(data)
    crawls.goes_on()
    crawls.check()


# -- the clock ---------------------------------------------------------------------------------------------------------

JUMPING = """
import time
real, begun = time.time, time.monotonic()
offsets = [float(each) for each in os.environ.get("OFFSETS", "0").split()]
calls = 0

def jumping():
    # A new offset every 0.4 s.
    return real() + offsets[min(int((time.monotonic() - begun) / 0.4), len(offsets) - 1)]

time.time = jumping
"""
DAY = 86400


@pytest.mark.parametrize("offsets", [f"0 0 {DAY}", f"0 0 {-DAY}", f"0 {DAY} {-DAY} 0 {DAY}", f"0 0 {-20000 * DAY}"])
def test_a_clock_that_jumps_while_it_runs(offsets: str, crawls: Crawls) -> None:
    crawls.write(JUMPING, wait=0.7)
    code, said = crawls.run(OFFSETS=offsets)
    assert code == 0, said
    crawls.check()


@pytest.mark.parametrize("offset", [DAY, -DAY])
def test_a_clock_that_is_another_one_when_it_goes_on(offset: int, crawls: Crawls) -> None:
    crawls.write(JUMPING, wait=0.7)
    crawls.killed_half_way()
    code, said = crawls.run(OFFSETS=str(offset))
    assert code == 0, said
    crawls.check()


# -- stopped on purpose ------------------------------------------------------------------------------------------------


def is_finished(job: Path) -> bool:
    return overview(job).finished


@pytest.mark.parametrize(("limit", "many"), [("--limit-pages", 25), ("--limit-items", 170)])
def test_stopped_by_a_limit_again_and_again(limit: str, many: int, crawls: Crawls) -> None:
    crawls.write()
    for _ in range(20):
        assert crawls.run(limit, str(many)) == (0, "")
        if is_finished(crawls.folder / "job"):
            break
    crawls.check()


def test_stopped_at_once_again_and_again(crawls: Crawls) -> None:
    def twice(process: Popen[str]) -> None:
        process.send_signal(signal.SIGINT)
        threading.Event().wait(0.1)
        process.send_signal(signal.SIGINT)
        process.wait(30)

    crawls.write()
    for free in (HELD, 5):
        code, said = crawls.stopped_half_way(twice, free)
        # The second may come when everything is written, and the process about to end: then it dies of it.
        assert code in (130, -signal.SIGINT), said
    crawls.goes_on()
    crawls.check()
