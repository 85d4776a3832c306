"""What a run remembers under a name, kept by its job (`run.state`)."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import msgspec

from streamcrawl.frontier.store import Store

_GONE: Any = object()


class Kept(MutableMapping[str, Any]):
    """A mapping whose changes wait in memory for the next commit; the rest is on disk."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self._changed: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        value = self._changed.get(key)
        if value is None and key not in self._changed:
            stored = self._store.state(self._name, key)
            value = _GONE if stored is None else msgspec.msgpack.decode(stored)
        if value is _GONE:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self._changed[key] = value

    def __delitem__(self, key: str) -> None:
        self[key]  # raises KeyError if it is not there
        self._changed[key] = _GONE

    def __iter__(self) -> Iterator[str]:
        changed = dict(self._changed)
        yield from (key for key, value in changed.items() if value is not _GONE)
        yield from (key for key in self._store.state_keys(self._name) if key not in changed)

    def __bool__(self) -> bool:
        return True  # there may be something: to count it is dear

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def write(self) -> None:
        """Put the changes into the store's transaction. Raises: TypeError for a value that is no plain data."""
        if not self._changed:
            return
        encode = msgspec.msgpack.encode
        changes: list[tuple[str, str, bytes | None]] = []
        for key, value in self._changed.items():
            try:
                changes.append((self._name, key, None if value is _GONE else encode(value)))
            except (TypeError, OverflowError, UnicodeEncodeError) as error:
                raise TypeError(f"run.state({self._name!r})[{key!r}] cannot be kept with the job: {error}") from error
        self._changed.clear()
        self._store.keep_state(changes)

    def __repr__(self) -> str:
        return f"<Kept {self._name!r}: {len(self._changed)} changes since the last commit>"
