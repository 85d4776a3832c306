"""Every Python block of the documentation runs, and every operator has its page."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs_page import Block, blocks
from forked import Done, Forked

ROOT = Path(__file__).parent.parent
RUNNER = Path(__file__).parent / "docs_page.py"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture(scope="module")
def forked() -> Iterator[Forked]:
    """Where processes come from in which a warning is an error."""
    made = Forked(os.environ, "-W", "error")
    yield made
    made.close()


def run(page: Path, folder: Path, forked: Forked) -> Done:
    """Run the blocks of `page` in `folder`, in a process of its own."""
    return forked.run([str(page)], folder, os.environ, script=RUNNER, timeout=100)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_blocks_of_every_page_run(page: Path, tmp_path: Path, forked: Forked) -> None:
    if all(block.not_run is not None for block in blocks(page.read_text("utf-8"))):
        return
    done = run(page, tmp_path, forked)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def test_every_operator_has_its_page_and_every_page_its_operator() -> None:
    operators = {path.stem for path in (ROOT / "operators").glob("*.py") if not path.stem.startswith("_")}
    pages = {path.stem for path in (ROOT / "docs" / "operators").glob("*.md")} - {"index"}
    assert sorted(operators - pages) == [], "operators without a page"
    assert sorted(pages - operators) == [], "pages without an operator"


def test_a_page_of_an_operator_is_about_it_and_shows_it() -> None:
    wrong: list[str] = []
    for page in (ROOT / "docs" / "operators").glob("*.md"):
        text = page.read_text("utf-8")
        if page.stem != "index" and not (page.stem in text.partition("\n")[0] and blocks(text)):
            wrong.append(page.name)
    assert wrong == [], "the first line names the operator, and there is a block of Python that uses it"


def test_links_between_pages_lead_somewhere() -> None:
    broken: list[str] = []
    for page in PAGES:
        prose = re.sub(r"^ *```.*?^ *```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", prose):
            path = target.partition("#")[0]
            if path and "://" not in path and not (page.parent / path).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def test_blocks_are_found_with_their_lines_and_reasons() -> None:
    page = """# Title
```python
a = 1
```
<!-- not run: needs the network -->
```python
b
```
- in a list

  ```python
  if a:
      c = 3
  ```
```console
$ not python
```
"""
    assert blocks(page) == [
        Block(3, "a = 1\n", None),
        Block(7, "b\n", "needs the network"),
        Block(12, "if a:\n    c = 3\n", None),
    ]


@pytest.mark.parametrize("comment", ["<!-- not run -->", "<!-- not run: -->"])
def test_a_block_is_not_run_only_with_a_reason(comment: str) -> None:
    with pytest.raises(ValueError, match="line 3: say why"):
        blocks(f"{comment}\n```python\nb\n```\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```python\na = 1\n```\n\n```python\nassert a == 2, 'shared'\n```\n", "line 6, in <module>"),
        ("```python\nimport asyncio\nawait asyncio.sleep(0)\nassert 0\n```\n", "line 4, in <module>"),
        ("```python\nimport socket\nsocket.create_connection(('example.com', 80))\n```\n", "asks for example.com"),
        ("```python\nimport socket\nsocket.create_connection(('192.0.2.1', 80))\n```\n", "asks for 192.0.2.1"),
        ("```python\nimport warnings\nwarnings.warn('old', DeprecationWarning)\n```\n", "DeprecationWarning: old"),
        ("```python\ndef broken(:\n```\n", "SyntaxError"),
    ],
)
def test_a_page_that_does_not_work_fails(text: str, said: str, tmp_path: Path, forked: Forked) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    done = run(page, tmp_path, forked)
    assert done.returncode == 1
    assert said in done.stderr
    assert "page.md" in done.stderr


def test_a_page_may_crawl_this_machine_and_define_classes(tmp_path: Path, forked: Forked) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        """
```python
from dataclasses import dataclass
@dataclass
class Quote:
    text: "str"
```
```python
import asyncio
server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
port = server.sockets[0].getsockname()[1]
_, writer = await asyncio.open_connection("localhost", port)
writer.close()
server.close()
assert Quote.__module__ == "__main__"
print(Quote("a"))
```
"""
    )
    done = run(page, tmp_path, forked)
    assert (done.returncode, done.stdout) == (0, "Quote(text='a')\n"), done.stderr
