"""A page's progress as the job keeps it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from streamcrawl.core import Progress


def read_progress(data: bytes) -> Progress:
    """What `progress_record` made of one."""
    prefix, beyond, partial, digest = msgspec.msgpack.decode(data)
    parts: dict[int, set[tuple[str, int]]] = {}
    for ordinal, sink, number in partial:
        parts.setdefault(ordinal, set()).add((sink, number))
    return Progress(prefix, set(beyond), parts, digest)


def progress_record(
    prefix: int, beyond: Iterable[int], partial: Iterable[tuple[int, str, int]], digest: bytes
) -> bytes:
    """What is safe of a page: its finished ordinals, and of others what single sinks hold."""
    return msgspec.msgpack.encode((prefix, tuple(beyond), tuple(partial), digest))
