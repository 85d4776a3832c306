"""The command line as a whole: help, version, wrong usage, start-up."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points

import pytest

from streamcrawl.cli.main import COMMANDS, main
from streamcrawl.version import __version__

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def test_the_version(cli: Cli) -> None:
    done = cli("--version")
    assert (done.returncode, done.stdout) == (0, f"streamcrawl {__version__}\n")


def test_help_names_every_command_and_shows_examples(cli: Cli) -> None:
    done = cli("--help")
    assert done.returncode == 0
    for name, command in COMMANDS.items():
        assert re.search(rf"^ +{name} +{re.escape(command.HELP)}$", done.stdout, re.MULTILINE)
    assert "examples:" in done.stdout
    assert "exit codes: 0 finished, 1 the crawl failed, 2 wrong usage, 130 interrupted" in done.stdout


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_of_a_command_has_examples_that_it_parses(name: str, cli: Cli) -> None:
    done = cli(name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: streamcrawl {name} ")
    examples = done.stdout.partition("examples:\n")[2]
    assert f"streamcrawl {name}" in examples
    assert max(map(len, done.stdout.splitlines())) <= 120


@pytest.mark.parametrize("arguments", [(), ("nonsense",), ("run",), ("fetch",), ("run", "flow.py", "--nonsense")])
def test_wrong_usage_is_2_and_shows_the_right_one(arguments: tuple[str, ...], cli: Cli) -> None:
    done = cli(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: streamcrawl")
    assert "Traceback" not in done.stderr


def test_the_console_script_is_main() -> None:
    (script,) = entry_points(group="console_scripts", name="streamcrawl")
    assert script.load() is main


def test_main_returns_the_code_and_raises_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert main(["fetch"]) == 2
    assert main(["run", "/no/such/flow.py"]) == 2
    assert capsys.readouterr().err.endswith("error: /no/such/flow.py: no such file\n")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["demo", "--help"], ["operators"]])
def test_start_up_loads_nothing_heavy(arguments: list[str]) -> None:
    heavy = {"IPython", "PIL", "aiohttp", "gcsfs", "httpx", "lxml", "parsel", "pyarrow", "rich", "s3fs"}
    script = f"""
import sys
from streamcrawl.cli.main import main
main({arguments!r})
print(*({heavy!r} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ""
