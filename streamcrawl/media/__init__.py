"""Files and pictures that items name, fetched and stored."""

from streamcrawl.media.events import MediaFailed, MediaStored
from streamcrawl.media.options import FilePath, GetMediaRequests, ItemCompleted, MediaDownloaded, Report

__all__ = [
    "FilePath",
    "GetMediaRequests",
    "ItemCompleted",
    "MediaDownloaded",
    "MediaFailed",
    "MediaStored",
    "Report",
]
