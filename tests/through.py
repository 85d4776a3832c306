"""Drives layers around a fake fetch, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import reactivex
from reactivex import Observable
from reactivex import operators as rx

from streamcrawl.core import Fetch, Layer, Outcome, Request, Run
from streamcrawl.events import Event
from streamcrawl.operators.download import download
from streamcrawl.streams.layer import Hooks, layer
from streamcrawl.testing.fake_fetch import FakeFetch
from streamcrawl.testing.virtual_time import run_virtual

Pipe = Callable[[Observable[Any]], Observable[Any]]


def through(
    *layers: Layer, to: Iterable[Request | str], fetch: Fetch | None = None, spy: Spy | None = None
) -> list[Outcome]:
    """The outcomes of these requests, in the order in which they come."""
    stage = download(*layers, *([spy.layer] if spy else []), fetch=fetch or FakeFetch({"/": "home"}))
    return piped(stage, to=[Request(each) if isinstance(each, str) else each for each in to])


def piped(*operators: Pipe, to: Iterable[Any]) -> list[Any]:
    """What comes out of a pipe."""
    found: list[Any] = []

    async def main() -> None:
        source: Observable[Any] = reactivex.from_iterable(to)
        for operator in operators:
            source = operator(source)
        await source.pipe(rx.do_action(found.append), rx.default_if_empty(None))

    run_virtual(main)
    return found


class Spy:
    """A layer that keeps what it sees of the run: its stats, its events, what its hosts were told."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.sent: list[Request] = []
        self.events: list[Event] = []
        self.hosts: list[tuple[object, ...]] = []
        self.layer = layer("spy", self._make)

    def _make(self, run: Run) -> Hooks:
        self.runs.append(run)
        for name in ("close", "open", "set_rate"):
            self._watch(run, name)
        events: Any = run.events
        events.subscribe(self.events.append)

        def down(request: Request) -> Request:
            self.sent.append(request)
            return request

        return Hooks(down=down)

    def _watch(self, run: Run, name: str) -> None:
        call = getattr(run.hosts, name)

        def told(host: str, **rate: Any) -> None:
            self.hosts.append((name, host, *rate.values()))
            call(host, **rate)

        setattr(run.hosts, name, told)

    @property
    def stats(self) -> dict[str, Any]:
        """The counters of the only run."""
        (run,) = self.runs
        return {key: value for key, value in run.stats.items() if value}
