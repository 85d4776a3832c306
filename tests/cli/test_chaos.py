"""`streamcrawl chaos`: a flow that is killed has the result of an undisturbed one; one that has not is told."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamcrawl.cli.chaos import Outcome, examples, summary, table
from streamcrawl.cli.compare import Difference
from streamcrawl.cli.kills import Aim, Kill, Measured
from streamcrawl.testing.site import Answer, Arrival, Reply, serve

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
Write = Callable[[str, str], Path]

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@contextmanager
def chaos_site(*arguments: int) -> Generator[str, None, None]:
    """The URL of a small one of the benchmark's sites."""
    command = (sys.executable, str(BENCHMARKS / "chaos_site.py"), *map(str, arguments))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def rows(output: str) -> dict[str, list[str]]:
    """The table's cells by sink."""
    lines = [line.strip("|").split("|") for line in output.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    assert cells[0] == ["sink", "undisturbed", "killed", "lost", "doubled", "foreign"]
    return {name: rest for name, *rest in cells[2:]}


@pytest.mark.timeout(180)
def test_the_benchmark_s_flow_loses_nothing(cli: Cli, environment: dict[str, str]) -> None:
    with chaos_site(300, 1, 120, 4) as url:
        environment["CHAOS_SITE"] = url
        done = cli("chaos", str(BENCHMARKS / "chaos_flow.py"), "--kills", "5", "--seed", "1")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = rows(done.stdout)
    feeds = {"items.jsonl", "items.csv", "items.json", "items.sqlite: items", "batches.jsonl"}
    assert set(found) == {*feeds, "pages", "pages failed", "pages dropped"}
    counts = {found[feed][0] for feed in feeds}
    assert len(counts) == 1
    assert int(counts.pop().replace(",", "")) > 2000
    assert int(found["pages"][0]) + int(found["pages failed"][0]) >= 300
    assert int(found["pages failed"][0]) > 0
    for cells in found.values():
        assert cells[1:] == [cells[0], "0", "0", "0"]
    assert "5 kills" in done.stdout
    assert done.stderr.count("killed after ") == 5


def page(arrival: Arrival) -> Reply:
    """Twenty pages, none of them quick: a run of them takes long enough to be killed on the way."""
    if arrival.path == "/robots.txt":
        return 404
    number = arrival.path.strip("/") or "0"
    link = f'<a href="/{int(number) + 1}">x</a>' if int(number) < 20 else ""
    return Answer(f"<h1>{number}</h1>{link}", delay=0.03)


DOUBLING = """
import json
from streamcrawl import Crawl, operators as ops

def past(what):
    with open("past.jsonl", "a") as file:
        file.write(json.dumps(what) + "\\n")

def parse(page):
    past(page.url)
    yield {{"n": page.css("h1::text").get()}}
    yield from page.follow_all(css="a")

past("started")
crawl = Crawl("{url}/").pipe(ops.download(), ops.scrape(parse), ops.feed("items.jsonl"))
"""
"""Writes to a file past the crawl's sinks: what is done again after a kill stands there twice."""


def test_a_flow_that_writes_past_its_sinks_doubles_and_is_told(cli: Cli, write: Write, tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    with serve(page) as site:
        write("flow.py", DOUBLING.format(url=site.url))
        done = cli("chaos", "flow.py", "--kills", "2", "--seed", "5", "--keep", str(keep), "-O", "all.csv")
    assert done.returncode == 1, f"{done.stdout}\n{done.stderr}"
    found = rows(done.stdout)
    assert found["items.jsonl"] == ["21", "21", "0", "0", "0"]
    assert found["all.csv"] == ["21", "21", "0", "0", "0"]
    assert found["pages"] == ["21", "21", "0", "0", "0"]
    assert found["past.jsonl"][0] == "22"
    assert (found["past.jsonl"][2], found["past.jsonl"][4]) == ("0", "0")
    assert int(found["past.jsonl"][3]) >= 1
    assert 'doubled, past.jsonl: "started"' in done.stdout
    assert f"What the runs left is in {keep}" in done.stdout
    assert "Without any kill" not in done.stdout
    assert {path.name for path in keep.iterdir() if path.is_dir()} >= {"undisturbed", "killed-1"}
    assert (keep / "undisturbed" / "items.jsonl").read_text().count("\n") == 21


CHANGING = """
import time
from streamcrawl import Crawl, operators as ops

crawl = Crawl("data:,x").pipe(
    ops.download(), ops.scrape(lambda page: {"n": 1, "at": time.time_ns()}), ops.feed("items.txt", format="jsonl")
)
"""


def test_a_field_that_differs_each_time_can_be_ignored(
    cli: Cli, write: Write, environment: dict[str, str], tmp_path: Path
) -> None:
    environment["TMPDIR"] = str(tmp_path)
    write("flow.py", CHANGING)
    done = cli("chaos", "flow.py", "--kills", "1", "--seed", "1")
    assert done.returncode == 1
    undisturbed, killed, lost, doubled, foreign = rows(done.stdout)["items.txt"]
    assert (undisturbed, killed, doubled) == ("1", "1", "0")
    assert lost == foreign  # one a run; there is a further run if the first was over before its kill
    assert int(lost) >= 1
    assert re.search(r'^foreign, items.txt: \{"at": \d+, "n": 1\}$', done.stdout, re.MULTILINE)
    assert "Without any kill these differ from one run to the next, too: items.txt (--ignore FIELD)" in done.stdout
    left = re.search(r"^What the runs left is in (\S+)$", done.stdout, re.MULTILINE)
    assert left is not None
    assert Path(left[1], "undisturbed", "items.txt").exists()
    done = cli("chaos", "flow.py", "--kills", "1", "--seed", "1", "--ignore", "at")
    assert done.returncode == 0, done.stdout
    assert rows(done.stdout)["items.txt"] == ["1", "1", "0", "0", "0"]
    assert "What the runs left" not in done.stdout
    assert list(tmp_path.glob("streamcrawl-chaos-*")) == [Path(left[1])]


FLOW = """
from streamcrawl import Crawl, operators as ops

crawl = Crawl({start}).pipe({operators})
"""
WHOLE = "ops.download(), ops.scrape(lambda page: {'a': 1})"


@pytest.mark.parametrize(
    ("start", "operators", "arguments", "line"),
    [
        ("'data:,x'", f"{WHOLE}, ops.feed('/tmp/a.jsonl')", (), "/tmp/a.jsonl: both runs would write to it; "),
        ("'data:,x'", f"{WHOLE}, ops.feed('file:../a.jsonl')", (), "file:../a.jsonl: both runs would write to it; "),
        ("'data:,x'", f"{WHOLE}, ops.sqlite('/tmp/a.db')", (), "/tmp/a.db: both runs would write to it; "),
        ("'data:,x'", f"{WHOLE}, ops.images('s3://b/p')", (), "s3://b/p: both runs would write to it; "),
        ("'data:,x'", WHOLE, ("-O", "/tmp/a.jsonl"), "/tmp/a.jsonl: both runs would write to it; "),
        ("'data:,x', limit_pages=3", WHOLE, (), "flow.py: limit_pages ends it somewhere else each time"),
        ("'data:,x'", "", (), "flow.py: the crawl has no ops.download() in its pipe"),
        ("'data:,x'", WHOLE, ("--keep", "."), "--keep .: it must be an empty folder"),
        ("'data:,x'", WHOLE, ("--kills", "0"), "argument --kills: '0' is no whole number of 1 or more"),
    ],
)
def test_wrong_usage(start: str, operators: str, arguments: tuple[str, ...], line: str, cli: Cli, write: Write) -> None:
    write("flow.py", FLOW.format(start=start, operators=operators))
    done = cli("chaos", "flow.py", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert line in done.stderr.splitlines()[-1]
    assert "undisturbed" not in done.stderr


def test_a_flow_that_is_not_there(cli: Cli, folder: Path) -> None:
    done = cli("chaos", "nowhere.py")
    assert done.returncode == 2
    assert done.stderr == f"error: {folder / 'nowhere.py'}: no such file\n"


def test_a_flow_that_fails_undisturbed_says_why(cli: Cli, write: Write) -> None:
    write("flow.py", FLOW.format(start="'data:,x'", operators="ops.download(), ops.scrape(lambda page: 1 / 0)"))
    done = cli("chaos", "flow.py")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: the run undisturbed failed: 1 error in callbacks (")
    assert "ZeroDivisionError" in last


def test_a_flow_that_takes_too_long(cli: Cli, write: Write) -> None:
    text = (
        "import os, time\n"
        "if os.environ.get('CHAOS_LOADED'): time.sleep(30)\n"
        "os.environ['CHAOS_LOADED'] = '1'\n" + FLOW.format(start="'data:,x'", operators=WHOLE)
    )
    write("flow.py", text)
    done = cli("chaos", "flow.py", "--timeout", "1")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: the run undisturbed did not end within 1 s"


# -- the table ---------------------------------------------------------------------------------------------------------


def outcome(*rounds: Difference) -> Outcome:
    kills = (Kill(Aim.START, 0.1, False, 0.0), Kill(Aim.WORK, 1.0, True, 0.5))
    return Outcome(Measured(0.5, 10.0, 100), kills, len(rounds), 20.0, tuple((each,) for each in rounds))


def test_the_rounds_add_up_in_the_table() -> None:
    made = outcome(
        Difference("a.jsonl", 1000, 999, 1, 0, 0, (("lost", "x" * 300),)), Difference("a.jsonl", 1000, 1002, 0, 1, 1)
    )
    assert not made.same
    assert table({"": made}).splitlines() == [
        "| sink    | undisturbed |       killed | lost | doubled | foreign |",
        "| ------- | ----------: | -----------: | ---: | ------: | ------: |",
        "| a.jsonl |       1,000 | 999 to 1,002 |    1 |       1 |       1 |",
    ]
    assert summary(made, 7) == [
        "2 kills, in 2 crawls: 1 while it started, 1 at work; 1 before the run's first commit.",
        "10.0 s undisturbed, 20.0 s with kills; --seed 7.",
    ]
    (line,) = examples(made)
    assert line.startswith("lost, a.jsonl: xxx")
    assert line.endswith("x…")
    assert len(line) < 200


def test_two_programs_in_one_table() -> None:
    same = outcome(Difference("a.csv", 5, 5))
    assert same.same
    assert table({"one": same, "other": same}).splitlines() == [
        "|       | sink  | undisturbed | killed | lost | doubled | foreign |",
        "| ----- | ----- | ----------: | -----: | ---: | ------: | ------: |",
        "| one   | a.csv |           5 |      5 |    0 |       0 |       0 |",
        "| other | a.csv |           5 |      5 |    0 |       0 |       0 |",
    ]
