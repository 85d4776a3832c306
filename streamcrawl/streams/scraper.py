"""The spider as a flat-map: a callback's outputs, pulled only as fast as the sinks take (DESIGN laws 1, 5)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterator
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable

from streamcrawl.core import (
    LEASE,
    Callback,
    Done,
    Errback,
    Extent,
    Lease,
    Request,
    Run,
    ScrapeInput,
    Start,
)
from streamcrawl.errors import CallbackError, StreamcrawlError
from streamcrawl.events import Notice
from streamcrawl.items import is_item
from streamcrawl.mistakes import said
from streamcrawl.response import Response
from streamcrawl.streams.edges import closed
from streamcrawl.streams.errbacks import taken
from streamcrawl.streams.kinds import is_async_iterable, is_awaitable, is_several
from streamcrawl.streams.layer import stray
from streamcrawl.streams.layered import Given, Hooked, Layers, function_for, no_item, refused, response_of, unskipped
from streamcrawl.streams.local import running
from streamcrawl.streams.scrape_hooks import InvalidOutput, ScrapeHooks
from streamcrawl.streams.whole import SPELL, TURN, Whole
from streamcrawl.urls import masked

START = Start()

ERRBACK = 1 << 40
"""The ordinal of the first output of an errback."""


class Page:
    """One input whose outputs are being emitted."""

    __slots__ = ("extent", "input", "lease", "ordinal", "outputs", "source")

    def __init__(self, input: ScrapeInput, lease: Lease | None) -> None:
        self.input = input
        self.lease = lease
        self.extent = Extent((lease,)) if lease is not None else None
        # Errbacks count apart: what they gave is nothing that the page has given, should it come after all.
        self.ordinal = (0 if isinstance(input, Response) else ERRBACK) + (lease.base if lease is not None else 0)
        self.outputs: Iterator[Any] = iter(())
        self.source: object = None
        """What the callback gave."""


class Scraping:
    """One subscription of a scraper: the pages under way, and those that wait for the sinks."""

    def __init__(
        self, layers: Layers, callback: Callback, errback: Errback | None, lower: abc.ObserverBase[Any]
    ) -> None:
        self._run = layers.run
        self._known = layers.run.known
        self._layers = layers
        self._links = layers.outer_requests
        self._items = layers.outer_items
        self._callback = callback
        self._errback = errback
        self._lower = lower
        self._paused: deque[Page] = deque()
        self._dropped = False
        self._open = 0
        self._completed = False

    def on_next(self, input: ScrapeInput) -> None:
        run = self._run
        extent = run.extent
        lease = extent.leases[0] if extent is not None and extent.leases else None
        self._open += 1
        try:
            given = self._layers.given(input)
        except InvalidOutput as error:
            self._done(Page(input, lease), error)
            return
        page = Page(given.input, lease)
        request = page.input.request
        function: Callable[..., Any] | None
        if isinstance(page.input, Response):
            function = request.callback or self._callback
        else:
            function = request.errback or self._errback
        if self._layers.whole and (function is not None or given.refusal is not None):
            self._spawn(page, self._through(page, given, function))
            return
        if function is None:
            self._done(page, None)
            return
        try:
            result = self._call(page, function)
        except Exception as error:
            self._done(page, error)
            return
        self._take(page, function, result)

    def _call(self, page: Page, function: Callable[..., Any]) -> Any:
        self._run.page = page.input
        try:
            kwargs = page.input.request.cb_kwargs
            if kwargs and not isinstance(page.input, Response):
                kwargs = taken(function, kwargs)
            page.source = result = function(page.input, **kwargs)
        finally:
            self._run.page = None
        if result is None and self._layers.whole and isinstance(page.input, Response):
            self._run.gave_none(function)
        return result

    def start(self, element: Any) -> None:
        """What the crawl's start brings goes through the layers like what a callback yields."""
        run, layers = self._run, self._layers
        run.page = START
        try:
            if isinstance(element, Request):
                steps = layers.requests if not element.skip else unskipped(layers.requests, element)
            else:
                steps = layers.items
            passed = layers.passed(steps, element, START)
            if passed is not None:
                self._lower.on_next(passed)
        finally:
            run.page = None

    async def _through(self, page: Page, given: Given, function: Callable[..., Any] | None) -> None:
        """Emit what the layers that take outputs as a whole make of the callback's."""
        run = self._run
        whole = Whole(self._layers, page.input, given.shown, partial(self._refuse, page))
        error: Exception | None = None
        try:
            if function is not None:
                await whole.begin(partial(self._call, page, function))
            else:
                assert given.refusal is not None
                await whole.offer(given.refusal)
        except Exception as raised:
            error = raised if function is not None or raised is not given.refusal else None
        try:
            while whole.streams and not run.enough:
                try:
                    await self._emit_all(page, whole.streams[0])
                except asyncio.CancelledError as raised:
                    error = error or stray(raised)
                except Exception as raised:
                    error = error or raised
                whole.streams.popleft()
        finally:
            try:
                await whole.close()
            except Exception as raised:
                error = raised if isinstance(raised, InvalidOutput) else error or raised
        self._done(page, error, whole.culprit)

    async def _emit_all(self, page: Page, outputs: AsyncIterable[Any]) -> None:
        run = self._run
        await run.room()
        async for output in outputs:
            run.page = page.input
            try:
                self._emit(page, output)
            finally:
                run.page = None
            if run.congestion:
                await run.room()
            if run.enough:
                _break_off(page)
                return

    def _refuse(self, page: Page, layer: str, output: Any, error: Exception) -> None:
        run = self._run
        before = run.extent, run.page
        run.extent, run.page = page.extent, page.input
        try:
            refused(run, layer, output, error)
        finally:
            run.extent, run.page = before

    def _take(self, page: Page, function: Callable[..., Any], result: Any) -> None:
        page.source = result
        if result is None:
            if isinstance(page.input, Response):
                self._run.gave_none(function)
            self._done(page, None)
        elif isinstance(result, Iterator):
            page.outputs = result
            self._advance(page)
        elif isinstance(result, Request) or is_item(result):
            page.outputs = iter((result,))
            self._advance(page)
        elif is_several(result):
            page.outputs = iter(result)
            self._advance(page)
        elif is_async_iterable(result):
            self._spawn(page, self._iterate(page, result))
        elif is_awaitable(result):
            self._spawn(page, self._await(page, function, result))
        else:
            self._done(page, no_item(result, page.input, function_for(page.input), "returned"))

    def _spawn(self, page: Page, work: Coroutine[Any, Any, None]) -> None:
        context = copy_context()
        if page.lease is not None:
            context.run(LEASE.set, page.lease)
        context.run(self._run.spawn, work)

    def _advance(self, page: Page) -> None:
        """Emit until the callback ends, the sinks are behind, or its turn is over."""
        run = self._run
        if self._dropped:
            self._close(page)
            return
        until = run.monotonic() + TURN
        outputs, known = page.outputs, self._known
        emitted = 0
        error: Exception | None = None
        while True:
            if run.enough or self._dropped:
                break
            if run.congestion:
                self._paused.append(page)
                return
            run.page = page.input
            try:
                output = next(outputs)
                # Most links of most pages are known: they go nowhere, and fill nothing.
                while isinstance(output, Request) and known(output):
                    emitted += 1
                    if not emitted & 63 or run.enough or self._dropped:
                        break
                    output = next(outputs)
                else:
                    self._give(page, output)
                    emitted += 1
            except StopIteration:
                break
            except Exception as raised:
                error = raised
                break
            finally:
                run.page = None
            if not emitted & 63 and (emitted >= SPELL or run.monotonic() > until):
                run.loop.call_soon(self._advance, page)
                return
        if run.enough or self._dropped:
            _break_off(page)
            try:
                _end_of(outputs)
            except Exception as raised:  # in its `finally`
                error = error or raised
        self._done(page, error)

    async def _iterate(self, page: Page, outputs: AsyncIterable[Any]) -> None:
        error: Exception | None = None
        try:
            async for output in outputs:
                self._run.page = page.input
                try:
                    self._emit(page, output)
                finally:
                    self._run.page = None
                if self._run.congestion:
                    await self._run.room()
                if self._run.enough:
                    _break_off(page)
                    break
        except asyncio.CancelledError as raised:
            error = stray(raised)
        except Exception as raised:
            error = raised
        close = getattr(outputs, "aclose", None)
        if close is not None:
            try:
                await close()
            except Exception as raised:  # in its `finally`
                error = error or raised
        self._done(page, error)

    async def _await(self, page: Page, function: Callable[..., Any], result: Awaitable[Any]) -> None:
        try:
            value = await result
        except asyncio.CancelledError as error:
            self._done(page, stray(error))
            return
        except Exception as error:
            self._done(page, error)
            return
        self._take(page, function, value)

    def _emit(self, page: Page, output: Any) -> None:
        if not (isinstance(output, Request) and self._known(output)):
            self._give(page, output)

    def _give(self, page: Page, output: Any) -> None:
        """Emit what is no link that is known."""
        run = self._run
        if isinstance(output, Request):
            if not isinstance(output.url, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
                raise no_item(output, page.input, function_for(page.input), "yielded", page.source)
            before, run.extent = run.extent, page.extent
            run.source = page.source
            try:
                links = self._links if not output.skip else unskipped(self._links, output)
                link = self._layers.passed(links, output, page.input)
                if link is not None:
                    self._lower.on_next(link)
            finally:
                run.extent, run.source = before, None
        elif is_item(output):
            lease = page.lease
            if lease is None:
                self._pass_on(output, page.input)
                return
            ordinal = page.ordinal
            page.ordinal = ordinal + 1
            lease.scraped = True
            if lease.progress is not None and lease.progress.has(ordinal):
                return  # safe since before the job was stopped
            extent = Extent((lease,), ordinal)
            before, run.extent = run.extent, extent
            extent.hold()
            try:
                self._pass_on(output, page.input)
            finally:
                run.extent = before
                extent.release()
        elif output is not None:
            raise no_item(output, page.input, function_for(page.input), "yielded", page.source)

    def _pass_on(self, item: Any, page: ScrapeInput) -> None:
        if self._items:
            item = self._layers.passed(self._items, item, page)
        if item is not None:
            self._lower.on_next(item)

    def _done(self, page: Page, error: Exception | None, culprit: str = "") -> None:
        response = response_of(page.input)
        if response is not None and response.stream is not None:
            self._spawn(page, closed(response.stream))
        if error is not None and not isinstance(error, StreamcrawlError):
            error = _raised(error, page.input, f"layer {culprit}" if culprit else function_for(page.input))
        before = self._run.extent
        self._run.extent = page.extent
        try:
            self._lower.on_next(Done(page.input, error))
        finally:
            self._run.extent = before
        self._open -= 1
        self._end()

    def resume(self) -> None:
        """The sinks have room again: go on with the pages that waited, in their order."""
        for _ in range(len(self._paused)):
            if self._run.congestion:
                return
            self._advance(self._paused.popleft())

    def drop(self) -> None:
        """Nobody listens any more: callbacks that waited are closed now, not when somebody collects the garbage."""
        self._dropped = True
        while self._paused:
            self._close(self._paused.popleft())

    def _close(self, page: Page) -> None:
        try:
            _end_of(page.outputs)
        except Exception as error:  # in its `finally`
            text = str(_raised(error, page.input, function_for(page.input)))
            self._run.events.emit(Notice(text=text, level="error"))

    def on_completed(self) -> None:
        self._completed = True
        self._end()

    def _end(self) -> None:
        if self._completed and not self._open:
            self._lower.on_completed()


def _end_of(outputs: Iterator[Any]) -> None:
    close = getattr(outputs, "close", None)
    if close is not None:
        close()


def _break_off(page: Page) -> None:
    if page.lease is not None:
        page.lease.cut = True


def _raised(error: Exception, input: ScrapeInput, who: str) -> CallbackError:
    url = getattr(getattr(input, "request", None), "url", "the start")
    made = CallbackError(f"{who} for {masked(url)} raised {said(error)}")
    made.__cause__ = error
    return made


class Layered(Protocol):
    """What a layer is described by: its name, and the hooks that it has in a run."""

    @property
    def name(self) -> str: ...
    @property
    def make(self) -> Callable[[Run], ScrapeHooks]: ...


@dataclass(frozen=True, slots=True)
class Calling:
    """The innermost Scraper, and the layers that stand right around it: one subscription for all of them."""

    callback: Callback
    errback: Errback | None
    layers: tuple[Layered, ...] = ()
    """The innermost first."""

    def within(self, layer: Layered) -> Calling:
        """This scraper with one more layer around it."""
        return replace(self, layers=(*self.layers, layer))

    def __call__(self, inputs: Observable[ScrapeInput]) -> Observable[Any]:
        def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            run = running()
            layers = Layers(run, [Hooked(layer.name, layer.make(run)) for layer in self.layers])
            made = Scraping(layers, self.callback, self.errback, lower)
            run.on_room(made.resume)
            run.on_start(made.start)
            upstream = inputs.subscribe(made.on_next, lower.on_error, made.on_completed, scheduler=scheduler)
            return CompositeDisposable(upstream, Disposable(made.drop))

        return Observable(subscribe)


def calling(callback: Callback, errback: Errback | None = None) -> Calling:
    """The innermost Scraper: calls the callback of each Response, and the errback of each Failed and Dropped.

    Emits: items and Requests as they are yielded, then a `Done`. Links that are known already are counted and left out.
    """
    return Calling(callback, errback)
