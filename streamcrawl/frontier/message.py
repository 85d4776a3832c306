"""How a job stores a request: safe to read, small, and told from a damaged one.

    byte 0       FORMAT
    bytes 1-8    which fields follow: a bit for each place in FIELDS
    from byte 9  a msgpack array of their values, in the order of FIELDS
    last 4       CRC-32 of all bytes before

Numbers are little-endian. Only fields that differ from the defaults of Request are there. Every format keeps the first
byte and the checksum; format 1, which is read too, has four bytes of bits.

Functions are stored by name: "c" and "e" are the callback and the errback of scrape(), "c.name" is a method of the
object that scrape()'s callback is a method of, "module:qualname" is what a module has.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import index, itemgetter
from types import FunctionType, MethodType
from typing import Any, NoReturn, cast
from zlib import crc32

import msgspec
from msgspec.msgpack import Decoder, Encoder
from msgspec.structs import astuple

from streamcrawl.core import Request
from streamcrawl.errors import FlowError, JobError, NotStorable
from streamcrawl.frontier.names import Gone, Refusal, an, at_path, attribute_of, described, path_of, same
from streamcrawl.frontier.values import loaded, stored, stored_dict
from streamcrawl.headers import Headers
from streamcrawl.transport.body import shown

FORMAT = 2

_NAMED = "give a function at module level, or a method of the object whose method scrape() calls"
_KEPT = 4096  # names and functions remembered
_MARKS = {"c": "callback", "e": "errback"}

_head = struct.Struct("<BQ")
_heads = {1: struct.Struct("<BI"), FORMAT: _head}
_tail = struct.Struct("<I")
_RESIDUE = crc32(_tail.pack(crc32(b"")))  # the CRC-32 of anything that ends with its own
_pack = Encoder().encode


# ---- fields


def _text(messages: Messages, value: Any) -> str:
    if not isinstance(value, str):
        raise Refusal(f"is {an(value)}, and no text")
    return str.__str__(value)


def _texts(messages: Messages, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise Refusal(f"is {an(value)}, and no tuple")
    return tuple(_text(messages, each) for each in cast("tuple[Any, ...]", value))


def _body(messages: Messages, value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray):
        raise Refusal(f"is {an(value)}, and no bytes")
    return bytes(value)


def _number(messages: Messages, value: Any) -> int | float:
    try:
        return float.__float__(value) if isinstance(value, float) else int(index(value))
    except TypeError:
        raise Refusal(f"is {an(value)}, and no number") from None


def _flag(messages: Messages, value: Any) -> bool:
    return bool(_number(messages, value))


def _headers(messages: Messages, value: Any) -> tuple[tuple[str, str], ...]:
    if type(value) is not Headers:
        raise Refusal(f"is {an(value)}, and no Headers", "write Headers({...})")
    return value.pairs()


def _mapping(messages: Messages, value: Any) -> Any:
    if type(value) is dict:
        return stored_dict(cast(Any, value), 0)
    if not isinstance(value, Mapping):
        raise Refusal(f"is {an(value)}, and no dict")
    return stored_dict(dict(cast(Any, value)), 0)


def _cookies(messages: Messages, value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return _mapping(messages, value)
    return [_mapping(messages, each) for each in cast("list[Any]", value)]


def _meta(messages: Messages, value: Any) -> Any:
    if type(value) is not dict:
        raise Refusal(f"is {an(value)}, and no {'plain ' if isinstance(value, dict) else ''}dict")
    return stored_dict(cast(Any, value), 0)


def _statuses(messages: Messages, value: Any) -> Any:
    if value == "any" or type(value) in (tuple, list, set, frozenset, range):
        return stored(value)
    if isinstance(value, str | bytes) or not isinstance(value, Collection):
        raise Refusal(f'is {an(value)}, and neither statuses nor "any"', "give a tuple of numbers")
    return stored(tuple(cast(Any, value)))


def _function(messages: Messages, value: Any) -> str:
    return messages.name_of(value)


def _checked(kind: Any) -> Callable[[Messages, Any], Any]:
    def load(messages: Messages, value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError(f"{an(value)} where there is none")
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
    Field("cookies", None, Any, _cookies, _checked(dict | list)),
    Field("slot", str, str, _text),
    Field("keep_fragments", bool, bool, _flag),
    Field("fingerprint_headers", None, tuple[str, ...], _texts),
    Field("timeout", float, _NUMBER, _number),
    Field("max_size", int, _NUMBER, _number),
    Field("stream", bool, bool, _flag),
    Field("statuses", None, Any, _statuses, _checked(Collection)),
    Field("cookiejar", str, str, _text),
    Field("cache", str, str, _text),
    Field("proxy", str, str, _text),
    Field("reach", None, tuple[str, ...], _texts),
    Field("max_retries", int, _NUMBER, _number),
    Field("max_redirects", int, _NUMBER, _number),
    Field("skip", None, tuple[str, ...], _texts),
    Field("via_reasons", None, tuple[str, ...], _texts),
    Field("referrer_policy", str, str, _text),
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

    start: int
    """Where the values begin."""
    bits: int
    names: tuple[str, ...]
    loads: tuple[tuple[str, Callable[[Messages, Any], Any]], ...]
    read: Callable[[bytes], tuple[Any, ...]]


@lru_cache(maxsize=512)
def _layout(head: bytes) -> _Layout:
    version = head[0]
    if version not in _heads:
        raise JobError(f"a stored request is of format {version}, and this version of streamcrawl reads {FORMAT}")
    _, bits = _heads[version].unpack(head)
    unknown = [str(place) for place in range(len(FIELDS), 64) if bits >> place & 1]
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
    read = Decoder(shape, ext_hook=loaded).decode
    return _Layout(len(head), bits, names, loads, read)


# ---- messages


def _seal(bits: int, values: list[Any]) -> bytes:
    message = _head.pack(FORMAT, bits) + _pack(values)
    return message + _tail.pack(crc32(message))


def _opened(data: bytes) -> _Layout:
    """Raises: JobError if the message is damaged, or a later version's."""
    head = _heads.get(data[0], _head) if data else _head
    if crc32(data) != _RESIDUE or len(data) < head.size + 5:
        _damaged(data, "its checksum does not fit")
    try:
        return _layout(data[: head.size])
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
        raws = _raws(data[layout.start : -4])
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


