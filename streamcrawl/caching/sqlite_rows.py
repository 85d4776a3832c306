"""The rows of the SQLite store, made before the file is locked: entries that are put with one statement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from streamcrawl.caching.stored import Call

COLUMNS = 6
"""Of the table `entries`."""


class Group(NamedTuple):
    """Calls that may be one statement, and the rows of the entries that they put, still without ids."""

    calls: list[Call]
    keys: list[bytes]
    heads: list[object]
    bodies: list[object]
    size: int
    largest: int
    """Bytes of the largest body."""

    @classmethod
    def of(cls, calls: list[Call]) -> Group:
        keys: list[bytes] = []
        heads: list[object] = []
        bodies: list[object] = []
        total = largest = 0
        for call in calls:
            if call.packed is None:
                continue
            variant, stored, head, body = call.packed
            size = len(head) + len(body)
            total += size
            largest = max(largest, len(body))
            keys.append(call.key)
            heads += (0, call.key, variant, stored, call.now, size)
            bodies += (0, head, body)
        return cls(calls, keys, heads, bodies, total, largest)


def together(calls: list[Call], most: int) -> Iterator[list[Call]]:
    """The calls in their order: those that put entries of different keys together, others alone."""
    several: list[Call] = []
    keys: set[bytes] = set()
    for call in calls:
        if several and (call.packed is None or call.key in keys or len(several) == most):
            yield several
            several, keys = [], set()
        several.append(call)
        keys.add(call.key)
        if call.packed is None:
            yield several
            several, keys = [], set()
    if several:
        yield several
