"""The spider that goes where sitemaps lead."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, cast
from urllib.parse import urlsplit

from streamcrawl.backoff import transient
from streamcrawl.core import Failed, Request
from streamcrawl.errors import FetchError, FlowError
from streamcrawl.events import Notice
from streamcrawl.response import Response
from streamcrawl.retrying import get_retry_request
from streamcrawl.robots_parsers import sitemaps_in
from streamcrawl.spiders.sitemaps import Entry, NotASitemap, Sitemap, spooled
from streamcrawl.spiders.spider import Spider, no_parse, overridden
from streamcrawl.urls import host_of

ROBOTS_SIZE = 512 * 1024
"""Bytes of a robots.txt that are read. Source: RFC 9309 §2.5."""


class SitemapSpider(Spider):
    """Requests the pages that sitemaps name: of indexes, of gzip files, of what a robots.txt names, in bounded memory.

    Sitemaps are XML, RSS, Atom, or plain text with a URL in each line.
    """

    sitemap_urls: Sequence[str] = ()
    """Sitemaps, and robots.txt files that name some."""
    sitemap_rules: Sequence[tuple[str | re.Pattern[str], str | Callable[..., Any]]] = (("", "parse"),)
    """(pattern, callback or its name): the first whose pattern is found in a URL takes the page."""
    sitemap_follow: Sequence[str | re.Pattern[str]] = ("",)
    """Of the sitemaps in an index those are read whose URL one of these patterns is found in."""
    sitemap_alternate_links: bool = False
    """Whether the pages in other languages that an entry names are requested as well."""
    sitemap_max_size: int = 100 * 1024 * 1024
    """Bytes of a sitemap, uncompressed; the protocol allows 50 MiB. One that is longer is not read at all."""
    sitemap_max_depth: int = 5
    """Indexes within indexes."""

    def start_requests(self) -> Iterator[Request]:
        for url in self.sitemap_urls:
            yield self._sitemap(url)

    def sitemap_filter(self, entries: Iterable[Entry], /) -> Iterable[Entry]:
        """Takes the entries of one sitemap, `entries.type` says of what kind; gives those that are wanted.

        An entry is a dict: "loc", and "lastmod", "changefreq", "priority" and "alternate" if it has them.
        """
        return entries

    def check(self) -> None:
        super().check()
        if isinstance(self.sitemap_urls, str):
            raise FlowError(f"{type(self).__name__}.sitemap_urls is the text {self.sitemap_urls!r}: make it a list")
        kind = type(self)
        if (
            not self.sitemap_urls
            and not overridden(kind, "start")
            and not overridden(kind, "start_requests", SitemapSpider)
        ):
            raise FlowError(f"{type(self).__name__} has no sitemap_urls")
        _ = self._follow
        if any(callback == self.parse for _, callback in self._rules) and not overridden(type(self), "parse"):
            raise FlowError(no_parse(type(self)))

    @cached_property
    def _rules(self) -> tuple[tuple[Callable[[str], Any], Callable[..., Any]], ...]:
        rules: list[tuple[Callable[[str], Any], Callable[..., Any]]] = []
        for n, (pattern, given) in enumerate(self.sitemap_rules):
            found: Any = getattr(self, given, None) if isinstance(given, str) else given
            if not callable(found):
                raise FlowError(f"{type(self).__name__}.sitemap_rules[{n}]: {given!r} is no method of the spider")
            rules.append((self._searching("sitemap_rules", n, pattern), found))
        return tuple(rules)

    @cached_property
    def _follow(self) -> tuple[Callable[[str], Any], ...]:
        return tuple(self._searching("sitemap_follow", n, pattern) for n, pattern in enumerate(self.sitemap_follow))

    def _searching(self, name: str, n: int, pattern: str | re.Pattern[str]) -> Callable[[str], Any]:
        try:
            return re.compile(pattern).search
        except (re.error, TypeError) as error:
            raise FlowError(f"{type(self).__name__}.{name}[{n}] is {pattern!r}, and no pattern: {error}") from error

    def _sitemap(self, url: str, level: int = 0, **options: Any) -> Request:
        if level:
            options["cb_kwargs"] = {"level": level}
        return Request(url, callback=self._parse_sitemap, stream=True, max_size=self.sitemap_max_size, **options)

    async def _parse_sitemap(self, response: Response, level: int = 0) -> Iterable[Any]:
        """The callback of sitemaps and robots.txt files; `level` is how many indexes led here."""
        chunks = cast("AsyncIterable[bytes]", response.stream) if response.stream is not None else _whole(response)
        try:
            if urlsplit(response.url).path.endswith("/robots.txt"):
                return self._named(response, await _beginning(chunks, ROBOTS_SIZE))
            file = await spooled(chunks, response.url, self.sitemap_max_size)
        except FetchError as error:
            # Nothing was made of it yet, so it may come again.
            again = get_retry_request(response.request, reason=error) if _passing(response, error) else None
            if again is None:
                raise
            return (again,)
        return self._pages(Sitemap(file, response.url), response, level)

    def _named(self, response: Response, robots: bytes) -> Iterator[Request]:
        for url in sitemaps_in(robots, response.url):
            # The owner of the site names them, wherever they lie.
            yield self._sitemap(url, site=response.request.site, skip=("scope",))

    def _pages(self, sitemap: Sitemap, response: Response, level: int) -> Iterator[Request | None]:
        if not sitemap.type:
            self._tell("invalid", f"{response.url} is no sitemap")
            return
        index = sitemap.type == "sitemapindex"
        if index and level >= self.sitemap_max_depth:
            self._tell("too_deep", f"{response.url}: {level} indexes lead to this one; those in it are not read")
            return
        make = self._of_index(response, level) if index else self._of_page(response)
        try:
            for entry in self.sitemap_filter(sitemap):
                yield make(entry["loc"])
                if self.sitemap_alternate_links:
                    for url in entry.get("alternate", ()):
                        yield make(url)
        except NotASitemap as error:
            self._tell("invalid", str(error))
        if sitemap.broken:
            self._tell("broken", f"{response.url} is not well-formed; what could be read of it was taken")

    def _of_index(self, response: Response, level: int) -> Callable[[str], Request | None]:
        follow, site, here = self._follow, response.request.site, host_of(response.url)

        def made(url: str) -> Request | None:
            url = _absolute(response, url)
            if not any(search(url) for search in follow):
                return self._count("ignored")
            # Those beside their index belong to it, though it may lie on another host than the site.
            beside = ("scope",) if here != site and host_of(url) == here else ()
            return self._sitemap(url, level + 1, site=site, skip=beside)

        return made

    def _of_page(self, response: Response) -> Callable[[str], Request | None]:
        rules, site, jar = self._rules, response.request.site, response.request.cookiejar

        def made(url: str) -> Request | None:
            url = _absolute(response, url)
            for search, callback in rules:
                if search(url):
                    return Request(url, callback=callback, site=site, cookiejar=jar)
            return self._count("ignored")

        return made

    def _tell(self, what: str, text: str) -> None:
        self._count(what)
        run = self.crawler.run if hasattr(self, "crawler") else None
        if run is not None and run.events.wants(Notice):
            run.events.emit(Notice(text=text, level="warning"))

    def _count(self, what: str) -> Request | None:
        # None goes to the crawl, which then sees whether others are to get their turn.
        if hasattr(self, "crawler"):
            self.crawler.stats.inc_value(f"sitemap/{what}")
        return None


def _passing(response: Response, error: FetchError) -> bool:
    return transient(Failed(response.request, error))


def _absolute(response: Response, url: str) -> str:
    return url if "://" in url else response.urljoin(url)


async def _whole(response: Response) -> AsyncIterator[bytes]:
    yield response.body


async def _beginning(chunks: AsyncIterable[bytes], size: int) -> bytes:
    found = b""
    async for chunk in chunks:
        found += chunk
        if len(found) >= size:
            break
    return found[:size]
