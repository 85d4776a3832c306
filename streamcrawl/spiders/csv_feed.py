"""The spider that reads CSV feeds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from streamcrawl.errors import FlowError
from streamcrawl.records.csv import Ragged, csv_records
from streamcrawl.response import Response
from streamcrawl.spiders.feed_spider import FeedSpider, needs


class CSVFeedSpider(FeedSpider):
    """Calls `parse_row` for each row of the CSV feeds at `start_urls`, while they come."""

    delimiter: str | None = None
    """Between two fields; None: a comma."""
    quotechar: str | None = None
    """Around a field that has a delimiter or a line break in it; None: a double quote."""
    headers: Sequence[str] | None = None
    """The names of the columns; None: the first row has them."""
    ragged: Ragged = "skip"
    """What is done with a row that has not as many fields as there are names; see `csv_records`."""

    def parse_row(self, response: Response, row: dict[str, str], /, **kwargs: Any) -> Any:
        """Takes one row, by the names of the columns; gives what any callback gives. It may be `async`."""
        raise NotImplementedError

    def check(self) -> None:
        super().check()
        needs(type(self), "parse_row", CSVFeedSpider)
        try:
            self._records(Response("about:blank"), self.encoding)
        except (TypeError, ValueError) as error:
            raise FlowError(f"{type(self).__name__}: {error}") from error

    def _parse_record(self, response: Response, record: Any, **kwargs: Any) -> Any:
        return self.parse_row(response, record, **kwargs)

    def _records(self, response: Response, encoding: str | None) -> AsyncIterator[dict[str, str]]:
        return csv_records(
            response,
            delimiter="," if self.delimiter is None else self.delimiter,
            quotechar='"' if self.quotechar is None else self.quotechar,
            headers=self.headers,
            encoding=encoding,
            ragged=self.ragged,
            max_record=self.max_record,
        )
