"""HTTP header fields: case-insensitive names, repeated fields, order kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

HeaderPairs: TypeAlias = "Mapping[str, str] | Iterable[tuple[str, str]] | Headers"

ELSEWHERE = {
    "getlist": "getall(name)",
    "pop": "without(name)",
    "setdefault": "defaults({name: value})",
    "update": "set(name, value)",
}
"""What Scrapy's headers and dicts have, and what it is called here."""


class Headers:
    """Immutable header fields.

    `headers["Name"]` joins repeated fields with a comma, except that one absent
    raises KeyError; `getall` keeps them apart, which `Set-Cookie` needs.

    Source: RFC 9110 §5.1 (names are case-insensitive), §5.3 (order, repeated fields).
    """

    __slots__ = ("_index", "_pairs")

    def __init__(self, pairs: HeaderPairs = ()) -> None:
        if isinstance(pairs, Headers):
            self._pairs: tuple[tuple[str, str], ...] = pairs._pairs
        elif isinstance(pairs, Mapping):
            self._pairs = tuple((str(name), str(value)) for name, value in cast("Mapping[str, str]", pairs).items())
        else:
            self._pairs = tuple((str(name), str(value)) for name, value in pairs)
        self._index: dict[str, str] | None = None

    @classmethod
    def _of(cls, pairs: tuple[tuple[str, str], ...]) -> Headers:
        made = cls.__new__(cls)
        made._pairs = pairs
        made._index = None
        return made

    @classmethod
    def from_raw(cls, pairs: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Header fields as they came over the wire (bytes are kept by way of Latin-1)."""
        return cls._of(tuple([(name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs]))

    def _lookup(self) -> dict[str, str]:
        index = self._index
        if index is None:
            index = {}
            for name, value in self._pairs:
                key = name.lower()
                index[key] = f"{index[key]}, {value}" if key in index else value
            self._index = index
        return index

    def __getitem__(self, name: str) -> str:
        return self._lookup()[name.lower()]

    def get(self, name: str, default: str | None = None) -> str | None:
        index = self._index  # some twenty times a page
        return (self._lookup() if index is None else index).get(name.lower(), default)

    def getall(self, name: str) -> list[str]:
        """Every value of a repeated field, in order; empty if the field is absent."""
        key = name.lower()
        if key not in self._lookup():
            return []
        return [value for field, value in self._pairs if field.lower() == key]

    def set(self, name: str, value: str) -> Headers:
        """A copy in which `name` stands once, with `value`."""
        return self._of((*self.without(name)._pairs, (name, value)))

    def add(self, name: str, value: str) -> Headers:
        """A copy with one more field at the end."""
        return self._of((*self._pairs, (name, value)))

    def without(self, *names: str) -> Headers:
        """A copy without these fields; itself if none of them is there."""
        gone = {name.lower() for name in names}
        if gone.isdisjoint(self._lookup()):
            return self
        return self._of(tuple([pair for pair in self._pairs if pair[0].lower() not in gone]))

    def defaults(self, others: HeaderPairs) -> Headers:
        """A copy with those fields of `others` that are absent here; itself if all are there."""
        index = self._lookup()
        more = [pair for pair in Headers(others)._pairs if pair[0].lower() not in index]
        return self._of((*self._pairs, *more)) if more else self

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(name, value), repeated fields apart, in order."""
        return self._pairs

    if not TYPE_CHECKING:  # to type checkers, what is not there is an error

        def __setitem__(self, name: str, value: str) -> None:
            """Raises: TypeError, which says what to write."""
            raise TypeError(
                f"Headers do not change: request.replace(headers=request.headers.set({name!r}, …)) gives one with it"
            )

        def __getattr__(self, name: str) -> Any:
            """Raises: AttributeError, which says what has another name here."""
            known = f"; there is {ELSEWHERE[name]}" if name in ELSEWHERE else ""
            raise AttributeError(f"'Headers' object has no attribute {name!r}{known}", name=name, obj=self)

    def __contains__(self, name: object) -> bool:
        index = self._index  # likewise
        return isinstance(name, str) and name.lower() in (self._lookup() if index is None else index)

    def __iter__(self) -> Iterator[str]:
        """Field names in lower case, each once, in order of first appearance."""
        return iter(self._lookup())

    def __len__(self) -> int:
        return len(self._lookup())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        mine = [(name.lower(), value) for name, value in self._pairs]
        return mine == [(name.lower(), value) for name, value in other._pairs]

    def __hash__(self) -> int:
        return hash(tuple((name.lower(), value) for name, value in self._pairs))

    def __repr__(self) -> str:
        return f"Headers({list(self._pairs)!r})"


NO_HEADERS = Headers()
