"""Cassettes: the exchanges of a real run, recorded once, replayed without a network."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from streamcrawl.arguments import telling
from streamcrawl.core import Fetch, Run
from streamcrawl.crawl.crawl import Crawl
from streamcrawl.errors import FlowError
from streamcrawl.streams.fetching import FetchMaker
from streamcrawl.testing.cassette_record import OpenRecording
from streamcrawl.testing.cassette_replay import OpenReplay
from streamcrawl.testing.cassette_rules import SECRETS, Rules

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Recording:
    """A fetch that writes down what it brings: what `recording` returns."""

    path: Path
    fetch: Fetch | FetchMaker | None
    rules: Rules

    def open(self, run: Run) -> OpenRecording:
        """Begin the file; of a job that goes on, go on with it. Raises: CassetteError."""
        return OpenRecording(self.path, self.fetch, self.rules, run)


@dataclass(frozen=True, slots=True)
class Replaying:
    """A fetch that answers from a cassette: what `replaying` returns."""

    path: Path
    latency: float | Literal["recorded"]
    mode: Literal["none", "new"]
    fetch: Fetch | FetchMaker | None
    rules: Rules

    def open(self, run: Run) -> OpenReplay:
        """Look through the file. Raises: CassetteError."""
        latency = None if self.latency == "recorded" else self.latency
        return OpenReplay(self.path, latency, self.fetch, self.mode == "new", self.rules, run)


@telling
def recording(
    path: str | os.PathLike[str],
    *,
    fetch: Fetch | FetchMaker | None = None,
    match: Collection[str] = (),
    redact: Collection[str] = SECRETS,
    scrub: Callable[[str], str] | None = None,
) -> Recording:
    """A fetch for `download(fetch=…)` that brings responses as ever, and writes every exchange to a cassette.

    Each run writes a new one, in the place of what was there; only a job that goes on adds to its own.

    Args:
        path: The file; folders are made.
        fetch: What brings the responses; None: `Wire()`.
        match: Names of request header fields that make another request of the same URL.
        redact: Names of header fields whose values are not written down, and with a "?" before it, of arguments of URLs
            and forms. By default what is secret: Authorization, Cookie, Proxy-Authorization, Set-Cookie.
        scrub: Takes each text that is written down and gives what is to be written: URLs, values of header fields,
            bodies that are text.

    Raises: ValueError, TypeError, when built; CassetteError from the run if the file cannot be written.
    """
    return Recording(Path(path), fetch, Rules.of(match, redact, scrub))


@telling
def replaying(
    path: str | os.PathLike[str],
    *,
    latency: float | Literal["recorded"] = 0.0,
    mode: Literal["none", "new"] = "none",
    fetch: Fetch | FetchMaker | None = None,
    match: Collection[str] = (),
    redact: Collection[str] = SECRETS,
    scrub: Callable[[str], str] | None = None,
) -> Replaying:
    """A fetch for `download(fetch=…)` that answers from a cassette, the same way each time.

    A request is known by its method, URL and body, and the header fields that the cassette says. Where there are
    several answers to it, they come in their order, and the last one stays.

    Args:
        path: The file.
        latency: Seconds before each answer, or "recorded": as long as it took then.
        mode: "new": what is not there is fetched, and added; "none": it fails with NotRecorded.
        fetch: What brings the new ones; None: `Wire()`.
        match: For a cassette that does not exist yet; otherwise it says so itself.
        redact: Likewise.
        scrub: As it was when the cassette was recorded.

    Raises: ValueError, TypeError, when built; CassetteError from the run if the file is not there, or is no cassette.
    """
    if mode not in ("none", "new"):
        raise ValueError(f"mode={mode!r}: 'none' or 'new'")
    if latency != "recorded" and (isinstance(latency, str) or latency < 0):
        raise ValueError(f"latency={latency!r}: seconds, 0 or more, or 'recorded'")
    return Replaying(Path(path), latency, mode, fetch, Rules.of(match, redact, scrub))


def with_fetch(crawl: Crawl[T], fetch: Fetch | FetchMaker) -> Crawl[T]:
    """The same crawl, with this fetch below the layers of its download; a cassette's stands on the one that was there.

    Raises: FlowError if it has no download().
    """
    download = crawl.pipes.download
    if download is None:
        raise FlowError("the pipe has no download() that could have another fetch")
    if isinstance(fetch, (Recording, Replaying)) and fetch.fetch is None:
        fetch = replace(fetch, fetch=download.fetch)
    return crawl.replace(download=replace(download, fetch=fetch))
