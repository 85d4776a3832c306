"""The spider that follows links by rules."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import FunctionType
from typing import TYPE_CHECKING, Any, Protocol, cast

from streamcrawl.arguments import telling
from streamcrawl.core import Dropped, Failed, Request
from streamcrawl.errors import FlowError
from streamcrawl.items import is_item
from streamcrawl.response import Response
from streamcrawl.spiders.crawler import Crawler
from streamcrawl.spiders.spider import Spider, overridden
from streamcrawl.streams.errbacks import taken
from streamcrawl.streams.kinds import is_async_iterable, is_awaitable, is_several

if TYPE_CHECKING:
    from streamcrawl.links import Link


class Extractor(Protocol):
    """What finds the links of a page."""

    def extract_links(self, response: Response) -> list[Link]: ...


def _every_link() -> Extractor:
    from streamcrawl.links import LinkExtractor

    return LinkExtractor()


@telling
@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """Which links are followed, and what becomes of the pages that they lead to.

    Where a method may be given, its name may be given as well.

    Args:
        link_extractor: Finds the links; None: every link.
        callback: Takes the responses; None: they are looked at for links only.
        cb_kwargs: Further keyword arguments for `callback`.
        follow: Whether the links of those responses are followed by the rules in turn; None: if there is no `callback`.
        process_links: Takes the list of links of a page; gives those that are to be followed.
        process_request: Takes each Request, and the response that it was found on; gives it, changed or not, or None.
        errback: Takes the Failed or Dropped.

    Raises: TypeError for an argument of another kind.
    """

    link_extractor: Extractor | None = None
    callback: Callable[..., Any] | str | None = None
    cb_kwargs: Mapping[str, Any] | None = None
    follow: bool | None = None
    process_links: Callable[..., Any] | str | None = None
    process_request: Callable[..., Any] | str | None = None
    errback: Callable[..., Any] | str | None = None

    def __post_init__(self) -> None:
        given: object = self.link_extractor
        if isinstance(given, (str, re.Pattern)):
            raise TypeError(f"a Rule looks for links with {given!r}; write Rule(LinkExtractor(allow={given!r}))")


@dataclass(frozen=True, slots=True, eq=False)
class _Bound:
    """A rule with the methods of one spider."""

    extract: Callable[[Response], list[Link]]
    callback: Callable[..., Any] | None
    cb_kwargs: Mapping[str, Any]
    follow: bool
    process_links: Callable[..., Any] | None
    process_request: Callable[..., Any] | None
    errback: Callable[..., Any] | None


class CrawlSpider(Spider):
    """Follows the links of every page by its `rules`.

    Of each link the first rule whose extractor finds it has the say. What a rule's callback raises does not keep the
    links of its page from being followed. The requests have in their meta which "rule" they come of, by its number, and
    the "link_text".
    """

    rules: Sequence[Rule] = ()
    """The rules, in the order in which they are asked."""

    _follow_links = True

    def belong(self, crawler: Crawler) -> None:
        super().belong(crawler)
        self._follow_links = bool(crawler.settings.get("CRAWLSPIDER_FOLLOW_LINKS", True))

    def check(self) -> None:
        super().check()
        name = type(self).__name__
        if not self._bound and not any(
            overridden(type(self), each, CrawlSpider) for each in ("parse_start_url", "_parse")
        ):
            raise FlowError(
                f"{name} has no rules, so no page is made anything of; to take them with parse(), subclass Spider"
            )

    def parse_start_url(self, response: Response, /, *args: Any, **kwargs: Any) -> Any:
        """Takes the responses of the start; gives what a callback gives. By default nothing."""
        return ()

    def process_results(self, response: Response, results: Iterable[Any], /) -> Iterable[Any]:
        """Takes what a callback gave for a page; gives what is to go on. Of an async callback it gets a list."""
        return results

    async def parse_with_rules(
        self,
        response: Response,
        callback: Callable[..., Any] | None,
        cb_kwargs: Mapping[str, Any] | None = None,
        follow: bool = True,
    ) -> AsyncIterator[Any]:
        """What `callback` makes of the response, then the Requests for its links: for a callback of yours.

        Args:
            response: The page.
            callback: Takes it; None: nothing is made of it but links.
            cb_kwargs: For the callback.
            follow: Whether the links are followed.
        """
        outputs = self._by_rules(response, callback, cb_kwargs or {}, follow)
        if isinstance(outputs, Iterator):
            for output in outputs:
                yield output
        else:
            async for output in outputs:
                yield output

    def _parse(self, response: Response, **kwargs: Any) -> Any:
        return self._by_rules(response, self.parse_start_url, kwargs, True)

    def _callback(self, response: Response, **kwargs: Any) -> Any:
        """The callback of every request that a rule makes: a job finds it by name, and the rule by its number."""
        n: int = response.meta["rule"]
        rule = self._bound[n]
        return self._by_rules(response, rule.callback, {**rule.cb_kwargs, **kwargs}, rule.follow)

    def _errback(self, outcome: Failed | Dropped, **kwargs: Any) -> Any:
        n: int = outcome.request.meta["rule"]
        rule = self._bound[n]
        return None if rule.errback is None else rule.errback(outcome, **taken(rule.errback, kwargs))

    def _by_rules(
        self, response: Response, callback: Callable[..., Any] | None, cb_kwargs: Mapping[str, Any], follow: bool
    ) -> Iterator[Any] | AsyncIterator[Any]:
        links = self._links(response) if follow and self._follow_links else iter(())
        if callback is None:
            return links
        try:
            results = callback(response, **cb_kwargs)
        except Exception as error:
            return _then_raise(links, error)
        if is_awaitable(results) or is_async_iterable(results):
            return self._later(response, results, links)
        return self._now(response, results, links)

    def _now(self, response: Response, results: Any, links: Iterator[Any]) -> Iterator[Any]:
        raised: Exception | None = None
        try:
            yield from self.process_results(response, _several(results))
        except Exception as error:
            raised = error
        yield from links
        if raised is not None:
            raise raised

    async def _later(self, response: Response, results: Any, links: Iterator[Any]) -> AsyncIterator[Any]:
        raised: Exception | None = None
        try:
            if is_awaitable(results):
                results = await results
            if is_async_iterable(results):
                if type(self).process_results is CrawlSpider.process_results:
                    async for output in results:
                        yield output
                    results = ()
                else:
                    results = [output async for output in results]
            for output in self.process_results(response, _several(results)):
                yield output
        except Exception as error:
            raised = error
        for link in links:
            yield link
        if raised is not None:
            raise raised

    def _links(self, response: Response) -> Iterator[Request]:
        """A Request for each link, of the first rule that it matches. This runs for every link of every page."""
        if response.stream is not None or response.kind != "html":
            return
        make, site, jar = Request, response.request.site, response.request.cookiejar
        callback, errback = self._callback, self._errback
        seen: set[str] = set()
        for n, rule in enumerate(self._bound):
            links: Iterable[Link] = [link for link in rule.extract(response) if link.url not in seen]
            if rule.process_links is not None and links:
                links = rule.process_links(links) or ()
            hears, change = errback if rule.errback is not None else None, rule.process_request
            for link in links:
                url = link.url
                if url in seen:
                    continue
                seen.add(url)
                meta = {"rule": n, "link_text": link.text}
                request = make(url, callback=callback, errback=hears, meta=meta, site=site, cookiejar=jar)
                if change is not None:
                    request = change(request, response)
                    if request is None:
                        continue
                yield request

    @cached_property
    def _bound(self) -> tuple[_Bound, ...]:
        """Its rules, with its own methods in them. Raises: FlowError for a name that no method has."""
        bound: list[_Bound] = []
        rules: Any = self.rules
        if isinstance(rules, Rule):  # a comma is soon forgotten
            rules = (rules,)
        elif not isinstance(rules, Iterable):
            raise FlowError(f"{type(self).__name__}.rules is {rules!r}: make it a tuple of Rules")
        for n, rule in enumerate(cast("Iterable[Any]", rules)):
            if not isinstance(rule, Rule):
                raise FlowError(f"{type(self).__name__}.rules[{n}] is {rule!r}, and no Rule")
            extractor = rule.link_extractor or _every_link()
            callback = self._method(n, "callback", rule.callback)
            bound.append(
                _Bound(
                    extract=extractor.extract_links,
                    callback=callback,
                    cb_kwargs=dict(rule.cb_kwargs or {}),
                    follow=callback is None if rule.follow is None else rule.follow,
                    process_links=self._method(n, "process_links", rule.process_links),
                    process_request=self._method(n, "process_request", rule.process_request),
                    errback=self._method(n, "errback", rule.errback),
                )
            )
        return tuple(bound)

    def _method(self, n: int, what: str, given: Callable[..., Any] | str | None) -> Callable[..., Any] | None:
        if given is None:
            return None
        name = given.__name__ if isinstance(given, FunctionType) else ""
        if name and getattr(type(self), name, None) is given:
            given = name  # a function in the body of the class, before there was a spider
        found: Callable[..., Any] | None = getattr(self, given, None) if isinstance(given, str) else given
        if not callable(found):
            raise FlowError(f"{type(self).__name__}.rules[{n}]: {what} is {given!r}, and the spider has no such method")
        return found


def _several(results: Any) -> Iterable[Any]:
    if results is None:
        return ()
    if isinstance(results, (Request, str, bytes)) or is_item(results) or not is_several(results):
        return (results,)
    return results


def _then_raise(links: Iterator[Any], error: Exception) -> Iterator[Any]:
    yield from links
    raise error
