"""`streamcrawl bench`: the table, from a real crawl."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

from streamcrawl.testing.site import DemoSite

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def test_the_table_tells_of_the_whole_shop(cli: Cli) -> None:
    done = cli("bench", "--rounds", "2", "--concurrency", "7")
    assert (done.returncode, done.stderr) == (0, "")
    title, speed, cpu, memory, last = done.stdout.splitlines()
    assert re.fullmatch(r"streamcrawl \S+, Python \S+, \d+ cores", title)
    assert re.fullmatch(r"  pages/s +[1-9]\d+", speed)
    cpu_ms = re.fullmatch(r"  CPU ms/page +(\d+\.\d\d)", cpu)
    assert cpu_ms is not None
    assert 0.05 < float(cpu_ms[1]) < 500
    megabytes = re.fullmatch(r"  peak RSS +(\d+) MB", memory)
    assert megabytes is not None
    assert 20 < int(megabytes[1]) < 500
    lists = sum(path.startswith("/category/") for path in DemoSite().paths)
    assert last.startswith(f"{2 * (1 + lists + 300)} pages and 600 items in ")
    assert "7 requests at once" in last


def test_wrong_usage(cli: Cli) -> None:
    assert cli("bench", "--rounds", "0").returncode == 2
