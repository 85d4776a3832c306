"""One page's outputs on their way through layers that take them as a whole: pulled, each only when it is wanted.

The order of things is Scrapy's: what a layer raises, or lets through, is offered to the layers around it, the nearest
first, each once. Who gives outputs instead ends the matter; they go on at the next layer outward, after what the page
gave. What nobody takes is raised in the generators of the layers around, which may catch it themselves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from streamcrawl.core import Request, ScrapeInput
from streamcrawl.items import is_item
from streamcrawl.streams.kinds import is_async_iterable, is_awaitable, is_several
from streamcrawl.streams.layer import stray
from streamcrawl.streams.layered import Hooked, Layers, function_for, no_item
from streamcrawl.streams.scrape_hooks import InvalidOutput

TURN = 0.01
"""Seconds that one page may keep the loop before others get a turn."""

SPELL = 8192
"""Outputs that it may give in one turn: virtual time does not pass meanwhile."""

Refuse = Callable[[str, Any, Exception], None]
"""(layer, output, error): a layer refused an output, or failed on it."""


class Whole:
    """The outputs of one page. `streams` holds what is to be emitted, one after the other.

    Args:
        layers: Those of the subscription.
        input: What the callback or errback was given.
        shown: What the layers were shown: a Response still, if one of them refused it.
        refuse: Told of what single-output hooks refuse.
    """

    def __init__(self, layers: Layers, input: ScrapeInput, shown: ScrapeInput, refuse: Refuse) -> None:
        self.streams: deque[AsyncIterator[Any]] = deque()
        self.culprit = ""
        """The layer that raised what nobody has taken; empty: the callback."""
        self._run = layers.run
        self._input = input
        self._shown = shown
        self._refuse = refuse
        self._skip = shown.request.skip
        self._taking = layers.hooked[: layers.whole]
        self._made: list[tuple[tuple[int, int], Any]] = []
        """Iterators to be closed, with how far out they stand."""
        self._offered: dict[int, tuple[Exception, int]] = {}
        """By id: an exception, and the first layer that was not asked about it."""
        self._invalid: InvalidOutput | None = None

    async def begin(self, call: Callable[[], Any]) -> None:
        """Call the callback. Raises: what it raises and no layer takes."""
        try:
            result = call()
            while is_awaitable(result):
                result = await result
        except asyncio.CancelledError as cancelled:
            await self.offer(stray(cancelled))
        except Exception as error:
            await self.offer(error)
        else:
            self.streams.append(self._through(self._given(result), 0))

    async def offer(self, error: Exception, first: int = 0, culprit: str = "") -> None:
        """Ask the layers from `first` on for outputs instead of an exception. Raises: it, if none has any."""
        if isinstance(error, InvalidOutput):
            self._invalid = error
            raise error
        known = self._offered.get(id(error))
        if known is None:
            self.culprit = culprit
        nth = first if known is None else max(first, known[1])
        while nth < len(self._taking):
            layer = self._taking[nth]
            nth += 1
            self._offered[id(error)] = (error, nth)
            if layer.hooks.exception is None or layer.name in self._skip:
                continue
            try:
                result = layer.hooks.exception(error, self._shown)
                if is_awaitable(result):
                    result = await result
            except Exception as raised:
                if raised is not error:
                    self.culprit = layer.name
                error = raised
                continue
            if result is not None:
                self.streams.append(self._through(self._recovered(layer, result), nth))
                return
        raise error

    async def close(self) -> None:
        """Close what was not read to its end, the outermost first. Raises: the first error of theirs."""
        failure: Exception | None = None
        for _, made in sorted(self._made, key=_place, reverse=True):
            close = getattr(made, "aclose", None)
            if close is not None:
                try:
                    await close()
                except Exception as error:
                    failure = failure or error
        if self._invalid is not None or failure is not None:
            raise self._invalid or failure  # type: ignore[misc]  # one of them is there

    # -- generators -------------------------------------------------------------------------------------------------

    def _through(self, outputs: AsyncIterator[Any], first: int) -> AsyncIterator[Any]:
        """`outputs` through the layers from `first` on."""
        source = self._taking[first - 1].name if first else ""
        stream = self._caught(self._kept(outputs, first - 1, 5), first, source)
        stream = self._kept(stream, first - 1, 6)
        for nth in range(first, len(self._taking)):
            layer = self._taking[nth]
            if layer.hooks.output is not None and layer.name not in self._skip:
                stream = self._kept(self._taken(layer, stream, nth), nth, 2)
                stream = self._kept(self._caught(stream, nth + 1, layer.name), nth, 3)
            if layer.hooks.request is not None or layer.hooks.item is not None:
                stream = self._kept(self._each(layer, stream), nth, 4)
        return stream

    def _kept(self, made: AsyncIterator[Any], nth: int, place: int) -> AsyncIterator[Any]:
        self._made.append(((nth, place), made))
        return made

    async def _caught(self, stream: AsyncIterator[Any], first: int, culprit: str) -> AsyncIterator[Any]:
        try:
            async for output in stream:
                yield output
        except Exception as error:
            await self.offer(error, first, culprit)

    async def _taken(self, layer: Hooked, stream: AsyncIterator[Any], nth: int) -> AsyncIterator[Any]:
        """What a layer makes of the outputs nearer to the callback."""
        assert layer.hooks.output is not None
        made = layer.hooks.output(stream, self._shown)
        if not is_async_iterable(made):
            close = getattr(made, "close", None)
            if close is not None:
                close()  # a coroutine that nobody will await
            raise self._wrong(InvalidOutput(f"layer {layer.name} gave {made!r}, which is no async iterator"))
        async for output in self._kept(aiter(made), nth, 1):
            yield self._checked(output, f"layer {layer.name}")

    async def _each(self, layer: Hooked, stream: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The single-output hooks of a layer."""
        _, request, item, _, _ = layer.hooks
        async for output in stream:
            if output is None:
                continue
            hook = item
            if isinstance(output, Request):
                hook = request if layer.name not in output.skip else None
            if hook is None:
                yield output
                continue
            try:
                passed = hook(output, self._input)
            except Exception as error:
                self._refuse(layer.name, output, error)
                continue
            if passed is not None:
                yield passed

    async def _given(self, result: Any) -> AsyncIterator[Any]:
        """What a callback gave, one output after the other."""
        if result is None:
            return
        if isinstance(result, Request) or is_item(result):
            yield result
            return
        function = function_for(self._input)
        if not is_async_iterable(result) and not is_several(result):
            raise self._wrong(no_item(result, self._input, function, "returned"))
        async for output in self._kept(self._pulled(result), -1, 4):
            yield self._checked(output, function)

    async def _recovered(self, layer: Hooked, result: Any) -> AsyncIterator[Any]:
        """What a layer gave instead of an exception."""
        if is_item(result) or isinstance(result, Request) or not (is_async_iterable(result) or is_several(result)):
            what = f"layer {layer.name} gave {result!r} instead of an exception: give None, or outputs in a list"
            raise self._wrong(InvalidOutput(what))
        async for output in self._kept(self._pulled(result), -1, 4):
            yield self._checked(output, f"layer {layer.name}")

    def _checked(self, output: Any, source: str) -> Any:
        if output is None or isinstance(output, Request) or is_item(output):
            return output
        raise self._wrong(no_item(output, self._input, source, "yielded"))

    async def _pulled(self, outputs: Any) -> AsyncIterator[Any]:
        """The outputs of an iterable of either kind, with turns for others in between."""
        run = self._run
        asynchronous = is_async_iterable(outputs)
        iterator: Any = aiter(outputs) if asynchronous else iter(outputs)
        until, pulled = run.monotonic() + TURN, 0
        try:
            while True:
                yield (await anext(iterator)) if asynchronous else next(iterator)
                pulled += 1
                if not pulled & 63 and (not pulled % SPELL or run.monotonic() > until):
                    await asyncio.sleep(0)
                    until = run.monotonic() + TURN
        except (StopIteration, StopAsyncIteration):
            return
        except asyncio.CancelledError as cancelled:
            raise stray(cancelled) from cancelled
        finally:
            await _closed(iterator)

    def _wrong(self, error: InvalidOutput) -> InvalidOutput:
        self._invalid = error
        return error


def _place(made: tuple[tuple[int, int], Any]) -> tuple[int, int]:
    return made[0]


async def _closed(iterator: Any) -> None:
    if hasattr(iterator, "aclose"):
        await iterator.aclose()
    elif hasattr(iterator, "close"):
        iterator.close()
