"""The counters of a run, as Scrapy's stats collector has them."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any


class Stats(MutableMapping[str, Any]):
    """The counters of a run, under the names that Scrapy's have for reading and writing them.

    They may be written before there is a run: a spider's `from_crawler` and `__init__` do.
    """

    def __init__(self) -> None:
        self._counts: MutableMapping[str, Any] = {}

    def adopt(self, counts: MutableMapping[str, Any]) -> None:
        """From now on these are the counters; what was written before is put there."""
        counts.update(self._counts)
        self._counts = counts

    def get_value(self, key: str, default: Any = None) -> Any:
        return self._counts.get(key, default)

    def get_stats(self) -> dict[str, Any]:
        """A copy of all of them."""
        return dict(self._counts)

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
