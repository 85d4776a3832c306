"""A spider as a crawl: a cold description, of which every run makes a spider of its own."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from types import NoneType
from typing import TYPE_CHECKING, Any, cast

from streamcrawl.arguments import meant, unknown_in
from streamcrawl.core import ScrapeLayer
from streamcrawl.errors import FlowError, StreamcrawlError
from streamcrawl.events import Events, Notice, RunStarted
from streamcrawl.mistakes import said
from streamcrawl.operators.download import Download
from streamcrawl.operators.scrape import Scrape, scrape
from streamcrawl.spiders.allowed_domains import AllowedDomains, allowed_domains
from streamcrawl.spiders.crawler import Crawler
from streamcrawl.spiders.settings import Settings, unread
from streamcrawl.spiders.spider import Spider, check, no_name, start_of

if TYPE_CHECKING:
    from streamcrawl.crawl.crawl import Crawl
    from streamcrawl.crawl.run import Run


@dataclass(frozen=True, slots=True, eq=False)
class OfSpider:
    """Which spider is to be made, and of what: the start of its crawl, and its callback, until a run binds them."""

    spider: type[Spider]
    arguments: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.spider.__name__}.parse"

    @property
    def __name__(self) -> str:
        return f"{self.spider.__name__}.start"

    def make(self, crawler: Crawler) -> Spider:
        """A spider for one run. Raises: FlowError."""
        try:
            spider = self.spider.from_crawler(crawler, **self.arguments)
        except StreamcrawlError:
            raise
        except Exception as error:
            raise FlowError(f"{self!r} cannot be made: {said(error)}") from error
        if not isinstance(spider, Spider):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
            raise FlowError(f"{self.spider.__name__}.from_crawler() gave {spider!r}, and no spider")
        spider.belong(crawler)
        crawler.spider = spider
        if not getattr(spider, "name", None):
            raise FlowError(no_name(self.spider))
        spider.check()
        return spider

    def __call__(self, *arguments: Any) -> Any:
        raise FlowError(f"{self!r} has no spider yet: its crawl makes one for each run")

    def __aiter__(self) -> AsyncIterator[Any]:
        raise FlowError(f"{self!r} has no spider yet: its crawl makes one for each run")

    def __repr__(self) -> str:
        return f"{self.spider.__name__}({', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"


def of_spider(spider: type[Spider], arguments: Mapping[str, Any]) -> OfSpider:
    """What is known of a spider before it is made. Raises: TypeError, FlowError for what cannot be right."""
    if isinstance(spider, Spider):
        raise TypeError(f"Crawl.of() takes the class, {type(spider).__name__}: every run makes a spider of its own")
    if not (isinstance(spider, type) and issubclass(spider, Spider)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"Crawl.of() takes a class of spiders, and {spider!r} is none")
    custom = spider.__init__ is not Spider.__init__ or overridden_from_crawler(spider)
    if not isinstance(spider.custom_settings, (Mapping, NoneType)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise FlowError(f"{spider.__name__}.custom_settings is {spider.custom_settings!r}: make it a dict")
    if not (getattr(spider, "name", None) or arguments.get("name") or custom):
        raise FlowError(no_name(spider))
    check(spider)
    settings = Settings()
    spider.update_settings(settings)
    made = OfSpider(spider, dict(arguments), settings)
    takes = spider.from_crawler if overridden_from_crawler(spider) else spider
    try:
        inspect.signature(takes).bind(*([None] if takes is not spider else ()), **arguments)
    except TypeError as error:
        unknown = unknown_in(takes, arguments)
        hint = f"; {meant(takes, unknown)}" if unknown else ""
        raise FlowError(f"{made!r} cannot be made: {error}{hint}") from error
    return made


def overridden_from_crawler(spider: type[Spider]) -> bool:
    return getattr(spider.from_crawler, "__func__", None) is not getattr(Spider.from_crawler, "__func__", None)


def bind(crawl: Crawl[Any]) -> tuple[Crawl[Any], Crawler | None]:
    """The crawl with a new spider in it, and that spider's crawler; a crawl of no spider as it is.

    Raises: FlowError.
    """
    described = None if crawl.pipes.scrape is None else crawl.pipes.scrape.callback
    if not isinstance(described, OfSpider):
        return crawl, None
    crawler = Crawler(described.spider, described.settings, Events(parent=crawl.events))
    spider = described.make(crawler)
    changes: dict[str, Any] = {}
    if isinstance(crawl.start_source, OfSpider):
        changes["start"] = start_of(spider)
    if crawl.options.scope is allowed_domains:
        changes["scope"] = AllowedDomains(spider)
    made = crawl.replace(**changes, callback=spider._parse)  # pyright: ignore[reportPrivateUsage] - overridden by spiders
    made.events = crawler.events
    return made, crawler


def begun(crawler: Crawler, run: Run) -> None:
    """The spider's run has come: it has stats and a state now, and will be told of the end."""
    crawler.run = run
    crawler.stats.adopt(run.stats, run)
    spider = crawler.spider
    assert spider is not None

    async def close() -> None:
        ended = spider.closed("failed" if run.error is not None else run.reason)
        if inspect.isawaitable(ended):
            await ended

    run.closing(close)
    told = list(unread(crawler.settings, attributes_of(spider), repr(spider.name)))

    def tell(_: RunStarted) -> None:
        for level, text in told:
            run.events.emit(Notice(text=text, level=level))

    if told:
        crawler.events.on(RunStarted, tell)


def attributes_of(spider: Spider) -> set[str]:
    """The names that its classes and it itself give something to."""
    return {name for kind in type(spider).__mro__[:-1] for name in vars(kind)} | set(vars(spider))


def exchanged(
    operators: Iterable[Any], download: Any = None, layers: Iterable[ScrapeLayer] | None = None, callback: Any = None
) -> tuple[Any, ...]:
    """The operators of a pipe with another download, other scrape layers, or another callback.

    Raises: TypeError for a download that is none, FlowError if there is nothing to take the place of.
    """
    if download is not None and not isinstance(download, Download):
        raise TypeError(f"replace(download=…) takes ops.download(…), and {download!r} is none")
    made: list[Any] = []
    for operator in operators:
        if download is not None and isinstance(operator, Download):
            made.append(download)
            download = None
        elif isinstance(operator, Scrape):
            kept = scrape(operator.callback, *layers, errback=operator.errback) if layers is not None else operator
            made.append(kept if callback is None else replace(cast(Scrape, kept), callback=callback))
            layers = callback = None
        else:
            made.append(operator)
    if download is not None or layers is not None or callback is not None:
        raise FlowError(f"the pipe has no {'download' if download is not None else 'scrape'}() to replace")
    return tuple(made)
