"""Links that were refused on their way to the frontier, and whose errback hears of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamcrawl.core import Dropped, Lease, Request
from streamcrawl.response import Response

if TYPE_CHECKING:
    from streamcrawl.crawl.run import Run

REFUSED, FAILED = 1 << 41, 1 << 61
"""Where the ordinals begin of what errbacks give for refused links: of pages, and of failed ones."""


class Refusing:
    """Tells errbacks, from the loop and not within the page; what they give belongs to the page that gave the link."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.telling = 0
        """Refused links whose errback has not finished."""

    def __call__(self, request: Request, reason: str, lease: Lease | None, nth: int) -> None:
        """`request` was refused; it is link `nth` of those counted on `lease`."""
        run = self._run
        if isinstance(run.page, Dropped):
            return  # yielded by an errback for what was refused: it would go round for ever
        self.telling += 1
        told = Lease(run.nested.next_id(), request, "", self._told)
        told.answered = True
        if lease is not None:
            page = told.parent = lease.page
            page.hold()
            told.progress = page.progress
            told.base = REFUSED + (nth << 20) + (0 if isinstance(run.page, Response) else FAILED)
        run.loop.call_soon(run.into_scraper, told, Dropped(request, reason), context=run.context)

    def by_layer(self, dropped: Dropped) -> None:
        """A scrape layer refused a link."""
        extent, nth = self._run.extent, 0
        lease = extent.leases[0] if extent is not None and extent.leases else None
        if lease is not None:
            nth, lease.links = lease.links, lease.links + 1
        self(dropped.request, dropped.reason, lease, nth)

    def _told(self, lease: Lease) -> None:
        """An errback has heard of it, and its items are with every sink."""
        self._run.budget.charge(lease, 0)
        page = lease.parent
        if page is not None:
            page.scraped |= lease.scraped
            page.cut |= lease.cut
            page.release()

    def __repr__(self) -> str:
        return f"<Refusing: {self.telling} errbacks under way>"
