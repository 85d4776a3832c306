"""A crawl's start through functions that see it as a whole: Scrapy's `process_start`."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from reactivex import Observable

from streamcrawl.arguments import telling
from streamcrawl.core import Request, StartSource
from streamcrawl.streams.kinds import is_async_iterable

StartStep: TypeAlias = Callable[[AsyncIterator[Any]], AsyncIterator[Any]]
"""An async generator: what the start gives -> what the crawl gets instead, Requests, URLs and items."""


@dataclass(frozen=True, slots=True)
class StartThrough:
    """A start whose elements pass through `steps`; every run takes it anew. See `start_through`."""

    source: StartSource
    steps: tuple[StartStep, ...]

    async def __aiter__(self) -> AsyncIterator[Any]:
        made: list[AsyncIterator[Any]] = [_elements(self.source)]
        try:
            for step in self.steps:
                given = step(made[-1])
                if not is_async_iterable(given):
                    raise TypeError(f"{step!r} gave {given!r}, and no async iterator: async def with yield")
                made.append(aiter(given))
            async for element in made[-1]:
                yield element
        finally:
            for each in reversed(made):
                close = getattr(each, "aclose", None)
                if close is not None:
                    await close()

    def __repr__(self) -> str:
        return f"<start through {len(self.steps)} steps>"


@telling
def start_through(source: StartSource, *steps: StartStep) -> StartThrough:
    """A start for `Crawl(…)`: what `source` gives, changed by async generators; they are asked as the crawl asks.

    In a job, what counts as taken is what comes out of the last step: when the job goes on, source and steps run from
    the beginning and so many elements are skipped, so they have to give the same ones again.

    Args:
        source: As a crawl's start.
        steps: Nearest to the source first.

    Raises: TypeError for an Observable, which cannot be asked to wait: reactivex operators change one.
    """
    if isinstance(source, Observable):
        raise TypeError("start_through() asks for one element after the other; change an Observable with its .pipe()")
    return StartThrough(source, steps)


async def _elements(source: StartSource) -> AsyncIterator[Any]:
    if isinstance(source, (str, Request)):
        yield source
    elif isinstance(source, AsyncIterable):
        iterator = aiter(source)
        try:
            async for element in iterator:
                yield element
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                await close()
    else:
        elements = cast("Iterable[Any]", source)
        if isinstance(source, (set, frozenset)):  # whose order differs from process to process
            elements = sorted(elements, key=lambda each: each if isinstance(each, str) else each.url)
        for element in elements:
            yield element
