"""How a job stores a request: safe to read, small, and told from a damaged one.

    byte 0       FORMAT
    bytes 1-4    which fields follow: a bit for each place in FIELDS
    from byte 5  a msgpack array of their values, in the order of FIELDS
    last 4       CRC-32 of all bytes before

Numbers are little-endian. Only fields that differ from the defaults of Request are there. Every format keeps the first
byte and the checksum. Functions are stored by name: "c" and "e" are the callback and the errback of scrape(), "c.name"
is a method of the object that scrape()'s callback is a method of, "module:qualname" is what a module has.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from functools import lru_cache, partial
from importlib import import_module
from operator import index, itemgetter
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any, NoReturn, cast
from uuid import UUID
from zlib import crc32
from zoneinfo import ZoneInfo

import msgspec
from msgspec.msgpack import Decoder, Encoder, Ext
from msgspec.structs import astuple

from streamcrawl.core import Request
from streamcrawl.errors import FlowError, JobError, NotStorable
from streamcrawl.headers import Headers
from streamcrawl.transport.body import one_line, shown

FORMAT = 1
DEEPEST = 64
"""Lists, dicts and the like in one another: what is stored can be read at any depth of the stack."""

_PLAIN = "keep plain data: None, numbers, text, bytes, dates, enums, and lists, tuples, sets and dicts of these"
_NAMED = "give a function at module level, or a method of the object whose method scrape() calls"
_KEPT = 4096  # names and functions remembered
_MARKS = {"c": "callback", "e": "errback"}

_head = struct.Struct("<BI")
_tail = struct.Struct("<I")
_RESIDUE = crc32(_tail.pack(crc32(b"")))  # the CRC-32 of anything that ends with its own
_pack = Encoder().encode


class _Refusal(Exception):
    """A value that cannot be stored: what it is, and where it stands in its field."""

    def __init__(self, what: str, advice: str = _PLAIN) -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice
        self.path = ""


class _Gone(Exception):
    """What a stored request names is not there any more."""


# ---- functions and classes, by name


def _same(one: object, other: object) -> bool:
    # A bound method is made anew each time that it is looked up.
    return one is other or (type(one) is MethodType and type(other) is MethodType and one == other)


def _walk(root: object, qualname: str) -> Any:
    for name in qualname.split("."):
        root = getattr(root, name)
    return root


def _path_of(thing: Any) -> str | None:
    """Its "module:qualname", if that leads to this very object."""
    module, qualname = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str) or module not in sys.modules:
        return None
    try:
        found = _walk(sys.modules[module], qualname)
    except AttributeError:
        return None
    return f"{module}:{qualname}" if _same(found, thing) else None


def _at_path(path: str) -> Any:
    """What "module:qualname" leads to. Raises: _Gone."""
    module, _, qualname = path.partition(":")
    root = sys.modules.get(module)
    if root is None:
        try:
            root = import_module(module)
        except Exception as error:  # whatever the user's module raises
            why = one_line(f"{type(error).__name__}: {error}")
            raise _Gone(f"this job holds requests for {path}, and {module} cannot be imported ({why})") from error
    try:
        return _walk(root, qualname)
    except AttributeError as error:
        raise _Gone(f"this job holds requests for {path}, which the flow no longer has") from error


def _attribute(owner: object, function: Any) -> str | None:
    """The attribute of `owner` that gives this function."""
    plain = getattr(function, "__func__", function)
    names = [str(getattr(function, "__name__", ""))]
    names += [name for kind in type(owner).__mro__ for name, value in vars(kind).items() if value is plain]
    return next((name for name in names if _same(getattr(owner, name, None), function)), None)


def _described(function: Any) -> str:
    """What error messages call a function that has no name to be found by."""
    code = getattr(function, "__code__", None)
    if type(function) is MethodType:
        return f"the method {function.__qualname__} of another object"
    if not isinstance(function, FunctionType) or code is None:
        return f"a functools.{partial.__name__}" if isinstance(function, partial) else _an(function)
    place = f"{Path(code.co_filename).name}:{code.co_firstlineno}"
    if function.__name__ == "<lambda>":
        return f"the lambda at {place}"
    if "<locals>" in function.__qualname__:
        return f"the local function {function.__name__} at {place}"
    return f"a function at {place} that is not what {function.__module__}:{function.__qualname__} leads to"


def _an(value: object) -> str:
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


# ---- values: what msgpack does not tell apart goes into extension types

_TUPLE, _SET, _FROZENSET, _INT, _TEXT, _DATETIME, _DATE, _TIME, _TIMEDELTA, _DECIMAL, _UUID, _ENUM, _RANGE, _DICT = (
    range(1, 15)
)
_ATOMS = frozenset({type(None), bool, float, bytes})


def _plain(value: object, depth: int = 0) -> Any:
    """`value` as msgpack can write it. Raises: _Refusal."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    store: Callable[[Any, int], Any] | None = _STORES.get(kind)
    if store is None:
        if not isinstance(value, Enum):
            raise _Refusal(f"is {_an(value)}")
        return _enum(value, depth)
    if depth > DEEPEST:
        raise _Refusal(f"is nested more than {DEEPEST} deep, or holds itself")
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
    stored: list[Any] = []
    try:
        for value in values:
            stored.append(value if type(value) in _ATOMS else _plain(value, depth + 1))  # noqa: PERF401 - see below
    except _Refusal as refusal:
        refusal.path = f"[{len(stored)}]{refusal.path}"
        raise
    return stored


