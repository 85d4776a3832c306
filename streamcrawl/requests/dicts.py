"""Requests as plain data, to be kept elsewhere: in a queue, a file, another process."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from streamcrawl.core import Request
from streamcrawl.errors import FlowError, NotStorable
from streamcrawl.frontier.names import Gone, at_path, attribute_of, described, path_of
from streamcrawl.headers import Headers

_DEFAULTS = msgspec.structs.asdict(Request(""))
_FUNCTIONS = ("callback", "errback")
_RUNTIME = ("answer", "lease")
_TUPLES = ("fingerprint_headers", "reach", "via", "via_reasons", "skip")
_NAMES = frozenset(_DEFAULTS) - set(_RUNTIME) | {"body_base64"}


def request_to_dict(request: Request, *, spider: object = None) -> dict[str, Any]:
    """What the request says, as a dict that JSON can write as far as its meta and cb_kwargs can be.

    Only what differs from the defaults is there. Functions are there by name: "parse_item" is a method of `spider`,
    "module:name" what a module has. The body is text, or base64 under "body_base64" if it is no UTF-8.

    Args:
        request: Without an answer.
        spider: The object whose methods its callbacks are.

    Raises: NotStorable for a callback that cannot be found by a name, for a request that is answered already.
    """
    if request.answer is not None:
        raise NotStorable(f"{request!r} is answered already: a dict has no place for that")
    made: dict[str, Any] = {"url": request.url}
    for name, value in msgspec.structs.asdict(request).items():
        if name in _RUNTIME or name == "url" or value == _DEFAULTS[name]:
            continue
        if name in _FUNCTIONS:
            made[name] = _name_of(request, name, value, spider)
        elif name == "headers":
            made[name] = [list(pair) for pair in value.pairs()]
        elif name == "body":
            made.update(_body(value))
        elif isinstance(value, (tuple, set, frozenset, range)):
            made[name] = list(cast("tuple[Any, ...]", value))
        else:
            made[name] = dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else value
    return made


def request_from_dict(data: Mapping[str, Any], *, spider: object = None) -> Request:
    """The request that `request_to_dict` made the dict of.

    "module:name" imports that module, and may name any function there is: take dicts only from where you take code.

    Args:
        data: "url", and fields of Request. A callback may also be a function.
        spider: The object whose methods its callbacks are.

    Raises: ValueError for what is no field of a request; FlowError for a callback that is not there.
    """
    unknown = sorted(set(data) - _NAMES)
    if unknown or "url" not in data:
        raise ValueError(f"no field of a request: {', '.join(unknown)}" if unknown else "a request has a url")
    fields = dict(data)
    for name in _FUNCTIONS:
        if isinstance(fields.get(name), str):
            fields[name] = _function(fields[name], spider)
    for name in _TUPLES:
        if fields.get(name) is not None:
            fields[name] = tuple(fields[name])
    if isinstance(fields.get("statuses"), list):
        fields["statuses"] = tuple(fields["statuses"])
    if "headers" in fields:
        fields["headers"] = Headers(_pairs(fields["headers"]))
    if "body_base64" in fields:
        fields["body"] = b64decode(fields.pop("body_base64"), validate=True)
    elif isinstance(fields.get("body"), str):
        fields["body"] = fields["body"].encode("utf-8")
    return Request(**fields)


def _pairs(headers: Any) -> list[tuple[str, str]]:
    return [(name, value) for name, value in (headers.items() if hasattr(headers, "items") else headers)]


def _body(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode("utf-8")}
    except UnicodeDecodeError:
        return {"body_base64": b64encode(body).decode("ascii")}


def _name_of(request: Request, field: str, function: Callable[..., Any], spider: object) -> str:
    name = None if spider is None else attribute_of(spider, function)
    name = name or path_of(function)
    if name is None:
        raise NotStorable(
            f"{request!r}: its {field} is {described(function)}; "
            "give a function at module level, or a method of `spider`"
        )
    return name


def _function(name: str, spider: object) -> Callable[..., Any]:
    try:
        found = at_path(name) if ":" in name else getattr(spider, name, None)
    except Gone as gone:
        raise FlowError(f"there is no function {name}") from gone
    if not callable(found):
        where = "no spider was given" if spider is None else f"{type(spider).__name__} has none"
        raise FlowError(f"there is no function {name}{'' if ':' in name else f': {where}'}")
    return cast("Callable[..., Any]", found)
