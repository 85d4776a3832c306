"""The fields of a Request, and how a job stores each: checked, and made of what msgpack can write."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from operator import index
from typing import Any, cast

from streamcrawl.frontier.functions import Functions
from streamcrawl.frontier.names import Refusal, an
from streamcrawl.frontier.values import stored, stored_dict
from streamcrawl.headers import Headers


def _text(functions: Functions, value: Any) -> str:
    if not isinstance(value, str):
        raise Refusal(f"is {an(value)}, and no text")
    return str.__str__(value)


def _texts(functions: Functions, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise Refusal(f"is {an(value)}, and no tuple")
    return tuple(_text(functions, each) for each in cast("tuple[Any, ...]", value))


def _body(functions: Functions, value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray):
        raise Refusal(f"is {an(value)}, and no bytes")
    return bytes(value)


def _number(functions: Functions, value: Any) -> int | float:
    try:
        return float.__float__(value) if isinstance(value, float) else int(index(value))
    except TypeError:
        raise Refusal(f"is {an(value)}, and no number") from None


def _flag(functions: Functions, value: Any) -> bool:
    return bool(_number(functions, value))


def _headers(functions: Functions, value: Any) -> tuple[tuple[str, str], ...]:
    if type(value) is not Headers:
        raise Refusal(f"is {an(value)}, and no Headers", "write Headers({...})")
    return value.pairs()


def _mapping(functions: Functions, value: Any) -> Any:
    if type(value) is dict:
        return stored_dict(cast(Any, value), 0)
    if not isinstance(value, Mapping):
        raise Refusal(f"is {an(value)}, and no dict")
    return stored_dict(dict(cast(Any, value)), 0)


def _cookies(functions: Functions, value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return _mapping(functions, value)
    return [_mapping(functions, each) for each in cast("list[Any]", value)]


def _meta(functions: Functions, value: Any) -> Any:
    if type(value) is not dict:
        raise Refusal(f"is {an(value)}, and no {'plain ' if isinstance(value, dict) else ''}dict")
    return stored_dict(cast(Any, value), 0)


def _statuses(functions: Functions, value: Any) -> Any:
    if value == "any" or type(value) in (tuple, list, set, frozenset, range):
        return stored(value)
    if isinstance(value, str | bytes) or not isinstance(value, Collection):
        raise Refusal(f'is {an(value)}, and neither statuses nor "any"', "give a tuple of numbers")
    return stored(tuple(cast(Any, value)))


def _function(functions: Functions, value: Any) -> str:
    return functions.name_of(value)


def _checked(kind: Any) -> Callable[[Functions, Any], Any]:
    def load(functions: Functions, value: Any) -> Any:
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
    store: Callable[[Functions, Any], Any]
    load: Callable[[Functions, Any], Any] | None = None


_NUMBER = int | float

# A field's place is its bit: new ones go to the end, and none is ever taken out.
FIELDS = (
    Field("url", str, str, _text),
    Field("site", str, str, _text),
    Field("depth", int, _NUMBER, _number),
    Field("referrer", str, str, _text),
    Field("callback", None, str, _function, lambda functions, name: functions.function_of(name)),
    Field("meta", None, Any, _meta, _checked(dict)),
    Field("cb_kwargs", None, Any, _mapping, _checked(dict)),
    Field("errback", None, str, _function, lambda functions, name: functions.function_of(name)),
    Field("start", bool, bool, _flag),
    Field("attempt", int, _NUMBER, _number),
    Field("via", None, tuple[str, ...], _texts),
    Field("not_before", float, _NUMBER, _number),
    Field("priority", int, _NUMBER, _number),
    Field("dont_filter", bool, bool, _flag),
    Field("method", str, str, _text),
    Field("headers", None, list[tuple[str, str]], _headers, lambda functions, pairs: Headers(pairs)),
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
