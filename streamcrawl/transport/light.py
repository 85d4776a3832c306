"""httpx's messages without what our own transport never asks for: parsed URLs, which cost 30 µs, and indexed fields."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import httpx

from streamcrawl.proxy_urls import ProxyAddress
from streamcrawl.transport.outgoing import Fields, as_bytes

RawFields = Sequence[tuple[bytes, bytes]]


class UnparsedURL(httpx.URL):
    """An httpx URL that is parsed when a transport asks for its parts."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # a copy in the making has no text yet
            raise AttributeError(name)
        self.__dict__.update(httpx.URL(self._text).__dict__)
        return object.__getattribute__(self, name)

    def __str__(self) -> str:
        return self._text


class LightRequest(httpx.Request):
    """A request to be sent as it is: `fields` are its header fields."""

    def __init__(
        self,
        method: str,
        url: str,
        fields: Fields,
        body: bytes,
        reach: tuple[str, ...],
        proxy: ProxyAddress | None,
    ) -> None:
        self.method = method
        self.url = UnparsedURL(url)
        self.fields = fields
        self._content = body
        self.stream = httpx.ByteStream(body)
        self.extensions = {"reach": reach, "proxy": proxy}

    @cached_property
    def headers(self) -> httpx.Headers:  # type: ignore[override]  # made for transports that look at it
        return httpx.Headers(as_bytes(self.fields))


class LightResponse(httpx.Response):
    """An answer whose body is still to be read: `raw` are its header fields."""

    def __init__(self, status: int, raw: RawFields, stream: httpx.AsyncByteStream, version: bytes) -> None:
        self.status_code = status
        self.raw = raw
        self.stream = stream
        self.extensions = {"http_version": version}

    @cached_property
    def headers(self) -> httpx.Headers:  # type: ignore[override]  # likewise
        return httpx.Headers(list(self.raw))

    async def aclose(self) -> None:
        assert isinstance(self.stream, httpx.AsyncByteStream)
        await self.stream.aclose()
