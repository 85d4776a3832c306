"""How large a body may be."""

from __future__ import annotations

from streamcrawl.core import Request, Run
from streamcrawl.streams.layer import Hooks, NamedLayer, layer


def size_limit(size: int) -> NamedLayer:
    """Give each request that has no size limit of its own this one.

    Args:
        size: Bytes of body, decoded; 1 or more.

    Emits: what comes from below; `fetch` stops reading a longer body and makes `Failed` with `BodyTooLarge` of it.
    Raises: ValueError if `size` < 1, when built.
    """
    if size < 1:
        raise ValueError(f"size_limit({size!r}): 1 byte or more")

    def down(request: Request) -> Request:
        return request if request.max_size is not None else request.replace(max_size=size)

    def make(run: Run) -> Hooks:
        return Hooks(down=down)

    return layer("size_limit", make)
