"""MessagePack, pickle and marshal: one object after the other."""

from __future__ import annotations

import marshal
import pickle
import pickletools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO, cast

import msgspec

from streamcrawl.core import Item
from streamcrawl.feeds.format import FeedFormat, Notice, Settings, allow
from streamcrawl.feeds.tails import Tail
from streamcrawl.feeds.values import blame, builtins, fields_of, named, plain, values_of


class Objects:
    """Each item's fields as one object.

    Args:
        dump: A dict to bytes.
        keep: Whether `dump` takes the objects within an item as they are.
    """

    __slots__ = ("_dump", "_fields", "_take")

    def __init__(
        self,
        dump: Callable[[Any], bytes],
        fields: Mapping[str, str] | Iterable[str] | None = None,
        *,
        keep: bool = False,
    ) -> None:
        self._dump = dump
        self._fields = named(fields)
        self._take = values_of if keep else fields_of

    @property
    def state(self) -> None:
        return None

    def record(self, item: Item) -> bytes:
        record = self._take(item, self._fields)
        try:
            return self._dump(record)
        except Exception as error:  # pickle raises what the objects within raise
            raise blame(record, self._dump) from error

    def end(self) -> bytes:
        return b""


def _msgpack(settings: Settings, state: Any, notice: Notice) -> Objects:
    """Source: https://github.com/msgpack/msgpack/blob/master/spec.md"""
    return Objects(msgspec.msgpack.Encoder(enc_hook=plain).encode, settings.fields)


def _pickle(settings: Settings, state: Any, notice: Notice) -> Objects:
    """Source: https://docs.python.org/3/library/pickle.html; protocol 4 unless another is asked for."""
    protocol = settings.options.get("protocol", 4)
    return Objects(lambda record: pickle.dumps(record, protocol), settings.fields, keep=True)


def _marshal(settings: Settings, state: Any, notice: Notice) -> Objects:
    """Source: https://docs.python.org/3/library/marshal.html; values as JSON has them."""
    return Objects(lambda record: marshal.dumps(builtins(record)), settings.fields)


# ---- appending: the end of the last whole object


def _tail_of(skip: Callable[[BinaryIO], object]) -> Callable[[BinaryIO, Settings], tuple[Tail, None]]:
    """`skip` reads one object, and raises if it is not whole."""

    def tail(file: BinaryIO, settings: Settings) -> tuple[Tail, None]:
        size = file.seek(0, 2)
        end = file.seek(0)
        while end < size:
            try:
                skip(file)
            except Exception:  # whatever the reader of a broken object says
                break
            end = file.tell()
        return Tail(end), None

    return tail


def _skip_pickle(file: BinaryIO) -> None:
    """The operations are read, not carried out."""
    for _ in pickletools.genops(file):
        pass


def _skip_msgpack(file: BinaryIO) -> None:
    left = 1
    while left:
        left += _skip_one(file) - 1


_SIZED = {
    **dict.fromkeys((0xC4, 0xD9), (1, 0)),
    **dict.fromkeys((0xC5, 0xDA), (2, 0)),
    **dict.fromkeys((0xC6, 0xDB), (4, 0)),
    0xC7: (1, 1),
    0xC8: (2, 1),
    0xC9: (4, 1),
}
"""First byte: (bytes of the length, bytes beside the data)."""
_FIXED = dict(
    zip((*range(0xCA, 0xD4), *range(0xD4, 0xD9)), (4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 2, 3, 5, 9, 17), strict=True)
)
_MANY = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


def _skip_one(file: BinaryIO) -> int:
    """Read one value's head, and its data if it is one by itself; gives how many values are within it."""
    first = _read(file, 1)[0]
    if first in _MANY:
        size, each = _MANY[first]
        return int.from_bytes(_read(file, size)) * each
    if 0x80 <= first <= 0x8F:
        return 2 * (first & 0x0F)
    if 0x90 <= first <= 0x9F:
        return first & 0x0F
    if first in _SIZED:
        size, beside = _SIZED[first]
        _read(file, int.from_bytes(_read(file, size)) + beside)
    elif 0xA0 <= first <= 0xBF:
        _read(file, first & 0x1F)
    else:
        _read(file, _FIXED.get(first, 0))
    return 0


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _skip_marshal(file: BinaryIO) -> None:
    marshal.load(cast("Any", file))  # noqa: S302 - the user's own file, that is to be appended to


def _check_pickle(settings: Settings) -> None:
    allow(settings, "pickle", "protocol")
    protocol = settings.options.get("protocol", 4)
    if not isinstance(protocol, int) or not 0 <= protocol <= pickle.HIGHEST_PROTOCOL:
        raise ValueError(f"protocol={protocol!r}: 0 to {pickle.HIGHEST_PROTOCOL}")


MSGPACK = FeedFormat(
    "msgpack",
    (".msgpack", ".mp"),
    _msgpack,
    tail=_tail_of(_skip_msgpack),
    check=lambda settings: allow(settings, "MessagePack"),
)
PICKLE = FeedFormat("pickle", (".pickle", ".pkl"), _pickle, tail=_tail_of(_skip_pickle), check=_check_pickle)
MARSHAL = FeedFormat(
    "marshal", (".marshal",), _marshal, tail=_tail_of(_skip_marshal), check=lambda settings: allow(settings, "marshal")
)
