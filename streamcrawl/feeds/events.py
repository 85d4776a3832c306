"""What feeds tell, and count."""

from __future__ import annotations

from dataclasses import dataclass

from streamcrawl.core import Run
from streamcrawl.events import Event, Notice
from streamcrawl.storage.objects import shown
from streamcrawl.streams.counting import count


class FeedStored(Event, frozen=True):
    """A feed, or a part of one, is whole and where it belongs.

    `part`: its number, from 1; 0: the feed has no parts. `items`: how many this run has written to it. `size`: bytes.
    """

    uri: str
    part: int
    items: int
    size: int


STORAGES = {
    "": "FileFeedStorage",
    "-": "StdoutFeedStorage",
    "file": "FileFeedStorage",
    "ftp": "FTPFeedStorage",
    "ftps": "FTPFeedStorage",
    "gcs": "GCSFeedStorage",
    "gs": "GCSFeedStorage",
    "s3": "S3FeedStorage",
    "s3a": "S3FeedStorage",
}
"""The names by which Scrapy counts; a scheme that it does not have is counted by its own."""


@dataclass(frozen=True, slots=True)
class Told:
    """Where a feed's successes and failures are told."""

    run: Run
    uri: str

    def stored(self, uri: str, part: int, items: int, size: int) -> None:
        self._count("success")
        if self.run.events.wants(FeedStored):
            self.run.events.emit(FeedStored(uri=shown(uri), part=part, items=items, size=size))

    def failed(self) -> None:
        self._count("failed")

    def notice(self, text: str) -> None:
        if self.run.events.wants(Notice):
            self.run.events.emit(Notice(text=f"feed {shown(self.uri)}: {text}", level="warning"))

    def _count(self, what: str) -> None:
        scheme = "-" if self.uri == "-" else self.uri.partition("://")[0].lower() if "://" in self.uri else ""
        name = STORAGES.get(scheme) or f"{scheme.upper()}FeedStorage"
        key = f"feedexport/{what}_count/{name}"
        count(self.run.stats, key)
