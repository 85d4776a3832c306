"""What is told of files and pictures while a run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamcrawl.core import Request
from streamcrawl.events import Event


class MediaStored(Event, frozen=True):
    """A file is in the store: `report["status"]` says whether it was downloaded, cached or uptodate."""

    request: Request
    report: Mapping[str, Any]


class MediaFailed(Event, frozen=True):
    """A file could not be had or stored; its item goes on. `error` says why."""

    request: Request
    error: str
