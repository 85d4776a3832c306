"""What a person sees: one live line on a terminal, log lines elsewhere."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamcrawl import Crawl, Request, Response
from streamcrawl import operators as ops
from streamcrawl.cli import progress
from streamcrawl.cli.lines import logging_lines
from streamcrawl.cli.progress import Rate, how_far
from streamcrawl.cli.watching import watched
from streamcrawl.crawl.run import Run
from streamcrawl.testing.site import Answer, Site, serve

Cli = Callable[..., "subprocess.CompletedProcess[str]"]

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
"""What hides and shows the cursor: a live line is between them."""

SLOW = "<h1>Page 1</h1>" + "".join(f'<a href="/{n}">x</a>' for n in range(40))


@contextmanager
def slow_site() -> Generator[Site, None, None]:
    with serve(lambda arrival: SLOW if arrival.path == "/" else Answer("<h1>Page 2</h1>", delay=0.1)) as site:
        yield site


def on_a_terminal(
    folder: Path, environment: dict[str, str], *arguments: str, stdout_too: bool = False
) -> tuple[int, str, str]:
    """Exit code, what was on stdout, and what the terminal at stderr (or at both) got."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        (sys.executable, "-m", "streamcrawl", *arguments),
        cwd=folder,
        env={**environment, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs if stdout_too else subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown: list[bytes] = []

    def read() -> None:
        try:
            while chunk := os.read(ours, 65536):
                shown.append(chunk)
        except OSError:  # Linux tells the end of a terminal so
            pass

    reader = threading.Thread(target=read)
    reader.start()
    out, _ = process.communicate(timeout=60)
    reader.join(30)
    os.close(ours)
    return process.returncode, (out or b"").decode(), b"".join(shown).decode().replace("\r\n", "\n")


def test_a_live_line_on_a_terminal(
    folder: Path, environment: dict[str, str], write_flow: Callable[[str], Path]
) -> None:
    with slow_site() as site:
        write_flow(site.url)
        code, out, shown = on_a_terminal(folder, environment, "run", "flow.py", "-O", "-")
    assert code == 0
    assert len(out.splitlines()) == 41, "items on stdout stay clean"
    assert "\x1b" not in out
    live, _, after = shown.rpartition(SHOW)
    assert HIDE in live
    states = re.findall(r"(\d+) pages \(\d+/s\), (\d+) items, (\d+) queued, 0 failed, \d+ MB  0:0\d", live)
    assert len(set(states)) > 2, "it moves"
    assert [int(pages) for pages, _, _ in states] == sorted(int(pages) for pages, _, _ in states)
    assert "pages (" not in after.replace("41 pages, 41 items in", ""), "it is gone at the end"
    assert "finished: 41 pages, 41 items" in after


def test_items_on_the_terminal_itself_are_not_mixed_with_a_live_line(
    folder: Path, environment: dict[str, str], write_flow: Callable[[str], Path]
) -> None:
    with slow_site() as site:
        write_flow(site.url)
        code, _, shown = on_a_terminal(folder, environment, "run", "flow.py", "-O", "-", stdout_too=True)
    assert code == 0
    assert HIDE not in shown
    assert len(re.findall(r"^\{\"page\":.*\}$", shown, re.MULTILINE)) == 41


def test_log_lines_and_prints_go_above_the_live_line(
    folder: Path, environment: dict[str, str], write: Callable[[str, str], Path]
) -> None:
    with slow_site() as site:
        write(
            "flow.py",
            f"""
import logging
from streamcrawl import Crawl, operators as ops

def parse(page):
    if page.url.endswith("/7"):
        print("printed by the flow")
        logging.error("logged [by] the flow, in a line that is " + "long " * 40)
    yield from page.follow_all(css="a")

crawl = Crawl("{site.url}/").pipe(ops.download(), ops.scrape(parse))
""",
        )
        code, _, shown = on_a_terminal(folder, environment, "run", "flow.py", stdout_too=True)
    assert code == 0, shown
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "\n")
    assert "printed by the flow" in plain.splitlines()
    assert "logged [by] the flow, in a line that is " + "long " * 39 + "long" in plain, "not broken in two"


@pytest.mark.parametrize("arguments", [("--quiet",), ()])
def test_no_live_line_if_quiet_or_if_the_terminal_is_dumb(
    arguments: tuple[str, ...], folder: Path, environment: dict[str, str], flow: Path
) -> None:
    if not arguments:
        environment = {**environment, "TERM": "dumb"}
        ours, theirs = pty.openpty()
        done = subprocess.run(
            (sys.executable, "-m", "streamcrawl", "run", "flow.py"),
            cwd=folder,
            env=environment,
            stderr=theirs,
            timeout=60,
        )
        os.close(theirs)
        shown = os.read(ours, 65536).decode()
        os.close(ours)
        assert done.returncode == 0
        assert "finished: 12 pages" in shown
        assert "\x1b" not in shown
        return
    assert on_a_terminal(folder, environment, "run", "flow.py", *arguments) == (0, "", "")


def test_elsewhere_nothing_but_lines(cli: Cli, flow: Path) -> None:
    done = cli("run", "flow.py")
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr


def links(page: Response) -> Iterable[Request]:
    return page.follow_all(css="a")


def test_log_lines_tell_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.05)
    with slow_site() as site, logging_lines("info") as lines:
        assert watched(Crawl(f"{site.url}/").pipe(ops.download(), ops.scrape(links)), lines) == 0
    told = capsys.readouterr().err
    lines_ = re.findall(
        r"^\d\d:\d\d:\d\d info    (\d+) pages \(\d+/s\), 0 items, \d+ queued, 0 failed, \d+ MB$", told, re.M
    )
    assert len(lines_) > 2
    assert lines_ == sorted(lines_, key=int)


def test_how_far_counts_errors_and_says_when_it_stops() -> None:
    def parse(page: Response) -> None:
        raise ValueError(page.url)

    runs: list[Run] = []
    texts: list[str] = []

    def on_start(run: Run) -> None:
        runs.append(run)
        texts.append(how_far(run, Rate(run)()))

    Crawl(["data:,1", "data:,2"], limit_pages=1).pipe(ops.download(), ops.scrape(parse)).run(on_start)
    texts.append(how_far(runs[0], 7.4))
    assert re.sub(r"\d+ MB", "M", texts[0]) == "0 pages (0/s), 0 items, 0 queued, 0 failed, M"
    assert re.sub(r"\d+ MB", "M", texts[1]) == (
        "stopping (limit of 1 page): 1 page (7/s), 0 items, 1 queued, 0 failed, 1 error, M"
    )


def test_the_live_line_stays_one_line_on_a_narrow_terminal(
    folder: Path, environment: dict[str, str], write_flow: Callable[[str], Path]
) -> None:
    with slow_site() as site:
        write_flow(site.url)
        code, _, shown = on_a_terminal(folder, {**environment, "COLUMNS": "40"}, "run", "flow.py")
    assert code == 0
    live = shown.rpartition(SHOW)[0]
    states = re.findall(r"\S (\d+ pages .*?)(?=\x1b|\r|\n|$)", live)
    assert len(states) > 2
    assert {len(state) for state in states} == {34}
    assert all(state.endswith("…") for state in states)
