"""The door of the frontier: where new requests are made whole, asked whether they are new, and let in."""

from __future__ import annotations

from collections.abc import Callable

import can_ada

from streamcrawl.core import Again, Dropped, Failed, Lease, Request
from streamcrawl.crawl.advice import Advice
from streamcrawl.crawl.summary import Counts
from streamcrawl.errors import FlowError, InvalidURL, JobError
from streamcrawl.events import Events, Notice, RequestDropped, RequestFailed, Scheduled
from streamcrawl.frontier.fingerprint import fingerprint
from streamcrawl.frontier.frontier import Frontier
from streamcrawl.scoping import may_lead
from streamcrawl.streams.counting import count
from streamcrawl.urls import NOT_FOLLOWED, canonical, digest, host_of, masked, normalize, scheme_of
from streamcrawl.vetting import MOVED, moved_keys, vetted

_parse = can_ada.parse

RECENT = 4096


class Door:
    """Normalizing, scope, dedupe and counting; the only way into the frontier."""

    def __init__(
        self,
        frontier: Frontier,
        counts: Counts,
        events: Events,
        in_scope: Callable[[Request], bool],
        refused: Callable[[Request, str, Lease | None, int], None],
        lost: Callable[[Exception, Lease | None], None],
        advice: Advice,
    ) -> None:
        self._recent: set[str] = set()
        """URLs, as they were written, that were known a moment ago: most links of a site are on all of its pages."""
        self._told: set[str] = set()
        self._refused = refused
        self._lost = lost
        self._frontier = frontier
        self._counts = counts
        self._events = events
        self._in_scope = in_scope
        self._advice = advice

    def known(self, request: Request) -> bool:
        """Whether a link leads to what was seen; it is counted then. This runs for every link of every page."""
        if request.method != "GET" or request.dont_filter or request.body or request.fingerprint_headers:
            return False
        if request.errback is not None or request.cookiejar is not None:
            return False  # it may hear of it, or is another page: asked with everything else
        url = request.url
        try:
            recent = url in self._recent and not request.keep_fragments
        except TypeError:  # it is no text
            return False
        if not recent:
            try:
                key = digest(canonical(_parse(url).href, keep_fragments=request.keep_fragments))
            except (ValueError, TypeError):  # the latter for characters that no URL can have
                return False
            if not self._seen(key, None):
                return False
            if len(self._recent) >= RECENT:
                self._recent.clear()
            if not request.keep_fragments:
                self._recent.add(url)
        self._counts.offered.links += 1
        count(self._counts.dropped, "duplicate")
        if self._events.wants(RequestDropped):
            self._events.emit(RequestDropped(dropped=Dropped(request, "duplicate")))
        return True

    def _seen(self, key: bytes, lease: Lease | None) -> bool:
        try:
            return self._frontier.known(key)
        except JobError as error:
            self._lost(error, lease)
            return True

    def start(self, request: Request) -> None:
        """A request of the crawl's start."""
        self._counts.offered.start += 1
        try:
            request = self._vetted(request)
            url = normalize(request.url)
        except TypeError as error:
            self.failed(self._advice.wrong_start(request, FlowError(f"{masked(request.url)}: {error}")))
            return
        except InvalidURL as error:
            self.failed(self._advice.wrong_start(request, error))
            return
        self._admit(request.replace(url=url, site=request.site or host_of(url), start=True), None)

    def link(self, request: Request, parent: Request, lease: Lease | None, base: int = 0) -> None:
        """A request that a callback yielded for `parent`'s response, on its lease.

        Those that are let in whether or not they were seen, and those that hear of what becomes of them, are counted:
        a page that comes again when a job goes on has given them. `base`: where their numbers begin.
        """
        self._counts.offered.links += 1
        nth = -1
        if lease is not None and (request.dont_filter or request.errback is not None):
            nth = lease.links
            lease.links = nth + 1
            if self._frontier.repeated(lease, base + lease.base + nth):
                self.dropped("duplicate", request)
                return
        try:
            request = self._vetted(request)
            url = normalize(request.url)
        except TypeError as error:
            self._advice.wrong_link(parent, f"{masked(request.url)}, which is not asked for: {error}", lease)
            self._drop(request, "invalid request", lease, nth)
            return
        except InvalidURL:
            if _is_relative(request.url, parent.url):
                text = f"{request.url!r}, which is no absolute URL: page.follow(…) makes one of it"
                self._advice.wrong_link(parent, text, lease)
            self._drop(request, "invalid URL", lease, nth)
            return
        scheme = scheme_of(url)
        if scheme in NOT_FOLLOWED and scheme_of(parent.url) != scheme:
            self._drop(request, f"not followed ({scheme}:)", lease, nth)
            return
        request = request.replace(url=url, site=request.site or parent.site, start=False, lease=None)
        # No dont_filter opens the user's own files to a page of the web.
        if not may_lead(parent.site, url) or not self._within(request):
            self._drop(request, "off-site", lease, nth)
            return
        if self._admit(request, lease, nth) and nth >= 0 and lease is not None:
            self._frontier.repeat(lease, base + lease.base + nth)

    def _vetted(self, request: Request) -> Request:
        """Raises: TypeError."""
        vetted_one = vetted(request)
        if vetted_one.meta:
            for key in moved_keys(vetted_one):
                self._tell(f"meta[{key!r}] does nothing here, write {MOVED[key]}")
        return vetted_one

    def _tell(self, text: str) -> None:
        """A mistake in the flow, told once."""
        if text not in self._told and self._events.wants(Notice):
            self._told.add(text)
            self._events.emit(Notice(text=text, level="warning"))

    def again(self, again: Again) -> None:
        """A hop or a retry goes back to the frontier.

        Only a hop is asked whether it was seen, by others than its own chain.
        """
        self._counts.offered.hops += 1
        request = again.next
        try:
            request = request.replace(url=normalize(request.url), lease=None)
        except InvalidURL as error:
            self.failed(Failed(request, error))
            return
        if again.hop and not may_lead(request.site, request.url):
            self._drop(request, "off-site")
            return
        if not again.hop or request.dont_filter:
            key = None if request.dont_filter else fingerprint(request)
            self._let_in(request, key, again.request.lease, seen=True)
            return
        if not self._within(request):
            self._drop(request, "off-site")
            return
        key = fingerprint(request)
        before = again.request.origin
        if self._seen(key, again.request.lease) and not any(
            fingerprint(before.replace(url=url)) == key for url in request.via
        ):
            self._drop(request, "duplicate")
            return
        self._let_in(request, key, again.request.lease)

    def _within(self, request: Request) -> bool:
        """Whether it belongs to the crawl, or says that it does all the same."""
        return request.dont_filter or "scope" in request.skip or self._in_scope(request)

    def _admit(self, request: Request, lease: Lease | None, nth: int = -1) -> bool:
        if request.dont_filter:
            return self._let_in(request, None, lease)
        key = fingerprint(request)
        if self._seen(key, lease):
            self._drop(request, "duplicate", lease, nth)
            return False
        return self._let_in(request, key, lease)

    def _let_in(self, request: Request, key: bytes | None, lease: Lease | None, *, seen: bool = False) -> bool:
        try:
            self._frontier.add(request, key, seen=seen)
        except Exception as error:  # not storable, no disk, a bug: no failure of the callback, and nothing is settled
            self.dropped("could not be kept", request)
            self._lost(error, lease)
            return False
        if self._events.wants(Scheduled):
            self._events.emit(Scheduled(request=request))
        return True

    def _drop(self, request: Request, reason: str, lease: Lease | None = None, nth: int = -1) -> None:
        if request.start:
            self._advice.start_dropped(request, reason)
        self.dropped(reason, request)
        if request.errback is not None:
            self._refused(request, reason, lease, nth)

    def dropped(self, reason: str, request: Request) -> None:
        """Count a request that ended as Dropped; its object is made only if somebody listens."""
        count(self._counts.dropped, reason)
        if self._events.wants(RequestDropped):
            self._events.emit(RequestDropped(dropped=Dropped(request, reason)))

    def failed(self, failed: Failed) -> None:
        """Count and tell a request that ended as Failed."""
        self._counts.failed += 1
        if self._events.wants(RequestFailed):
            self._events.emit(RequestFailed(failed=failed))


def _is_relative(url: str, page: str) -> bool:
    """Whether it is a URL with regard to the page's; a link that is none stays in `follow_all` as it stands."""
    try:
        return "://" not in url and bool(_parse(page) + url)
    except (ValueError, TypeError):
        return False
