"""What a run tells whoever wrote its flow: mistakes that raise nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from streamcrawl.core import Dropped, Failed, Lease, Request
from streamcrawl.crawl.noting import UNCHANGED
from streamcrawl.errors import CallbackError
from streamcrawl.events import Notice
from streamcrawl.mistakes import own_function, paused_at, written_at
from streamcrawl.spiders.allowed_domains import AllowedDomains
from streamcrawl.urls import hostname_of, masked, registrable_domain

if TYPE_CHECKING:
    from streamcrawl.crawl.run import Run

TOLD = 3
"""How many start requests that were dropped are told of one by one."""

KINDS = 8
"""How many reasons are told of the others."""

EXPECTED = ("duplicate", *UNCHANGED)
"""Reasons to drop a start request that nobody has to hear of."""


class Advice:
    """The mistakes of one run, as far as they are to be told when it ends."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._nones = 0
        """Pages for which a callback has returned None."""
        self._function: Callable[..., Any] | None = None
        """The last one that did."""
        self._dropped: Counter[str] = Counter()
        """Start requests that were dropped, by reason."""
        self._told: Counter[str] = Counter()

    def gave_none(self, function: Callable[..., Any]) -> None:
        """A callback has returned None for a page."""
        self._nones += 1
        self._function = function

    def wrong_link(self, parent: Request, text: str, lease: Lease | None) -> None:
        """A callback has yielded a Request that cannot be asked for: an error of it, but what follows is taken.

        Args:
            parent: What the callback was called for.
            text: The Request, and what is wrong with it.
            lease: That of the page.
        """
        run = self._run
        where = paused_at(run.source) or self._callback_of(parent)
        told = f"the {'callback' if self._answered() else 'errback'} for {masked(parent.url)} yielded {text}"
        run.callback_failed(parent, lease, CallbackError(f"{told} ({where})" if where else told))

    def _callback_of(self, request: Request) -> str:
        """Where the callback begins, or the errback: of one that gives a list, no line is known."""
        answered = self._answered()
        scrape = self._run.crawl.pipes.scrape
        function: object = request.callback if answered else request.errback
        if function is None and scrape is not None:
            function = self._written(scrape.callback if answered else scrape.errback)
        found = own_function(function)
        return "" if found is None else f"{written_at(found)}, in {found.__name__}"

    def _answered(self) -> bool:
        """Whether a callback is at work, and no errback."""
        return not isinstance(self._run.page, Failed | Dropped)

    def _written(self, function: object) -> object:
        """The function that the user wrote: `parse`, where a spider's own method calls it."""
        spider = self._run.spider
        if spider is not None and getattr(function, "__self__", None) is spider:
            return function if own_function(function) else getattr(spider, "parse", None)
        return function

    def wrong_start(self, request: Request, error: Exception) -> Failed:
        """What becomes of a request of the start that cannot be asked for."""
        where = self._run.begin.place
        if where:
            error.args = (f"{error} ({where})",)
        return Failed(request, error)

    def start_dropped(self, request: Request, reason: str) -> None:
        """A request of the crawl's start, or a hop of it, was dropped: the first few are told at once."""
        if reason in EXPECTED or not self._run.events.wants(Notice):
            return
        kind = reason if reason in self._dropped or len(self._dropped) < KINDS else "other reasons"
        self._dropped[kind] += 1
        if self._dropped.total() <= TOLD:
            self._told[kind] += 1
            self._tell(
                f"start request dropped: {masked(request.url)}: {_why(request, reason, self._run.crawl.options.scope)}"
            )

    def at_the_end(self) -> None:
        """Tell what is known only now."""
        left = self._dropped - self._told
        if left:
            kinds = ", ".join(f"{count} {reason}" for reason, count in left.most_common())
            self._tell(f"start requests dropped: {left.total()} more ({kinds})")
        if self._nothing_came():
            self._silent()

    def _nothing_came(self) -> bool:
        """Whether each page's callback has returned None, and nothing has come of the whole crawl."""
        counts = self._run.counts
        came = counts.scraped or counts.items or counts.offered.links or counts.offered.resumed
        return 0 < self._nones == counts.pages and not came and not counts.callback_errors

    def _silent(self) -> None:
        function = own_function(self._written(self._function))
        if function is None:
            return
        count = self._run.counts.pages
        pages = "the only page" if count == 1 else f"all of {count} pages"
        self._tell(
            f"no callback gave an item or a link: {function.__name__} ({written_at(function)}) "
            f'returned None for {pages}: is a "yield" missing?'
        )

    def _tell(self, text: str) -> None:
        if self._run.events.wants(Notice):
            self._run.events.emit(Notice(text=text, level="warning"))

    def __repr__(self) -> str:
        return f"<Advice: {self._nones} pages without a result, {self._dropped.total()} start requests dropped>"


def _why(request: Request, reason: str, scope: object) -> str:
    """The reason; of what is off-site, which host it is, and what led there."""
    if reason != "off-site":
        return reason
    there = hostname_of(request.url)
    if not request.via:
        return f"off-site: the crawl does not lead to {there}"
    before = registrable_domain(hostname_of(request.via[-1]))
    wider = 'scope="domain"' if registrable_domain(there) == before else f"scope={[before, there]!r}"
    if isinstance(scope, AllowedDomains):
        wider = f"allowed_domains = {[before, there]!r}"
    return f"off-site: {masked(request.via[-1])} led to {there}; start there, or widen the scope: {wider}"
