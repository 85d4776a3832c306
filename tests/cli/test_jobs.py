"""`streamcrawl jobs`, and `run --job`: what is shown, what goes on, what starts over."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from jobs_made import made_job
from reactivex import operators as rx

from streamcrawl.cli.jobs import table
from streamcrawl.cli.main import main
from streamcrawl.cli.run import age
from streamcrawl.frontier.job import STORE, JobLock
from streamcrawl.frontier.overview import overview
from streamcrawl.frontier.store import DONE, DROPPED, FAILED, LATER, RETRIED, WAITING
from streamcrawl.testing.site import Arrival, Reply, Site, serve

Done = subprocess.CompletedProcess[str]
Cli = Callable[..., Done]
Begin = Callable[..., "subprocess.Popen[str]"]

PAGES = 12
NOW = 1_900_000_000.0


def shop(directory: Path) -> Path:
    return made_job(
        directory,
        [
            *((id, 1, WAITING, {}) for id in range(1, 1205)),
            (1300, 2, WAITING, {}),
            (1301, 2, LATER, {"due": NOW + 240}),
            *((id, 2, DONE, {}) for id in range(1400, 1410)),
            (1500, 1, FAILED, {"url": "http://a.test/x", "reason": "CallbackError: two\nlines"}),
            *((id, 1, DROPPED, {"reason": "robots.txt"}) for id in (1600, 1601)),
            (1602, 1, DROPPED, {"reason": "too deep"}),
            (1700, 1, RETRIED, {}),
        ],
        ("http://a.test", "http://b.test"),
        leased=[1, 1300],
        begun=1,
        sessions=2,
        told=NOW - 7200,
    )


def shown(job: Path, hosts: int = 10) -> str:
    lines = table(overview(job, hosts), NOW)
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)


def test_the_table(tmp_path: Path) -> None:
    job = shop(tmp_path / "job")
    expected = f"""\
job {job}: not finished; the same command goes on

  waiting   1,203
  later         1   the first in 4 min
  in flight     2   asked again by the next run
  done         10
  failed        1   --failed lists them, --retry-failed asks again
  dropped       3   2 robots.txt, 1 too deep
  retried       1

  host            waiting   in flight   later   done   failed   dropped
  http://a.test     1,203           1       0      0        1         3
  http://b.test         0           1       1     10        0         0

  2 runs, 1 of the start taken, last commit 2 h ago"""
    assert shown(job) == expected


def test_the_table_of_a_job_that_is_finished_or_in_use(tmp_path: Path) -> None:
    job = made_job(tmp_path / "job", [(1, 1, DONE, {})], ("http://a.test", "http://b.test"), finished=True, sessions=1)
    expected = f"""\
