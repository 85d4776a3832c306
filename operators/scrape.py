"""Responses become items, and the links in them new Requests: the spider."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from reactivex import Observable, abc
from reactivex import operators as rx

from streamcrawl.core import RUN, Callback, Done, Errback, ScrapeLayer, Scraper
from streamcrawl.operators.copied_fields import copied_fields
from streamcrawl.operators.default_layers import where_it_goes
from streamcrawl.operators.depth import depth
from streamcrawl.operators.http_error import http_error
from streamcrawl.operators.referer import referer
from streamcrawl.operators.url_length import url_length
from streamcrawl.streams.layer import NamedLayer
from streamcrawl.streams.local import by_itself
from streamcrawl.streams.scraper import calling

_DEFAULTS: dict[str, Callable[[], ScrapeLayer]] = {
    "http_error": http_error,
    "referer": referer,
    "url_length": url_length,
    "depth": depth,
    "copied_fields": copied_fields,
}
"""The outermost first."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """What `scrape` returns: the callback, and the layers around it."""

    callback: Callback
    errback: Errback | None
    layers: tuple[ScrapeLayer, ...]
    carries_leases: ClassVar[bool] = True
    name: ClassVar[str] = "scrape"

    def scraper(self) -> Scraper:
        """The layers around the callback."""
        made: Scraper = calling(self.callback, self.errback)
        for layer in reversed(self.layers):
            made = layer(made)
        return made

    def __call__(self, outcomes: Observable[Any]) -> Observable[Any]:
        def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            if RUN.get(None) is not None:
                return self.scraper()(outcomes).subscribe(lower, scheduler=scheduler)
            return by_itself(self._outputs, outcomes, lower)

        return Observable(subscribe)

    def _outputs(self, outcomes: Observable[Any]) -> Observable[Any]:
        return self.scraper()(outcomes).pipe(rx.filter(lambda output: not isinstance(output, Done)))


MIDDLEWARE = ("process_spider_input", "process_spider_output", "process_spider_output_async", "process_start")
"""Methods by which Scrapy's spider middlewares are known."""


def scrape(
    callback: Callback, *layers: ScrapeLayer, errback: Errback | None = None, defaults: bool = True
) -> Callable[[Observable[Any]], Observable[Any]]:
    """Each Response goes to `callback`; the items that it yields go on, its Requests go back to the frontier.

    The default layers are http_error, referer, url_length, depth and copied_fields. A layer given here takes the place
    of the default of its name; others stand inside them, nearest to the callback.

    Args:
        callback: Takes a Response; a function, generator, coroutine, async generator or method. It gives items (dict,
            or a dataclass, attrs, pydantic or msgspec object), Requests and None.
        layers: Scrape layers, the outermost first.
        errback: Takes a Failed or a Dropped, for requests that have none of their own. Links that never became requests
            (duplicates, off-site) are told to an errback of their own only.
        defaults: False: exactly `layers`.

    Emits: items. With no Crawl around it, Requests too.
    Raises: TypeError for what is not callable, when built.
    """
    for each in layers:
        if any(hasattr(each, name) for name in MIDDLEWARE):
            raise TypeError(
                f"scrape() takes scrape layers, and {each!r} is a spider middleware of Scrapy: its methods are "
                "hooks of streamcrawl.streams.scrape_layer.scrape_layer(name, make)"
            )
    for each in (callback, *layers, *(() if errback is None else (errback,))):
        if not callable(each):
            raise TypeError(f"scrape() takes a callback and layers, and {each!r} is not callable")
        if isinstance(each, NamedLayer):
            raise TypeError(where_it_goes(each.name))
    given = {str(getattr(layer, "name", "")): layer for layer in layers}
    outer = [given[name] if name in given else make() for name, make in _DEFAULTS.items()] if defaults else []
    inner = [layer for layer in layers if layer not in outer]
    return Scrape(callback, errback, (*outer, *inner))
