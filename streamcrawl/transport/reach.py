"""Which addresses a request may connect to."""

from __future__ import annotations

from streamcrawl.core import Request, Run

ANY = ("any",)


class Reaching:
    """What the requests of one run may reach."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def of(self, request: Request) -> tuple[str, ...]:
        """Networks beyond the public ones that it may connect to, or ANY."""
        return ANY if request.reach is None else request.reach
