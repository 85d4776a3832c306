"""What the spiders that read feeds have in common: how a feed is had, and what is made of its records."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from streamcrawl.backoff import transient
from streamcrawl.core import RUN, Failed, Request
from streamcrawl.errors import FetchError, FlowError, OperatorError
from streamcrawl.items import is_item
from streamcrawl.records.body import MAX_SIZE
from streamcrawl.records.xml import MAX_RECORD
from streamcrawl.response import Response
from streamcrawl.retrying import get_retry_request
from streamcrawl.spiders.spider import Spider, overridden
from streamcrawl.streams.edges import item_failed
from streamcrawl.streams.kinds import is_async_iterable, is_awaitable, is_several


class FeedSpider(Spider):
    """A spider whose start_urls are feeds: each record of one is given to a method as soon as it has come.

    A record for which that method raises is that record's failure: counted and told as a failed item (`Drop`: as a
    dropped one), and the feed goes on.
    """

    stream: bool | None = None
    """Whether a feed is read while it comes; None: unless `adapt_response` is a plain function: it wants all."""
    encoding: str | None = None
    """Of the feeds, if it is known better than they know."""
    max_size: int = MAX_SIZE
    """Bytes of one feed, decoded. It is read in bounded memory, whatever its size."""
    max_record: int = MAX_RECORD
    """Bytes of one record."""

    def start_requests(self) -> Iterator[Any]:
        stream = self._streams()
        for request in super().start_requests():
            yield request.replace(stream=stream, max_size=self.max_size)

    def adapt_response(self, response: Response, /) -> Any:
        """Takes the feed before it is parsed; gives it, or another Response. It may be `async` and await `read()`."""
        return response

    def process_results(self, response: Response, results: Iterable[Any], /) -> Any:
        """Takes the items and Requests of one record; gives those that go on."""
        return results

    def _streams(self) -> bool:
        if self.stream is not None:
            return self.stream
        return type(self).adapt_response is FeedSpider.adapt_response or inspect.iscoroutinefunction(
            self.adapt_response
        )

    def _records(self, response: Response, encoding: str | None) -> AsyncIterator[Any]:
        raise NotImplementedError

    def _parse_record(self, response: Response, record: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    async def _parse(self, response: Response, **kwargs: Any) -> AsyncIterator[Any]:
        adapted: Any = self.adapt_response(response)
        if is_awaitable(adapted):
            adapted = await adapted
        if not isinstance(adapted, Response):
            raise TypeError(f"{type(self).__name__}.adapt_response gave {adapted!r}, which is no Response")
        encoding = self.encoding
        if encoding is None and adapted is not response and adapted.stream is None:
            encoding = adapted.encoding  # whoever made it may have said
        count = 0
        try:
            async for record in self._records(adapted, encoding):
                count += 1
                for output in await self._results(adapted, record, kwargs):
                    yield output
        except FetchError as error:
            failed = Failed(response.request, error)
            again = get_retry_request(response.request, reason=error) if not count and transient(failed) else None
            if again is None:
                raise
            yield again  # nothing was made of it yet, so it may come again

    async def _results(self, response: Response, record: Any, kwargs: dict[str, Any]) -> Iterable[Any]:
        try:
            results = await self._several(self._parse_record(response, record, **kwargs))
            return await self._several(self.process_results(response, results), "process_results")
        except Exception as error:
            run = RUN.get(None)
            if run is None:
                raise
            wrapped = OperatorError(type(self).__name__, error)
            wrapped.__cause__ = error
            item_failed(run, record, wrapped)
            return ()

    async def _several(self, result: Any, method: str = "") -> list[Any]:
        """The items and Requests that a method gave, in whichever way."""
        if is_awaitable(result):
            result = await result
        if isinstance(result, Request) or is_item(result):
            return [result]
        if result is None and not method:
            return []
        if is_async_iterable(result):
            return [each async for each in result]
        if is_several(result):
            return list(result)
        raise TypeError(f"{method or 'the method for one record'} gave {result!r}: give items and Requests")

    def check(self) -> None:
        super().check()
        if self.max_record < 1:
            raise FlowError(f"{type(self).__name__}.max_record is {self.max_record}: bytes, 1 or more")


def needs(kind: type[Spider], method: str, above: type[Spider]) -> None:
    """Raises: FlowError if the class has no method of its own for a record."""
    if not overridden(kind, method, above):
        raise FlowError(f"{kind.__name__} has no {method}(): it takes one record after the other")
