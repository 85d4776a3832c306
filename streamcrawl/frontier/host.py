"""One host, or slot, of the frontier: its queue, its places, its clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from streamcrawl.core import Request
from streamcrawl.frontier.rates import Rate

Waiting = tuple[int, int, "Request | None"]
"""(minus priority, order of arrival, request); None: it is on disk"""

Later = tuple[float, int, Request]
"""(monotonic seconds, order of arrival, request)"""


@dataclass(slots=True, eq=False)
class Host:
    """One host's queue, places and clock."""

    name: str
    limit: int
    delay: float
    jitter: float
    least: float
    """Seconds that a wait takes at least, whatever its jitter."""
    queue: list[Waiting] = field(default_factory=list[Waiting])
    later: list[Later] = field(default_factory=list[Later])
    row: int = 0
    """Its number on disk; 0: it has none yet."""
    stored: int = 0
    """Requests that wait on disk only."""
    best: tuple[int, int] | None = None
    """No request on disk only comes before this (minus priority, order of arrival); None: there is none."""
    active: int = 0
    demand: int = 0
    next_at: float = 0.0
    """When its next turn is: after the last one's wait, and after its rest."""
    rest_until: float = 0.0
    """A layer asked for rest until then; a turn that is given back does not shorten it."""
    began: float = -inf
    """When its last turn was."""
    luck: float = 0.0
    """What chance made of that turn's jitter, -1 to 1."""
    booked: float = -1.0
    """What the last turn that may be given back has made of `next_at`."""
    said: dict[str, Rate] | None = None
    """Who set a rate, and which."""
    closed: bool = False
    turn: int = 0
    stamp: int = 0
    """Which of its entries in the heaps is the valid one."""
    capped: bool = False
    counted: bool = False
    """Among the hosts with work, or was so a moment ago."""

    def __repr__(self) -> str:
        return f"<Host {self.name}: {self.waiting} waiting, {self.active} in flight>"

    def held_back(self, now: float) -> bool:
        """Whether there is more that keeps it from being asked than what it has in flight."""
        if self.closed or self.rest_until > now or not (self.queue or self.stored):
            return True
        return self.next_at > now and self.active < self.limit

    @property
    def wait(self) -> float:
        """Seconds from the last turn to the next."""
        return max(self.least, self.delay * (1 + self.jitter * self.luck))

    @property
    def waiting(self) -> int:
        return len(self.queue) + len(self.later) + self.stored
