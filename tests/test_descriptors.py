"""Descriptors: taken up to the system's bound, in processes whose own bounds are set for the test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

resource = pytest.importorskip("resource")

HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
TELL = "from streamcrawl.descriptors import descriptors, more_descriptors\nmore_descriptors()\nprint(descriptors())"
FLOW = """\
import sys
from streamcrawl import Crawl, Response, operators as ops
from streamcrawl.descriptors import descriptors

async def fetch(request):
    return Response(request.url, request=request)

def parse(page):
    print(descriptors(), file=sys.stdout)

crawl = Crawl("https://shop.example/").pipe(ops.download(fetch=fetch), ops.scrape(parse))
"""


def bounded(soft: int, hard: int, *command: str, folder: Path) -> int:
    """What a process with these bounds prints: the descriptors that it may have in the end."""
    shell = ["bash", "-c", f'ulimit -Sn {soft}; ulimit -Hn {hard}; exec "$@"', "bash", *command]
    done = subprocess.run(shell, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize(("soft", "hard", "then"), [(256, 512, 512), (512, 512, 512), (300, 4096, 4096)])
def test_as_many_as_the_system_lets_it_have(soft: int, hard: int, then: int, tmp_path: Path) -> None:
    if HARD not in (resource.RLIM_INFINITY, -1) and hard > HARD:
        pytest.skip(f"this process may have no more than {HARD}")
    assert bounded(soft, hard, sys.executable, "-c", TELL, folder=tmp_path) == then


def test_run_takes_them(tmp_path: Path) -> None:
    tmp_path.joinpath("flow.py").write_text(FLOW)
    command = (sys.executable, "-m", "streamcrawl", "run", "-q", "flow.py")
    assert bounded(256, 1024, *command, folder=tmp_path) == 1024
