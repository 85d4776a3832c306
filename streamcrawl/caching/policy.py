"""What a cache policy decides, and the policy that replays everything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import msgspec

from streamcrawl.caching.entry import Entry, Vary
from streamcrawl.caching.rfc9111_fields import format_date
from streamcrawl.core import Failed, Request
from streamcrawl.frontier.fingerprint import fingerprint
from streamcrawl.headers import Headers
from streamcrawl.response import Response


class Serve(msgspec.Struct, frozen=True):
    """Give the stored response out.

    Args:
        stale: It is no longer fresh.
        refresh: The server is to be asked in the background whether it has changed.
    """

    entry: Entry
    stale: bool = False
    refresh: bool = False


class Send(msgspec.Struct, frozen=True):
    """Ask the server.

    Args:
        request: As it is to be sent, with conditions perhaps.
        stored: The response that the server's answer may renew, or that may stand in for it.
    """

    request: Request
    stored: Entry | None = None


class Missing(msgspec.Struct, frozen=True):
    """Nothing stored fits, and the server is not to be asked.

    Args:
        gateway_timeout: Answer with 504, as RFC 9111 §5.2.1.7 has it; else the request is dropped.
    """

    gateway_timeout: bool = False


Found: TypeAlias = Serve | Send | Missing


class Asked(msgspec.Struct, frozen=True):
    """A request that is under way.

    Args:
        request: As it came to the cache, without what the cache added.
        key: Of the page.
        stored: As `Send` had it.
        at: When it came; seconds since the epoch.
    """

    request: Request
    key: bytes
    stored: Entry | None
    at: float


class Settled(msgspec.Struct, frozen=True):
    """What an outcome comes to.

    Args:
        put: An entry to store.
        fill: An entry to store once the outcome's body is known; it may have that already.
        serve: What is given out instead of the outcome.
        forget: Keys of pages that the cache can no longer answer for.
        stat: What to count, such as "revalidate".
    """

    put: Entry | None = None
    fill: Entry | None = None
    serve: Serve | None = None
    forget: tuple[bytes, ...] = ()
    stat: str = ""


class CachePolicy(Protocol):
    """Decides what is stored and what is given out. Pure functions: time comes in as `now`, seconds since the epoch."""

    def key(self, request: Request) -> bytes | None:
        """What the request's page is stored under; None: the cache leaves the request alone."""
        ...

    def answers(self, request: Request) -> bool:
        """Whether something stored could answer the request. If not, `settle` sees its outcome all the same."""
        ...

    def find(self, request: Request, entries: Sequence[Entry], now: float) -> Found:
        """What to do with a request for which these variants are stored, the latest first."""
        ...

    def settle(self, asked: Asked, outcome: Response | Failed, now: float) -> Settled:
        """What to do with the outcome of a request that was sent."""
        ...

    def answer(self, serve: Serve, request: Request, now: float) -> Response:
        """The stored response as the answer to the request."""
        ...


@dataclass(frozen=True, slots=True)
class Replay:
    """Everything that was fetched once is given out for ever, whatever the server says of it.

    For work on a scraper, and for a crawl without the network. A page is what the frontier's dedupe takes for one:
    method, URL, body, chosen header fields, cookie jar. Not stored: answers to conditional requests (304) and parts of
    pages (206). `Request(cache="reload")` and `"no-cache"` fetch anew.
    """

    def key(self, request: Request) -> bytes | None:
        return None if request.cache == "no-store" or "range" in request.headers else fingerprint(request)

    def answers(self, request: Request) -> bool:
        return request.cache not in ("reload", "no-cache")

    def find(self, request: Request, entries: Sequence[Entry], now: float) -> Found:
        if entries:
            return Serve(entries[0])
        return Missing() if request.cache == "only-if-cached" else Send(request)

    def settle(self, asked: Asked, outcome: Response | Failed, now: float) -> Settled:
        if isinstance(outcome, Failed):
            return Settled()
        if outcome.status in (206, 304):
            return Settled(stat="uncacheable")
        return Settled(fill=entry_of(asked.request, outcome, now, outcome.headers.pairs()), stat="firsthand")

    def answer(self, serve: Serve, request: Request, now: float) -> Response:
        return response_of(serve, request, Headers(serve.entry.headers), serve.entry.body)


def entry_of(
    request: Request, response: Response, now: float, headers: Sequence[tuple[str, str]], vary: Vary = ()
) -> Entry:
    """An entry for a response that has just come; without its body if that is still to be read."""
    return Entry(
        url=response.url,
        method=request.method,
        status=response.status,
        headers=tuple(headers),
        body=b"" if response.stream is not None else response.body,
        vary=vary,
        request_time=now - response.latency,
        response_time=now,
        protocol=response.protocol,
        ip_address=response.ip_address,
    )


def response_of(serve: Serve, request: Request, headers: Headers, body: bytes, status: int | None = None) -> Response:
    """A stored response as the answer to `request`, with the flag "cached", and "stale" if it is.

    It has a Date: when it came, if the server sent none (RFC 9110 §6.6.1).
    """
    entry = serve.entry
    if "date" not in headers:
        headers = headers.add("Date", format_date(entry.response_time))
    made = Response(
        entry.url,
        entry.status if status is None else status,
        headers,
        body,
        request,
        flags=("cached", "stale") if serve.stale else ("cached",),
        protocol=entry.protocol,
        ip_address=entry.ip_address,
    )
    return made.replace(body=b"", stream=Stored(body)) if request.stream else made


class Stored:
    """A stored body, for those who asked for a stream."""

    __slots__ = ("_at", "_body")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    @property
    def size(self) -> int:
        """Bytes in memory, read or not."""
        return len(self._body)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._at < len(self._body):
            chunk = self._body[self._at : self._at + 65_536]
            self._at += len(chunk)
            yield chunk

    async def aclose(self) -> None:
        self._at = len(self._body)
