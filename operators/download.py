"""Requests become Outcomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from reactivex import Observable, abc

from streamcrawl.core import Fetch, Layer, Outcome, Request, Stage
from streamcrawl.operators.default_layers import default_layers
from streamcrawl.streams.fetching import FetchMaker, fetching
from streamcrawl.streams.layer import stack
from streamcrawl.streams.local import alone
from streamcrawl.streams.scrape_layer import NamedScrapeLayer
from streamcrawl.transport import Wire

MIDDLEWARE = ("process_request", "process_response", "process_exception")
"""Methods by which Scrapy's downloader middlewares are known."""


@dataclass(frozen=True, slots=True)
class Download:
    """What `download` returns: the layers, and what stands below them."""

    layers: tuple[Layer, ...]
    fetch: Fetch | FetchMaker
    carries_leases: ClassVar[bool] = True
    name: ClassVar[str] = "download"

    def stage(self) -> Stage:
        """The layers around `fetch`."""
        return stack(*self.layers)(fetching(self.fetch))

    def __call__(self, requests: Observable[Request]) -> Observable[Outcome]:
        def subscribe(
            upper: abc.ObserverBase[Outcome], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            return alone(self.stage(), requests, upper)

        return Observable(subscribe)


def download(
    *layers: Layer, fetch: Fetch | FetchMaker | None = None
) -> Callable[[Observable[Request]], Observable[Any]]:
    """Each Request becomes one Outcome, through layers around `fetch`.

    `download()` has the default layers; `download(a, b)` has exactly a and b, a outermost;
    `download(*default_layers(…))` changes some of the defaults. With no Crawl around it, redirects and retries are
    followed, 16 requests go at once, and where no asyncio loop runs the subscription blocks until the last outcome.

    Args:
        layers: The middlewares, the outermost first.
        fetch: `async (Request) -> Response`, or a description with `open(run)`; None: `Wire()`, HTTP and files.

    Emits: one Response, Failed, Dropped or Again for each Request, in the order in which they are ready.
    Raises: TypeError for a layer that is not callable, when built.
    """
    for each in layers:
        if isinstance(each, NamedScrapeLayer):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
            raise TypeError(f"{each.name} is a scrape layer: write ops.scrape(callback, ops.{each.name}(…))")
        if any(hasattr(each, name) for name in MIDDLEWARE):
            raise TypeError(
                f"download() takes layers, and {each!r} is a downloader middleware of Scrapy: what process_request "
                "does is a function in ops.on_request(…), what process_response does one in ops.on_response(…)"
            )
        if not callable(each):
            advice = ": write ops.download(*layers), with the star" if type(each) in (list, tuple) else ""
            raise TypeError(f"download() takes layers, and {each!r} is none{advice}")
    return Download(layers or default_layers(), Wire() if fetch is None else fetch)
