"""Requests that send JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from streamcrawl.core import Request
from streamcrawl.headers import NO_HEADERS, Headers

HEADERS = {"Content-Type": "application/json", "Accept": "application/json, */*;q=0.1"}


def json_request(
    url: str, data: Any, *, method: str = "POST", dumps: Callable[[Any], str | bytes] | None = None, **options: Any
) -> Request:
    """A Request whose body is `data` in JSON.

    The same data gives the same body whatever the order of its keys, so that it is one request for the dedupe.

    Args:
        url: Absolute.
        data: What JSON can say; dates, decimals, UUIDs, dataclasses and the like too.
        method: An HTTP method.
        dumps: Writes the JSON, in place of msgspec.
        options: As `Request` takes them. `headers` go before "Content-Type" and "Accept".

    Raises: TypeError if the data has no form in JSON.
    Source: RFC 8259.
    """
    body = _encode(data) if dumps is None else dumps(data)
    headers = Headers(options.pop("headers", NO_HEADERS)).defaults(HEADERS)
    body = body.encode("utf-8") if isinstance(body, str) else body
    return Request(url, method=method, headers=headers, body=body, **options)


def _known(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    if isinstance(value, Mapping):
        return dict(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - of anything
    raise TypeError(f"{value!r}, a {type(value).__name__}, has no form in JSON")


_sorted = msgspec.json.Encoder(enc_hook=_known, order="deterministic").encode


def _encode(data: Any) -> bytes:
    try:
        return _sorted(data)
    except TypeError:  # keys that are no text cannot be sorted as they are
        return _sorted(msgspec.to_builtins(data, str_keys=True, enc_hook=_known))
