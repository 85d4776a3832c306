"""Answers from a cassette, in the order in which they were recorded."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Generator, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from streamcrawl import errors
from streamcrawl.core import Fetch, Request, Run
from streamcrawl.errors import FetchError, ProxyError
from streamcrawl.events import Event
from streamcrawl.headers import Headers
from streamcrawl.response import Response
from streamcrawl.streams.counting import count
from streamcrawl.streams.fetching import FetchMaker
from streamcrawl.testing.cassette_file import Exchange, Found, KeptError, Place, Writer, body_of, read, scan
from streamcrawl.testing.cassette_record import Opened, kept_request, taped
from streamcrawl.testing.cassette_rules import Rules
from streamcrawl.transport.decoding import too_large
from streamcrawl.urls import scheme_of


class NotRecorded(FetchError):
    """A request that the cassette has no answer to."""


class Missing(Event, frozen=True):
    """A replay was asked for what the cassette does not have."""

    request: Request
    text: str


class OpenReplay:
    """A replay in one run.

    Args:
        path: The cassette.
        latency: Seconds before each answer; None: as long as it took then.
        new: The Fetch, or its description, that brings what is not there.
        adds: Whether what is not there is brought, and added.
        rules: Of a cassette that does not exist yet.
        run: The run.
    """

    def __init__(
        self, path: Path, latency: float | None, new: Fetch | FetchMaker | None, adds: bool, rules: Rules, run: Run
    ) -> None:
        self._run = run
        self._path = path
        self._latency = latency
        self._adds = adds
        self._wire = Opened(new, run)
        self._file: Writer | None = None
        if adds and not path.exists():
            self._file = Writer.new(path, rules, run.now())
        self._found: Found = scan(path)
        header = self._found.header
        self._rules = replace(rules, match=header.match, redact=header.redact)
        self._answers: defaultdict[str, list[Place]] = defaultdict(list)
        for request, place in self._found.exchanges:
            self._answers[request.key(header.match)].append(place)
        # Where a job goes on, a page that answered 503 first does not do so again.
        self._given: MutableMapping[str, Any] = run.state("cassette/given") if run.durable else {}
        self._read = path.open("rb")

    async def __call__(self, request: Request) -> Response:
        if scheme_of(request.url) == "data":
            return await self._wire(request)
        key = self._rules.key(request)
        answers = self._answers.get(key)
        if answers is None:
            return await self._unknown(request)
        nth = 0
        if len(answers) > 1:
            nth = min(self._given.get(key, 0), len(answers) - 1)
            self._given[key] = nth + 1
        count(self._run.stats, "cassette/replayed")
        return await self._answer(request, read(self._read, answers[nth], self._path))

    async def _unknown(self, request: Request) -> Response:
        if not self._adds:
            count(self._run.stats, "cassette/missing")
            text = self._not_there(request)
            if self._run.events.wants(Missing):
                self._run.events.emit(Missing(request=request.origin, text=text))
            raise NotRecorded(text)
        if self._file is None:
            self._file = Writer.more(self._found, self._path)
        return await taped(self._wire, request, self._rules, self._file, self._run)

    def _not_there(self, request: Request) -> str:
        kept, path = kept_request(request, self._rules), self._path
        alike = [each for each, _ in self._found.exchanges if each.url == kept.url]
        if not alike:
            hint = "nothing of that URL is"
        elif all(each.method != kept.method for each in alike):
            hint = f"it has {', '.join(sorted({each.method for each in alike}))} of it"
        elif all((each.body, each.body64) != (kept.body, kept.body64) for each in alike):
            hint = "it has it with another body"
        else:
            hint = "it has it with other header fields, or of another cookie jar"
        return f"{kept.method} {kept.url} is not in the cassette {path}: {hint}"

    async def _answer(self, request: Request, exchange: Exchange) -> Response:
        kept, error = exchange.response, exchange.error
        taken = kept if kept is not None else error
        wait = self._latency if self._latency is not None else taken.seconds if taken is not None else 0.0
        if wait > 0:
            await asyncio.sleep(wait)
        if kept is None:
            raise _made(error, request)
        stream, body = None, b""
        if request.stream and request.method != "HEAD":
            stream = _Replayed(self._path, exchange, request)
        else:
            body = _whole(self._read, exchange, request)
        return Response(
            kept.url or request.url,
            kept.status,
            Headers(kept.headers),
            body,
            request,
            flags=kept.flags,
            protocol=kept.protocol,
            ip_address=kept.ip_address,
            latency=kept.latency if self._latency is None else wait,
            wire_size=kept.wire_size,
            stream=stream,
        )

    async def aclose(self) -> None:
        try:
            await self._wire.aclose()
        finally:
            self._read.close()
            if self._file is not None:
                self._file.close()

    def __repr__(self) -> str:
        return f"<OpenReplay of {self._path}, {len(self._found.exchanges)} exchanges>"


def _made(error: KeptError | None, request: Request) -> FetchError:
    if error is None:
        return FetchError(f"{request.url}: the recorded exchange has neither a response nor an error")
    kind = getattr(errors, error.kind, FetchError)
    if kind is ProxyError:
        return ProxyError(error.message, proxy=error.proxy, status=error.status, beyond=error.beyond)
    known = isinstance(kind, type) and issubclass(kind, FetchError)
    return cast(FetchError, kind(error.message)) if known else FetchError(error.message)


def _limited(size: int, request: Request) -> None:
    if request.max_size is not None and size > request.max_size:
        raise too_large(request.url, request.max_size)


def _whole(file: BinaryIO, exchange: Exchange, request: Request) -> bytes:
    pieces: list[bytes] = []
    size = 0
    for piece in body_of(file, exchange):
        pieces.append(piece)
        size += len(piece)
        _limited(size, request)
    _ended(exchange, request)
    return b"".join(pieces)


def _ended(exchange: Exchange, request: Request) -> None:
    """Raises: FetchError if the recorded body is not whole."""
    if exchange.error is not None:
        raise _made(exchange.error, request)
    if exchange.response is not None and exchange.response.cut:
        raise NotRecorded(f"{request.method} {request.url}: the rest of the body was not read when it was recorded")


class _Replayed:
    """A streamed body from a cassette, read from the file as it is asked for."""

    def __init__(self, path: Path, exchange: Exchange, request: Request) -> None:
        self._path = path
        self._exchange = exchange
        self._request = request
        self._pieces = self._read()
        self._closed = False

    def _read(self) -> Generator[bytes]:
        size = 0
        with self._path.open("rb") as file:
            for piece in body_of(file, self._exchange):
                size += len(piece)
                _limited(size, self._request)
                yield piece
        _ended(self._exchange, self._request)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._closed:
            raise FetchError(f"{self._request.url}: the body was closed before it was read to its end")
        for piece in self._pieces:
            yield piece

    async def aclose(self) -> None:
        self._closed = True
        self._pieces.close()
