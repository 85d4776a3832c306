"""The console blocks of docs/cli.md: every command line in them works and says what is shown."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

from streamcrawl.cli.main import COMMANDS
from streamcrawl.testing.site import DemoSite

Cli = Callable[..., "subprocess.CompletedProcess[str]"]

PAGE = Path(__file__).parent.parent.parent / "docs" / "cli.md"
ELSEWHERE = "http://localhost:8000"


def plain(text: str) -> str:
    """The text with numbers and runs of spaces that differ from machine to machine made the same."""
    return re.sub(r"[\d.]+", "0", re.sub(r" +", " ", text))


def test_the_command_lines_work_and_say_what_is_shown(cli: Cli, write: Callable[[str, str], Path]) -> None:
    text = PAGE.read_text("utf-8")
    shown = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (flow,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    used: set[str] = set()
    with DemoSite() as shop:
        write("shop.py", flow.replace(ELSEWHERE, shop.url))
        for session in "".join(shown).split("$ ")[1:]:
            line, *output = session.splitlines()
            program, *arguments = shlex.split(line.replace(ELSEWHERE, shop.url).replace("localhost", "127.0.0.1"))
            assert program == "streamcrawl"
            done = cli(*arguments)
            assert done.returncode == 0, f"{line}: {done.stderr}"
            said = plain(done.stdout + done.stderr)
            for expected in output:
                assert plain(expected) in said, f"{line}: {done.stdout}{done.stderr}"
            used.add(arguments[0])
    assert used == set(COMMANDS), "every command is shown"