def _dict(values: dict[Any, Any], depth: int) -> Any:
    keys: list[Any] = []
    stored: list[Any] = []
    key: Any = None
    try:
        for key, value in values.items():
            keys.append(key if type(key) is str and key.isascii() else _plain(key, depth + 1))
            stored.append(value if type(value) in _ATOMS else _plain(value, depth + 1))
    except _Refusal as refusal:
        refusal.path = f"[{_short(key)}]{refusal.path}" if len(keys) > len(stored) else f" key{refusal.path}"
        raise
    if Ext in map(type, keys):
        return Ext(_DICT, _pack([keys, stored]))
    return dict(zip(keys, stored, strict=True))


def _short(key: object) -> str:
    text = repr(key)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _set(code: int) -> Callable[[Any, int], Any]:
    def store(values: Collection[Any], depth: int) -> Ext:
        # Sorted, because the order of a set differs from process to process.
        try:
            packed = sorted(_pack(_plain(value, depth + 1)) for value in values)
        except _Refusal as refusal:
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
    raise _Refusal(f"has {_an(zone)} as its time zone", "use datetime.timezone or zoneinfo.ZoneInfo")


def _enum(value: Enum, depth: int) -> Ext:
    kind = type(value)
    path = _path_of(kind)
    if path is None or kind(value.value) is not value:
        raise _Refusal(f"is {_an(value)}, an enum that cannot be found by its name", "define it at module level")
    return Ext(_ENUM, _pack([path, _plain(value.value, depth + 1)]))


