"""A crawl: a cold, immutable description of a pipe of streams."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from streamcrawl.arguments import telling
from streamcrawl.core import Request, StartSource
from streamcrawl.crawl.asking import asking
from streamcrawl.crawl.budget import parse_size
from streamcrawl.crawl.frozen import frozen
from streamcrawl.crawl.interrupts import interrupting
from streamcrawl.crawl.loading import BEGINNING
from streamcrawl.crawl.of import begun, bind, exchanged, of_spider
from streamcrawl.crawl.options import Options, check_names
from streamcrawl.crawl.run import Run
from streamcrawl.crawl.start import checked
from streamcrawl.crawl.summary import Summary
from streamcrawl.crawl.telling import tell
from streamcrawl.crawl.wiring import Pipe, sort_out
from streamcrawl.events import Events
from streamcrawl.frontier.hosts import Slot
from streamcrawl.operators.download import download
from streamcrawl.operators.scrape import scrape
from streamcrawl.spiders.allowed_domains import allowed_domains
from streamcrawl.spiders.settings import options_of
from streamcrawl.streams.blocking import waited_for

if TYPE_CHECKING:
    from streamcrawl.spiders.spider import Spider

T = TypeVar("T")
_B = TypeVar("_B")
_C = TypeVar("_C")
_D = TypeVar("_D")
_E = TypeVar("_E")
_F = TypeVar("_F")
_G = TypeVar("_G")
_H = TypeVar("_H")
_I = TypeVar("_I")
_J = TypeVar("_J")
_K = TypeVar("_K")
_L = TypeVar("_L")
_M = TypeVar("_M")

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_Op: TypeAlias = Callable[[Observable[_In]], Observable[_Out]]

PARTS = ("start", "download", "layers", "callback")
"""What `Crawl.replace` changes beside the options."""


@telling
class Crawl(Generic[T]):
    """What to crawl, and the pipe that it goes through.

    Nothing happens until it is run; it may be run as often as you like.

    Args:
        start: A URL, a Request, or an iterable, async iterable or Observable of these; taken as it is asked for.
        concurrency: Requests at once, in all.
        per_host: Requests at once to one host.
        delay: Seconds between two requests to one host.
        jitter: The delay varies by this share of itself, 0 to 1.
        scope: Where links may lead: "host" (the host of the start request that they descend from), "domain" (its
            registrable domain), "any", domain names, or a function that takes a Request.
        memory: The ceiling for bodies and items on their way: bytes, or such as "512MB".
        slots: How single hosts ("https://example.com") or slots of yours (`Request(slot="api")`) are to be treated.
        slot: Names the slot of a request that has none, so that hosts share one: those of an account, an address, a
            registrable domain. None from it: the request's host counts.
        limit_pages: End after so many pages.
        limit_items: End after so many items; those that are on their way to a slow sink by then are kept.
        seed: For jitter and the like; None: another each time.
        job: A directory that keeps the crawl: killed at any moment, it goes on where it was when it is run again.
        recrawl: Of a job that is finished, ask again for what was fetched more than so many seconds ago.

    Raises: InvalidURL, TypeError, ValueError, for arguments that make no sense.
    """

    def __init__(
        self: Crawl[Request],
        start: StartSource,
        *,
        concurrency: int = 16,
        per_host: int = 8,
        delay: float = 0.0,
        jitter: float = 0.5,
        scope: str | Iterable[str] | Callable[[Request], bool] = "host",
        memory: str | int = "512MB",
        slots: Mapping[str, Slot] | None = None,
        slot: Callable[[Request], str | None] | None = None,
        limit_pages: int | None = None,
        limit_items: int | None = None,
        seed: int | None = None,
        job: str | os.PathLike[str] | None = None,
        recrawl: float | None = None,
    ) -> None:
        self.start_source: StartSource = checked(start)
        self.options = Options(
            concurrency=concurrency,
            per_host=per_host,
            delay=delay,
            jitter=jitter,
            scope=scope if isinstance(scope, str) or callable(scope) else tuple(scope),
            memory=parse_size(memory),
            slots=dict(slots or {}),
            slot=slot,
            limit_pages=limit_pages,
            limit_items=limit_items,
            seed=seed,
            job=None if job is None else Path(job),
            recrawl=recrawl,
        )
        self.operators: tuple[Any, ...] = ()
        self.pipes: Pipe = sort_out(())
        self.events = Events()
        """The events of all its runs, each with its run's id."""

    @staticmethod
    def of(spider: type[Spider], /, **arguments: Any) -> Crawl[Any]:
        """The crawl of a spider: its start, `download()` and `scrape(spider.parse)`. Every run makes a new spider.

        Links lead to the spider's `allowed_domains`; if it has none, they stay on their start's host. What else is to
        be said of the crawl is said with `replace`: its options, `download=ops.download(…)`, `layers=(…)` for `scrape`.

        Args:
            spider: The class.
            arguments: For the spider.

        Raises: TypeError, FlowError for a spider or arguments that cannot be right.
        """
        made = of_spider(spider, arguments)
        crawl = Crawl(made, scope=allowed_domains, **options_of(made.settings, made.spider.__name__))
        return crawl.pipe(download(), scrape(made))

    @overload
    def pipe(self, o1: _Op[T, _B], /) -> Crawl[_B]: ...
    @overload
    def pipe(self, o1: _Op[T, _B], o2: _Op[_B, _C], /) -> Crawl[_C]: ...
    @overload
    def pipe(self, o1: _Op[T, _B], o2: _Op[_B, _C], o3: _Op[_C, _D], /) -> Crawl[_D]: ...
    @overload
    def pipe(self, o1: _Op[T, _B], o2: _Op[_B, _C], o3: _Op[_C, _D], o4: _Op[_D, _E], /) -> Crawl[_E]: ...
    @overload
    def pipe(
        self, o1: _Op[T, _B], o2: _Op[_B, _C], o3: _Op[_C, _D], o4: _Op[_D, _E], o5: _Op[_E, _F], /
    ) -> Crawl[_F]: ...
    @overload
    def pipe(
        self, o1: _Op[T, _B], o2: _Op[_B, _C], o3: _Op[_C, _D], o4: _Op[_D, _E], o5: _Op[_E, _F], o6: _Op[_F, _G], /
    ) -> Crawl[_G]: ...
    @overload
    def pipe(
        self,
        o1: _Op[T, _B],
        o2: _Op[_B, _C],
        o3: _Op[_C, _D],
        o4: _Op[_D, _E],
        o5: _Op[_E, _F],
        o6: _Op[_F, _G],
        o7: _Op[_G, _H],
        /,
    ) -> Crawl[_H]: ...
    @overload
    def pipe(
        self,
        o1: _Op[T, _B],
        o2: _Op[_B, _C],
        o3: _Op[_C, _D],
        o4: _Op[_D, _E],
        o5: _Op[_E, _F],
        o6: _Op[_F, _G],
        o7: _Op[_G, _H],
        o8: _Op[_H, _I],
        /,
    ) -> Crawl[_I]: ...
    @overload
    def pipe(
        self,
        o1: _Op[T, _B],
        o2: _Op[_B, _C],
        o3: _Op[_C, _D],
        o4: _Op[_D, _E],
        o5: _Op[_E, _F],
        o6: _Op[_F, _G],
        o7: _Op[_G, _H],
        o8: _Op[_H, _I],
        o9: _Op[_I, _J],
        /,
    ) -> Crawl[_J]: ...
    @overload
    def pipe(
        self,
        o1: _Op[T, _B],
        o2: _Op[_B, _C],
        o3: _Op[_C, _D],
        o4: _Op[_D, _E],
        o5: _Op[_E, _F],
        o6: _Op[_F, _G],
        o7: _Op[_G, _H],
        o8: _Op[_H, _I],
        o9: _Op[_I, _J],
        o10: _Op[_J, _K],
        /,
    ) -> Crawl[_K]: ...
    @overload
    def pipe(
        self,
        o1: _Op[T, _B],
        o2: _Op[_B, _C],
        o3: _Op[_C, _D],
        o4: _Op[_D, _E],
        o5: _Op[_E, _F],
        o6: _Op[_F, _G],
        o7: _Op[_G, _H],
        o8: _Op[_H, _I],
        o9: _Op[_I, _J],
        o10: _Op[_J, _K],
        o11: _Op[_K, _L],
        /,
    ) -> Crawl[_L]: ...
    @overload
    def pipe(
        self,
        o1: _Op[T, _B],
        o2: _Op[_B, _C],
        o3: _Op[_C, _D],
        o4: _Op[_D, _E],
        o5: _Op[_E, _F],
        o6: _Op[_F, _G],
        o7: _Op[_G, _H],
        o8: _Op[_H, _I],
        o9: _Op[_I, _J],
        o10: _Op[_J, _K],
        o11: _Op[_K, _L],
        o12: _Op[_L, _M],
        /,
    ) -> Crawl[_M]: ...

    @overload
    def pipe(self, *operators: Callable[[Observable[Any]], Observable[Any]]) -> Crawl[Any]: ...

    def pipe(self, *operators: Any) -> Crawl[Any]:
        """A crawl whose pipe goes on with `operators`: the project's, or any of reactivex.

        What stands before `download` works on Requests, what stands between it and `scrape` on Responses, what
        follows on items.

        Raises: FlowError for an order that makes no sense, TypeError for what is no operator.
        """
        made = self._copy()
        made.operators = (*self.operators, *operators)
        made.pipes = sort_out(made.operators)
        return made

    def replace(self, **changes: Any) -> Crawl[T]:
        """The same crawl with other options, such as `limit_pages=10`, or another part.

        Args:
            changes: Options of `Crawl`; `start`; `download=ops.download(…)`; of `scrape` its `callback` and `layers`.

        Raises: TypeError, ValueError as `Crawl` does; FlowError for a part that the pipe does not have.
        """
        check_names(changes, PARTS)
        made = self._copy()
        if "start" in changes:
            made.start_source = checked(changes.pop("start"))
        parts = {name: changes.pop(name) for name in PARTS[1:] if name in changes}
        if parts:
            made.operators = exchanged(self.operators, **parts)
            made.pipes = sort_out(made.operators)
        if "memory" in changes:
            changes["memory"] = parse_size(changes["memory"])
        if changes.get("job") is not None:
            changes["job"] = Path(changes["job"])
        made.options = replace(self.options, **changes)
        return made

    def _copy(self) -> Crawl[Any]:
        made: Crawl[Any] = object.__new__(type(self))
        made.start_source, made.options = self.start_source, self.options
        made.operators, made.pipes = self.operators, self.pipes
        made.events = Events()
        return made

    # -- ways to run it ---------------------------------------------------------------------------------------------

    def start(self, on_item: Callable[[T], None] | None = None) -> Run:
        """Begin a run on the running event loop; `await` it for its Summary.

        Args:
            on_item: Called with each item that comes out at the end of the pipe.

        Raises: RuntimeError if no event loop is running.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError("start() needs a running event loop; in a plain script use crawl.run()") from None
        return self._begin(loop, on_item=on_item)

    def _begin(self, loop: asyncio.AbstractEventLoop, **ends: Any) -> Run:
        beginning = BEGINNING.get()
        if beginning is not None:
            beginning(self)
        crawl, crawler = bind(self)
        run = Run(crawl, loop, **ends)
        if crawler is not None:
            begun(crawler, run)
        return run

    def run(self, on_start: Callable[[Run], None] | None = None) -> Summary:
        """Run to the end and give the Summary. Ctrl-C once: what is under way is finished; twice: stop now.

        Args:
            on_start: Called with the Run before its first request, to subscribe to its events. None: what goes wrong is
                told by the logger "streamcrawl", as the command line does.

        Raises: what stopped the run, after the last flush; RuntimeError inside a running event loop (there,
            `await crawl.start()`).
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise RuntimeError(
                "run() blocks, and an event loop is running here: use `await crawl.start()` or `await crawl.collect()`"
            )

        async def main() -> Summary:
            run = self.start()
            (tell if on_start is None else on_start)(run)
            with interrupting(run), frozen():
                return await run

        summary = asyncio.run(main())
        if summary.error is not None:
            raise summary.error
        return summary

    async def collect(self) -> list[T]:
        """Run, and give the list of all items. Raises: what stopped the run."""
        items: list[T] = []
        run = self.start(on_item=items.append)
        try:
            summary = await run
        except asyncio.CancelledError:  # whoever waited for the items has gone
            run.stop("cancelled", now=True)
            await run
            raise
        if summary.error is not None:
            raise summary.error
        return items

    async def __aiter__(self) -> AsyncIterator[T]:
        """Run, and give items one by one, no faster than they are asked for; leaving the loop ends the run."""
        sink, items = asking()
        run = self._begin(asyncio.get_running_loop(), end=sink)
        try:
            async for item in items(run):
                yield item
        finally:
            if run.summary is None:
                run.stop("left", now=True)
            summary = await run
        if summary.error is not None:
            raise summary.error

    def items(self) -> Observable[T]:
        """The items as an Observable: each subscription is a run, disposing of it ends the run.

        With no event loop running, `subscribe` blocks until the end, as synchronous sources do.
        """

        def subscribe(observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            async def work() -> None:
                run = self.start(on_item=observer.on_next)
                runs.append(run)
                summary = await run
                if summary.error is not None:
                    observer.on_error(summary.error)
                else:
                    observer.on_completed()

            runs: list[Run] = []
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                waited_for(work)
                return Disposable()
            task = _detached(loop, work())

            def dispose() -> None:
                for run in runs:
                    run.stop("disposed", now=True)
                if not runs:
                    task.cancel()

            return Disposable(dispose)

        return Observable(subscribe)

    def graph(self, format: str = "mermaid") -> str:
        """The pipe as a picture: "mermaid" text, or "svg"."""
        from streamcrawl.crawl.graph import mermaid, svg

        if format not in ("mermaid", "svg"):
            raise ValueError(f"graph({format!r}): the formats are 'mermaid' and 'svg'")
        return mermaid(self) if format == "mermaid" else svg(self)

    def __repr__(self) -> str:
        return f"<Crawl of {self.start_source!r}, {len(self.operators)} operators>"


def _detached(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task that is not part of the run in whose callback it may be made."""
    from contextvars import Context

    return loop.create_task(work, context=Context())
