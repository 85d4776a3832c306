"""`data:` URLs: the body is in the URL itself."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from streamcrawl.core import Request, Run
from streamcrawl.errors import DecodeError, FetchError
from streamcrawl.headers import Headers
from streamcrawl.response import Response
from streamcrawl.transport.body import Intake, StreamedBody
from streamcrawl.transport.decoding import too_large
from streamcrawl.urls import without_fragment

if TYPE_CHECKING:
    from streamcrawl.transport.wire import Wire

DEFAULT_TYPE = "text/plain;charset=US-ASCII"
WHITESPACE = b" \t\n\f\r"


@dataclass(frozen=True, slots=True)
class DataTransport:
    """Reads `data:` URLs."""

    wire: Wire
    run: Run

    async def __call__(self, request: Request) -> Response:
        kind, body = parse_data_url(request.url)
        limit = self.wire.max_size_of(request)
        if len(body) > limit:
            raise too_large(f"{request.url[:60]}...", limit, len(body))
        stream = None
        if request.stream and request.method != "HEAD":
            chunks = _piece(body)
            name = f"{request.url[:60]}..."
            stream = StreamedBody(name, chunks, Intake(name, limit), chunks.aclose, lambda error: None, 1.0)
        return Response(
            request.url,
            headers=Headers((("Content-Type", kind), ("Content-Length", str(len(body))))),
            body=b"" if stream is not None or request.method == "HEAD" else body,
            request=request,
            protocol="data",
            wire_size=len(body),
            stream=stream,
        )

    async def aclose(self) -> None:
        """Nothing is kept open."""


def parse_data_url(url: str) -> tuple[str, bytes]:
    """Media type and body. Source: RFC 2397 §3; WHATWG Fetch, "data: URL processor" (base64 without padding, spaces).

    Raises: FetchError if there is no comma, DecodeError if the base64 is broken.
    """
    head, comma, data = without_fragment(url)[len("data:") :].partition(",")
    if not comma:
        raise FetchError(f"{url[:60]!r}: a data: URL has a comma between media type and data")
    kind, semicolon, last = head.rpartition(";")
    coded = bool(semicolon) and last.strip(" ").lower() == "base64"
    kind = (kind if coded else head).strip(" ")
    if kind.startswith(";"):
        kind = f"text/plain{kind}"
    body = unquote_to_bytes(data)
    if coded:
        body = _unpack(body, url)
    return kind if "/" in kind else DEFAULT_TYPE, body


def _unpack(body: bytes, url: str) -> bytes:
    packed = body.translate(None, WHITESPACE).rstrip(b"=")
    try:
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except binascii.Error as error:
        raise DecodeError(f"{url[:60]!r}: the base64 of the data: URL is broken: {error}") from error


async def _piece(body: bytes) -> AsyncGenerator[bytes]:
    if body:
        yield body
