"""The counters of a run, as Scrapy's stats collector has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

SUMS: Mapping[str, Callable[[Any], int]] = {
    "dupefilter/filtered": lambda run: run.counts.dropped.get("duplicate", 0),
    "item_dropped_count": lambda run: run.stats.get("items_dropped", 0),
    "item_scraped_count": lambda run: run.counts.items,
    "response_received_count": lambda run: run.counts.responses,
    "spider_exceptions/count": lambda run: run.counts.callback_errors,
}
"""What Scrapy counts by these names, and a crawl's run in sums of its own."""


class Stats(MutableMapping[str, Any]):
    """The counters of a run, under the names that Scrapy's have for reading and writing them.

    They may be written before there is a run: a spider's `from_crawler` and `__init__` do. `get_value` and `get_stats`
    know the run's sums too, by Scrapy's names.
    """

    def __init__(self) -> None:
        self._counts: MutableMapping[str, Any] = {}
        self._run: Any = None

    def adopt(self, counts: MutableMapping[str, Any], run: Any = None) -> None:
        """From now on these are the counters; what was written before is put there.

        Args:
            run: Has the sums; a run that has none will do.
        """
        counts.update(self._counts)
        self._counts = counts
        self._run = run if hasattr(run, "counts") else None

    def get_value(self, key: str, default: Any = None) -> Any:
        if key in SUMS and self._run is not None and key not in self._counts:
            return SUMS[key](self._run)
        return self._counts.get(key, default)

    def get_stats(self) -> dict[str, Any]:
        """A copy of all of them."""
        sums = {} if self._run is None else {name: sum_of(self._run) for name, sum_of in SUMS.items()}
        return sums | dict(self._counts)

    def set_value(self, key: str, value: Any) -> None:
        self._counts[key] = value

    def inc_value(self, key: str, count: int = 1, start: int = 0) -> None:
        self._counts[key] = self._counts.get(key, start) + count

    def max_value(self, key: str, value: Any) -> None:
        self._counts[key] = max(self._counts.get(key, value), value)

    def min_value(self, key: str, value: Any) -> None:
        self._counts[key] = min(self._counts.get(key, value), value)

    def __getitem__(self, key: str) -> Any:
        return self._counts[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._counts[key] = value

    def __delitem__(self, key: str) -> None:
        del self._counts[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)

    def __repr__(self) -> str:
        return f"<Stats {dict(self._counts)!r}>"
