"""Who works for which request: leases, extents, and what of a page is safe already (DESIGN laws 5, 7).

Re-exported by `core`, whose words these are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

if TYPE_CHECKING:
    from streamcrawl.core import Outcome, Request
    from streamcrawl.response import BodyStream

ItemId: TypeAlias = tuple[int, int, int]
"""(row id of the request, ordinal yielded by its callback, number among the outputs made of that item).

The last is 0, except for further outputs made of one item: there it is a number of 62 bits, the same each time.
"""


class Visit(msgspec.Struct, frozen=True, array_like=True):
    """What a crawl of a job brought for a request: what the next one compares with.

    Args:
        fetched: Seconds since the epoch.
        etag: The response's ETag.
        modified: Its Last-Modified.
        digest: Of its body; empty if that was read as a stream.
    """

    fetched: float
    etag: str | None = None
    modified: str | None = None
    digest: bytes = b""


class Progress:
    """What of a page's outputs is done, so that the page goes on after it when the job is resumed.

    An ordinal is finished when everything made of that output is with every sink, or was refused. `partial` has those
    of the others that single sinks hold already.
    """

    __slots__ = ("beyond", "digest", "partial", "prefix", "safe")

    def __init__(
        self,
        prefix: int = 0,
        beyond: set[int] | None = None,
        partial: dict[int, set[tuple[str, int]]] | None = None,
        digest: bytes = b"",
    ) -> None:
        self.prefix = prefix
        """All ordinals below are finished."""
        self.beyond: set[int] = set() if beyond is None else beyond
        """Ordinals above that are finished."""
        self.partial: dict[int, set[tuple[str, int]]] = {} if partial is None else partial
        """By ordinal: (sink, number) of outputs that this sink holds."""
        self.digest = digest
        """Of the body that the page had."""
        self.safe = (prefix, frozenset(self.beyond))
        """The same, as the job has it."""

    def finish(self, ordinal: int) -> None:
        if ordinal == self.prefix:
            self.prefix += 1
            while self.prefix in self.beyond:
                self.beyond.discard(self.prefix)
                self.prefix += 1
        elif ordinal > self.prefix:
            self.beyond.add(ordinal)

    def has(self, ordinal: int) -> bool:
        return ordinal < self.prefix or ordinal in self.beyond

    def hold(self, sink: str, ordinal: int, number: int) -> None:
        """The sink has this output."""
        self.partial.setdefault(ordinal, set()).add((sink, number))

    def holds(self, sink: str, ordinal: int, number: int) -> bool:
        """Whether the sink has this output."""
        return bool(self.partial) and (sink, number) in self.partial.get(ordinal, ())

    def __repr__(self) -> str:
        return f"<Progress {self.prefix} done, {len(self.beyond)} beyond, {len(self.partial)} in part>"


class Lease:
    """What the frontier hands out with a request; settled when everything that came of it is safe.

    `holds` counts who still works for it: the request itself, an item on its way, a stored picture.
    """

    __slots__ = (
        "accepted",
        "answered",
        "base",
        "bodies",
        "charged",
        "cut",
        "found",
        "holds",
        "host",
        "id",
        "links",
        "notes",
        "parent",
        "place",
        "progress",
        "reason",
        "reply",
        "request",
        "scraped",
        "turn",
        "verdict",
        "visit",
        "weight",
    )

    def __init__(self, id: int, request: Request, host: str, accepted: Callable[[Lease], None]) -> None:
        self.id = id
        self.request = request
        self.host = host
        self.holds = 1
        self.weight = 0
        """Bytes of work that it stands for."""
        self.place = False
        """Whether it holds a place on the wire."""
        self.charged = False
        """Whether its place was used."""
        self.turn = (0.0, 0.0)
        """The host's next free moment before and after this lease's turn was booked."""
        self.parent: Lease | None = None
        self.reply: asyncio.Future[Outcome] | None = None
        """Where the outcome of a nested fetch goes."""
        self.bodies: tuple[BodyStream, ...] = ()
        """Streamed bodies that came for it, of nested fetches too."""
        self.answered = False
        """Whether its outcome is there."""
        self.accepted = accepted
        self.scraped = False
        """Whether an item came of it."""
        self.cut = False
        """Whether something that belongs to it was broken off: a job asks for it again."""
        self.verdict = "done"
        """What the job notes of it: "done", "failed", "dropped", "retried", "moved"."""
        self.reason: str | None = None
        """Why it failed or was dropped."""
        self.links = 0
        """Links that it gave so far which a job counts: those past the dedupe, and those with an errback."""
        self.base = 0
        """The ordinal of its first output."""
        self.visit: Visit | None = None
        """What the previous crawl of the job brought for it."""
        self.found: Visit | None = None
        """What this one brought."""
        self.progress: Progress | None = None
        """In a job: what is done of its page."""
        self.notes: list[tuple[str, str, Any]] | None = None

    @property
    def page(self) -> Lease:
        """Whose items these are: its own, or those of the page that gave a link which was refused."""
        return self if self.parent is None or self.reply is not None else self.parent

    def hold(self) -> None:
        self.holds += 1

    def release(self) -> None:
        self.holds -= 1
        if self.holds == 0:
            self.accepted(self)

    def remember(self, name: str, key: str, value: Any) -> None:
        """When this lease is settled, its page done: `run.state(name)[key] = value`; if it fails, nothing."""
        if self.notes is None:
            self.notes = []
        self.notes.append((name, key, value))

    def __repr__(self) -> str:
        return f"<Lease {self.id} {self.request.url}: {self.holds} holds>"


_BITS = 0x3FFF_FFFF_FFFF_FFFF


def _mixed(number: int, place: int, nth: int) -> int:
    """A number of 62 bits that is not 0 and hardly ever comes of others than these three."""
    mixed = (number * 0x9E3779B97F4A7C15 + place * 0xBF58476D1CE4E5B9 + nth * 0x94D049BB133111EB) & (2**64 - 1)
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return (mixed ^ (mixed >> 31)) & _BITS or 1


class Extent:
    """For which item of which lease the present `on_next` is made (DESIGN law 7).

    Who keeps the item beyond the `on_next` holds its extent. When nobody does, the item is finished.

    Args:
        leases: Whose item it is; several for a gathered list.
        ordinal: Which of the page's outputs; below 0: none, the extent is that of a request or a page.
        members: Of a gathered list: the extents of what is in it, held until the list is finished.
        gathered: That list.
    """

    __slots__ = ("_arrived", "_root", "gathered", "holds", "leases", "members", "number", "ordinal", "spoiled")

    def __init__(
        self,
        leases: tuple[Lease, ...],
        ordinal: int = -1,
        members: tuple[Extent, ...] = (),
        gathered: object = None,
    ) -> None:
        self.leases = leases
        self.ordinal = ordinal
        self.members = members
        self.gathered = gathered
        self.spoiled = False
        self.number = 0
        """Which of the outputs made of this item: 0, or what `further` made of it."""
        self.holds = 0
        self._root: Extent | None = None
        """Of which item this is a further output; no circle of its own, which would keep the page in memory."""
        self._arrived: dict[int, int] | None = None

    def further(self, place: int, nth: int) -> Extent:
        """The extent of output `nth`, from 1, that an operator at `place` made of this item."""
        made = Extent(self.leases, self.ordinal)
        made.number = _mixed(self.number, place, nth)
        made._root = self._root or self
        return made

    def hold(self) -> None:
        root = self._root or self
        if not root.holds and not root.members:
            for lease in root.leases:
                lease.holds += 1
        root.holds += 1

    def release(self) -> None:
        root = self._root or self
        root.holds -= 1
        if root.holds:
            return
        if root.members:
            for member in root.members:
                member.release()
            return
        for lease in root.leases:
            if root.ordinal >= 0 and lease.progress is not None and not root.spoiled:
                lease.progress.finish(root.ordinal)
            lease.release()

    def spoil(self) -> None:
        """The item is not going to be safe: it does not count as finished, and its pages are not settled."""
        root = self._root or self
        root.spoiled = True
        for member in root.members:
            member.spoil()
        for lease in root.leases:
            lease.cut = True

    def identity(self, place: int) -> ItemId:
        """The id of the next item that arrives at `place` within this extent."""
        number = self.number
        if self._arrived is None:
            self._arrived = {place: 1}
        else:
            nth = self._arrived.get(place, 0)
            self._arrived[place] = nth + 1
            if nth:
                number = _mixed(number, place, nth)
        return (self.leases[0].page.id, self.ordinal, number)

    @property
    def of_many(self) -> bool:
        """Whether it is that of a gathered list, or of what an operator made of one."""
        return bool((self._root or self).members)
