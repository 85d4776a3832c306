"""What a run remembers of its hosts' robots.txt, in memory of bounded size and, with a job, on its disk."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import MutableMapping
from copy import copy
from typing import Any, NamedTuple, Protocol, TypeVar

from streamcrawl import errors
from streamcrawl.core import Request, Run
from streamcrawl.errors import FetchError
from streamcrawl.robots import RobotsRules, Standing

MEMORY = 24 * 1024 * 1024
"""Bytes that one run gives to rules that are read: some 2,500 files of 250 bytes, or 50,000 hosts that have none."""
KEPT = 16 * 1024 * 1024
"""Bytes that one run without a job gives to files that can be read again. Beyond them a host is asked again."""
PACKED = 256
"""Bytes of a file above which it is kept compressed."""
LONGEST = 1_000
"""Characters of an error that are kept."""


class Known(NamedTuple):
    """What holds for a host until then; no rules: nothing is forbidden, or everything if it was `unreachable`."""

    until: float
    rules: RobotsRules | None = None
    unreachable: bool = False
    error: Exception | None = None
    """Why it was not reached; the host's requests would have failed alike."""
    size: int = 0
    """Bytes of the file."""
    delay: float = 0.0
    """Seconds between two requests that the frontier was told of."""
    asker: Request | None = None
    """The only request that it is for: it may not reach the host, which others may."""

    @property
    def weight(self) -> int:
        # As measured: Protego takes 2.5 KiB, and for a byte of the file 14, or 26 where rules have wildcards.
        return 500 if self.rules is None else 3_000 + 26 * self.size


class Kept(NamedTuple):
    """What is kept of a host's answer, to be read again by a later run: plain data."""

    until: float
    """Seconds since the epoch."""
    standing: str
    """The name of a Standing."""
    file: bytes = b""
    packed: bool = False
    url: str = ""
    """Where the file was found."""
    error: str = ""
    """The name of what kept the host from answering at all, one of `streamcrawl.errors`."""
    text: str = ""
    delay: float = 0.0
    """Seconds between two requests that the frontier was told of."""

    @property
    def weight(self) -> int:
        return 500 + len(self.file) + len(self.text)

    @property
    def unreachable(self) -> bool:
        return self.standing == Standing.UNREACHABLE.name

    @property
    def body(self) -> bytes:
        """The file as it came."""
        return zlib.decompress(self.file) if self.packed else self.file

    @property
    def lost(self) -> FetchError | None:
        """What kept the host from answering."""
        if not self.error:
            return None
        kind = getattr(errors, self.error, None)
        if isinstance(kind, type) and issubclass(kind, FetchError):
            return kind(self.text)
        return FetchError(f"{self.error}: {self.text}")


def with_file(until: float, file: bytes, url: str, delay: float) -> Kept:
    """A file that was found."""
    packed = len(file) > PACKED
    return Kept(until, Standing.RULES.name, zlib.compress(file) if packed else file, packed, url, delay=delay)


def without_answer(until: float, lost: FetchError | None) -> Kept:
    """A host that gave none, and why."""
    if lost is None:
        return Kept(until, Standing.UNREACHABLE.name)
    # Text that can be stored, and not too much of it.
    text = str(lost)[:LONGEST].encode("utf-8", "replace").decode()
    return Kept(until, Standing.UNREACHABLE.name, error=type(lost).__name__, text=text)


def bare(error: FetchError) -> FetchError:
    """A copy without its traceback and causes, whose frames would keep much alive for long."""
    try:
        return copy(error)
    except Exception:  # of a class of the user's, with a constructor of its own
        return FetchError(f"{type(error).__name__}: {error}")


class _Weighed(Protocol):
    @property
    def weight(self) -> int: ...


_W = TypeVar("_W", bound=_Weighed)


class Recent(OrderedDict[str, _W]):
    """What was set or moved to the end last, as much of it as `most` bytes hold."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._weight = 0

    def __setitem__(self, host: str, value: _W) -> None:
        old = self.pop(host, None)
        super().__setitem__(host, value)
        self._weight += value.weight - (0 if old is None else old.weight)
        while self._weight > self._most and len(self) > 1:
            self._weight -= self.popitem(last=False)[1].weight


class Answers:
    """The answers of one run's hosts: those that were used last, read, and more of them as they came."""

    def __init__(self, run: Run) -> None:
        self.known: Recent[Known] = Recent(MEMORY)
        self._durable = run.durable
        # What a job has goes to its disk and has no bound.
        self._kept: MutableMapping[str, Any] = run.state("robots_txt") if run.durable else Recent[Kept](KEPT)

    def keep(self, host: str, kept: Kept) -> None:
        self._kept[host] = [*kept] if self._durable else kept

    def kept(self, host: str) -> Kept | None:
        """The host's last answer, whether it still holds or not."""
        found = self._kept.get(host)
        return None if found is None else Kept(*found)

    def __repr__(self) -> str:
        return f"<Answers: {len(self.known)} hosts known>"
