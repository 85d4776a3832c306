"""Ctrl-C: once, what is under way is finished and written; twice, it stops now."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from streamcrawl.testing.site import Arrival, Reply, serve

Begin = Callable[..., "subprocess.Popen[str]"]

HELD = 8
LINKS = "<h1>Page 0</h1>" + "".join(f'<a href="/{n}">x</a>' for n in range(1, 200))


class Held:
    """Answers every page but the first only when it is let go."""

    def __init__(self) -> None:
        self.waiting = 0
        self.answered = 0
        self.enough = threading.Event()
        """Set when as many requests wait as the crawl may have under way."""
        self.go: asyncio.Event = asyncio.Event()
        self.loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, arrival: Arrival) -> Reply:
        self.loop = asyncio.get_running_loop()
        if arrival.path == "/robots.txt":
            return 404
        if arrival.path != "/":
            self.waiting += 1
            if self.waiting == HELD:
                self.enough.set()
            await self.go.wait()
        self.answered += 1
        return LINKS if arrival.path == "/" else f"<h1>Page {arrival.path[1:]}</h1>"

    def let_go(self) -> None:
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.go.set)


def told(process: subprocess.Popen[str], text: str) -> str:
    """The next line on stderr with `text` in it."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return line
    raise AssertionError(f"it ended without saying {text!r}")


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_once_finishes_what_is_under_way(
    name: signal.Signals, begin: Begin, write_flow: Callable[[str], Path], folder: Path
) -> None:
    held = Held()
    with serve(held) as site:
        write_flow(site.url)
        process = begin("run", "flow.py", "-O", "items.jsonl")
        assert held.enough.wait(30)
        process.send_signal(name)
        assert "finishing what is under way; once more to stop now" in told(process, "interrupted:")
        held.let_go()
        _, rest = process.communicate(timeout=30)
    assert process.returncode == 130
    items = [json.loads(line)["page"] for line in (folder / "items.jsonl").read_text().splitlines()]
    assert held.waiting == HELD, "requests were sent after the interruption"
    assert len(items) == len(set(items)) == held.answered == 1 + HELD
    assert f"interrupted: {1 + HELD} pages, {1 + HELD} items" in rest
    assert "Traceback" not in rest


def test_twice_stops_now_and_keeps_what_there_is(begin: Begin, write_flow: Callable[[str], Path], folder: Path) -> None:
    held = Held()
    with serve(held) as site:
        write_flow(site.url)
        process = begin("run", "flow.py", "-O", "items.jsonl")
        assert held.enough.wait(30)
        process.send_signal(signal.SIGINT)
        told(process, "interrupted:")
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=30)
        assert held.answered == 1
    assert process.returncode == 130
    assert "interrupted: stopping now" in rest
    assert "interrupted: 1 page, 1 item" in rest
    assert "Traceback" not in rest
    assert json.loads((folder / "items.jsonl").read_text())["page"] == "Page 0"


def test_while_the_flow_is_loaded(begin: Begin, write: Callable[[str, str], Path]) -> None:
    write("flow.py", "import sys, threading\nprint('loading', file=sys.stderr, flush=True)\nthreading.Event().wait()")
    process = begin("run", "flow.py")
    told(process, "loading")
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=30)
    assert (process.returncode, rest) == (130, "interrupted\n")