job {job}: finished

  waiting   0
  done      1
  failed    0

  host (1 of 2)   waiting   done
  http://a.test         0      1

  1 run, 0 of the start taken"""
    assert shown(job) == expected
    with JobLock(job):
        assert shown(job, 0).startswith(f"job {job}: running, another run of this process has it\n")
        assert "host" not in shown(job, 0)


def test_many_reasons_are_cut_short(tmp_path: Path) -> None:
    job = made_job(tmp_path / "job", [(id, 1, DROPPED, {"reason": f"reason {id}"}) for id in range(1, 7)], ("x",))
    assert "  dropped   6   1 reason 1, 1 reason 2, 1 reason 3, 1 reason 4, …\n" in shown(job)


def test_on_the_command_line(cli: Cli, folder: Path) -> None:
    shop(folder / "job")
    done = cli("jobs", "job")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("job job: not finished; the same command goes on\n\n  waiting   1,203\n")
    assert "\x1b" not in done.stdout
    assert "http://b.test" not in cli("jobs", "job", "--hosts", "1").stdout


def test_on_a_terminal_it_is_coloured(folder: Path, environment: dict[str, str]) -> None:
    shop(folder / "job")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "streamcrawl", "jobs", "job"],
        cwd=folder,
        env={**environment, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 4096):
            said += piece
    except OSError:  # Linux says that nobody is at the other end
        pass
    os.close(ours)
    assert process.wait(30) == 0
    assert b"\x1b[" in said
    plain = re.sub(r"\x1b\[[\d;]*m", "", said.decode())
    assert "  waiting   1,203" in plain
    assert "  http://a.test     1,203           1" in plain


def test_failed_ones_are_listed_a_line_each(cli: Cli, folder: Path) -> None:
    shop(folder / "job")
    assert cli("jobs", "job", "--failed").stdout == "http://a.test/x\tCallbackError: two lines\n"
    listed = json.loads(cli("jobs", "job", "--failed", "--json").stdout)
    assert listed == {"id": 1500, "url": "http://a.test/x", "reason": "CallbackError: two\nlines"}


def test_json(cli: Cli, folder: Path) -> None:
    shop(folder / "job")
    found = json.loads(cli("jobs", "job", "--json", "--hosts", "1").stdout)
    assert found["waiting"] == 1203
    assert found["dropped"] == {"robots.txt": 2, "too deep": 1}
    assert [host["name"] for host in found["hosts"]] == ["http://a.test"]
    assert (found["used_by"], found["finished"], found["next_due"]) == (None, False, NOW + 240)


def test_retry_failed(cli: Cli, folder: Path) -> None:
    shop(folder / "job")
    assert cli("jobs", "job", "--retry-failed").stdout == "job job: 1 failed request waits again\n"
    assert cli("jobs", "job", "--retry-failed").stdout == "job job: nothing has failed\n"
    assert json.loads(cli("jobs", "job", "--retry-failed", "--json").stdout) == {"directory": "job", "waiting_again": 0}
    failed = cli("jobs", "job", "--failed")
    assert (failed.returncode, failed.stdout, failed.stderr) == (0, "", "job job: nothing has failed\n")


def test_reset(cli: Cli, folder: Path) -> None:
    shop(folder / "job")
    (folder / "job" / "items.jsonl").write_text("")
    done = cli("jobs", "job", "--reset")
    assert done.stdout == "job job: reset, the next run starts over; left alone: items.jsonl\n"
    assert not (folder / "job" / STORE).exists()
    shop(folder / "other")
    assert json.loads(cli("jobs", "other", "--reset", "--json").stdout) == {"directory": "other", "left": []}


@pytest.mark.parametrize("options", [(), ("--failed",), ("--retry-failed",), ("--reset",), ("--json",)])
def test_what_is_no_job_is_one_line_and_1(options: tuple[str, ...], cli: Cli, folder: Path) -> None:
    (folder / "photos").mkdir()
    (folder / "photos" / "a.jpg").write_text("")
    for name, why in (("photos", f"it has no {STORE}"), ("nothing", "no such directory")):
        done = cli("jobs", name, *options)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"error: {name}: no job is there ({why})\n"
    assert [path.name for path in (folder / "photos").iterdir()] == ["a.jpg"]


@pytest.mark.parametrize("option", ["--retry-failed", "--reset"])
def test_a_job_in_use_is_left_alone(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = shop(tmp_path / "job")
    with JobLock(job):
        assert main(["jobs", str(job), option]) == 1
    assert capsys.readouterr().err == f"error: job {job} is in use by another run of this process\n"
    assert overview(job).failed == 1


@pytest.mark.parametrize(
    "arguments",
    [(), ("job", "--failed", "--reset"), ("job", "--retry-failed", "--reset"), ("job", "--hosts", "-1")],
)
def test_wrong_usage(arguments: tuple[str, ...], cli: Cli) -> None:
    assert cli("jobs", *arguments).returncode == 2


# -- streamcrawl run --job ------------------------------------------------------------------------------------------


def names(path: Path) -> list[str]:
    items = [json.loads(line)["page"] for line in path.read_text("utf-8").splitlines()]
    return sorted(items, key=lambda name: int(name.split()[1]))


ALL = [f"Page {number}" for number in range(1, PAGES + 1)]


def test_the_same_command_goes_on_and_says_when_it_is_finished(cli: Cli, flow: Path, folder: Path, site: Site) -> None:
    command = ("run", "flow.py", "-O", "items.jsonl", "--job", "job")
    done = cli(*command, "--limit-pages", "5")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"job job: [1-9]\d* waiting; the same command goes on", done.stderr.splitlines()[-1])
    assert cli("jobs", "job").stdout.startswith("job job: not finished")
    done = cli(*command)
    assert done.returncode == 0, done.stderr
    assert "the same command goes on" not in done.stderr
    assert names(folder / "items.jsonl") == ALL
    assert cli("jobs", "job").stdout.startswith("job job: finished\n")

    served = site.served
    done = cli(*command)
    assert (done.returncode, done.stdout) == (0, "")
    assert site.served == served
    (line,) = done.stderr.splitlines()
    assert "job job is finished" in line
    assert "--recrawl" in line
    assert "--reset" in line
    assert names(folder / "items.jsonl") == ALL
    assert cli(*command, "--quiet").stderr == ""


def test_reset_starts_over(cli: Cli, flow: Path, folder: Path) -> None:
    command = ("run", "flow.py", "-O", "items.jsonl", "--job", "job", "--reset")
    assert "reset" not in cli(*command).stderr, "there was nothing to reset"
    (folder / "job" / "notes.txt").write_text("mine")
    done = cli(*command)
    assert done.returncode == 0, done.stderr
    assert "job job: reset, the next run starts over; left alone: notes.txt" in done.stderr
    assert f"finished: {PAGES} pages, {PAGES} items" in done.stderr
    assert names(folder / "items.jsonl") == ALL


def test_recrawl_asks_again(cli: Cli, flow: Path, site: Site) -> None:
    command = ("run", "flow.py", "--job", "job")
    assert cli(*command).returncode == 0
    served = site.served
    done = cli(*command, "--recrawl", "1h")
    assert done.returncode == 0, done.stderr
    assert site.served == served, "nothing is an hour old"
    done = cli(*command, "--recrawl")
    assert done.returncode == 0, done.stderr
    assert site.served >= served + PAGES


def test_retry_failed_and_the_same_command(cli: Cli, write_flow: Callable[[str], Path], folder: Path) -> None:
    mended = False

    def answer(arrival: Arrival) -> Reply:
        if arrival.path == "/":
            return '<h1>Page 1</h1><a href="/2">2</a>'
        return 404 if arrival.path != "/2" else "<h1>Page 2</h1>" if mended else "not now"

    with serve(answer) as site:
        path = write_flow(site.url)
        path.write_text(path.read_text().replace(".get()", ".get().strip()"))
        command = ("run", "flow.py", "-O", "items.jsonl", "--job", "job")
        assert cli(*command).returncode == 1
        assert cli("jobs", "job", "--failed").stdout.startswith(f"{site.url}/2\tthe callback for ")
        mended = True
        assert "1 failed request waits again" in cli("jobs", "job", "--retry-failed").stdout
        done = cli(*command)
        assert done.returncode == 0, done.stderr
        assert site.served == 4, "robots.txt, /, /2 and /2 again"
    assert names(folder / "items.jsonl") == ["Page 1", "Page 2"]
    assert cli("jobs", "job", "--failed").stdout == ""


def test_a_site_that_was_down_is_asked_again(cli: Cli, write_flow: Callable[[str], Path], folder: Path) -> None:
    down = True

    def answer(arrival: Arrival) -> Reply:
        return 503 if down else 404 if arrival.path == "/robots.txt" else "<h1>Page 1</h1>"

    with serve(answer) as site:
        write_flow(site.url)
        command = ("run", "flow.py", "-O", "items.jsonl", "--job", "job")
        done = cli(*command)
        assert (done.returncode, "robots.txt unreachable" in done.stderr) == (1, True)
        assert "1 robots.txt unreachable (--retry-failed asks again)" in cli("jobs", "job").stdout
        assert cli("jobs", "job", "--failed").stdout == f"{site.url}/\trobots.txt unreachable\n"
        down = False
        assert "1 failed request waits again" in cli("jobs", "job", "--retry-failed").stdout
        done = cli(*command)
        assert done.returncode == 0, done.stderr
    assert names(folder / "items.jsonl") == ["Page 1"]


class Held:
    """Answers the first page at once, and the others when they are let go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.enough = threading.Event()
        """Set when several of them wait."""
        self.go = threading.Event()

    async def __call__(self, arrival: Arrival) -> Reply:
        if arrival.path == "/robots.txt":
            return 404
        self.asked.append(arrival.path)
        if len(self.asked) > 4:
            self.enough.set()
        if arrival.path == "/":
            return "<h1>Page 1</h1>" + "".join(f'<a href="/{n}">x</a>' for n in range(2, PAGES + 1))
        await asyncio.to_thread(self.go.wait, 30)
        return f"<h1>Page {arrival.path[1:]}</h1>"


