"""How a crawl behaves, checked when it is described."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamcrawl.core import Request
from streamcrawl.frontier.hosts import Slot
from streamcrawl.mistakes import nearest
from streamcrawl.scoping import scope_test


def check_names(changes: Iterable[str], parts: tuple[str, ...]) -> None:
    """Raises: TypeError for a name that is neither an option nor a part of a crawl."""
    names = (*Options.__dataclass_fields__, *parts)
    for name in changes:
        if name not in names:
            near = nearest(name, names)
            meant = f"did you mean {near!r}?" if near else f"it takes {', '.join(names)}"
            raise TypeError(f"Crawl.replace() got an unexpected keyword argument {name!r}; {meant}")


@dataclass(frozen=True, slots=True)
class Options:
    """How a crawl behaves; see `Crawl` for what they mean."""

    concurrency: int = 16
    per_host: int = 8
    delay: float = 0.0
    jitter: float = 0.5
    scope: Any = "host"
    memory: int = 512 * 1024 * 1024
    slots: Mapping[str, Slot] = field(default_factory=dict[str, Slot])
    slot: Callable[[Request], str | None] | None = None
    limit_pages: int | None = None
    limit_items: int | None = None
    seed: int | None = None
    job: Path | None = None
    recrawl: float | None = None

    def __post_init__(self) -> None:
        least = {"concurrency": 1, "per_host": 1, "delay": 0, "limit_pages": 1, "limit_items": 1, "recrawl": 0}
        for name, bound in least.items():
            value = getattr(self, name)
            if value is None and name.startswith(("limit_", "recrawl")):
                continue
            if not isinstance(value, (int, float)):
                raise TypeError(f"{name} is {value!r}; it must be a number")
            if not value >= bound:
                raise ValueError(f"{name} is {value}; it must be {bound} or more")
        if not isinstance(self.jitter, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
            raise TypeError(f"jitter is {self.jitter!r}; it must be a number")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter is {self.jitter}; it must be between 0 and 1")
        if self.slot is not None and not callable(self.slot):
            raise TypeError(f"slot is {self.slot!r}; it must be a function of a Request")
        if self.recrawl is not None and self.job is None:
            raise ValueError(f"recrawl is {self.recrawl}; it needs a job")
        scope_test(self.scope)
