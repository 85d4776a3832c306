"""Undo the Content-Encoding of bodies that `fetch` left as they came."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Literal

from streamcrawl.core import Outcome, Request, Run
from streamcrawl.operators.default_headers import checked, filling
from streamcrawl.response import BodyStream, Response
from streamcrawl.streams.layer import Hooks, NamedLayer, layer
from streamcrawl.transport.body import count_decoded
from streamcrawl.transport.decoding import Decoder, is_part, plan

ACCEPT_ENCODING = "gzip, deflate, br, zstd"

LIMIT = 64 * 1024 * 1024
"""Bytes, decoded, where neither the request nor `max_size` says anything; as `Wire` has it."""


def decompress(*, max_size: int | None = None, truncated: Literal["fail", "keep"] = "fail") -> NamedLayer:
    """Ask for compressed bodies, and decode those that come up with a Content-Encoding.

    `fetch` does this itself. The layer is for one that does not: a client of yours, or `Wire(decompress=False)` with a
    cache between that keeps bodies as they came. gzip, deflate, br and zstd are undone, chunk by chunk if the body is
    streamed; an encoding that nobody knows stays, with its header field. A request with a `Range` asks for `identity`,
    and a part (206) of a coded body stays as it came. It keeps the counters httpcompression/response_count and
    httpcompression/response_bytes (decoded; whole bodies only).

    Args:
        max_size: Bytes of body, decoded; `Request.max_size` wins; None: 64 MiB.
        truncated: What becomes of coded data that breaks off: "fail", or "keep" what could be decoded of it; a whole
            body then has the flag "truncated".

    Emits: the response, decoded; Failed with DecodeError, TruncatedBody or BodyTooLarge. One in, one out.
    Raises: ValueError if `max_size` < 1, or for an unknown word, when built.
    Source: RFC 9110 §8.4, §12.5.3, §14.2; WHATWG Fetch, "HTTP-network-or-cache fetch" (Range).
    """
    if max_size is not None and max_size < 1:
        raise ValueError(f"decompress({max_size=}): 1 byte or more, or None")
    if truncated not in ("fail", "keep"):
        raise ValueError(f'decompress({truncated=}): "fail" or "keep"')
    bound, keep = LIMIT if max_size is None else max_size, truncated == "keep"

    def make(run: Run) -> Hooks:
        for_whole, for_part = (filling(checked({"Accept-Encoding": each})) for each in (ACCEPT_ENCODING, "identity"))

        def down(request: Request) -> Request:
            return for_part(request) if "range" in request.headers else for_whole(request)

        def up(outcome: Outcome) -> Outcome | Awaitable[Outcome]:
            if not isinstance(outcome, Response) or "content-encoding" not in outcome.headers:
                return outcome
            # RFC 9110 §6.4.1: no body, and header fields that describe the one there would have been.
            if outcome.request.method == "HEAD" or outcome.status in (204, 304):
                return outcome
            if is_part(outcome.status, outcome.headers):
                return outcome
            limit = outcome.request.max_size or bound
            if outcome.stream is not None:
                return _streamed(outcome, outcome.stream, limit, keep)
            decoded = _whole(outcome, limit, keep)
            if decoded.body is not outcome.body:
                count_decoded(run, len(decoded.body))
            return decoded

        return Hooks(down, up)

    return layer("decompress", make)


def _whole(response: Response, limit: int, keep: bool) -> Response:
    body = response.body
    codings, headers = plan(response.headers) if body else ((), response.headers)
    if headers is response.headers:
        return response
    flags = response.flags
    if codings:
        decoder = Decoder(codings, limit, response.url, keep_truncated=keep)
        decoded = b"".join(decoder.feed(body))
        decoder.finish()
        if decoder.truncated:
            flags = (*flags, "truncated")
        body, size = decoded, response.wire_size or len(body)
    else:
        size = response.wire_size
    return response.replace(body=body, headers=headers, flags=flags, wire_size=size)


async def _streamed(response: Response, stream: BodyStream, limit: int, keep: bool) -> Response:
    codings, headers = plan(response.headers)
    if not codings:
        return response
    try:
        decoder = Decoder(codings, limit, response.url, keep_truncated=keep)
    except Exception:
        await stream.aclose()
        raise
    return response.replace(headers=headers, stream=_Decoded(stream, decoder))


class _Decoded:
    """A streamed body, decoded as it is read."""

    __slots__ = ("_body", "_decoder")

    def __init__(self, body: BodyStream, decoder: Decoder) -> None:
        self._body = body
        self._decoder = decoder

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._body:
                for piece in self._decoder.feed(chunk):
                    yield piece
            self._decoder.finish()
        except Exception:
            await self._body.aclose()
            raise

    async def aclose(self) -> None:
        await self._body.aclose()

    def __repr__(self) -> str:
        return f"<decoded {self._body!r}, {self._decoder.size} bytes>"
