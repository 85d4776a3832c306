"""The crawl's start, taken only as fast as it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable, Iterator
from threading import get_ident
from typing import TYPE_CHECKING, Any, cast

from reactivex import Observable, abc

from streamcrawl.core import Extent, Lease, Progress, Request, StartSource
from streamcrawl.errors import FlowError
from streamcrawl.events import Notice
from streamcrawl.items import is_item
from streamcrawl.mistakes import paused_at, said
from streamcrawl.streams.scraper import START

if TYPE_CHECKING:
    from streamcrawl.crawl.run import Run

AHEAD = 4096
"""Start requests that wait at most because their hosts are busy, while other hosts may have places free."""

TURN = 64
"""Elements taken at once, before others get their turn."""


class Start:
    """Where start requests come from: a URL, a Request, an iterable, an async iterable or an Observable.

    They may give items too, which go into the pipe at once. An Observable cannot be asked to wait; what it emits goes
    to the frontier, which does.
    """

    def __init__(self, source: StartSource, run: Run, take: Callable[[Any], None], moved: Callable[[], None]) -> None:
        self._run = run
        self._moved = moved
        self._take = take
        self.exhausted = False
        self._skip = 0
        """Elements that a job has taken before."""
        self._again: frozenset[int] = frozenset()
        """Of these, the items that were not safe when it stopped."""
        self.owed: dict[int, Progress] = {}
        """Items that are not safe yet, by their place in the start, and which sinks hold what of them already."""
        self.taken = 0
        self._gives_items = False
        self._ahead = run.crawl.options.concurrency
        self._host = ""
        self._hosts_differ = False
        """As far as is known; or it is high time to look for a host that does."""
        self._iterator: Iterator[Any] | None = None
        self._async: AsyncIterator[Any] | None = None
        self._pulling: asyncio.Task[None] | None = None
        self._subscription: abc.DisposableBase | None = None
        self._closed = False
        if isinstance(source, (str, Request)):
            self._iterator = iter((source,))
        elif isinstance(source, Observable):
            self._observable: Observable[Any] = source
        elif isinstance(source, AsyncIterable):
            self._async = aiter(source)
        elif isinstance(source, (set, frozenset)):
            # Its order differs from process to process, and a job goes on where it stopped.
            self._iterator = iter(sorted(source, key=lambda each: each if isinstance(each, str) else each.url))
        else:
            self._iterator = iter(source)

    def open(self) -> None:
        """Subscribe, if the source is an Observable."""
        if self._iterator is None and self._async is None:
            loop, here = self._run.loop, get_ident()

            def from_any_thread(act: Callable[..., None]) -> Callable[..., None]:
                def arrive(*arguments: Any) -> None:
                    if get_ident() == here:
                        act(*arguments)
                    else:
                        loop.call_soon_threadsafe(act, *arguments, context=self._run.context)

                return arrive

            self._subscription = self._observable.subscribe(
                from_any_thread(self._element),
                from_any_thread(self._failed),
                from_any_thread(self._end),
                scheduler=self._run.scheduler,
            )

    @property
    def place(self) -> str:
        """Where in the user's own code the generator stands that gives the start; "" if it is none."""
        return paused_at(self._iterator or self._async)

    @property
    def can_pull(self) -> bool:
        """Whether asking may bring something."""
        if self.exhausted or self._pulling is not None or (self._gives_items and self._run.congestion):
            return False
        return self._iterator is not None or self._async is not None

    @property
    def keeps_to_one_host(self) -> bool:
        """Whether no more is taken than there are places free: so far it has named one host alone."""
        return not self._hosts_differ and self.can_pull

    def look_further(self) -> None:
        """What was taken waits for its host, and nothing can be sent: other hosts may come behind it."""
        self._hosts_differ = True

    @property
    def may_move(self) -> bool:
        """Whether something may come without being asked for."""
        return not self.exhausted and not self.can_pull

    def wanted(self, free: int, waiting: int) -> int:
        """How many elements to ask for.

        As many as there are places free; those taken before and still waiting (their host is busy) count as taken for
        these places. Only a start that names several hosts, or may, is asked for more, up to a bound, so that one slow
        host at its head does not keep the others idle.

        Args:
            free: Places on the wire that no waiting request can take.
            waiting: Start requests in the frontier.
        """
        if waiting >= free and waiting >= self._ahead and self._hosts_differ and self._ahead < AHEAD:
            self._ahead *= 2
        return max(0, min(free, max(free, self._ahead if self._hosts_differ else 0) - waiting))

    def pull(self, wanted: int) -> bool:
        """Take up to `wanted` elements. True if some were taken at once."""
        if self._iterator is not None:
            return self._pull_now(self._iterator, min(wanted, TURN))
        if self._async is not None:
            # Not a task of the run: the run may end while a start that has nothing more to say is waited for.
            self._pulling = self._run.loop.create_task(self._pull_later(self._async))
        return False

    def _pull_now(self, iterator: Iterator[Any], wanted: int) -> bool:
        for n in range(wanted):
            if self._run.error is not None:
                return False  # nothing more is taken in
            try:
                element = next(iterator)
            except StopIteration:
                self._over()
                return n > 0
            except Exception as error:
                self._failed(error)
                return n > 0
            self._element(element)
        return True

    async def _pull_later(self, iterator: AsyncIterator[Any]) -> None:
        try:
            element = await anext(iterator)
        except StopAsyncIteration:
            self._over()
            return
        except Exception as error:
            self._failed(error)
            return
        finally:
            self._pulling = None
            self._moved()
        self._element(element)

    def _element(self, element: Any) -> None:
        if self._closed:
            return
        self.taken += 1
        if self.taken <= self._skip and self.taken not in self._again:
            self._moved()
            return
        if isinstance(element, str):
            element = Request(element)
        if isinstance(element, Request) and isinstance(element.url, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
            self._request(element)
        elif isinstance(element, Request):
            self._failed(TypeError(f"it gave Request({element.url!r}): a URL is text"))
            return
        elif is_item(element):
            self._item(element)
        else:
            kind = type(element).__name__
            self._failed(TypeError(f"it gave {element!r}, a {kind}, and neither a URL nor a Request nor an item"))
            return
        if self._run.error is None and self.taken > self._skip:
            self._run.frontier.taken += 1
        self._moved()

    def _request(self, element: Request) -> None:
        if not self._hosts_differ:
            host = element.url.partition("://")[2].partition("/")[0]
            self._hosts_differ = bool(self._host) and host != self._host
            self._host = host
        self._take(element)

    def _item(self, item: Any) -> None:
        """An item that the start gives goes into the pipe at once, on a lease of its own."""
        run, nth = self._run, self.taken
        lease = Lease(0, START.request, "", run.accepted)
        lease.base = nth
        lease.scraped = True
        progress = self.owed.setdefault(nth, Progress())
        if run.durable:
            lease.progress = progress
        self._gives_items = True
        extent = Extent((lease,), nth)
        before, run.extent = run.extent, extent
        extent.hold()
        try:
            self._take(item)
        finally:
            run.extent = before
            extent.release()
            lease.release()

    def load(self) -> None:
        """Go on where the job stopped."""
        self._skip = self._run.frontier.taken
        state = self._run.state("start")
        self._again = frozenset(state.get("owed", ()))
        self.owed = {nth: Progress() for nth in self._again}
        for nth, sink, number in state.get("held", ()):
            self.owed[nth].hold(sink, nth, number)

    def safe(self, lease: Lease) -> None:
        """An item that the start gave is with every sink, and flushed."""
        self.owed.pop(lease.base, None)

    def note(self) -> None:
        """For the next commit: which items come again if the job is stopped then, and which sinks pass over them."""
        state = self._run.state("start")
        if self.owed or "owed" in state:
            state["owed"] = sorted(self.owed)
            state["held"] = [
                (nth, sink, number)
                for nth, progress in self.owed.items()
                for sink, number in progress.partial.get(nth, ())
            ]

    def _failed(self, error: Exception) -> None:
        self.exhausted = True
        wrapped = FlowError(f"the start of the crawl failed: {said(error)}")
        wrapped.__cause__ = error
        self._run.fail(wrapped)

    def _end(self) -> None:
        self._over()
        self._moved()

    def _over(self) -> None:
        self.exhausted = True
        events, spider = self._run.events, self._run.spider
        if self.taken == 0 and not self._closed and events.wants(Notice):
            without = spider is not None and not getattr(spider, "start_urls", True)
            why = f": {type(spider).__name__} has no start_urls" if without else ""
            events.emit(Notice(text=f"the crawl's start gave nothing to ask for{why}", level="warning"))

    async def close(self) -> None:
        """Let the source go: a generator's `finally` runs now. Raises: what it raises."""
        self._closed = True
        if self._subscription is not None:
            self._subscription.dispose()
        if self._pulling is not None:
            self._pulling.cancel()
            await asyncio.wait((self._pulling,))
        for source, name in ((self._async, "aclose"), (self._iterator, "close")):
            close = getattr(source, name, None)
            closing = close() if close is not None else None
            if closing is not None:
                await closing


def checked(source: Any) -> StartSource:
    """`source`, if a crawl can start from it. Raises: TypeError, InvalidURL (for what is there already)."""
    from streamcrawl.urls import normalize

    if isinstance(source, (str, Request)):
        normalize(source if isinstance(source, str) else source.url)
        return source
    if isinstance(source, (list, tuple, set, frozenset)):
        for element in cast("Collection[Any]", source):
            if isinstance(element, (str, Request)):
                normalize(element if isinstance(element, str) else element.url)
            elif not is_item(element):
                raise TypeError(f"a crawl starts from URLs and Requests, and {element!r} is neither")
    elif not isinstance(source, (Observable, AsyncIterable, Iterable)):
        raise TypeError(
            f"a crawl starts from a URL, a Request, an iterable, an async iterable or an Observable, not {source!r}"
        )
    return cast(StartSource, source)
