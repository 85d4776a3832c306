"""Requests that call a method over XML-RPC."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from xmlrpc.client import dumps

from streamcrawl.core import Request
from streamcrawl.headers import NO_HEADERS, Headers


def xmlrpc_request(
    url: str,
    method: str,
    params: Iterable[Any] = (),
    *,
    encoding: str = "utf-8",
    allow_none: bool = False,
    **options: Any,
) -> Request:
    """A Request that calls `method`. What it answers: `xmlrpc.client.loads(response.body)`.

    It is sent although it was sent before, unless `dont_filter=False`: a call is no page.

    Args:
        url: Absolute.
        method: The name of the remote method.
        params: Its arguments.
        encoding: Of the body.
        allow_none: Whether None may be among them, an extension of the protocol.
        options: As `Request` takes them.

    Raises: ValueError for a name that no method has; TypeError for an argument that XML-RPC cannot say; OverflowError
        for an integer beyond 32 bits.
    Source: http://xmlrpc.com/spec.md
    """
    if re.fullmatch(r"[A-Za-z0-9_.:/]+", method) is None:  # the standard library writes it as it is
        raise ValueError(f"method={method!r}: letters, digits and any of _.:/")
    text = dumps(tuple(params), method, encoding=encoding, allow_none=allow_none)
    headers = Headers(options.pop("headers", NO_HEADERS)).defaults({"Content-Type": "text/xml"})
    options.setdefault("dont_filter", True)
    return Request(url, method="POST", headers=headers, body=text.encode(encoding, "xmlcharrefreplace"), **options)
