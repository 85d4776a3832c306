"""A fetch that answers from a dict: no network, every request logged."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from html import escape
from inspect import isawaitable
from typing import Any, TypeAlias

from streamcrawl.core import Request
from streamcrawl.errors import InvalidURL
from streamcrawl.headers import HeaderPairs, Headers
from streamcrawl.response import Response
from streamcrawl.urls import canonical, host_of, normalize, without_fragment

Answer: TypeAlias = "str | bytes | Response | Exception | Callable[[Request], Any] | list[Any]"
"""What a URL answers: an HTML page, a body, a Response, an error to raise, or a function of the request that gives one
of them or an awaitable of it. A list answers the first request with its first, and so on; the last one stays."""

Latency: TypeAlias = "float | Callable[[Request], float]"


class FakeFetch:
    """An `async (Request) -> Response` that answers from a mapping. What is not in it is a 404.

    Args:
        site: What each URL answers; a key that begins with "/" is a path of every host.
        latency: Seconds before the answer, or a function of the request; with 0 it answers without waiting.

    `log` holds (loop time, request) for each call, `hits` counts them by URL (without the fragment), `most` is how many
    were under way at once, `most_by_host` the same by host.

    Raises: InvalidURL for a key that is neither a path nor an absolute URL; TypeError for what is no answer; ValueError
        if `latency` < 0, when built.
    """

    def __init__(self, site: Mapping[str, Answer], *, latency: Latency = 0.0) -> None:
        if not callable(latency) and latency < 0:
            raise ValueError(f"latency is {latency!r}: it must be 0 or more seconds")
        for key, answer in site.items():
            if not (callable(answer) or isinstance(answer, ANSWERS)):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
                kind = type(answer).__name__
                raise TypeError(f"FakeFetch({{{key!r}: {answer!r}}}): text, bytes, a Response, … answer, and no {kind}")
            if not key.startswith("/") and "://" not in key:
                raise InvalidURL(f"FakeFetch({{{key!r}: …}}): a path begins with /, and a URL with its scheme")
        self._site = {key if key.startswith("/") else _key(normalize(key)): answer for key, answer in site.items()}
        self._latency = latency
        self.log: list[tuple[float, Request]] = []
        self.hits: Counter[str] = Counter()
        self.active = 0
        self.active_by_host: Counter[str] = Counter()
        self.most = 0
        self.most_by_host: defaultdict[str, int] = defaultdict(int)

    async def __call__(self, request: Request) -> Response:
        """The answer to the request. Raises: the error that the site has in its place."""
        url = without_fragment(request.url)
        nth = self.hits[url]
        self.hits[url] += 1
        self.log.append((asyncio.get_running_loop().time(), request))
        host = host_of(url)
        self._enter(host)
        try:
            seconds = self._latency(request) if callable(self._latency) else self._latency
            if seconds > 0:
                await asyncio.sleep(seconds)
            return await _answer(self._find(url), request, nth)
        finally:
            self.active -= 1
            self.active_by_host[host] -= 1

    @property
    def urls(self) -> list[str]:
        """The URLs asked for, in order."""
        return [request.url for _, request in self.log]

    @property
    def times(self) -> list[float]:
        """The loop times at which they were asked for."""
        return [at for at, _ in self.log]

    def _enter(self, host: str) -> None:
        self.active += 1
        self.active_by_host[host] += 1
        self.most = max(self.most, self.active)
        self.most_by_host[host] = max(self.most_by_host[host], self.active_by_host[host])

    def _find(self, url: str) -> Answer:
        key = _key(url)
        found = self._site.get(key)
        if found is None:
            path = "/" + key.partition("://")[2].partition("/")[2]
            found = self._site.get(path)
            if found is None:
                found = self._site.get(path.partition("?")[0])
        return NOT_FOUND if found is None else found

    def __repr__(self) -> str:
        return f"<FakeFetch {len(self._site)} pages, {len(self.log)} requests, {self.active} under way>"


def _key(url: str) -> str:
    return canonical(url)


async def _answer(answer: Any, request: Request, nth: int) -> Response:
    if isinstance(answer, (list, tuple)):
        answer = _nth(answer, nth)
    if callable(answer):
        answer = answer(request)
        if isawaitable(answer):
            answer = await answer
    if isinstance(answer, Exception):
        raise answer
    if isinstance(answer, (str, bytes)):
        answer = page(answer)
    if not isinstance(answer, Response):
        raise TypeError(f"no answer to {request.url}: {answer!r}")
    if request.method == "HEAD":
        return answer.replace(url=request.url, request=request, body=b"", stream=None)
    if request.stream and answer.stream is None:
        return answer.replace(url=request.url, request=request, body=b"", stream=Chunks(answer.body))
    return answer.replace(url=request.url, request=request)


def _nth(answers: Any, nth: int) -> Any:
    return answers[min(nth, len(answers) - 1)]


class Chunks:
    """A body that comes in chunks.

    Args:
        body: The whole body.
        size: Bytes a chunk.
        error: Raised after the last chunk, as a connection that breaks does.
    """

    def __init__(self, body: bytes, *, size: int = 1024, error: Exception | None = None) -> None:
        if size < 1:
            raise ValueError(f"size is {size!r}: it must be 1 byte or more")
        self._chunks = [body[at : at + size] for at in range(0, len(body), size)]
        self._error = error
        self.closed = False
        """Whether it was read to its end or closed."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while self._chunks and not self.closed:
                yield self._chunks.pop(0)
            if self._error is not None:
                raise self._error
        finally:
            self.closed = True

    async def aclose(self) -> None:
        self.closed = True


def page(
    html: str | bytes = "", *, links: Iterable[str] = (), status: int = 200, headers: HeaderPairs = ()
) -> Response:
    """A Response for a `FakeFetch`, which fills in its URL and request.

    Args:
        html: The body.
        links: Addresses of links that follow it.
        status: The HTTP status.
        headers: Header fields; text/html in UTF-8 unless they have a Content-Type.
    """
    body = html.encode() if isinstance(html, str) else html
    fields = Headers(headers).defaults({"Content-Type": "text/html; charset=utf-8"})
    return Response("about:blank", status, fields, body + links_to(*links).encode())


def links_to(*urls: str) -> str:
    """HTML with a link to each of the URLs."""
    return "".join(f'<a href="{escape(url)}">{escape(url)}</a>\n' for url in urls)


ANSWERS = (str, bytes, Response, Exception, list, tuple)
NOT_FOUND = page("not found", status=404)
