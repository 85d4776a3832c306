"""What a spider is told of the crawl that it is made for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from streamcrawl.core import Run
from streamcrawl.events import Events
from streamcrawl.spiders.settings import Settings
from streamcrawl.stats import Stats

if TYPE_CHECKING:
    from streamcrawl.spiders.spider import Spider

ELSEWHERE = {
    "engine": "crawler.run: crawler.run.end(reason) ends the crawl",
    "extensions": "crawler.events: crawler.events.on(RunFinished, function)",
    "get_downloader_middleware": "Crawl.of(…).replace(download=ops.download(layer, …))",
    "get_item_pipeline": "ops.pipeline(…)",
    "get_spider_middleware": "Crawl.of(…).replace(layers=(layer, …))",
    "request_fingerprinter": "Request(fingerprint_headers=…, keep_fragments=…)",
    "signals": "crawler.events: crawler.events.on(RunFinished, function)",
}
"""What Scrapy's crawlers have besides, and what takes its place."""


class Crawler:
    """One crawl of one spider: made before the spider, and given to its `from_crawler`.

    Args:
        spidercls: The spider's class.
        settings: As `update_settings` left them; read only.
        events: The hub that hears the events of the run to come.
    """

    def __init__(self, spidercls: type[Spider], settings: Mapping[str, Any], events: Events) -> None:
        self.spidercls = spidercls
        self.settings = Settings(settings, frozen=True)
        self.events = events
        self.stats = Stats()
        self.spider: Spider | None = None
        """The spider, once it is made."""
        self.run: Run | None = None
        """The run, once there is one: after `from_crawler`, before `start`."""

    def __getattr__(self, name: str) -> Any:
        """Raises: AttributeError, which says what there is in place of what Scrapy's crawlers have."""
        known = f"; there is {ELSEWHERE[name]}" if name in ELSEWHERE else ""
        raise AttributeError(f"a crawler has no {name!r}{known}")

    def __repr__(self) -> str:
        state = "before its run" if self.run is None else f"in {self.run.id}"
        return f"<Crawler of {self.spidercls.__name__}, {state}>"
