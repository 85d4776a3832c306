"""The spider that reads XML feeds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from streamcrawl.errors import FlowError
from streamcrawl.records.xml import wanted, xml_records
from streamcrawl.response import Response
from streamcrawl.spiders.feed_spider import FeedSpider, needs

if TYPE_CHECKING:
    from parsel import Selector

NodeIterator: TypeAlias = Literal["iternodes", "xml", "html"]


class XMLFeedSpider(FeedSpider):
    """Calls `parse_node` for each record of the XML feeds at `start_urls`, while they come."""

    iterator: NodeIterator = "iternodes"
    """How the records are found: "iternodes" while the feed comes, in bounded memory; "xml" and "html" when it is there
    as a whole, which forgives what is not well-formed."""
    itertag: str = "item"
    """The name of the element that is a record: "item", or "media:item" with its prefix."""
    namespaces: Sequence[tuple[str, str]] = ()
    """(prefix, URI), for `itertag` and for selecting in the records."""

    def parse_node(self, response: Response, selector: Selector, /, **kwargs: Any) -> Any:
        """Takes one record; gives what any callback gives. It may be `async`."""
        raise NotImplementedError

    def check(self) -> None:
        super().check()
        name = type(self).__name__
        needs(type(self), "parse_node", XMLFeedSpider)
        if self.iterator not in get_args(NodeIterator):
            raise FlowError(f"{name}.iterator is {self.iterator!r}: one of {', '.join(get_args(NodeIterator))}")
        try:
            wanted(self.itertag, dict(self.namespaces))
        except (TypeError, ValueError) as error:
            raise FlowError(f"{name}.itertag or {name}.namespaces: {error}") from error

    def _streams(self) -> bool:
        return self.iterator == "iternodes" and super()._streams()

    def _parse_record(self, response: Response, record: Any, **kwargs: Any) -> Any:
        return self.parse_node(response, record, **kwargs)

    def _records(self, response: Response, encoding: str | None) -> AsyncIterator[Selector]:
        if self.iterator == "iternodes":
            return xml_records(
                response, self.itertag, namespaces=self.namespaces, encoding=encoding, max_record=self.max_record
            )
        return self._nodes(response)

    async def _nodes(self, response: Response) -> AsyncIterator[Selector]:
        from parsel import Selector

        await response.read()
        if self.encoding is not None:
            response = response.replace(encoding=self.encoding)
        page = Selector(text=response.text, type=self.iterator, namespaces=dict(self.namespaces))
        for node in page.xpath(f"//{self.itertag}"):
            yield node
