"""How large a body may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from streamcrawl.core import Outcome, Request, Run
from streamcrawl.events import Notice
from streamcrawl.response import Response
from streamcrawl.streams.counting import count
from streamcrawl.streams.layer import Hooks, NamedLayer, Up, layer
from streamcrawl.transport.body import shown

WarnOf: TypeAlias = Callable[[Request], int | None]
"""The size above which a request's response is told of; None: never."""


def size_limit(size: int | None = None, *, warn: int | WarnOf | None = None) -> NamedLayer:
    """Give each request that has no size limit of its own this one, and tell of large bodies.

    Args:
        size: Bytes of body, decoded; 1 or more. None: as `fetch` has it.
        warn: Bytes of body, decoded, above which a Notice warns of the response; a streamed one is judged by its
            Content-Length. Or a function of the request that gives it. None: never.

    Emits: what comes from below; `fetch` stops reading a longer body and makes `Failed` with `BodyTooLarge` of it.
    Raises: ValueError if `size` or `warn` < 1, or if neither is given, when built.
    """
    if size is None and warn is None:
        raise ValueError("size_limit() with neither size nor warn would do nothing")
    for given in (size, warn):
        if isinstance(given, int) and given < 1:
            raise ValueError(f"size_limit({given!r}): 1 byte or more")

    def down(request: Request) -> Request:
        return request if request.max_size is not None else request.replace(max_size=size)

    def make(run: Run) -> Hooks:
        return Hooks(None if size is None else down, None if warn is None else _telling(run, warn))

    return layer("size_limit", make)


def _telling(run: Run, warn: int | WarnOf) -> Up:
    def up(outcome: Outcome) -> Outcome:
        if isinstance(outcome, Response):
            most = warn if isinstance(warn, int) else warn(outcome.request)
            if most is not None and (length := _length(outcome)) > most:
                count(run.stats, "size_limit/warned")
                if run.events.wants(Notice):
                    text = f"size_limit: the body of {shown(outcome.url)} is {length} bytes long, more than {most}"
                    run.events.emit(Notice(text=text, level="warning"))
        return outcome

    return up


def _length(response: Response) -> int:
    if response.stream is None:
        return response.size
    announced = response.headers.get("content-length") or ""
    return int(announced[:19]) if announced.isascii() and announced.isdecimal() else 0
