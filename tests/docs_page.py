"""The Python blocks of one Markdown page, run one after the other as one script: `python docs_page.py PAGE.md`

Blocks share a namespace, and may `await` at their top level as in a notebook. A connection to anything but this
machine is refused: documentation must work without a network. A traceback shows the lines of the page.
"""

from __future__ import annotations

import ast
import asyncio
import re
import socket
import sys
from inspect import CO_COROUTINE
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

FENCE = re.compile(
    r"^(?P<indent> *)```python[^\n]*\n(?P<code>.*?)^(?P=indent)```[ ]*$",
    re.MULTILINE | re.DOTALL,
)
NOT_RUN = re.compile(r"<!-- *not run(?P<colon>:?) *(?P<reason>.*?) *-->\s*\Z", re.DOTALL)


class Block(NamedTuple):
    """One fenced block of Python. `line`: where its code starts in the page; `not_run`: why not, or None."""

    line: int
    code: str
    not_run: str | None


def blocks(text: str) -> list[Block]:
    """The blocks of a page, in order.

    Raises: ValueError for a "not run" comment without a reason.
    """
    found: list[Block] = []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        comment = NOT_RUN.search(text, 0, match.start())
        if comment is not None and not (comment["colon"] and comment["reason"]):
            raise ValueError(f"line {line}: say why it is not run: <!-- not run: reason -->")
        indent = match["indent"]
        code = "\n".join(each.removeprefix(indent) for each in match["code"].split("\n"))
        found.append(Block(line, code, None if comment is None else comment["reason"]))
    return found


def stay_on_this_machine() -> None:
    """Refuse every connection and every name that leads elsewhere."""

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        host: Any
        if event == "socket.connect":
            address: Any = arguments[1]  # a path for a Unix socket
            host = "localhost" if isinstance(address, str | bytes) else address[0]
        elif event == "socket.getaddrinfo":
            host = arguments[0]
        else:
            return
        name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
        if name not in ("localhost", "::1") and not name.startswith("127."):
            raise socket.gaierror(f"documentation is run without a network, and this block asks for {name}")

    sys.addaudithook(refuse)


def run_page(path: Path) -> None:
    """Run the page's blocks in this process, as its main module."""
    main = ModuleType("__main__")
    main.__file__ = str(path)
    sys.modules["__main__"] = main
    with asyncio.Runner() as runner:
        for block in blocks(path.read_text("utf-8")):
            if block.not_run is None:
                run_block(block, path, main.__dict__, runner)


def run_block(block: Block, path: Path, namespace: dict[str, Any], runner: asyncio.Runner) -> None:
    # Padding, so that line numbers in a traceback are those of the page.
    source = "\n" * (block.line - 1) + block.code
    code = compile(source, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if not code.co_flags & CO_COROUTINE:
        exec(code, namespace)
        return

    async def awaiting() -> None:
        await eval(code, namespace)

    runner.run(awaiting())


if __name__ == "__main__":
    stay_on_this_machine()
    run_page(Path(sys.argv[1]))
