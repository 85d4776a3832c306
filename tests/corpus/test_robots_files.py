"""Every parser of robots.txt that is installed reads some 4,200 real files."""

from __future__ import annotations

from pathlib import Path

import pytest

from corpus.robots_files import UNKNOWN, compared, corpus
from streamcrawl.robots_parsers import installed

pytestmark = [pytest.mark.corpus, pytest.mark.timeout(600)]


def test_no_file_makes_a_parser_raise(tmp_path: Path) -> None:
    files = corpus(tmp_path)
    tallies = compared(files, installed())
    assert len(files) > 4_200
    assert [error for tally in tallies.values() for error in tally.errors] == []
    assert {tally.files for tally in tallies.values()} == {len(files)}
    assert {tally.verdicts for tally in tallies.values()} == {tallies["protego"].verdicts}
    for name, tally in tallies.items():
        if name != "protego":
            assert 0 < tally.differing < 0.4 * tally.verdicts
            assert sum(tally.causes.values()) == tally.differing
            assert tally.causes[UNKNOWN] < 0.05 * tally.differing
