"""What a run came to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from streamcrawl.streams.counting import Counters

REASONS = 8
"""How many reasons are shown one by one, the most frequent ones."""

FILES = {"downloaded": "downloaded", "cached": "from the cache", "uptodate": "up to date"}
"""How the outcomes of files are shown; those that failed are trouble."""


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
        brought = f"{_many(self.pages, 'page')}, {_many(self.items, 'item')}"
        ends = {"failed": self.failed, "dropped": self.dropped, "again": self.again, "waiting": self.waiting}
        outcomes = [_many(self.responses, "response"), *(f"{count:,} {end}" for end, count in ends.items() if count)]
        lines = [
            f"{self.reason}: {brought} in {self.seconds:.1f} s ({rate:.0f} pages/s)",
            f"offered {offered.total:,} = {' + '.join(outcomes)}",
            *(f"  {name}: {text}" for name, text in self._details() if text),
        ]
        if self.error is not None:
            lines.append(f"  error: {self.error}")
        return "\n".join(lines)

    def _details(self) -> tuple[tuple[str, str], ...]:
        """The lines below the sum; those that have nothing to say are empty."""
        counts, stats = self.counts, self.stats
        offered = {name: getattr(counts.offered, name) for name in counts.offered.__struct_fields__}
        ones = {"links": "link", "hops": "hop"}
        origins = (
            f"{count:,} {ones.get(name, name) if count == 1 else name}" for name, count in offered.items() if count
        )
        stored = {"from the cache": stats.get("httpcache/hit", 0), "renewed": stats.get("httpcache/revalidate", 0)}
        pages = f"{_many(counts.pages, 'page')}, {counts.nested:,} nested"
        statuses = _below(stats, "httperror/response_ignored_status_count/")
        failed = {f"HTTP status {status}": count for status, count in statuses.items()}
        failed["other"] = counts.failed - sum(failed.values())
        files = _below(stats, "file_status_count/")
        trouble = {
            "error in callbacks": counts.callback_errors,
            "error in operators": stats.get("operator_errors", 0),
            "item failed": stats.get("items_failed", 0),
            "file failed": files.get("failed", 0),
        }
        return (
            ("offered", ", ".join(origins)),
            ("responses", f"{pages}; {_reasons(stored)}" if any(stored.values()) else ""),
            ("failed", _reasons(failed) if statuses else ""),
            ("dropped", _reasons(counts.dropped)),
            ("dropped by callbacks", _reasons(_below(stats, "callback_dropped/"))),
            ("items dropped", _reasons(_below(stats, "items_dropped/"))),
            ("files", _reasons({said: files.get(status, 0) for status, said in FILES.items()})),
            ("trouble", ", ".join(_many(count, what) for what, count in trouble.items() if count)),
        )


def _below(stats: Mapping[str, Any], prefix: str) -> dict[str, int]:
    """The counters whose names begin so, by the rest of the name."""
    return {name.removeprefix(prefix): count for name, count in stats.items() if name.startswith(prefix)}


def _reasons(counts: Mapping[str, int]) -> str:
    """How many of what, the most frequent first."""
    counted = sorted(((reason, count) for reason, count in counts.items() if count > 0), key=lambda pair: -pair[1])
    shown = [f"{count:,} {reason}" for reason, count in counted[:REASONS]]
    left = sum(count for _, count in counted[REASONS:])
    return ", ".join([*shown, f"{left:,} for other reasons"] if left else shown)


def _many(count: int, what: str) -> str:
    noun, _, rest = what.partition(" ")
    return f"{count:,} {noun}{'' if count == 1 else 's'}{' ' if rest else ''}{rest}"
