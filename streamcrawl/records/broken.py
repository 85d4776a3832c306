"""What is raised for a feed that cannot be read on."""

from __future__ import annotations

from streamcrawl.errors import StreamcrawlError


class BrokenFeed(StreamcrawlError):
    """The feed is not what it should be from here on; the records before it were given.

    Args:
        url: Of the feed.
        why: What is wrong, with its place.
        records: How many records came before.
    """

    def __init__(self, url: str, why: str, records: int) -> None:
        super().__init__(f"{url}: {why} (after {records} records)")
        self.why = why
        self.records = records