_STORES: dict[type, Callable[[Any, int], Any]] = {
    int: _int,
    str: _str,
    list: _list,
    dict: _dict,
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


def _loaded(code: int, data: memoryview) -> Any:
    if code not in _LOADS:
        raise ValueError(f"a value of kind {code}, which this version of streamcrawl does not know")
    return _LOADS[code](data)


_unpack: Callable[[memoryview], Any] = Decoder(ext_hook=_loaded).decode


def _to_zone(zone: str | int | None) -> tzinfo | None:
    if isinstance(zone, str):
        try:
            return ZoneInfo(zone)
        except (KeyError, OSError, ValueError) as error:
            raise _Gone(f"this job holds times of the zone {zone}, which is not known here") from error
    return None if zone is None else timezone(timedelta(microseconds=zone))


def _to_clock(kind: Any) -> Callable[[memoryview], Any]:
    def load(data: memoryview) -> Any:
        text, fold, zone = _unpack(data)
        return kind.fromisoformat(text).replace(tzinfo=_to_zone(zone), fold=fold)

    return load


def _to_enum(data: memoryview) -> Enum:
    path, value = _unpack(data)
    kind = _at_path(path)
    if not isinstance(kind, type) or not issubclass(kind, Enum):
        raise _Gone(f"this job holds requests with values of {path}, which is no enum any more")
    try:
        return kind(value)
    except ValueError as error:
        raise _Gone(f"this job holds requests with {path}({value!r}), which the flow no longer has") from error


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


# ---- fields


def _text(messages: Messages, value: Any) -> str:
    if not isinstance(value, str):
        raise _Refusal(f"is {_an(value)}, and no text")
    return str.__str__(value)


def _texts(messages: Messages, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise _Refusal(f"is {_an(value)}, and no tuple")
    return tuple(_text(messages, each) for each in cast("tuple[Any, ...]", value))


def _body(messages: Messages, value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray):
        raise _Refusal(f"is {_an(value)}, and no bytes")
    return bytes(value)


def _number(messages: Messages, value: Any) -> int | float:
    try:
        return float.__float__(value) if isinstance(value, float) else int(index(value))
    except TypeError:
        raise _Refusal(f"is {_an(value)}, and no number") from None


def _flag(messages: Messages, value: Any) -> bool:
    return bool(_number(messages, value))


def _headers(messages: Messages, value: Any) -> tuple[tuple[str, str], ...]:
    if type(value) is not Headers:
        raise _Refusal(f"is {_an(value)}, and no Headers", "write Headers({...})")
    return value.pairs()


def _mapping(messages: Messages, value: Any) -> Any:
    if type(value) is dict:
        return _dict(cast(Any, value), 0)
    if not isinstance(value, Mapping):
        raise _Refusal(f"is {_an(value)}, and no dict")
    return _dict(dict(cast(Any, value)), 0)


def _meta(messages: Messages, value: Any) -> Any:
    if type(value) is not dict:
        raise _Refusal(f"is {_an(value)}, and no {'plain ' if isinstance(value, dict) else ''}dict")
    return _dict(cast(Any, value), 0)


def _statuses(messages: Messages, value: Any) -> Any:
    if value == "any" or type(value) in (tuple, list, set, frozenset, range):
        return _plain(value)
    if isinstance(value, str | bytes) or not isinstance(value, Collection):
        raise _Refusal(f'is {_an(value)}, and neither statuses nor "any"', "give a tuple of numbers")
    return _plain(tuple(cast(Any, value)))


def _function(messages: Messages, value: Any) -> str:
    return messages.name_of(value)


def _checked(kind: Any) -> Callable[[Messages, Any], Any]:
    def load(messages: Messages, value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError(f"{_an(value)} where there is none")
        return value

    return load


@dataclass(frozen=True, slots=True)
class Field:
    """How a field of Request is stored.

    Args:
        name: As Request has it.
        plain: A value of exactly this type is stored as it stands; None: never.
        read: What is read, as msgspec has types.
        store: Makes it of a value of another type.
        load: Makes the value of what was read; None: it is that.
    """

    name: str
    plain: type | None
    read: Any
    store: Callable[[Messages, Any], Any]
    load: Callable[[Messages, Any], Any] | None = None


_NUMBER = int | float

# A field's place is its bit: new ones go to the end, and none is ever taken out.
FIELDS = (
    Field("url", str, str, _text),
    Field("site", str, str, _text),
    Field("depth", int, _NUMBER, _number),
    Field("referrer", str, str, _text),
    Field("callback", None, str, _function, lambda messages, name: messages.function_of(name)),
    Field("meta", None, Any, _meta, _checked(dict)),
    Field("cb_kwargs", None, Any, _mapping, _checked(dict)),
    Field("errback", None, str, _function, lambda messages, name: messages.function_of(name)),
    Field("start", bool, bool, _flag),
    Field("attempt", int, _NUMBER, _number),
    Field("via", None, tuple[str, ...], _texts),
    Field("not_before", float, _NUMBER, _number),
    Field("priority", int, _NUMBER, _number),
    Field("dont_filter", bool, bool, _flag),
    Field("method", str, str, _text),
    Field("headers", None, list[tuple[str, str]], _headers, lambda messages, pairs: Headers(pairs)),
    Field("body", bytes, bytes, _body),
    Field("cookies", None, Any, _mapping, _checked(dict)),
    Field("slot", str, str, _text),
    Field("keep_fragments", bool, bool, _flag),
    Field("fingerprint_headers", None, tuple[str, ...], _texts),
    Field("timeout", float, _NUMBER, _number),
    Field("max_size", int, _NUMBER, _number),
    Field("stream", bool, bool, _flag),
    Field("statuses", None, Any, _statuses, _checked(Collection)),
)
_USUAL = 9  # fields, from the first, that an ordinary link may have

_UNSET = object()
_DEFAULTS = {**msgspec.structs.asdict(Request("")), "url": _UNSET}
_Picker = Callable[[tuple[Any, ...]], tuple[Any, ...]]


def _picker(*names: str) -> _Picker:
    return itemgetter(*map(Request.__struct_fields__.index, names))


def _rows(fields: tuple[Field, ...]) -> tuple[_Picker, tuple[tuple[Any, int, type | None, Field], ...]]:
    """What `encode` goes through: where the values are, and for each its default, its bit and how it is stored."""
    rows = tuple((_DEFAULTS[field.name], 1 << FIELDS.index(field), field.plain, field) for field in fields)
    return _picker(*(field.name for field in fields)), rows


_usual, _every = _rows(FIELDS[:_USUAL]), _rows(FIELDS)
_rest_names = (*(field.name for field in FIELDS[_USUAL:]), "answer")
_rest = _picker(*_rest_names)
_rest_defaults = tuple(_DEFAULTS[name] for name in _rest_names)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which fields a message has."""

    bits: int
    names: tuple[str, ...]
    loads: tuple[tuple[str, Callable[[Messages, Any], Any]], ...]
    read: Callable[[bytes], tuple[Any, ...]]


@lru_cache(maxsize=512)
def _layout(head: bytes) -> _Layout:
    version, bits = _head.unpack(head)
    if version != FORMAT:
        raise JobError(f"a stored request is of format {version}, and this version of streamcrawl reads {FORMAT}")
    unknown = [str(place) for place in range(len(FIELDS), 32) if bits >> place & 1]
    if unknown:
        raise JobError(
            f"a stored request has fields that this version of streamcrawl does not know: {', '.join(unknown)}"
        )
    fields = [field for place, field in enumerate(FIELDS) if bits >> place & 1]
    if not bits & 1:
        raise ValueError("no URL")
    names = tuple(field.name for field in fields)
    loads = tuple((field.name, field.load) for field in fields if field.load is not None)
    shape: Any = tuple.__class_getitem__(tuple(field.read for field in fields))
    read = Decoder(shape, ext_hook=_loaded).decode
    return _Layout(bits, names, loads, read)


# ---- messages


def _seal(bits: int, values: list[Any]) -> bytes:
    message = _head.pack(FORMAT, bits) + _pack(values)
    return message + _tail.pack(crc32(message))


def _opened(data: bytes) -> _Layout:
    """Raises: JobError if the message is damaged, or a later version's."""
    if crc32(data) != _RESIDUE or len(data) < 10:
        _damaged(data, "its checksum does not fit")
    try:
        return _layout(data[:5])
    except ValueError as error:
        _damaged(data, error)


def _damaged(data: bytes, why: object) -> NoReturn:
    error = why if isinstance(why, Exception) else None
    raise JobError(f"a stored request of {len(data)} bytes is damaged: {why}") from error


_raws = Decoder(list[msgspec.Raw]).decode
_unpack_url = Decoder(str).decode


def _parts(data: bytes) -> tuple[_Layout, list[msgspec.Raw]]:
    layout = _opened(data)
    try:
        raws = _raws(data[5:-4])
    except (msgspec.MsgspecError, RecursionError) as error:
        _damaged(data, error)
    if len(raws) != len(layout.names):
        _damaged(data, f"{len(raws)} values for {len(layout.names)} fields")
    return layout, raws


def url_of(data: bytes) -> str:
    """The URL of a stored request; the flow that it belongs to need not be loaded. Raises: JobError."""
    raws = _parts(data)[1]
    try:
        return _unpack_url(raws[0])
    except (msgspec.MsgspecError, ValueError) as error:
        _damaged(data, error)


def untried(data: bytes) -> bytes:
    """The stored request as if it had not been sent yet: no attempts, no `not_before`. Raises: JobError."""
    layout, raws = _parts(data)
    gone = {"attempt", "not_before"}
    bits = sum(1 << place for place, field in enumerate(FIELDS) if field.name in gone)
    kept = [raw for name, raw in zip(layout.names, raws, strict=True) if name not in gone]
    return _seal(layout.bits & ~bits, kept)


class Messages:
    """Stores the requests of a flow, and makes them again.

    Args:
        callback: The callback of the flow's scrape(); it may be any function.
        errback: Its errback.
    """

    def __init__(self, callback: Callable[..., Any] | None, errback: Callable[..., Any] | None) -> None:
        given = [(mark, each) for mark, each in (("c", callback), ("e", errback)) if each is not None]
        self._given = given
        self._owners = {mark: getattr(each, "__self__", each) for mark, each in given if type(each) is not FunctionType}
        self._names: dict[Any, str] = {}
        self._functions: dict[str, Any] = dict(given)

    def encode(self, request: Request) -> bytes:
        """The request without its lease. Raises: NotStorable."""
        if type(request) is not Request:
            _refuse(request, f"it is {_an(request)}, a subclass; give what it adds in meta")
        all_of_it = astuple(request)
        pick, rows = _usual
        if _rest(all_of_it) != _rest_defaults:
            if request.answer is not None:
                _refuse(request, "it is answered already; yield it without its answer")
            pick, rows = _every
        bits = 0
        values: list[Any] = []
        for value, (default, bit, plain, field) in zip(pick(all_of_it), rows, strict=True):
            if value is default:
                continue
            if type(value) is plain:
                if value == default:
                    continue
            elif type(value) is type(default) and value == default:
                continue
            else:
                try:
                    value = field.store(self, value)
                except _Refusal as refusal:
                    _refuse(request, f"its {field.name}{refusal.path} {refusal.what}; {refusal.advice}")
            bits |= bit
            values.append(value)
        try:
            return _seal(bits, values)
        except (UnicodeEncodeError, OverflowError) as error:
            _refuse(request, f"its {_culprit(bits, values)} cannot be written ({error})")

    def decode(self, data: bytes) -> Request:
        """The request.

        Raises: FlowError if the flow has not any more what the request names; JobError if the message is damaged.
        """
        layout = _opened(data)
        try:
            fields = dict(zip(layout.names, layout.read(data[5:-4]), strict=True))
            for name, load in layout.loads:
                fields[name] = load(self, fields[name])
        except _Gone as gone:
            raise FlowError(f"{shown(url_of(data))}: {gone}") from gone.__cause__
        except Exception as error:  # of msgspec, or of a value's own type
            _damaged(data, error)
        return Request(**fields)

    def name_of(self, function: Any) -> str:
        """What a callback or errback is stored as. Raises: what `encode` tells as NotStorable."""
        try:
            name = self._names.get(function)
        except TypeError:  # a callable object without a hash
            return self._find_name(function)
        if name is None:
            name = self._find_name(function)
            if len(self._names) < _KEPT:
                self._names[function] = name
        return name

    def function_of(self, name: str) -> Any:
        """What `name_of` gave the name for. Raises: what `decode` tells as FlowError."""
        function = self._functions.get(name)
        if function is None:
            function = self._find_function(name)
            if not callable(function):
                raise _Gone(f"this job holds requests for {name}, which is no function any more")
            if len(self._functions) < _KEPT:
                self._functions[name] = function
        return function

    def _find_name(self, function: Any) -> str:
        for mark, each in self._given:
            if _same(function, each):
                return mark
        owned = (
            f"{mark}.{attribute}"
            for mark, owner in self._owners.items()
            if (attribute := _attribute(owner, function)) is not None
        )
        name = next(owned, None) if type(function) is MethodType else None
        name = name or _path_of(function) or next(owned, None)
        if name is None:
            raise _Refusal(f"is {_described(function)}", _NAMED)
        return name

    def _find_function(self, name: str) -> Any:
        if ":" in name:
            return _at_path(name)
        mark, dot, attribute = name.partition(".")
        if mark not in _MARKS:
            raise ValueError(f"{name!r} names no function")
        if not dot:
            raise _Gone(f"this job holds requests for the {_MARKS[mark]} of scrape(), which the flow no longer has")
        owner = self._owners.get(mark)
        found = getattr(owner, attribute, None)
        if found is None:
            whose = "the object whose method scrape() calls" if owner is None else _an(owner)
            raise _Gone(f"this job holds requests for {attribute}() of {whose}, which the flow no longer has")
        return found


def _refuse(request: Request, why: str) -> NoReturn:
    raise NotStorable(f"a job cannot keep <{request.method} {shown(request.url)}>: {why}")


def _culprit(bits: int, values: list[Any]) -> str:
    """The field that msgpack cannot write."""
    names = (field.name for place, field in enumerate(FIELDS) if bits >> place & 1)
    for name, value in zip(names, values, strict=True):
        try:
            _pack(value)
        except (UnicodeEncodeError, OverflowError):
            return name
    return "fields together"
