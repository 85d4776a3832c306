"""Runs and pictures for the tests of files and images."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from io import BytesIO
from typing import Any

from PIL import Image

from streamcrawl import Dropped, Failed, Headers, Request, Response
from streamcrawl.core import LEASE, Lease, Outcome
from streamcrawl.media.media import OpenMedia
from streamcrawl.streams.local import LocalRun

ID = (0, 0, 0)
SITE = "https://shop.example"


def png(width: int = 60, height: int = 30, colour: Any = (250, 0, 0, 0), mode: str = "RGBA") -> bytes:
    return encoded(mode, colour, "PNG", (width, height))


def encoded(mode: str, colour: Any, kind: str = "PNG", size: tuple[int, int] = (40, 20), **options: Any) -> bytes:
    out = BytesIO()
    Image.new(mode, size, colour).save(out, kind, **options)
    return out.getvalue()


def gradient(size: tuple[int, int]) -> Image.Image:
    """From black at the top to white."""
    untyped: Any = Image.linear_gradient("L")  # annotations of resize name numpy
    made: Image.Image = untyped.resize(size)
    return made


def named(url: str, extension: str = ".jpg") -> str:
    return hashlib.sha1(url.encode()).hexdigest() + extension


class Body:
    """A streamed body: these chunks, then perhaps an error."""

    def __init__(self, chunks: list[bytes], error: Exception | None = None) -> None:
        self.chunks = chunks
        self.error = error
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            await asyncio.sleep(0)
            yield chunk
        if self.error is not None:
            raise self.error

    async def aclose(self) -> None:
        self.closed = True


class Fetching(LocalRun):
    """A run whose fetch answers from a dict of paths: a body, a status, an error, a reason, or a function."""

    def __init__(self, answers: dict[str, Any]) -> None:
        super().__init__(asyncio.get_running_loop())
        self.answers = answers
        self.asked: Counter[str] = Counter()
        self.requests_made: list[Request] = []
        self.parents: list[Lease | None] = []
        self.bodies: list[Body] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_once = self.most = 0

    async def fetch(self, request: Request, parent: Request | None = None) -> Outcome:
        self.asked[request.url] += 1
        self.requests_made.append(request)
        self.parents.append(parent.lease if parent else LEASE.get(None))
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await self.gate.wait()
        self.at_once -= 1
        answer: Any = self.answers.get(request.url.removeprefix(SITE), 404)
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Exception):
            return Failed(request, answer)
        if isinstance(answer, str):
            return Dropped(request, answer)
        if isinstance(answer, int):
            return Response(request.url, answer, request=request)
        if isinstance(answer, Response):
            return answer.replace(request=request)
        body = answer if isinstance(answer, Body) else Body([answer] if isinstance(answer, bytes) else answer)
        self.bodies.append(body)
        return Response(request.url, request=request, stream=body)


Work = Callable[[OpenMedia, Fetching], Awaitable[Any]]


def accepted(sink: Any, answers: dict[str, Any], work: Work) -> tuple[Any, Fetching]:
    """What `work` gives with the sink opened, and the run."""

    async def main() -> tuple[Any, Fetching]:
        run = Fetching(answers)
        opened = sink.open(run)
        try:
            result = await work(opened, run)
            assert await opened.flush() is None
            return result, run
        finally:
            await opened.close()

    return asyncio.run(main())


def of(*items: Any) -> Work:
    """Give it the items, one after the other; the last one's outcome, or all in a list."""

    async def work(opened: OpenMedia, run: Fetching) -> Any:
        done = [await opened.accept(item, ID) for item in items]
        return done[0] if len(items) == 1 else done

    return work


def html(text: str) -> Response:
    return Response(SITE, headers=Headers({"Content-Type": "text/html; charset=utf-8"}), body=text.encode())
