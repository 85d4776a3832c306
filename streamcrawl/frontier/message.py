"""How a job stores a request: safe to read, small, and told from a damaged one.

    byte 0       FORMAT
    bytes 1-8    which fields follow: a bit for each place in FIELDS
    from byte 9  a msgpack array of their values, in the order of FIELDS
    last 4       CRC-32 of all bytes before

Numbers are little-endian. Only fields that differ from the defaults of Request are there. Every format keeps the first
byte and the checksum; format 1, which is read too, has four bytes of bits.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, NoReturn
from zlib import crc32

import msgspec
from msgspec.msgpack import Decoder, Encoder
from msgspec.structs import astuple

from streamcrawl.core import Request
from streamcrawl.errors import FlowError, JobError, NotStorable
from streamcrawl.frontier.fields import FIELDS, Field
from streamcrawl.frontier.functions import Functions
from streamcrawl.frontier.names import Gone, Refusal, an
from streamcrawl.frontier.values import loaded
from streamcrawl.transport.body import shown

FORMAT = 2

_head = struct.Struct("<BQ")
_heads = {1: struct.Struct("<BI"), FORMAT: _head}
_tail = struct.Struct("<I")
_RESIDUE = crc32(_tail.pack(crc32(b"")))  # the CRC-32 of anything that ends with its own
_pack = Encoder().encode

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
    loads: tuple[tuple[str, Callable[[Functions, Any], Any]], ...]
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
        self._functions = Functions(callback, errback)

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
                    value = field.store(self._functions, value)
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
                fields[name] = load(self._functions, fields[name])
        except Gone as gone:
            raise FlowError(f"{shown(url_of(data))}: {gone}") from gone.__cause__
        except Exception as error:  # of msgspec, or of a value's own type
            _damaged(data, error)
        return Request(**fields)


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
