"""Header fields that every request carries."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from streamcrawl.core import Request, Run
from streamcrawl.headers import NO_HEADERS, HeaderPairs, Headers
from streamcrawl.streams.layer import Hooks, NamedLayer, layer
from streamcrawl.transport.outgoing import field_value

DEFAULT_HEADERS: Mapping[str, str | None] = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en",
}

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def default_headers(headers: Mapping[str, str | None] | Headers | None = None) -> NamedLayer:
    """Send these header fields with each request that has no field of the name.

    Args:
        headers: Instead of Accept and Accept-Language; a name whose value is None is left out. Blanks around a value
            are no part of it.

    Emits: what comes from below. One in, one out.
    Raises: ValueError for a name or a value that HTTP does not allow, when built.
    Source: RFC 9110 §5.1, §5.5, §12.5.1 (Accept), §12.5.4 (Accept-Language).
    """
    given = DEFAULT_HEADERS if headers is None else headers
    pairs = given.pairs() if isinstance(given, Headers) else given.items()
    fields = checked([(name, value) for name, value in pairs if value is not None])

    def make(run: Run) -> Hooks:
        return Hooks(down=filling(fields)) if len(fields) else Hooks()

    return layer("default_headers", make)


def checked(fields: HeaderPairs) -> Headers:
    """These fields as Headers. Raises: ValueError for a name or value that HTTP does not allow."""
    made: list[tuple[str, str]] = []
    for name, value in Headers(fields).pairs():
        if not _NAME.fullmatch(name):
            raise ValueError(f"header name {name!r}: letters, digits and !#$%&'*+.^_`|~- only")
        made.append((name, field_value(name, value)))
    return Headers(made)


def filling(fields: Headers) -> Callable[[Request], Request]:
    """A function that gives a request those of `fields` that it lacks."""
    # Requests come with the same few Headers objects, which are immutable: the last answer often serves again.
    seen, filled = NO_HEADERS, fields

    def fill(request: Request) -> Request:
        nonlocal seen, filled
        headers = request.headers
        if headers is not seen:
            seen, filled = headers, headers.defaults(fields)
        return request if filled is headers else request.replace(headers=filled)

    return fill
