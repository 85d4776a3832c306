"""Prints the table of the suite, and what did not pass: `PYTHONPATH=tests python -m caching.http_cache_suite`"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from caching.http_cache_suite.suite import for_private, installed, run_suite, table

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        rows = asyncio.run(run_suite(installed(Path(name)), Path(name)))
    print(table(rows))
    for row in for_private(rows):
        if not row.passed and row.kind != "check":
            print(f"- {row.kind}: `{row.id}`: {row.message}")
