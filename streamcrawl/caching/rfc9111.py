"""A private cache by RFC 9111, as pure functions of what is stored, the messages and the time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from streamcrawl.arguments import telling
from streamcrawl.caching.entry import Entry
from streamcrawl.caching.failing import SERVER_ERRORS, server_failed
from streamcrawl.caching.policy import Asked, Found, Missing, Send, Serve, Settled, entry_of, response_of
from streamcrawl.caching.rfc9111_conditions import (
    UNANSWERABLE,
    not_modified,
    of_304,
    part_of,
    range_holds,
    with_validators,
)
from streamcrawl.caching.rfc9111_fields import (
    HOP_BY_HOP,
    Directives,
    directives,
    fits,
    format_date,
    kept_fields,
    seconds,
    unkept,
    updated_fields,
    vary_of,
)
from streamcrawl.caching.rfc9111_freshness import (
    Heuristic,
    allowance,
    binding,
    current_age,
    lifetime,
    may_store,
    useful,
)
from streamcrawl.core import Failed, Request
from streamcrawl.errors import InvalidURL
from streamcrawl.headers import Headers
from streamcrawl.response import Response
from streamcrawl.urls import Base, digest, host_of, without_fragment

SAFE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "PROPFIND", "SEARCH", "REPORT"))
"""Methods that change nothing at the server: no invalidation. Source: RFC 9110 §9.2.1 and the registry of methods."""


class _State(NamedTuple):
    """What a stored response is like at one moment."""

    headers: Headers
    says: Directives
    age: float
    lifetime: float

    @property
    def staleness(self) -> float:
        """Seconds since it was fresh; below 0 while it is. At 0 it is not."""
        return self.age - self.lifetime


@telling
@dataclass(frozen=True, slots=True)
class Rfc9111:
    """A private cache by RFC 9111: what the server says of a response holds.

    Args:
        heuristic: Share of the time since Last-Modified for which a response that says nothing itself is fresh, 0 to 1.
        heuristic_max: Seconds for which that is believed at most.
        stale_if_error: Seconds beyond its lifetime for which a response is given out when the server fails, if neither
            it nor the request has a word on that. Never against must-revalidate or no-cache.
        always_store: Store what the rules would not: useful with `Request(cache="force-cache")`. `no-store` still
            holds.
        ignore_directives: Response directives that are passed over, such as "no-store".

    Raises: ValueError, when built.
    Source: RFC 9111; RFC 5861 (stale-while-revalidate, stale-if-error); RFC 8246 (immutable); Fetch §4.6 (modes).
    """

    heuristic: float = 0.1
    heuristic_max: float = 7 * 86_400.0
    stale_if_error: float = 0.0
    always_store: bool = False
    ignore_directives: Collection[str] = ()
    _guess: Heuristic = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.heuristic <= 1:
            raise ValueError(f"Rfc9111(heuristic={self.heuristic!r}): 0 to 1")
        if not self.heuristic_max >= 0:
            raise ValueError(f"Rfc9111(heuristic_max={self.heuristic_max!r}): 0 seconds or more")
        if not self.stale_if_error >= 0:
            raise ValueError(f"Rfc9111(stale_if_error={self.stale_if_error!r}): 0 seconds or more")
        if isinstance(self.ignore_directives, str):
            raise ValueError(f"Rfc9111(ignore_directives={self.ignore_directives!r}): several names, not one")
        object.__setattr__(self, "ignore_directives", frozenset(name.lower() for name in self.ignore_directives))
        object.__setattr__(self, "_guess", Heuristic(self.heuristic, self.heuristic_max))

    def key(self, request: Request) -> bytes | None:
        if request.method in ("GET", "HEAD"):
            refused = request.cache == "no-store" or request.body or "no-store" in directives(request.headers)
            return None if refused else _key(request, request.url)
        return None if request.method in SAFE else _key(request, request.url)

    def answers(self, request: Request) -> bool:
        return request.method in ("GET", "HEAD") and request.cache != "reload"

    def find(self, request: Request, entries: Sequence[Entry], now: float) -> Found:
        """Source: RFC 9111 §4, §5.2.1 (what a request may say)."""
        if not entries and request.cache == "default" and "cache-control" not in request.headers:
            return Send(request, None)  # most pages of a first crawl
        stored = next((each for each in entries if fits(each.vary, request.headers, each.headers)), None)
        asks = directives(request.headers)
        only = request.cache == "only-if-cached"
        if stored is not None and _can_answer(stored, request):
            state = self._state(stored, now)
            stale = state.staleness >= 0
            if only or request.cache == "force-cache" or _usable(stored, state, request, asks):
                return Serve(stored, stale)
            if _while_revalidating(stored, state, request, asks):
                return Serve(stored, stale, refresh=True)
        if only or "only-if-cached" in asks:
            return Missing(gateway_timeout=not only)
        return Send(_sent(request, stored), stored)

    def settle(self, asked: Asked, outcome: Response | Failed, now: float) -> Settled:
        request, stored = asked.request, asked.stored
        if isinstance(outcome, Failed):
            return self._instead(stored, request, now) if stored and server_failed(outcome.error) else Settled()
        if request.method not in ("GET", "HEAD"):
            return self._after_unsafe(asked, outcome, now)
        if stored is not None:
            if outcome.status in SERVER_ERRORS and (instead := self._instead(stored, request, now)).serve:
                return instead
            if request.method == "HEAD":
                return self._headed(stored, asked, outcome, now)
            if outcome.status == 304 and _asked_by_us(asked):
                return self._renewed(stored, asked, outcome, now)
        if request.method == "HEAD" or outcome.status == 304:
            return Settled()
        return self._first_hand(asked, outcome, now)

    def answer(self, serve: Serve, request: Request, now: float) -> Response:
        """Source: RFC 9111 §4 (Age), §4.3.2 (conditions), RFC 9110 §14.2 (ranges), §9.3.2 (HEAD)."""
        entry = serve.entry
        headers = Headers(entry.headers)
        headers = headers.set("Age", str(int(current_age(entry, headers, now))))
        if entry.status == 200:
            if not_modified(request.headers, headers, entry.response_time):
                return response_of(serve, request, of_304(headers), b"", 304)
            if "range" in request.headers and request.method == "GET" and range_holds(request.headers, headers):
                part = part_of(request.headers, len(entry.body))
                if part is not None:
                    return _partial(serve, request, headers, part)
        return response_of(serve, request, headers, b"" if request.method == "HEAD" else entry.body)

    def _state(self, entry: Entry, now: float) -> _State:
        headers = Headers(entry.headers)
        says = self._says(headers)
        return _State(headers, says, current_age(entry, headers, now), lifetime(entry, headers, says, self._guess))

    def _says(self, headers: Headers) -> Directives:
        return self._unignored(directives(headers))

    def _unignored(self, says: Directives) -> Directives:
        for name in self.ignore_directives:
            says.pop(name, None)
        return says

    def _stores(self, entry: Entry, headers: Headers, says: Directives) -> bool:
        return may_store(entry.status, says) and (self.always_store or useful(entry, headers, says, self._guess))

    def _keeps(self, entry: Entry) -> bool:
        headers = Headers(entry.headers)
        return self._stores(entry, headers, self._says(headers))

    def _first_hand(self, asked: Asked, response: Response, now: float) -> Settled:
        stat = "firsthand" if asked.stored is None else "invalidate"
        entry = self._entry(asked.request, response, now)
        if entry is not None:
            return Settled(fill=entry, stat=stat)
        # A page that is no longer to be stored is not to be answered with what it was, either.
        whole = response.status < 400 and response.status != 206 and not _unvalidated(asked.request)
        replaced = asked.stored is not None and whole
        return Settled(forget=(asked.key,) if replaced else (), stat="uncacheable" if not replaced else stat)

    def _entry(self, request: Request, response: Response, now: float) -> Entry | None:
        vary = vary_of(response.headers, request.headers)
        if vary is None:
            return None
        came = response.headers
        if "date" not in came:
            came = came.add("Date", format_date(now))
        says = directives(came)
        gone = unkept(came, says)
        entry = entry_of(request, response, now, kept_fields(came, gone), vary)
        if gone is HOP_BY_HOP:
            says = self._unignored(says)  # what only these are missing from says the same of storing
        else:
            came = Headers(entry.headers)
            says = self._says(came)
        return entry if self._stores(entry, came, says) else None

    def _renewed(self, stored: Entry, asked: Asked, response: Response, now: float) -> Settled:
        """Source: RFC 9111 §4.3.4."""
        entry = _freshened(stored, asked.request, response, now)
        if entry is None or not self._keeps(entry):
            return Settled(serve=Serve(entry or stored), forget=(asked.key,), stat="revalidate")
        return Settled(put=entry, serve=Serve(entry), stat="revalidate")

    def _headed(self, stored: Entry, asked: Asked, response: Response, now: float) -> Settled:
        """Source: RFC 9111 §4.3.5."""
        if response.status != 200 or stored.status != 200:
            return Settled()
        before = Headers(stored.headers)
        for name in ("etag", "last-modified", "content-length"):
            old, new = before.get(name), response.headers.get(name)
            if old and new and old != new:
                return Settled(put=stored.replace(invalidated=True), stat="invalidate")
        entry = _freshened(stored, asked.request, response, now)
        return Settled() if entry is None or not self._keeps(entry) else Settled(put=entry, stat="revalidate")

    def _instead(self, stored: Entry, request: Request, now: float) -> Settled:
        """The stale response, if it may stand in for a server that fails. Source: RFC 5861 §4, RFC 9111 §4.2.4."""
        state = self._state(stored, now)
        asks = directives(request.headers)
        if stored.invalidated or binding(state.says) or "no-cache" in asks or request.cache == "no-cache":
            return Settled()
        limits = [allowance(each, "stale-if-error") for each in (state.says, asks) if "stale-if-error" in each]
        if state.staleness > max(limits, default=self.stale_if_error) or not _can_answer(stored, request):
            return Settled()
        return Settled(serve=Serve(stored, stale=state.staleness >= 0), stat="errorrecovery")

    def _after_unsafe(self, asked: Asked, response: Response, now: float) -> Settled:
        """Source: RFC 9111 §4.4 (invalidation), RFC 9110 §9.3.3 (a POST whose response is the page's)."""
        request = asked.request
        if not 200 <= response.status < 400:
            return Settled()
        origin = host_of(request.url)
        places = {name: _place(request, response, name) for name in ("location", "content-location")}
        urls = {request.url, *(url for url in places.values() if url is not None and host_of(url) == origin)}
        bare = request.replace(cookiejar=None, fingerprint_headers=(), headers=request.headers.without("authorization"))
        keys = {_key(each, url) for each in (request, bare) for url in urls}
        fill = None
        if request.method == "POST" and response.status == 200:
            says = self._says(response.headers)
            itself = places["content-location"] == without_fragment(request.url)
            if itself and ("max-age" in says or "expires" in response.headers):
                fill = self._entry(request.replace(method="GET"), response, now)
        return Settled(fill=fill, forget=tuple(sorted(keys)), stat="firsthand" if fill else "")


def _key(request: Request, url: str) -> bytes:
    """A page by its URL, within its cookie jar, and as one who has logged in gets it. Source: RFC 9111 §2, §4.1."""
    headers = request.headers
    if not request.fingerprint_headers and request.cookiejar is None and "authorization" not in headers:
        return digest(f"http_cache\n{without_fragment(url)}")
    chosen = [f"{name}:{headers.get(name, '')}" for name in sorted(map(str.lower, request.fingerprint_headers))]
    if request.cookiejar is not None:
        chosen.append(f"\x00cookiejar {request.cookiejar}")
    if "authorization" in headers:
        chosen.append(f"\x00authorization {headers['authorization']}")  # a private cache is for one user (§3.5)
    return digest("\n".join(("http_cache", without_fragment(url), *chosen)))


def _place(request: Request, response: Response, name: str) -> str | None:
    value = response.headers.get(name)
    if value is None:
        return None
    try:
        return without_fragment(Base(request.url).join(value))
    except InvalidURL:
        return None


def _can_answer(stored: Entry, request: Request) -> bool:
    """Whether the cache itself can do what the request asks of the response."""
    if any(name in request.headers for name in UNANSWERABLE):
        return False
    if "range" not in request.headers or request.method != "GET":
        return True
    whole = stored.status == 200 and not range_holds(request.headers, Headers(stored.headers))
    return whole or (stored.status == 200 and part_of(request.headers, len(stored.body)) is not None)


def _usable(stored: Entry, state: _State, request: Request, asks: Directives) -> bool:
    """Whether the stored response may be given out without asking the server."""
    fresh = state.staleness < 0
    if stored.invalidated or state.says.get("no-cache", "") is None or "no-cache" in asks:
        return False
    if request.cache == "no-cache" and not (fresh and "immutable" in state.says):
        return False
    if "cache-control" not in request.headers and "no-cache" in (request.headers.get("pragma") or "").lower():
        return False
    # An invalid number asks for nothing that can be known to be met.
    if "max-age" in asks and not state.age <= (seconds(asks["max-age"]) or 0):
        return False
    if "min-fresh" in asks and not state.lifetime >= state.age + (seconds(asks["min-fresh"]) or 0):
        return False
    if fresh:
        return True
    if "max-stale" not in asks or binding(state.says):
        return False
    limit = asks["max-stale"]
    return limit is None or state.staleness <= (seconds(limit) or 0)


_STRICT = frozenset(("no-cache", "max-age", "min-fresh", "only-if-cached"))


def _while_revalidating(stored: Entry, state: _State, request: Request, asks: Directives) -> bool:
    """Source: RFC 5861 §3."""
    if request.cache != "default" or stored.invalidated or binding(state.says) or not _STRICT.isdisjoint(asks):
        return False
    return 0 <= state.staleness < allowance(state.says, "stale-while-revalidate")


def _sent(request: Request, stored: Entry | None) -> Request:
    """The request as the server gets it. Source: RFC 9111 §4.3.1; Fetch §4.6, steps 8.17 to 8.19 (modes)."""
    if stored is not None and request.method == "GET" and not _unvalidated(request):
        request = with_validators(request, stored)
    if request.cache == "no-cache":
        request = request.replace(headers=request.headers.defaults({"Cache-Control": "max-age=0"}))
    elif request.cache == "reload":
        again = {"Pragma": "no-cache", "Cache-Control": "no-cache"}
        request = request.replace(headers=request.headers.defaults(again))
    return request


def _unvalidated(request: Request) -> bool:
    """Whether the request asks for something that a 304 to conditions of ours would not answer."""
    return "range" in request.headers or any(name in request.headers for name in UNANSWERABLE)


def _asked_by_us(asked: Asked) -> bool:
    stored = asked.stored
    assert stored is not None
    return not _unvalidated(asked.request) and with_validators(asked.request, stored) is not asked.request


def _freshened(stored: Entry, request: Request, response: Response, now: float) -> Entry | None:
    """The stored response with the fields of a newer message about it; None if it fits no other request now."""
    headers = updated_fields(stored.headers, response.headers.defaults({"Date": format_date(now)}))
    vary = vary_of(Headers(headers), request.headers)
    if vary is None:
        return None
    return stored.replace(
        headers=tuple(headers),
        vary=vary,
        request_time=now - response.latency,
        response_time=now,
        invalidated=False,
    )


def _partial(serve: Serve, request: Request, headers: Headers, part: tuple[int, int]) -> Response:
    first, beyond = part
    body = serve.entry.body
    headers = headers.set("Content-Range", f"bytes {first}-{beyond - 1}/{len(body)}")
    headers = headers.set("Content-Length", str(beyond - first))
    return response_of(serve, request, headers, body[first:beyond], 206)
