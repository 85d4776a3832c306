"""A gibibyte that comes as a few kilobytes stops at the size limit, in bounded memory, whatever it is coded in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bombs import BOMBS, GIB

CHILD = Path(__file__).parent.parent / "bombs.py"


@pytest.mark.parametrize("name", BOMBS)
def test_a_decompression_bomb_does_not_fill_the_memory(name: str) -> None:
    done = subprocess.run([sys.executable, str(CHILD), name], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["real size"] == GIB
    assert found["size"] < GIB // 1000
    assert (found["fetch"], found["layer"]) == ("BodyTooLarge", "BodyTooLarge")
    assert found["streamed"] == "BodyTooLarge within the limit"
    assert found["grown"] < 64 * 2**20, "the limit is 4 MiB, and what is imported meanwhile takes some 20"