COMMAND = ("run", "flow.py", "-O", "items.jsonl", "--job", "job")


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_was_stopped_goes_on(
    name: signal.Signals, begin: Begin, cli: Cli, write_flow: Callable[[str], Path], folder: Path
) -> None:
    held = Held()
    with serve(held) as site:
        write_flow(site.url)
        process = begin(*COMMAND)
        assert held.enough.wait(30)
        process.send_signal(name)
        if name != signal.SIGKILL:
            assert process.stderr is not None
            assert any("finishing what is under way" in line for line in process.stderr)
        held.go.set()
        _, said = process.communicate(timeout=30)
        if name != signal.SIGKILL:
            assert process.returncode == 130
            assert re.fullmatch(r"job job: [1-9] waiting; the same command goes on", said.splitlines()[-1])
            assert len(held.asked) < PAGES
        done = cli(*COMMAND)
        assert done.returncode == 0, done.stderr
    assert names(folder / "items.jsonl") == ALL
    if name != signal.SIGKILL:
        assert len(held.asked) == PAGES, "a page was asked for twice"
    assert cli("jobs", "job").stdout.startswith("job job: finished\n")


def test_a_second_process_is_refused(begin: Begin, cli: Cli, write_flow: Callable[[str], Path]) -> None:
    held = Held()
    with serve(held) as site:
        write_flow(site.url)
        first = begin(*COMMAND)
        assert held.enough.wait(30)
        second = cli(*COMMAND)
        assert second.returncode == 1
        assert second.stderr.splitlines()[-1].startswith(f"error: job job is in use by process {first.pid} (")
        assert f"running, process {first.pid} (" in cli("jobs", "job").stdout
        held.go.set()
        first.communicate(timeout=30)
    assert first.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--reset",), "error: --reset: of which job? Give --job DIR"),
        (("--recrawl",), "error: --recrawl: of which job? Give --job DIR"),
        (("--job", "", "--reset"), "error: --job '': the name of a directory"),
        (("--job", "j", "--reset", "--recrawl"), "error: argument --recrawl: not allowed with"),
        (("--job", "j", "--recrawl", "soon"), "error: argument --recrawl: 'soon' is no age: a number"),
    ],
)
def test_wrong_usage_of_run(arguments: tuple[str, ...], line: str, cli: Cli, flow: Path, folder: Path) -> None:
    done = cli("run", "flow.py", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith(line)
    assert not (folder / "j").exists()


def test_a_job_that_the_flow_names_may_be_reset(cli: Cli, flow: Path, folder: Path) -> None:
    flow.write_text(flow.read_text().replace('Crawl("', 'Crawl(job="own-job", start="'))
    for _ in range(2):
        done = cli("run", "flow.py", "--reset")
        assert done.returncode == 0, done.stderr
        assert f"finished: {PAGES} pages" in done.stderr
    assert (folder / "own-job" / STORE).exists()


def test_a_directory_that_is_no_job_is_left_alone(cli: Cli, flow: Path, folder: Path) -> None:
    (folder / "photos").mkdir()
    (folder / "photos" / "a.jpg").write_text("")
    for options in ((), ("--reset",)):
        done = cli("run", "flow.py", "--job", "photos", *options)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("error: job photos: no job is there, but other files (a.jpg)")
    assert [path.name for path in (folder / "photos").iterdir()] == ["a.jpg"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1d", 86_400), ("12h", 43_200), ("30m", 1800), ("90s", 90), ("90", 90), ("1.5h", 5400), ("0", 0)],
)
def test_ages(text: str, seconds: float) -> None:
    assert age(text) == seconds


# -- docs/jobs.md -----------------------------------------------------------------------------------------------------

GUIDE = Path(__file__).parent.parent.parent / "docs" / "jobs.md"


def test_the_guide_says_of_every_operator_what_a_job_makes_of_it() -> None:
    text = GUIDE.read_text("utf-8").partition("### Operators of reactivex")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", text))
    there: Mapping[str, object] = vars(rx)
    operators = {
        name
        for name, value in there.items()
        if inspect.isfunction(value) and value.__module__ == rx.__name__ and not name.startswith("_")
    }
    assert len(operators) > 120
    assert sorted(operators - named) == []
