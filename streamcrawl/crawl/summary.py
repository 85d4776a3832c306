"""What a run came to."""

from __future__ import annotations

from typing import Any

import msgspec

from streamcrawl.streams.counting import Counters


class Offered(msgspec.Struct):
    """Requests by where they came from."""

    start: int = 0
    links: int = 0
    hops: int = 0
    nested: int = 0
    resumed: int = 0
    """Those that waited in the job when the run began."""

    @property
    def total(self) -> int:
        return self.start + self.links + self.hops + self.nested + self.resumed


class Counts(msgspec.Struct):
    """The sum of a run, as it stands: offered = responses + failed + dropped + again + waiting (+ in flight)."""

    offered: Offered = msgspec.field(default_factory=Offered)
    pages: int = 0
    """Responses that reached a callback."""
    nested: int = 0
    """Responses of nested fetches: robots.txt, pictures, `await fetch`."""
    failed: int = 0
    dropped: dict[str, int] = msgspec.field(default_factory=Counters)
    again: int = 0
    scraped: int = 0
    """Items that callbacks yielded."""
    items: int = 0
    """Items that came out at the end of the pipe."""
    callback_errors: int = 0

    @property
    def responses(self) -> int:
        return self.pages + self.nested


class Summary(msgspec.Struct, frozen=True):
    """What a run came to; `str(summary)` is what the command line prints.

    Args:
        reason: "finished", "interrupted", "limit …", "failed", "take completed", …
        error: What stopped the run, or None.
        seconds: From its start to the last flush.
        counts: The sum.
        waiting: Requests left in the frontier.
        stats: Counters by name.
    """

    reason: str
    error: Exception | None
    seconds: float
    counts: Counts
    waiting: int
    stats: dict[str, Any]

    @property
    def pages(self) -> int:
        return self.counts.pages

    @property
    def responses(self) -> int:
        return self.counts.responses

    @property
    def failed(self) -> int:
        return self.counts.failed

    @property
    def dropped(self) -> int:
        return sum(self.counts.dropped.values())

    @property
    def again(self) -> int:
        return self.counts.again

    @property
    def items(self) -> int:
        return self.counts.items

    @property
    def ok(self) -> bool:
        """No bug, no lost storage, no error in a callback, operator or sink; and something answered, if asked."""
        errors = self.counts.callback_errors + self.stats.get("items_failed", 0) + self.stats.get("operator_errors", 0)
        offered = self.counts.offered
        # Of a job that goes on, pages were reached before; of a recrawl, it may be that none has changed.
        reached = self.pages > 0 or offered.resumed > 0 or offered.total == self.waiting
        return self.error is None and errors == 0 and reached

    @property
    def balanced(self) -> bool:
        """Whether the sum adds up: nothing vanished (DESIGN law 1)."""
        return self.counts.offered.total == self.responses + self.failed + self.dropped + self.again + self.waiting

    def __str__(self) -> str:
        offered = self.counts.offered
        rate = self.pages / self.seconds if self.seconds > 0 else 0.0
        outcomes = f"{self.responses} responses + {self.failed} failed + {self.dropped} dropped"
        brought = f"{_many(self.pages, 'page')}, {_many(self.items, 'item')}"
        lines = [
            f"{self.reason}: {brought} in {self.seconds:.1f} s ({rate:.0f} pages/s)",
            f"offered {offered.total} = {outcomes} + {self.again} again + {self.waiting} waiting",
            f"  offered: {offered.start} start, {offered.links} links, {offered.hops} hops, {offered.nested} nested"
            + (f", {offered.resumed} resumed" if offered.resumed else ""),
        ]
        if self.counts.dropped:
            reasons = sorted(self.counts.dropped.items(), key=lambda pair: -pair[1])
            lines.append("  dropped: " + ", ".join(f"{count} {reason}" for reason, count in reasons[:8]))
        trouble = {
            "error in callbacks": self.counts.callback_errors,
            "error in operators": self.stats.get("operator_errors", 0),
            "item failed": self.stats.get("items_failed", 0),
            "item dropped": self.stats.get("items_dropped", 0),
            "file failed": self.stats.get("file_status_count/failed", 0),
        }
        if any(trouble.values()):
            lines.append("  trouble: " + ", ".join(_many(count, what) for what, count in trouble.items() if count))
        if self.error is not None:
            lines.append(f"  error: {self.error}")
        return "\n".join(lines)


def _many(count: int, what: str) -> str:
    noun, _, rest = what.partition(" ")
    return f"{count} {noun}{'' if count == 1 else 's'}{' ' if rest else ''}{rest}"
