"""The spider as a class: where it starts, what it makes of pages, and what it keeps."""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Collection, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Self, TypeGuard, cast

from streamcrawl.core import Request
from streamcrawl.errors import FlowError
from streamcrawl.response import Response
from streamcrawl.scoping import domain_test
from streamcrawl.spiders.crawler import Crawler
from streamcrawl.spiders.settings import Settings
from streamcrawl.streams.kinds import is_async_iterable


class _State:
    """The `state` of a spider: no data descriptor, so that an argument of that name takes its place."""

    def __get__(self, spider: Spider | None, owner: type[Spider]) -> Any:
        if spider is None:
            return self
        crawler = vars(spider).get("crawler")
        if crawler is None:  # a spider by itself: in a test of its callbacks, for example
            return vars(spider).setdefault("_own_state", {})
        if crawler.run is None:
            raise RuntimeError(f"{owner.__name__}.state is there once the run has begun: in start() and in callbacks")
        return crawler.run.state("spider")


class Spider:
    """Where a crawl starts and what it makes of pages. Subclass it, and run it with `Crawl.of(MySpider, …)`.

    Every run makes an instance of its own. Arguments become attributes.

    Args:
        name: In place of the class's.
        arguments: Become attributes of the spider.

    Raises: ValueError if it has no name, for an argument that has the name of a method.
    """

    name: str
    """Names the spider: in the log, and on the command line."""
    start_urls: list[str]
    """Where `start` begins."""
    allowed_domains: list[str]
    """Links lead to these domains and their subdomains only; it may be changed while the run goes on.

    With none the crawl's own scope holds: the host of the start request that a link descends from.
    """
    handle_httpstatus_list: Collection[int]
    """Statuses outside 200-299 that its callbacks want; `handle_httpstatus_all = True`: every one."""
    custom_settings: ClassVar[Mapping[str, Any] | None] = None
    """Settings of this spider; see `Crawl.of` for those that have an effect."""
    crawler: Crawler
    """The crawl that it was made for; there is none in `__init__` yet."""
    settings: Settings
    """Those of its crawler."""
    state: ClassVar[Any] = _State()
    """What it remembers, a mapping of text to plain data; a job keeps it from run to run (`run.state("spider")`)."""

    def __init__(self, name: str | None = None, **arguments: Any) -> None:
        kind = type(self)
        if name is not None:
            self.name = name
        elif not getattr(self, "name", None):
            raise ValueError(no_name(kind))
        for each in ("start_urls", "allowed_domains"):
            value = inspect.getattr_static(kind, each, None)
            if value is None:
                setattr(self, each, [])
            elif isinstance(value, (list, set)):
                own = copy.copy(cast("list[str]", value))  # the class's would be shared by all runs
                setattr(self, each, own)
        for key, value in arguments.items():
            if callable(getattr(kind, key, None)):
                raise ValueError(
                    f"{kind.__name__}({key}={value!r}): {key} is a method of the spider; rename one of them"
                )
            setattr(self, key, value)

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        """A spider for this crawl. Override it to make one of what the crawler has: settings, stats, events."""
        spider = cls(*args, **kwargs)
        spider.belong(crawler)
        return spider

    def belong(self, crawler: Crawler) -> None:
        """From now on this is its crawler."""
        self.crawler = crawler
        self.settings = crawler.settings

    @classmethod
    def update_settings(cls, settings: Settings) -> None:
        """Put what the spider wants into `settings`: by default its `custom_settings`."""
        settings.update(cls.custom_settings or {})

    async def start(self) -> AsyncIterator[Any]:
        """Gives the Requests or URLs that the crawl starts from, and items if there are any, as they are asked for.

        By default what `start_requests` gives.
        """
        for element in self.start_requests():
            yield element

    def start_requests(self) -> Iterable[Any]:
        """The start of spiders that were written before there was `start`; by default of `start_urls`."""
        urls: Iterable[str] = getattr(self, "start_urls", None) or ()
        if not urls and getattr(self, "start_url", None):
            raise FlowError(f"{type(self).__name__} has no start_urls, but start_url: did you miss the 's'?")
        for url in urls:
            yield Request(url)

    def parse(self, response: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Takes the responses to requests without a callback; gives what any callback gives."""
        raise NotImplementedError(no_parse(type(self)))

    def _parse(self, response: Response, **kwargs: Any) -> Any:
        """The callback of `scrape`; spiders that read a page their own way override it."""
        return self.parse(response, **kwargs)

    def closed(self, reason: str) -> Awaitable[None] | None:
        """Called once, when the run has ended, after the last flush; it may be a coroutine. `reason`: "finished", …"""

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger of the spider's name."""
        return logging.LoggerAdapter(logging.getLogger(self.name), {"spider": self})

    def log(self, message: object, level: int = logging.DEBUG, **options: Any) -> None:
        """Tell the spider's logger."""
        self.logger.log(level, message, **options)

    def check(self) -> None:
        """Whether it can be run. Raises: FlowError, in one line."""
        check(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, 'name', '')!r}>"


