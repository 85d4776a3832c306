"""Room for one more object in `fs_store`."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from streamcrawl.caching.objects import Objects, Stored
from streamcrawl.caching.stored import Oldest
from streamcrawl.streams.counting import count

STEP = 0.1
"""After writing this share of `max_size`, what is there is listed anew: others may write too."""
LOW = 0.8
"""Down to this share of `max_size` is removed when more than 1 - STEP of it is taken."""
ROUNDS = 20
"""Listings for one write, at most: where they are out of date, no more helps."""


class Room:
    """Keeps the objects within `max_size` bytes, as far as they can be listed. Called from several threads."""

    __slots__ = ("_listable", "_lock", "_max_age", "_max_size", "_objects", "_written", "counts")

    def __init__(self, objects: Objects, max_size: int | None, max_age: float | None) -> None:
        self._objects = objects
        self._max_size = max_size
        self._max_age = max_age
        self._written: float | None = None
        """Bytes written since what is there was listed last; None: it never was."""
        self._lock = threading.Lock()
        self.counts: dict[str, int] = {}
        """For the run's stats; whoever takes them puts an empty dict there."""

    def made(self, name: str, size: int, now: float) -> bool:
        """Whether an object of so many bytes may be written; what was unused the longest has gone for it."""
        most = self._max_size
        if most is None:
            if self._max_age is not None and self._written is None:
                with self._lock:
                    self._written = 0.0
                    for _ in self._sweep(now):
                        pass
            return True
        with self._lock:
            if size > most * (1 - STEP):
                count(self.counts, "too_large")
                return False
            if self._written is None or self._written + size > most * STEP:
                self._make(name, size, now, most)
                self._written = 0.0
            self._written += size
            return True

    def _make(self, name: str, size: int, now: float, most: int) -> None:
        need = most * (1 - LOW) + size
        for _ in range(ROUNDS):
            total, oldest = 0, Oldest[str](need)
            for each in self._sweep(now):
                if each.name != name:  # it is about to be replaced
                    total += each.size
                    oldest.show(each.used, each.size, each.name)
            if total + size <= most * (1 - STEP):
                return
            for gone, bytes_ in oldest.names():
                if total + size <= most * LOW:
                    return
                self._objects.remove(gone)
                count(self.counts, "evicted")
                total -= bytes_
            if total + size <= most * (1 - STEP):
                return
            need = total + size - most * LOW  # it may have more than it was allowed to have

    def _sweep(self, now: float) -> Iterator[Stored]:
        """What is there; what is too old is removed."""
        for each in self._objects.listed(now):
            if self._max_age is not None and now - each.used > self._max_age:
                self._objects.remove(each.name)
                count(self.counts, "expired")
            else:
                yield each
