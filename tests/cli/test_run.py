"""`streamcrawl run`: feeds, limits, scope, what is told, and every exit code."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from streamcrawl.cli.run import FORMATS
from streamcrawl.feeds.formats import extensions, formats
from streamcrawl.testing.site import Answer, Site, serve

Done = subprocess.CompletedProcess[str]
Cli = Callable[..., Done]
Write = Callable[[str, str], Path]

PAGES = 12


def lines_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def names(path: Path) -> list[str]:
    return sorted((item["page"] for item in lines_of(path)), key=lambda name: int(name.split()[1]))


ALL = [f"Page {number}" for number in range(1, PAGES + 1)]


def test_a_crawl_to_its_end(cli: Cli, flow: Path, folder: Path, site: Site) -> None:
    done = cli("run", "flow.py", "-O", "items.jsonl")
    assert done.returncode == 0, done.stderr
    assert names(folder / "items.jsonl") == ALL
    assert done.stdout == ""
    assert f"finished: {PAGES} pages, {PAGES} items" in done.stderr
    assert "offered" in done.stderr
    assert "Traceback" not in done.stderr


def test_o_appends_and_big_o_overwrites(cli: Cli, flow: Path, folder: Path) -> None:
    for _ in range(2):
        assert cli("run", "flow.py", "-o", "twice.jsonl", "-O", "once.csv").returncode == 0
    assert len(lines_of(folder / "twice.jsonl")) == 2 * PAGES
    assert len((folder / "once.csv").read_text().splitlines()) == PAGES + 1


def test_items_that_are_kept_nowhere_are_told_of(cli: Cli, flow: Path) -> None:
    hint = "the items were kept nowhere: -O items.jsonl writes them"
    assert hint in cli("run", "flow.py").stderr
    assert hint not in cli("run", "flow.py", "-O", "-").stderr
    assert hint not in cli("run", "flow.py", "--quiet").stderr


@pytest.mark.parametrize("end", FORMATS.split(", "))
def test_every_format_that_the_help_names(end: str, cli: Cli, flow: Path, folder: Path) -> None:
    done = cli("run", "flow.py", "-O", f"items{end}", "--limit-items", "1", "--quiet")
    assert done.returncode == 0, done.stderr
    assert (folder / f"items{end}").stat().st_size > 0


def test_the_help_names_every_format() -> None:
    named = {extensions()[end] for end in FORMATS.split(", ") if end != ".sqlite"}
    assert named == set(formats())


@pytest.mark.parametrize("given", ["-:json", "items.txt:json"])
def test_a_format_behind_the_name(given: str, cli: Cli, flow: Path, folder: Path) -> None:
    done = cli("run", "flow.py", "-O", given, "--limit-items", "1")
    assert done.returncode == 0, done.stderr
    text = done.stdout if given.startswith("-") else (folder / "items.txt").read_text()
    assert json.loads(text) == [{"page": "Page 1", "url": json.loads(text)[0]["url"]}]


def test_items_on_stdout_are_nothing_but_items(cli: Cli, flow: Path, folder: Path) -> None:
    done = cli("run", "flow.py", "-O", "-", "-o", "copy.jsonl", "--log-level", "debug")
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == sorted((folder / "copy.jsonl").read_text().splitlines())
    assert len(done.stdout.splitlines()) == PAGES


def test_a_reader_of_stdout_that_has_had_enough_sees_no_traceback(flow: Path, folder: Path) -> None:
    import sys

    command = f"{sys.executable} -m streamcrawl run flow.py -o - | head -n 1"
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["page"] == "Page 1"
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_limits(cli: Cli, flow: Path, folder: Path, site: Site) -> None:
    done = cli("run", "flow.py", "-O", "items.jsonl", "--limit-pages", "3")
    assert done.returncode == 0
    assert "limit of 3 pages: 3 pages" in done.stderr
    assert len(lines_of(folder / "items.jsonl")) == 3
    done = cli("run", "flow.py", "-O", "items.jsonl", "--limit-items", "5")
    assert done.returncode == 0
    assert len(lines_of(folder / "items.jsonl")) == 5


def test_concurrency_counts_for_the_one_host_of_the_start(cli: Cli, write: Write) -> None:
    links = "".join(f'<a href="/slow/{n}">x</a>' for n in range(24))
    flow = """
from streamcrawl import Crawl, operators as ops
layers = ops.default_layers(robots_txt=None)
crawl = Crawl({start}).pipe(ops.download(*layers), ops.scrape(lambda page: page.follow_all(css="a")))
"""
    peaks: list[int] = []
    for start, arguments in (("'{}/'", ()), ("['{}/']", ("--concurrency", "20")), ("'{}/'", ("--concurrency", "3"))):
        with serve(lambda arrival: links if arrival.path == "/" else Answer("done", delay=0.25)) as site:
            write("flow.py", flow.format(start=start.format(site.url)))
            assert cli("run", "flow.py", *arguments).returncode == 0
            peaks.append(site.peak)
    assert peaks == [8, 20, 3]


def test_concurrency_leaves_the_bound_per_host_with_several_hosts(cli: Cli, write: Write) -> None:
    links = "".join(f'<a href="/slow/{n}">x</a>' for n in range(24))

    def answer(arrival: object) -> Answer:
        return Answer(links, delay=0.1)

    with serve(answer) as one, serve(answer) as other:
        write(
            "flow.py",
            f"""
