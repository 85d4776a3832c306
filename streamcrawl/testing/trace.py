"""Requests and outcomes in words, so that two runs can be compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from streamcrawl.core import Again, Dropped, Failed, Outcome, Request
from streamcrawl.response import Response


def changed_fields(before: Request, after: Request) -> str:
    """Names of the fields in which the two requests differ."""
    fields: tuple[str, ...] = Request.__struct_fields__
    return ", ".join(name for name in fields if getattr(before, name) != getattr(after, name))


def cookies_of(request: Request) -> list[Any]:
    """The request's own cookies, one by one, in whatever shape they were given."""
    given = request.cookies
    return [*given.items()] if isinstance(given, Mapping) else [*given]


def describe_request(request: Request, *, timed: bool = True) -> str:
    """The request in words, alike for two that are alike; `timed`: with the time before which it is not sent."""
    headers = "; ".join(f"{name}: {value}" for name, value in request.headers.pairs())
    cookies = sorted(map(repr, cookies_of(request)))
    sent = f"{request.method} {request.url} {request.body!r} ({headers}) {cookies or ''}"
    when = f" at {request.not_before:.4f}" if timed else ""
    return f"{sent} try {request.attempt} via {request.via} priority {request.priority}{when}"


def describe(outcome: Outcome | None, body: object = None, *, timed: bool = True) -> str:
    """The outcome in words, alike for two that are alike."""
    if isinstance(outcome, Response):
        headers = "; ".join(f"{name}: {value}" for name, value in outcome.headers.pairs())
        read = repr(body) if body is not None else repr(outcome.body) if outcome.stream is None else "a stream"
        return _plain(f"{outcome.status} {outcome.url} ({headers}) {outcome.flags} {read}")
    if isinstance(outcome, Failed):
        return _plain(f"Failed {type(outcome.error).__name__}: {outcome.error}")
    if isinstance(outcome, Dropped):
        return f"Dropped: {outcome.reason}"
    if isinstance(outcome, Again):
        return f"Again ({outcome.reason}): {describe_request(outcome.next, timed=timed)}"
    return "nothing"


def _plain(text: str) -> str:
    """Without addresses in memory."""
    return re.sub(r"0x[0-9a-fA-F]{6,}", "0x", text)
