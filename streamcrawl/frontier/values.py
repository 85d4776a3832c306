"""Values as a job stores them: what msgpack does not tell apart goes into extension types."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from msgspec.msgpack import Decoder, Encoder, Ext

from streamcrawl.frontier.names import Gone, Refusal, an, at_path, path_of

DEEPEST = 64
"""Lists, dicts and the like in one another: what is stored can be read at any depth of the stack."""

_pack = Encoder().encode

_TUPLE, _SET, _FROZENSET, _INT, _TEXT, _DATETIME, _DATE, _TIME, _TIMEDELTA, _DECIMAL, _UUID, _ENUM, _RANGE, _DICT = (
    range(1, 15)
)
_ATOMS = frozenset({type(None), bool, float, bytes})


def stored(value: object, depth: int = 0) -> Any:
    """`value` as msgpack can write it. Raises: Refusal."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    store: Callable[[Any, int], Any] | None = _STORES.get(kind)
    if store is None:
        if not isinstance(value, Enum):
            raise Refusal(f"is {an(value)}")
        return _enum(value, depth)
    if depth > DEEPEST:
        raise Refusal(f"is nested more than {DEEPEST} deep, or holds itself")
    return store(value, depth)


def _int(value: int, depth: int) -> Any:
    if -(1 << 63) <= value < 1 << 64:
        return value
    return Ext(_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _str(value: str, depth: int) -> Any:
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:  # lone surrogates: JSON can bring them
        return Ext(_TEXT, value.encode("utf-8", "surrogatepass"))
    return value


def _list(values: Any, depth: int) -> list[Any]:
    out: list[Any] = []
    try:
        for value in values:
            out.append(value if type(value) in _ATOMS else stored(value, depth + 1))  # noqa: PERF401 - see below
    except Refusal as refusal:
        refusal.path = f"[{len(out)}]{refusal.path}"
        raise
    return out


def stored_dict(values: dict[Any, Any], depth: int) -> Any:
    keys: list[Any] = []
    out: list[Any] = []
    key: Any = None
    try:
        for key, value in values.items():
            keys.append(key if type(key) is str and key.isascii() else stored(key, depth + 1))
            out.append(value if type(value) in _ATOMS else stored(value, depth + 1))
    except Refusal as refusal:
        refusal.path = f"[{_short(key)}]{refusal.path}" if len(keys) > len(out) else f" key{refusal.path}"
        raise
    if Ext in map(type, keys):
        return Ext(_DICT, _pack([keys, out]))
    return dict(zip(keys, out, strict=True))


def _short(key: object) -> str:
    text = repr(key)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _set(code: int) -> Callable[[Any, int], Any]:
    def store(values: Collection[Any], depth: int) -> Ext:
        # Sorted, because the order of a set differs from process to process.
        try:
            packed = sorted(_pack(stored(value, depth + 1)) for value in values)
        except Refusal as refusal:
            refusal.path = f" element{refusal.path}"
            raise
        return Ext(code, _pack([msgspec.Raw(each) for each in packed]))

    return store


def _clock(code: int) -> Callable[[Any, int], Any]:
    def store(value: Any, depth: int) -> Ext:
        zone = _zone(value.tzinfo)
        return Ext(code, _pack([value.replace(tzinfo=None, fold=0).isoformat(), value.fold, zone]))

    return store


def _zone(zone: tzinfo | None) -> str | int | None:
    """A time zone's name, or its offset in microseconds."""
    if zone is None:
        return None
    if type(zone) is timezone:
        return zone.utcoffset(None) // timedelta(microseconds=1)
    if type(zone) is ZoneInfo and zone.key:
        return zone.key
    raise Refusal(f"has {an(zone)} as its time zone", "use datetime.timezone or zoneinfo.ZoneInfo")


def _enum(value: Enum, depth: int) -> Ext:
    kind = type(value)
    path = path_of(kind)
    if path is None or kind(value.value) is not value:
        raise Refusal(f"is {an(value)}, an enum that cannot be found by its name", "define it at module level")
    return Ext(_ENUM, _pack([path, stored(value.value, depth + 1)]))


_STORES: dict[type, Callable[[Any, int], Any]] = {
    int: _int,
    str: _str,
    list: _list,
    dict: stored_dict,
    tuple: lambda value, depth: Ext(_TUPLE, _pack(_list(value, depth))),
    set: _set(_SET),
    frozenset: _set(_FROZENSET),
    datetime: _clock(_DATETIME),
    date: lambda value, depth: Ext(_DATE, value.isoformat().encode()),
    time: _clock(_TIME),
    timedelta: lambda value, depth: Ext(_TIMEDELTA, _pack([value.days, value.seconds, value.microseconds])),
    Decimal: lambda value, depth: Ext(_DECIMAL, str(value).encode()),
    UUID: lambda value, depth: Ext(_UUID, value.bytes),
    range: lambda value, depth: Ext(_RANGE, _pack([_int(each, 0) for each in (value.start, value.stop, value.step)])),
}


def loaded(code: int, data: memoryview) -> Any:
    if code not in _LOADS:
        raise ValueError(f"a value of kind {code}, which this version of streamcrawl does not know")
    return _LOADS[code](data)


_unpack: Callable[[memoryview], Any] = Decoder(ext_hook=loaded).decode


def _to_zone(zone: str | int | None) -> tzinfo | None:
    if isinstance(zone, str):
        try:
            return ZoneInfo(zone)
        except (KeyError, OSError, ValueError) as error:
            raise Gone(f"this job holds times of the zone {zone}, which is not known here") from error
    return None if zone is None else timezone(timedelta(microseconds=zone))


def _to_clock(kind: Any) -> Callable[[memoryview], Any]:
    def load(data: memoryview) -> Any:
        text, fold, zone = _unpack(data)
        return kind.fromisoformat(text).replace(tzinfo=_to_zone(zone), fold=fold)

    return load


def _to_enum(data: memoryview) -> Enum:
    path, value = _unpack(data)
    kind = at_path(path)
    if not isinstance(kind, type) or not issubclass(kind, Enum):
        raise Gone(f"this job holds requests with values of {path}, which is no enum any more")
    try:
        return kind(value)
    except ValueError as error:
        raise Gone(f"this job holds requests with {path}({value!r}), which the flow no longer has") from error


_LOADS: dict[int, Callable[[memoryview], Any]] = {
    _TUPLE: lambda data: tuple(_unpack(data)),
    _SET: lambda data: set(_unpack(data)),
    _FROZENSET: lambda data: frozenset(_unpack(data)),
    _INT: lambda data: int.from_bytes(data, "big", signed=True),
    _TEXT: lambda data: str(data, "utf-8", "surrogatepass"),
    _DATETIME: _to_clock(datetime),
    _DATE: lambda data: date.fromisoformat(str(data, "ascii")),
    _TIME: _to_clock(time),
    _TIMEDELTA: lambda data: timedelta(*_unpack(data)),
    _DECIMAL: lambda data: Decimal(str(data, "ascii")),
    _UUID: lambda data: UUID(bytes=bytes(data)),
    _ENUM: _to_enum,
    _RANGE: lambda data: range(*_unpack(data)),
    _DICT: lambda data: dict(zip(*_unpack(data), strict=True)),
}