from streamcrawl import Crawl, operators as ops
crawl = Crawl(["{one.url}/", "{other.url}/"], per_host=4).pipe(
    ops.download(*ops.default_layers(robots_txt=None)), ops.scrape(lambda page: page.follow_all(css="a")))
""",
        )
        assert cli("run", "flow.py", "--concurrency", "20").returncode == 0
        assert (one.peak, other.peak) == (4, 4)


def test_scope(cli: Cli, write_flow: Callable[[str], Path], folder: Path) -> None:
    with ExitStack() as sites:
        there = sites.enter_context(serve({"/": "<h1>Page 2</h1>"}, host="127.0.0.2"))
        here = sites.enter_context(serve({"/": f'<h1>Page 1</h1><a href="{there.url}/">there</a>'}))
        write_flow(here.url)
        found: dict[str, list[str]] = {}
        for scope in ("host", "any", "127.0.0.2", "127.0.0.1, 127.0.0.2", "localhost"):
            assert cli("run", "flow.py", "--scope", scope, "-O", "items.jsonl").returncode == 0
            found[scope] = names(folder / "items.jsonl")
    both = ["Page 1", "Page 2"]
    assert found == {
        "host": both[:1],
        "any": both,
        "127.0.0.2": both,
        "127.0.0.1, 127.0.0.2": both,
        "localhost": both[:1],
    }


def test_quiet_says_nothing_when_all_is_well(cli: Cli, flow: Path) -> None:
    done = cli("run", "flow.py", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_debug_tells_every_page_and_the_refusals(cli: Cli, write_flow: Callable[[str], Path]) -> None:
    with serve(
        {
            "/": '<h1>Page 1</h1><a href="/old">x</a><a href="http://other.invalid/">y</a>',
            "/old": Answer(status=301, headers={"Location": "/new"}),
            "/new": "<h1>Page 2</h1>",
        }
    ) as site:
        write_flow(site.url)
        done = cli("run", "flow.py", "--log-level", "debug")
    assert done.returncode == 0
    for line in (
        f"debug   200 {site.url}/",
        f"debug   200 {site.url}/new",
        f"debug   again: {site.url}/old -> {site.url}/new: ",
        "debug   dropped: http://other.invalid/: off-site",
    ):
        assert line in done.stderr


FAILING = """
from reactivex import operators as rx
from streamcrawl import Crawl, operators as ops

def parse(page):
    yield {{"a": 1}}
    {body}

once = ops.default_layers(retry=ops.retry(times=0), robots_txt=None)
crawl = Crawl({start!r}).pipe(ops.download(*once), ops.scrape(parse), rx.map({function}), ops.feed("items.jsonl"))
"""


@pytest.mark.parametrize(
    ("body", "function", "line", "trouble"),
    [
        ("1 / 0", "lambda item: item", "raised ZeroDivisionError: division by zero (", "1 error in callbacks"),
        ("yield 7", "lambda item: item", "yielded 7 (int): an item is a dict", "1 error in callbacks"),
        (
            "",
            "lambda item: item['b']",
            "map(<lambda> at flow.py:10), number 3 in the pipe: KeyError: 'b'",
            "1 error on items",
        ),
        ("yield {{'a': 1}}", "lambda item: item['b']", "KeyError: 'b'", "2 errors on items"),
        ("raise ValueError('two\\nlines')", "lambda item: item", "ValueError: two lines", "1 error in callbacks"),
    ],
)
def test_an_error_of_the_flow_is_one_line_and_the_exit_code_1(
    body: str, function: str, line: str, trouble: str, cli: Cli, write: Write, folder: Path
) -> None:
    write("flow.py", FAILING.format(start="data:,hello", body=body.format(), function=function))
    done = cli("run", "flow.py", "--quiet")
    assert done.returncode == 1
    *told, last = done.stderr.splitlines()
    assert line in told[0]
    assert last == f"error: {trouble}"
    assert len(told) == int(trouble.split()[0])
    kept = 0 if "'b'" in function else 1
    assert len(lines_of(folder / "items.jsonl")) == kept


def test_debug_shows_where_a_callback_failed(cli: Cli, write: Write) -> None:
    write("flow.py", FAILING.format(start="data:,hello", body="1 / 0", function="lambda item: item"))
    done = cli("run", "flow.py", "--log-level", "debug")
    assert "Traceback (most recent call last):" in done.stderr
    assert "    1 / 0" in done.stderr


def test_no_page_reached_is_a_failure(cli: Cli, write: Write, folder: Path) -> None:
    with serve({}) as site:
        url = site.url  # nobody listens there any more
    write("flow.py", FAILING.format(start=f"{url}/", body="", function="lambda item: item"))
    done = cli("run", "flow.py", "--log-level", "warning")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: no page was reached: ")
    assert last.endswith("Connection refused")
    assert f"failed: {url}/: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("start", ["http://nowhere.invalid/", "gopher://127.0.0.1/"])
def test_a_start_that_cannot_be_reached_is_named(start: str, cli: Cli, write: Write) -> None:
    write("flow.py", FAILING.format(start=start, body="", function="lambda item: item"))
    done = cli("run", "flow.py")
    assert done.returncode == 1
    assert any("warning failed: " in line and start in line for line in done.stderr.splitlines())


def test_a_failed_page_does_not_fail_the_crawl(cli: Cli, write_flow: Callable[[str], Path], folder: Path) -> None:
    with serve({"/": '<h1>Page 1</h1><a href="/gone">x</a>'}) as site:
        write_flow(site.url)
        done = cli("run", "flow.py", "-O", "items.jsonl")
    assert done.returncode == 0
    assert names(folder / "items.jsonl") == ["Page 1"]
    assert f"warning failed: HTTP status 404 from {site.url}/gone\n" in done.stderr


def test_many_failures_of_a_kind_are_only_counted(cli: Cli, write_flow: Callable[[str], Path]) -> None:
    links = "".join(f'<a href="/gone/{n}">x</a>' for n in range(30))
    with serve({"/": f"<h1>Page 1</h1>{links}"}) as site:
        write_flow(site.url)
        few, all_ = cli("run", "flow.py").stderr, cli("run", "flow.py", "--log-level", "debug").stderr
    assert few.count("failed: HTTP status 404") == 20
    assert few.count("more such lines are left out") == 1
    assert all_.count("failed: HTTP status 404") == 30
    assert "30 failed" in few


def test_a_feed_that_cannot_be_written_is_a_failure_before_the_first_request(
    cli: Cli, flow: Path, folder: Path, site: Site
) -> None:
    (folder / "taken").write_text("a file, no folder")
    done = cli("run", "flow.py", "-O", "taken/items.jsonl")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: feed taken/items.jsonl: ")
    assert site.served == 0


def test_a_start_that_raises_stops_the_run_and_keeps_what_there_is(cli: Cli, write: Write, folder: Path) -> None:
    write(
        "flow.py",
        """
