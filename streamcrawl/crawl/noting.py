"""What a job notes of a page: how it was visited, and what the next crawl compares with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streamcrawl.core import Dropped, Failed, Lease, Visit
from streamcrawl.events import PageDiffers
from streamcrawl.response import Response, body_digest

if TYPE_CHECKING:
    from streamcrawl.crawl.run import Run

UNCHANGED = ("not modified", "unchanged")
"""Why a page that was visited before is dropped, and keeps its visit."""


def note(run: Run, lease: Lease, outcome: Response | Failed | Dropped) -> None:
    """Note an outcome on its lease; that it failed is noted when its errback is done."""
    if isinstance(outcome, Dropped):
        if lease.visit is not None and outcome.reason in UNCHANGED:
            lease.found = msgspec.structs.replace(lease.visit, fetched=run.now())
        else:
            lease.verdict, lease.reason = "dropped", outcome.reason
    elif isinstance(outcome, Response):
        headers = outcome.headers
        digest = body_digest(outcome.body) if outcome.stream is None else b""
        lease.found = Visit(run.now(), headers.get("etag"), headers.get("last-modified"), digest)
        before = lease.progress.digest if lease.progress is not None else b""
        if before and before != digest and run.events.wants(PageDiffers):
            run.events.emit(PageDiffers(request=lease.request))
