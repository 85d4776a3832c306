"""`streamcrawl operators`: the project's, and those of other distributions."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from streamcrawl import operators

Cli = Callable[..., "subprocess.CompletedProcess[str]"]

MODULE = '''
def sieve(n):
    """Keeps every n-th item.

    Args: many
    """

def bare():
    return None
'''

POINTS = """[streamcrawl.operators]
sieve = sieve_ops:sieve
bare = sieve_ops:bare
broken = sieve_ops:gone
missing = no_such_module:thing
"""


def test_every_operator_is_one_line(cli: Cli) -> None:
    done = cli("operators")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert [name for name, _ in rows][: len(operators.__all__)] == operators.__all__
    assert dict(rows)["download"] == "Each Request becomes one Outcome, through layers around `fetch`."


@pytest.fixture
def installed(tmp_path: Path, environment: dict[str, str]) -> None:
    """A distribution "sieve-ops" with operators, two of them broken."""
    place = tmp_path / "site"
    metadata = place / "sieve_ops-1.0.dist-info"
    metadata.mkdir(parents=True)
    (place / "sieve_ops.py").write_text(MODULE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: sieve-ops\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(POINTS)
    environment["PYTHONPATH"] = str(place)


@pytest.mark.usefixtures("installed")
def test_those_of_others_come_with_their_distribution_and_broken_ones_are_a_line(cli: Cli) -> None:
    done = cli("operators")
    assert (done.returncode, done.stderr) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert len(rows) == len(done.stdout.splitlines()) == len(operators.__all__) + 4
    assert rows["sieve"] == "Keeps every n-th item. [sieve-ops]"
    assert rows["bare"] == "[sieve-ops]"
    assert rows["broken"].startswith("cannot be loaded: AttributeError: ")
    assert rows["missing"] == (
        "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module' (no_such_module:thing) [sieve-ops]"
    )
