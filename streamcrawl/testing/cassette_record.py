"""What a cassette is made of: the exchanges of one run, written down as they come."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

import msgspec

from streamcrawl import errors
from streamcrawl.core import Fetch, Request, Run
from streamcrawl.errors import FetchError, ProxyError
from streamcrawl.events import Notice
from streamcrawl.response import BodyStream, Response
from streamcrawl.streams.counting import count
from streamcrawl.streams.fetching import FetchMaker
from streamcrawl.testing.cassette_file import (
    LARGE,
    CassetteError,
    KeptError,
    KeptRequest,
    KeptResponse,
    Writer,
    part_of,
    scan,
)
from streamcrawl.testing.cassette_rules import Rules
from streamcrawl.transport import Wire
from streamcrawl.urls import scheme_of


class OpenRecording:
    """A recording in one run."""

    def __init__(self, path: Path, fetch: Fetch | FetchMaker | None, rules: Rules, run: Run) -> None:
        self._run = run
        self._path = path
        self._rules = rules
        self._wire = Opened(fetch, run)
        state = run.state("cassette")
        found = _of_job(path, str(state.get("recording", "")))
        self._file = Writer.new(path, rules, run.now()) if found is None else found
        state["recording"] = self._file.header.id

    async def __call__(self, request: Request) -> Response:
        return await taped(self._wire, request, self._rules, self._file, self._run)

    async def aclose(self) -> None:
        try:
            await self._wire.aclose()
        finally:
            beside = self._file.close(whole=not self._run.cut)
            if beside is not None:
                text = f"{self._path} stays as it was: the run was cut short, and what it recorded is in {beside}"
                self._run.events.emit(Notice(text=text, level="warning"))

    def __repr__(self) -> str:
        return f"<OpenRecording {self._file!r}>"


def _of_job(path: Path, id: str) -> Writer | None:
    """The cassette that a job has begun, to be gone on with."""
    for each in (path, part_of(path)) if id else ():
        if each.exists() and (found := scan(each)).header.id == id:
            return Writer.more(found, path)
    return None


class Opened:
    """What brings responses, opened only when it is used."""

    def __init__(self, fetch: Fetch | FetchMaker | None, run: Run) -> None:
        self._fetch: Fetch | FetchMaker = Wire() if fetch is None else fetch
        self._run = run
        self._bring: Fetch | None = None

    async def __call__(self, request: Request) -> Response:
        if self._bring is None:
            make = getattr(self._fetch, "open", None)
            self._bring = cast(Fetch, self._fetch if make is None else make(self._run))
        return await self._bring(request)

    async def aclose(self) -> None:
        close = getattr(self._bring, "aclose", None)
        if close is not None and self._bring is not self._fetch:
            await close()


async def taped(fetch: Fetch, request: Request, rules: Rules, file: Writer, run: Run) -> Response:
    """The response, written down; that of a streamed one when its body was read. Raises: what `fetch` raises."""
    if scheme_of(request.url) == "data":
        return await fetch(request)  # it is in the URL already
    kept, started = kept_request(request, rules), run.monotonic()

    def write(response: KeptResponse | None, body: bytes | BinaryIO = b"", error: KeptError | None = None) -> None:
        try:
            file.write(kept, response, _scrubbed(body, rules) if isinstance(body, bytes) else body, error)
        except CassetteError as lost:
            run.fail(lost)
        count(run.stats, "cassette/recorded")

    try:
        response = await fetch(request)
    except FetchError as error:
        write(None, error=kept_error(error, rules, run.monotonic() - started))
        raise
    made = kept_response(response, kept, rules, run.monotonic() - started)
    if response.stream is None:
        write(made, response.body)
        return response

    def end(body: bytes | BinaryIO, error: FetchError | None, cut: bool) -> None:
        why = None if error is None else kept_error(error, rules, 0.0)
        write(msgspec.structs.replace(made, cut=cut), body, why)

    # A large body is not taken into memory, unless secrets have to be looked for in it.
    return response.replace(stream=_Tape(response.stream, end, LARGE if rules.scrub is None else None))


class _Tape:
    """A streamed body that is kept while it is read."""

    def __init__(
        self, body: BodyStream, end: Callable[[bytes | BinaryIO, FetchError | None, bool], None], limit: int | None
    ) -> None:
        self._body = body
        self._end = end
        self._limit = limit
        self._kept = SpooledTemporaryFile(LARGE)  # noqa: SIM115 - closed at the body's end
        self._over = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._body:
                if not self._over:
                    self._kept.write(chunk)
                yield chunk
        except FetchError as error:
            self._finish(error)
            raise
        self._finish()

    async def aclose(self) -> None:
        try:
            await self._body.aclose()
        finally:
            self._finish(cut=True)

    def _finish(self, error: FetchError | None = None, *, cut: bool = False) -> None:
        if self._over:
            return
        self._over = True
        with self._kept as kept:
            large = self._limit is not None and kept.tell() > self._limit
            kept.seek(0)
            self._end(cast(BinaryIO, kept) if large else kept.read(), error, cut)


def _scrubbed(body: bytes, rules: Rules) -> bytes:
    return body if rules.scrub is None else rules.body(body, None)


def kept_request(request: Request, rules: Rules) -> KeptRequest:
    """What a cassette has of the request."""
    body = rules.body(request.body, request.headers.get("content-type"))
    try:
        text, coded = body.decode(), ""
    except UnicodeDecodeError:
        text, coded = "", b64encode(body).decode()
    return KeptRequest(
        request.method,
        rules.url(request.url),
        rules.headers(request.headers),
        text,
        coded,
        tuple(sorted({name.lower() for name in request.fingerprint_headers})),
        request.cookiejar,
    )


def kept_response(response: Response, request: KeptRequest, rules: Rules, seconds: float) -> KeptResponse:
    """What a cassette has of the response, but for the body."""
    url = rules.url(response.url)
    return KeptResponse(
        response.status,
        round(seconds, 6),
        round(response.latency, 6),
        "" if url == request.url else url,
        response.protocol,
        response.ip_address,
        response.wire_size,
        response.flags,
        headers=rules.headers(response.headers),
    )


def kept_error(error: FetchError, rules: Rules, seconds: float) -> KeptError:
    """What a cassette has of a failure: a class of `streamcrawl.errors`, and its text."""
    kind = next(each for each in type(error).__mro__ if getattr(errors, each.__name__, None) is each)
    proxied = (error.proxy, error.status, error.beyond) if isinstance(error, ProxyError) else ("", 0, False)
    return KeptError(kind.__name__, rules.text(str(error)), round(seconds, 6), *proxied)