def is_spider_class(value: object) -> TypeGuard[type[Spider]]:
    """Whether it is a class of spiders that can be run: one with a name."""
    return isinstance(value, type) and issubclass(value, Spider) and bool(getattr(value, "name", None))


def start_of(spider: Spider) -> Iterator[Any] | AsyncIterator[Any]:
    """What a crawl of the spider starts from, taken as it is asked for."""
    start = spider.start
    if getattr(start, "__func__", None) is Spider.start:
        return iter(spider.start_requests())  # the same, and no task for each of a million URLs
    if inspect.isasyncgenfunction(start) or inspect.isgeneratorfunction(start):
        return cast("Iterator[Any] | AsyncIterator[Any]", start())
    return _given(spider)


async def _given(spider: Spider) -> AsyncIterator[Any]:
    given: Any = spider.start()
    if inspect.iscoroutine(given):
        given.close()
        raise TypeError(f"{type(spider).__name__}.start() gives nothing: an async def that has no yield")
    if is_async_iterable(given):
        async for element in given:
            yield element
    else:
        for element in given:
            yield element


def check(spider: Spider | type[Spider]) -> None:
    """What a spider, or its class, says of itself makes sense. Raises: FlowError."""
    kind = spider if isinstance(spider, type) else type(spider)
    for name in ("start_urls", "allowed_domains"):
        value = getattr(spider, name, None)
        if isinstance(value, str):
            raise FlowError(f"{kind.__name__}.{name} is the text {value!r}: make it a list, [{value!r}]")
    domains = getattr(spider, "allowed_domains", None)
    if domains:
        try:
            domain_test(domains)
        except (ValueError, TypeError, AttributeError) as error:
            raise FlowError(f"{kind.__name__}.allowed_domains: {error}") from error
    statuses: Any = getattr(spider, "handle_httpstatus_list", ())
    if not isinstance(statuses, Collection) or not all(isinstance(status, int) for status in statuses):  # pyright: ignore[reportUnknownVariableType]
        raise FlowError(f"{kind.__name__}.handle_httpstatus_list is {statuses!r}: make it a list of numbers, [404]")
    if not any(overridden(kind, name) for name in ("parse", "_parse", "start", "start_requests")):
        raise FlowError(no_parse(kind))


def overridden(kind: type[Spider], name: str, of: type[Spider] | None = None) -> bool:
    """Whether a class of spiders has a method of this name that is not that of `of`, by default of Spider."""
    return getattr(kind, name) is not getattr(of or Spider, name)


def no_name(kind: type[Spider]) -> str:
    return f'{kind.__name__} has no name: write name = "…" in the class'


def no_parse(kind: type[Spider]) -> str:
    return f"{kind.__name__} has no parse(): it takes the responses to requests without a callback of their own"
