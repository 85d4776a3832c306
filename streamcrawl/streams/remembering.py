"""What an operator remembers of what passed it: 16 bytes for a key, 16 for what was there, never an element."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, TypeAlias, cast

import msgspec

from streamcrawl.core import Run
from streamcrawl.items import as_dict, is_item
from streamcrawl.streams.naming import name_of

Part: TypeAlias = "str | tuple[str, ...] | Callable[[Any], Any]"
"""What is read of an item or a Response: a field, several, or what a function gives."""

MANY = 500_000
"""Without a job: so many keys are remembered at least, and twice as many at most; some 150 MB then."""

PENDING = 50_000
"""The same of what a job has not been given yet."""


class Remembering:
    """What was there by key, in one run; in a job, from run to run.

    A job is given what an element was when the element's page is settled: until then a crash makes the page new again.
    Meanwhile it is known in here.
    """

    def __init__(self, name: str, run: Run | None) -> None:
        self._run = run
        self._name = name
        self._kept = run.state(name) if run is not None and run.durable else None
        self._bound = MANY if self._kept is None else PENDING
        # Two generations: when the younger is full, the older is forgotten. What is asked for stays.
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}

    def differs(self, key: bytes, value: bytes) -> bool:
        """Whether the key is new, or something else was there. From now on it is this value."""
        known = self._young.get(key)
        if known is None:
            known = self._old.get(key)
            if known is None and self._kept is not None:
                known = self._kept.get(key.hex())
                if known == value:
                    return False
            self._add(key, value)
        if known == value:
            return False
        self._young[key] = value
        if self._kept is not None:
            self._keep(key.hex(), value)
        return True

    def _add(self, key: bytes, value: bytes) -> None:
        if len(self._young) >= self._bound:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def _keep(self, key: str, value: bytes) -> None:
        assert self._run is not None
        assert self._kept is not None
        extent = self._run.extent
        leases = extent.leases if extent is not None else ()
        for lease in leases:
            lease.remember(self._name, key, value)
        if not leases:
            self._kept[key] = value  # it has no page that could come again

    def __repr__(self) -> str:
        return f"<Remembering {self._name!r}: {len(self._young) + len(self._old)} keys in memory>"


def digest_of(value: Any) -> bytes:
    """16 bytes that stand for plain data or an item: the same in every process, whatever the order of its fields.

    Raises: TypeError for what has no content that could be compared.
    """
    try:
        data = _encode(value)
    except (TypeError, UnicodeEncodeError, OverflowError):
        # Numbers as keys, numbers of any size, half a pair of surrogates: slower, but there is a text for each.
        plain = msgspec.to_builtins(value, order="sorted", str_keys=True, enc_hook=_plain)
        data = b"json" + json.dumps(plain, sort_keys=True).encode()
    return blake2b(data, digest_size=16).digest()


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return str.__str__(value)  # of a class of its own
    if isinstance(value, int):
        return int(value)
    if is_item(value):
        return as_dict(value)
    kind = type(value).__name__
    raise TypeError(f"a {kind} cannot be compared from run to run: give text, numbers, or lists and dicts of these")


_encode = msgspec.msgpack.Encoder(enc_hook=_plain, order="sorted").encode


def checked(what: str, part: Part | None) -> None:
    """Raises: TypeError, ValueError if `part`, the argument `what`, is no such thing."""
    if part is None or (callable(part) and not inspect.iscoroutinefunction(part)):
        return
    if callable(part) or not isinstance(part, (str, tuple)):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
        raise TypeError(f"{what}={part!r}: a field name, a tuple of them, or a function, no coroutine")
    names: tuple[Any, ...] = (part,) if isinstance(part, str) else part
    if not names or not all(isinstance(each, str) and each for each in names):
        raise ValueError(f"{what}={part!r}: one field name or more, none of them empty")


def named(part: Part | None) -> str:
    """What to call it when something is told about it."""
    if part is None:
        return ""
    if callable(part):
        return name_of(part)
    return part if isinstance(part, str) else ", ".join(part)


def reading(part: Part | None) -> Callable[[Any], Any] | None:
    """`part` as a function of an element, which raises KeyError or AttributeError for a field that is not there."""
    if part is None or callable(part):
        return part
    if isinstance(part, str):
        return lambda element: _field(element, part)
    return lambda element: [_field(element, name) for name in part]


def _field(element: Any, name: str) -> Any:
    return cast("Mapping[str, Any]", element)[name] if isinstance(element, Mapping) else getattr(element, name)
