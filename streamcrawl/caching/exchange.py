"""What the `http_cache` layer does in one run: looks up on the way down, stores and renews on the way up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import cast

from streamcrawl.backoff import NOT_CACHED
from streamcrawl.caching.entry import CorruptEntry, Entry
from streamcrawl.caching.policy import Asked, CachePolicy, Missing, Serve, Settled, Stored
from streamcrawl.caching.store import OpenCacheStore
from streamcrawl.core import Dropped, Failed, Lease, Outcome, Request, Run
from streamcrawl.events import Notice
from streamcrawl.response import BodyStream, Response
from streamcrawl.streams.counting import count
from streamcrawl.transport.reach import stored_objection
from streamcrawl.urls import scheme_of, without_fragment

UNRESERVED = 256 * 1024
"""Bytes of a body that need no reservation of memory, as with `fetch`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds whatever the policy says; see `http_cache`."""

    expires_after: float | None
    max_size: int
    ignore_missing: bool
    ignore_schemes: frozenset[str]
    ignore_statuses: frozenset[int]


class Exchange:
    """One run of the layer: the requests that are under way, with what is stored for them."""

    __slots__ = ("_absent", "_limits", "_policy", "_put_soon", "_refreshing", "_run", "_store", "_told", "_under_way")

    def __init__(self, run: Run, policy: CachePolicy, store: OpenCacheStore, limits: Limits) -> None:
        self._run = run
        self._policy = policy
        self._store = store
        self._absent: Callable[[bytes], bool] | None = getattr(store, "absent", None)
        """Tells at once what is not there, if the store can: most pages of a first crawl are not."""
        self._put_soon: Callable[[bytes, Entry, Callable[[Exception], None]], bool] | None = getattr(
            store, "put_soon", None
        )
        self._limits = limits
        self._under_way: dict[Lease, Asked] = {}
        self._refreshing: set[bytes] = set()
        """Pages that are being asked for in the background."""
        self._told = False

    def down(self, request: Request) -> Request | Outcome | Awaitable[Request | Outcome]:
        # Without a lease there is no telling which outcome is whose.
        if request.lease is None or scheme_of(request.url) in self._limits.ignore_schemes:
            return request
        key = self._policy.key(request)
        if key is None:
            return request
        if self._policy.answers(request) and not (self._absent is not None and self._absent(key)):
            return self._looked_up(request, key)
        return self._next(request, key, [])

    async def _looked_up(self, request: Request, key: bytes) -> Request | Outcome:
        entries = [each for each in await self._get(key) if self._may_answer(each, request)]
        outcome = self._next(request, key, entries)
        if isinstance(outcome, Response):
            await self._given_out(outcome)
        return outcome

    def _may_answer(self, entry: Entry, request: Request) -> bool:
        """Whether the request may have the stored response, whatever the policy says of it."""
        # A repeat, and a redirect back to a page, are there to get another answer than the one before.
        if (request.attempt or (request.via and _comes_back(request))) and not self._limits.ignore_missing:
            return False
        if request.max_size is not None and len(entry.body) > request.max_size:
            return False
        return not stored_objection(self._run, request, entry.url, entry.ip_address)

    def _next(self, request: Request, key: bytes, entries: list[Entry]) -> Request | Outcome:
        now = self._run.now()
        found = self._policy.find(request, entries, now)
        if isinstance(found, Serve):
            self._count("hit")
            if found.refresh:
                self._refresh(request, key)
            return self._policy.answer(found, request, now)
        stored = None if isinstance(found, Missing) else found.stored
        if stored is None:
            self._count("miss")
        if isinstance(found, Missing) or (stored is None and self._limits.ignore_missing):
            self._count("ignore")
            if isinstance(found, Missing) and found.gateway_timeout:
                return Response(request.url, 504, request=request, flags=(NOT_CACHED,))
            return Dropped(request, NOT_CACHED)
        self._under_way[cast(Lease, request.lease)] = Asked(request, key, stored, now)
        return found.request

    def up(self, outcome: Outcome) -> Outcome | Awaitable[Outcome]:
        asked = self._under_way.pop(cast(Lease, outcome.request.lease), None)
        if asked is None or not isinstance(outcome, (Response, Failed)):
            return outcome
        now = self._run.now()
        settled = self._policy.settle(asked, outcome, now)
        if settled.stat:
            self._count(settled.stat)
        if settled.serve is not None:
            return self._served(settled, settled.serve, asked, outcome, now)
        fill = self._kept(settled.fill, outcome)
        if fill is None and settled.stat in ("firsthand", "invalidate"):
            self._count("uncacheable")
        if settled.put is None and not settled.forget and (fill is None or self._may_wait(asked.key, fill, outcome)):
            return outcome
        return self._stored(settled, fill, asked.key, cast(Response, outcome))

    def _may_wait(self, key: bytes, fill: Entry, outcome: Outcome) -> bool:
        """Have a whole page stored without waiting for it, if the store can do that: no page waits for its copy."""
        if self._put_soon is None or not isinstance(outcome, Response) or outcome.stream is not None:
            return False
        taken = self._put_soon(key, fill if fill.body else fill.replace(body=outcome.body), self._lost)
        if taken:
            self._count("store")
        return taken

    def _kept(self, fill: Entry | None, outcome: Outcome) -> Entry | None:
        if fill is None or fill.status in self._limits.ignore_statuses or not isinstance(outcome, Response):
            return None
        return None if outcome.size > self._limits.max_size else fill

    async def _served(
        self, settled: Settled, serve: Serve, asked: Asked, outcome: Response | Failed, now: float
    ) -> Outcome:
        """Give out what is stored, in place of a 304 or a failure."""
        if isinstance(outcome, Response) and outcome.stream is not None:
            await outcome.stream.aclose()  # it holds a place
        for key in settled.forget:
            await self._delete(key)
        if settled.put is not None and await self._is_latest(asked):
            await self._put(asked.key, settled.put)
        response = self._policy.answer(serve, asked.request, now)
        if isinstance(outcome, Failed) or outcome.status >= 500:
            response = response.replace(flags=(*response.flags, "errorrecovery"))
        elif settled.stat == "revalidate":
            response = _renewed(response, outcome)
        await self._given_out(response)
        return response

    async def _stored(self, settled: Settled, fill: Entry | None, key: bytes, response: Response) -> Response:
        for gone in settled.forget:
            await self._delete(gone)
        if settled.put is not None:
            await self._put(key, settled.put)
        if fill is None:
            return response
        if response.stream is None:
            await self._fill(key, fill.replace(body=response.body))
            return response

        async def done(body: bytes) -> None:
            await self._fill(key, fill.replace(body=body))

        response.stream = Tee(response.stream, self._limits.max_size, done)
        return response

    async def _is_latest(self, asked: Asked) -> bool:
        """Whether what was renewed is still what is stored: a later response must not be lost for it."""
        assert asked.stored is not None
        moment = asked.stored.response_time
        return all(
            each.response_time <= moment for each in await self._get(asked.key) if each.vary == asked.stored.vary
        )

    async def _get(self, key: bytes) -> list[Entry]:
        try:
            entries = await self._store.get(key)
        except CorruptEntry:
            self._count("retrieve_error")
            await self._delete(key)
            return []
        except Exception as error:
            self._count("retrieve_error")
            self._tell("read", error)
            return []
        oldest = self._limits.expires_after
        if oldest is None:
            return entries
        now = self._run.now()
        return [each for each in entries if now - each.response_time <= oldest]

    async def _fill(self, key: bytes, entry: Entry) -> None:
        if await self._put(key, entry):
            self._count("store")

    async def _put(self, key: bytes, entry: Entry) -> bool:
        try:
            await self._store.put(key, entry)
        except Exception as error:
            self._tell("written", error)
            return False
        return True

    def _lost(self, error: Exception) -> None:
        """A copy that was to be written later, and counts as stored, was not."""
        count(self._run.stats, "httpcache/store", -1)
        self._tell("written", error)

    async def _delete(self, key: bytes) -> None:
        try:
            await self._store.delete(key)
        except Exception as error:
            self._tell("written", error)

    def _tell(self, done: str, error: Exception) -> None:
        """A page is worth more than its copy: a store that fails is told of, once, and the crawl goes on."""
        self._count("store_error")
        if not self._told:
            self._told = True
            text = f"http_cache: the store cannot be {done}: {type(error).__name__}: {error}; pages come from the wire"
            self._run.events.emit(Notice(text=text, level="warning"))

    async def _given_out(self, response: Response) -> None:
        """Have room in memory for a stored body, which is whole: nothing of it is on the wire."""
        stream = response.stream
        size = stream.size if isinstance(stream, Stored) else response.size
        if size > UNRESERVED:
            await self._run.reserve(response.request, size - UNRESERVED)
        if size > UNRESERVED or stream is not None:
            self._run.landed(response.request)

    def _refresh(self, request: Request, key: bytes) -> None:
        if key in self._refreshing:
            return
        self._refreshing.add(key)
        self._count("refresh")
        cast(Lease, request.lease).hold()  # its page may be done before the task begins
        self._run.spawn(self._refreshed(request, key))

    async def _refreshed(self, request: Request, key: bytes) -> None:
        try:
            asked = request.origin.replace(cache="no-cache", stream=False, callback=None, errback=None, answer=None)
            await self._run.fetch(asked, request)
        finally:
            self._refreshing.discard(key)
            cast(Lease, request.lease).release()

    def _count(self, what: str) -> None:
        count(self._run.stats, f"httpcache/{what}")

    def __repr__(self) -> str:
        return f"<Exchange {len(self._under_way)} under way, {self._store!r}>"


def _comes_back(request: Request) -> bool:
    page = without_fragment(request.url)
    return any(without_fragment(each) == page for each in request.via)


def _renewed(response: Response, news: Response) -> Response:
    """A stored response that the server has just confirmed: with the cookies that it has set now, and no others."""
    headers = response.headers.without("set-cookie")
    for value in news.headers.getall("set-cookie"):
        headers = headers.add("Set-Cookie", value)
    return response.replace(headers=headers, flags=(*response.flags, "revalidated"))


class Tee:
    """A streamed body that is kept on the side while somebody reads it.

    Args:
        body: What is read.
        limit: Bytes; a longer body is not kept.
        done: Gets the whole body, once it has been read to its end.
    """

    __slots__ = ("_body", "_done", "_limit", "_parts", "_size")

    def __init__(self, body: BodyStream, limit: int, done: Callable[[bytes], Awaitable[None]]) -> None:
        self._body = body
        self._limit = limit
        self._done = done
        self._parts: list[bytes] | None = []
        self._size = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._body:
            self._size += len(chunk)
            if self._size > self._limit:
                self._parts = None
            elif self._parts is not None:
                self._parts.append(chunk)
            yield chunk
        parts, self._parts = self._parts, None
        if parts is not None:
            await self._done(b"".join(parts))

    async def aclose(self) -> None:
        self._parts = None  # what was not read to its end is not whole
        await self._body.aclose()
