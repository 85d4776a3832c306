"""Who the crawler says it is."""

from __future__ import annotations

from streamcrawl.core import Run
from streamcrawl.operators.default_headers import checked, filling
from streamcrawl.streams.layer import Hooks, NamedLayer, layer


def user_agent(value: str) -> NamedLayer:
    """Send this User-Agent with each request that has none.

    Above `robots_txt` in the stack it also decides which rules of robots.txt are obeyed.

    Args:
        value: A product name, best with a version and an address to write to: "shopbot/1.0 (+https://example.org/bot)".

    Emits: what comes from below. One in, one out.
    Raises: ValueError if it is empty or holds what HTTP does not allow, such as a line break, when built.
    Source: RFC 9110 §10.1.5, §5.5.
    """
    if not value.strip():
        raise ValueError(f"user_agent({value!r}): it must name something")
    fields = checked({"User-Agent": value})

    def make(run: Run) -> Hooks:
        return Hooks(down=filling(fields))

    return layer("user_agent", make)
