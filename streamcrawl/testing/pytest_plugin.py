"""The pytest fixture `cassette`: `pytest_plugins = ["streamcrawl.testing.pytest_plugin"]` in conftest.py.

It is no entry point: every test run on the machine would import the library for it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import pytest

from streamcrawl.core import Run
from streamcrawl.crawl.crawl import Crawl
from streamcrawl.streams.fetching import OpenFetch
from streamcrawl.testing.cassette import Recording, Replaying, recording, replaying, with_fetch
from streamcrawl.testing.cassette_file import scan
from streamcrawl.testing.cassette_replay import Missing
from streamcrawl.testing.virtual_time import run_virtual

T = TypeVar("T")

Mode = Literal["replay", "new", "record"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """--cassettes."""
    parser.getgroup("streamcrawl").addoption(
        "--cassettes",
        choices=("replay", "new", "record"),
        default="replay",
        help="replay them without a network (default); fetch and add what is new; record them anew",
    )


def pytest_configure(config: pytest.Config) -> None:
    """The mark `cassette`."""
    config.addinivalue_line(
        "markers",
        "cassette(name, **options): the file of the fixture `cassette`, and what `recording` and `replaying` take",
    )


class Cassette:
    """The cassette of one test: a fetch, and the ways to run a crawl on it.

    Args:
        path: The file.
        mode: What is done with it.
        options: For `recording` and `replaying`.
    """

    def __init__(self, path: Path, mode: Mode, options: dict[str, Any]) -> None:
        self.path = path
        self.mode: Mode = mode
        self.missing: list[str] = []
        """What the test asked for and the cassette does not have."""
        self._fresh = mode == "record"
        kept = {name: value for name, value in options.items() if name != "latency"}
        self._recording: Recording = recording(path, **kept)
        self._replaying: Replaying = replaying(path, mode="none" if mode == "replay" else "new", **options)

    def __call__(self, crawl: Crawl[T]) -> Crawl[T]:
        """The crawl on this cassette."""
        download = crawl.pipes.download
        if download is not None and download.fetch is self:
            return crawl
        return with_fetch(crawl, self if download is None else _On(self, download.fetch))

    def open(self, run: Run, below: Any = None) -> OpenFetch:
        """For `download(fetch=cassette)`. The first run of a test records anew, if it is to; those that follow add."""
        hub: Any = run.events  # an Events, whose kinds of events can be chosen
        hub.on(Missing, self._missed)
        fresh, self._fresh = self._fresh, False
        if fresh:
            return replace(self._recording, fetch=below).open(run)
        return replace(self._replaying, fetch=below).open(run)

    def _missed(self, event: Missing) -> None:
        self.missing.append(event.text)

    def collect(self, crawl: Crawl[T]) -> list[T]:
        """The items of the crawl, on this cassette: in virtual time when it is replayed, else in real time."""
        return self.run(lambda: self(crawl).collect())

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What a coroutine function returns: in virtual time, from the day of the recording on, when it is replayed."""
        if self.mode != "replay":
            return asyncio.run(work())
        date = scan(self.path).header.date
        return run_virtual(work, start=datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp())

    def __repr__(self) -> str:
        return f"<Cassette {self.path}, {self.mode}, {len(self.missing)} missing>"


class _On:
    """A cassette above what brings the responses of one crawl."""

    def __init__(self, cassette: Cassette, fetch: Any) -> None:
        self._cassette = cassette
        self._fetch = fetch

    def open(self, run: Run) -> OpenFetch:
        return self._cassette.open(run, self._fetch)


@pytest.fixture
def cassette(request: pytest.FixtureRequest) -> Iterator[Cassette]:
    """The test's own cassette, `cassettes/MODULE/TEST.cassette` beside its file.

    Without a recording the test fails, and says how to make one; so does one that asks for what is not there.
    """
    mark = request.node.get_closest_marker("cassette")
    named = mark.args[0] if mark is not None and mark.args else ""
    name = named or re.sub(r"[^\w.\[\]-]+", "-", str(request.node.name)) + ".cassette"
    folder = request.path.parent / "cassettes"
    path = folder / name if named else folder / request.path.stem / name
    mode = cast(Mode, request.config.getoption("--cassettes"))
    if mode == "replay" and not path.exists():
        pytest.fail(f"there is no cassette {path}: record it with --cassettes=record", pytrace=False)
    made = Cassette(path, mode, dict(mark.kwargs) if mark is not None else {})
    yield made
    if made.missing:
        pytest.fail("\n".join((*made.missing, "--cassettes=new adds what is missing")), pytrace=False)