from streamcrawl import Crawl, operators as ops

def start():
    yield "data:,1"
    raise OSError("the list is gone")

crawl = Crawl(start()).pipe(ops.download(), ops.scrape(lambda page: {"a": page.text}))
""",
    )
    done = cli("run", "flow.py")
    assert done.returncode == 1
    assert (
        done.stderr.splitlines()[-1]
        == "error: the start of the crawl failed: OSError: the list is gone (flow.py:6, in start)"
    )
    assert "Traceback" not in done.stderr
    done = cli("run", "flow.py", "--log-level", "debug")
    assert 'raise OSError("the list is gone")' in done.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("-o", "items.xyz"), "error: feed 'items.xyz': no format for the extension '.xyz' "),
        (("-o", "items.json"), "error: -o items.json: a JSON array cannot be appended to: overwrite it (-O)"),
        (("-o", "a.jsonl", "-O", "./a.jsonl"), "error: two sinks write to "),
        (("-o", "-", "-O", "-"), "error: two sinks write to -"),
        (("--scope", "nonsense"), "error: scope 'nonsense': "),
        (("--scope", "example.com,"), "error: not a domain name: ''"),
        (("--limit-pages", "0"), "error: argument --limit-pages: '0' is no whole number of 1 or more"),
        (("--limit-items", "x"), "error: argument --limit-items: 'x' is no whole number of 1 or more"),
        (
            ("--concurrency", "-1"),
            "error: argument --concurrency: '-1' is no whole number of 1 or more",
        ),
        (("--log-level", "loud"), "error: argument --log-level: invalid choice: 'loud'"),
        (("--quiet", "--log-level", "info"), "error: argument --log-level: not allowed with"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], line: str, cli: Cli, flow: Path, folder: Path, site: Site) -> None:
    done = cli("run", "flow.py", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith(line)
    assert site.served == 0
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".py") in ([], ["__pycache__"])


def test_a_flow_that_is_wrong_is_2_in_one_line(cli: Cli, write: Write) -> None:
    write("flow.py", "from streamcrawl import Crawl\ncrawl = Crawl('http://127.0.0.1/')")
    done = cli("run", "flow.py")
    assert done.returncode == 2
    assert done.stderr == "error: flow.py: the crawl has no ops.download() in its pipe\n"
    write("flow.py", "import nothing_of_the_kind")
    done = cli("run", "flow.py", "--log-level", "debug")
    assert done.returncode == 2
    assert "import nothing_of_the_kind" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: flow.py: ModuleNotFoundError")


def test_the_flow_may_log(cli: Cli, write: Write) -> None:
    write(
        "flow.py",
        """
import logging
from streamcrawl import Crawl, operators as ops
log = logging.getLogger("mine")

def parse(page):
    log.info("seen %s", page.url)
    log.debug("too much")

crawl = Crawl("data:,1").pipe(ops.download(), ops.scrape(parse))
""",
    )
    done = cli("run", "flow.py")
    assert "info    mine: seen data:,1\n" in done.stderr
    assert "too much" not in done.stderr