def of_start(data: bytes) -> bool:
    """Whether the stored request came from the crawl's start. Raises: JobError."""
    return "start" in _parts(data)[0].names


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
            _refuse(request, f"it is {an(request)}, a subclass; give what it adds in meta")
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
                except Refusal as refusal:
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
            fields = dict(zip(layout.names, layout.read(data[layout.start : -4]), strict=True))
            for name, load in layout.loads:
                fields[name] = load(self, fields[name])
        except Gone as gone:
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
                raise Gone(f"this job holds requests for {name}, which is no function any more")
            if len(self._functions) < _KEPT:
                self._functions[name] = function
        return function

    def _find_name(self, function: Any) -> str:
        for mark, each in self._given:
            if same(function, each):
                return mark
        owned = (
            f"{mark}.{attribute}"
            for mark, owner in self._owners.items()
            if (attribute := attribute_of(owner, function)) is not None
        )
        name = next(owned, None) if type(function) is MethodType else None
        name = name or path_of(function) or next(owned, None)
        if name is None:
            raise Refusal(f"is {described(function)}", _NAMED)
        return name

    def _find_function(self, name: str) -> Any:
        if ":" in name:
            return at_path(name)
        mark, dot, attribute = name.partition(".")
        if mark not in _MARKS:
            raise ValueError(f"{name!r} names no function")
        if not dot:
            raise Gone(f"this job holds requests for the {_MARKS[mark]} of scrape(), which the flow no longer has")
        owner = self._owners.get(mark)
        found = getattr(owner, attribute, None)
        if found is None:
            whose = "the object whose method scrape() calls" if owner is None else an(owner)
            raise Gone(f"this job holds requests for {attribute}() of {whose}, which the flow no longer has")
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
