"""The words of streamcrawl: what flows through a crawl, and the shapes of its parts.

Request -> Stage -> Outcome -> Scraper -> Item -> Sink. A Layer is a Stage around a Stage.
Only leaves (headers, urls, errors, response) stand below this module.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Mapping,
    MutableMapping,
    Sequence,
)
from contextvars import ContextVar
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypedDict

import msgspec
from reactivex import Observable, abc

from streamcrawl.headers import NO_HEADERS, Headers
from streamcrawl.leases import Extent as Extent
from streamcrawl.leases import ItemId as ItemId
from streamcrawl.leases import Lease as Lease
from streamcrawl.leases import Progress as Progress
from streamcrawl.leases import Visit as Visit
from streamcrawl.response import Response
from streamcrawl.urls import masked

Item: TypeAlias = Any
"""A dict, or a dataclass, attrs, pydantic or msgspec object."""

Callback: TypeAlias = Callable[..., Any]
"""Takes a Response; gives items, Requests and None: one, an iterable or async iterable, or an awaitable of these."""

Errback: TypeAlias = Callable[..., Any]
"""Takes a Failed or a Dropped; gives what a Callback gives."""


CacheMode: TypeAlias = Literal["default", "no-store", "reload", "no-cache", "force-cache", "only-if-cached"]
"""What a request wants of the `http_cache` layer, as the Fetch standard has it (§2.2.5, "cache mode")."""


class RequestOptions(TypedDict, total=False):
    """What `Request`, `follow` and `follow_all` take by keyword."""

    method: str
    headers: Headers
    body: bytes
    cookies: Mapping[str, str] | Sequence[Mapping[str, Any]]
    callback: Callback | None
    errback: Errback | None
    cb_kwargs: Mapping[str, Any]
    meta: dict[str, Any]
    priority: int
    slot: str | None
    not_before: float
    dont_filter: bool
    keep_fragments: bool
    fingerprint_headers: tuple[str, ...]
    timeout: float | None
    max_size: int | None
    stream: bool
    statuses: Collection[int] | Literal["any"]
    cookiejar: str | None
    cache: CacheMode
    proxy: str | None
    reach: tuple[str, ...] | None
    max_retries: int | None
    max_redirects: int | None
    skip: tuple[str, ...]
    referrer_policy: str | None


class _Addressed(msgspec.Struct, frozen=True, eq=False):
    """What may be given by position, as people who come from Scrapy do."""

    url: str
    callback: Callback | None = None


class Request(_Addressed, frozen=True, eq=False, kw_only=True):
    """What to ask for. Immutable: `replace()` gives a changed copy.

    Args:
        url: Absolute. The frontier normalizes it.
        method: An HTTP method, in capitals.
        headers: Sent as they are; layers add what is missing.
        body: Sent with the request.
        cookies: Sent with this request and kept by the `cookies` layer; values by name, or a dict for each with name,
            value, and domain, path, secure, … where they are not those of the URL.
        callback: Takes the Response; None: the callback of `scrape`.
        errback: Takes the Failed or Dropped.
        cb_kwargs: Further keyword arguments for the callback, and for the errback those that it takes.
        meta: Yours. The library does not read it.
        priority: Higher goes first, within its host.
        slot: Counts for politeness as this name, not as its host.
        not_before: Seconds since the epoch; not sent earlier.
        dont_filter: Sent although it was seen before, and wherever it leads.
        keep_fragments: Two URLs that differ in the fragment are two pages.
        fingerprint_headers: Names of header fields that make another page of the same URL.
        timeout: Seconds for the whole exchange; None: as `fetch` has it.
        max_size: Bytes of body, decoded; None: as `fetch` has it.
        stream: The Response's body is read while it comes.
        statuses: Statuses outside 200-299 that the callback wants, or "any".
        cookiejar: The name of the jar that its cookies are of; the links of a page have the page's. None: the one jar.
            The same URL with another jar is another page.
        cache: What it wants of the `http_cache` layer.
        proxy: URL of the proxy that it goes through, credentials included; "": none; None: as the layers have it.
        reach: Networks beyond the public ones that it may connect to, such as "10.0.0.0/8", or "any"; (): none;
            None: as `fetch` has it.
        max_retries: Repeats after the first try; None: as the `retry` layer has it.
        max_redirects: Hops that it may take, 0: its redirects are not followed; None: as the `redirect` layer has it.
        skip: Names of layers that leave it and its outcome alone, such as "robots_txt".
        referrer_policy: What it may tell of the page that led to it, such as "no-referrer"; None: as that page or the
            `referer` layer has it. On a redirect, it is what the next hop goes by.
        depth: Links between the start and this request.
        attempt: How often it was sent before.
        via: URLs that redirected here, the oldest first.
        via_reasons: Why each of them did: "301", "meta refresh", …
        referrer: Sent as Referer, unless `headers` has one.
        site: Host of the start request that it descends from.
        start: Whether it came from the crawl's start.
        answer: The outcome, if it is known: it travels down untouched and up again.
        lease: What the frontier handed out with it; `origin` is the request without it.
    """

    method: str = "GET"
    headers: Headers = NO_HEADERS
    body: bytes = b""
    cookies: Mapping[str, str] | Sequence[Mapping[str, Any]] = {}
    errback: Errback | None = None
    cb_kwargs: Mapping[str, Any] = {}
    meta: dict[str, Any] = {}
    priority: int = 0
    slot: str | None = None
    not_before: float = 0.0
    dont_filter: bool = False
    keep_fragments: bool = False
    fingerprint_headers: tuple[str, ...] = ()
    timeout: float | None = None
    max_size: int | None = None
    stream: bool = False
    statuses: Collection[int] | Literal["any"] = ()
    cookiejar: str | None = None
    cache: CacheMode = "default"
    proxy: str | None = None
    reach: tuple[str, ...] | None = None
    max_retries: int | None = None
    max_redirects: int | None = None
    skip: tuple[str, ...] = ()
    referrer_policy: str | None = None
    depth: int = 0
    attempt: int = 0
    via: tuple[str, ...] = ()
    via_reasons: tuple[str, ...] = ()
    referrer: str | None = None
    site: str = ""
    start: bool = False
    answer: Outcome | None = None
    lease: Lease | None = None

    def replace(self, **changes: Any) -> Request:
        """A copy with these fields changed. Raises: TypeError for a field that there is not."""
        try:
            return msgspec.structs.replace(self, **changes)
        except TypeError as error:
            raise _no_field(changes, error) from None

    @property
    def origin(self) -> Request:
        """This request as it was leased: without what layers added for the wire.

        Follow-up requests are made from it, so no credential travels by accident.
        """
        return self if self.lease is None else self.lease.request

    def __repr__(self) -> str:
        return f"<{self.method} {masked(self.url)}>"


def _no_change(request: Request, name: str, value: object) -> None:
    from streamcrawl.mistakes import no_change

    raise AttributeError(no_change(name, value), name=name, obj=request)


Request.__setattr__ = _no_change  # type: ignore[assignment] # msgspec has put its own there, which says less


def _no_field(given: Iterable[str], error: TypeError) -> TypeError:
    from streamcrawl.mistakes import no_field

    unknown = [name for name in given if name not in Request.__struct_fields__]
    return TypeError(no_field(unknown[0])) if unknown else error


class Failed(msgspec.Struct, frozen=True, eq=False):
    """The request was tried, and this is the error."""

    request: Request
    error: Exception

    if not TYPE_CHECKING:  # to type checkers, what is not there is an error

        def __getattr__(self, name: str) -> Any:
            """Raises: AttributeError, which says what has another name here."""
            from streamcrawl.mistakes import FAILURE

            known = f"; there is {FAILURE[name]}" if name in FAILURE else ""
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}{known}", name=name, obj=self
            )

    def __repr__(self) -> str:
        return f"<Failed {masked(self.request.url)}: {type(self.error).__name__}: {self.error}>"


class Dropped(msgspec.Struct, frozen=True, eq=False):
    """The request was refused before it was tried, for this reason ("robots.txt", "duplicate", …)."""

    request: Request
    reason: str

    if not TYPE_CHECKING:  # to type checkers, what is not there is an error

        def __getattr__(self, name: str) -> Any:
            """Raises: AttributeError, which says how an errback tells it from a Failed."""
            from streamcrawl.mistakes import FAILURE

            known = "; it has a reason: isinstance(outcome, Failed) tells one from the other"
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}"
                f"{known if name == 'error' or name in FAILURE else ''}",
                name=name,
                obj=self,
            )

    def __repr__(self) -> str:
        return f"<Dropped {masked(self.request.url)}: {self.reason}>"


class Again(msgspec.Struct, frozen=True, eq=False):
    """Send `next` instead: a redirect hop, a retry. `next` is made from `request.origin`.

    `hop` is True for another address: then it is asked whether `next` was seen already.
    """

    request: Request
    next: Request
    reason: str
    hop: bool = False

    def __repr__(self) -> str:
        return f"<Again {masked(self.request.url)} -> {masked(self.next.url)}: {self.reason}>"


Outcome: TypeAlias = Response | Failed | Dropped | Again
OUTCOMES = (Response, Failed, Dropped, Again)


class Start(msgspec.Struct, frozen=True, eq=False):
    """The input of a Scraper whose outputs are the crawl's start; its `request` was never sent."""

    request: Request = Request("about:start")


class Done(msgspec.Struct, frozen=True, eq=False):
    """The last output of a Scraper for `input`; `error` if the callback broke off."""

    input: Response | Failed | Dropped | Start
    error: Exception | None = None


Stage: TypeAlias = Callable[[Observable[Request]], Observable[Outcome]]
"""One Request in, one Outcome out: an ordinary reactivex operator."""

Layer: TypeAlias = Callable[[Stage], Stage]
"""A middleware: takes the Stage below, gives the Stage above."""

ScrapeInput: TypeAlias = Response | Failed | Dropped | Start
Scraper: TypeAlias = Callable[[Observable[ScrapeInput]], Observable[Any]]
"""Emits items and Requests, and for each input exactly one Done, after its last output."""

ScrapeLayer: TypeAlias = Callable[[Scraper], Scraper]

Fetch: TypeAlias = Callable[[Request], Awaitable[Response]]
"""Brings one Response, or raises a FetchError. No layers, no politeness: the wire."""

StartSource: TypeAlias = "str | Request | Iterable[Any] | AsyncIterable[Any] | Observable[Any]"
"""Where a crawl starts: a URL, a Request, or what gives these, and items beside them."""


class Hosts(Protocol):
    """Politeness, host by host. The only way from a layer to the frontier."""

    @property
    def places(self) -> int:
        """Requests that are sent at once, to all hosts together; 0: as many as come."""
        ...

    def slow_down(self, host: str, seconds: float) -> None:
        """Send nothing to the host for so long."""

    def set_rate(
        self,
        host: str,
        *,
        delay: float | None = None,
        concurrency: int | None = None,
        jitter: float | None = None,
        by: str = "",
    ) -> None:
        """From now on, as far as `by` has a say: what it said before of the host no longer counts.

        What the crawl was told and what others say holds as well: the longest delay, the fewest requests at once.

        Args:
            host: A Host, or the name of a slot.
            delay: Seconds between two requests.
            concurrency: Requests at once; 1 or more.
            jitter: Share of the delay that each wait differs by at random, 0 to 1.
            by: Who says it, such as "robots_txt".
        """

    def close(self, host: str) -> None:
        """Keep the host's requests in the frontier until `open`: its robots.txt is being fetched."""

    def open(self, host: str) -> None: ...


class EventSink(Protocol):
    """Where events are told. Ask `wants` first where making the event costs something."""

    def wants(self, kind: type) -> bool: ...

    def emit(self, event: Any) -> None: ...


class Run(Protocol):
    """One execution: what a layer, an operator or a sink gets when it is subscribed."""

    @property
    def id(self) -> str: ...
    @property
    def hosts(self) -> Hosts: ...
    @property
    def events(self) -> EventSink: ...
    @property
    def stats(self) -> dict[str, Any]:
        """Counters by name, for example "downloader/request_count"."""
        ...

    @property
    def random(self) -> Random: ...
    @property
    def scheduler(self) -> abc.SchedulerBase:
        """Runs `schedule` inline and timed work on the loop."""
        ...

    extent: Extent | None
    """Whose item the present `on_next` carries."""
    page: ScrapeInput | None
    """The input whose outputs the scraper is emitting."""
    source: object
    """What the callback gave, a generator for example, of whose Requests one is being emitted."""
    congestion: int
    """How many queues of items are full; while there is one, callbacks are not asked for more."""
    enough: bool
    """Nothing more is wanted of callbacks: a limit was reached."""
    durable: bool
    """Whether there is a job: what is not safe when the process dies comes again."""
    spider: Any
    """The object whose method `scrape` calls: a Spider, for example; None if it calls a function."""
    stopping: bool
    """No new requests are sent: a limit, `stop()` or an error ends the run before the frontier is empty."""
    cut: bool
    """The run was cut short: with a job, sinks take nothing more."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def known(self, request: Request) -> bool:
        """Whether the request would be dropped as a duplicate; if so, that is counted."""
        ...

    def gave_none(self, function: Callable[..., Any]) -> None:
        """A callback has returned None for a page."""
        ...

    def state(self, name: str) -> MutableMapping[str, Any]:
        """What the run remembers under this name; a job keeps it, from run to run.

        Keys are text, values plain data (None, bool, int, float, str, bytes, lists and dicts of these). Without a job
        it is a dict that ends with the run. What is changed is written with the next commit.
        """
        ...

    def monotonic(self) -> float:
        """Seconds, for waiting."""
        ...

    def now(self) -> float:
        """Seconds since the epoch, for dates."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None], *, items: bool = False) -> asyncio.Task[None]:
        """Run `work` on the loop; the run ends no earlier than it does.

        Args:
            items: It works on items that were scraped already: when an error stops the run, it is still finished.
        """
        ...

    async def fetch(self, request: Request, parent: Request | None = None) -> Outcome:
        """Send `request` through the same layers, on the lease and the place of `parent` (or of `LEASE`).

        Redirects and retries are followed. Gives Response, Failed or Dropped; raises nothing.
        """
        ...

    async def wire(self, request: Request) -> None:
        """Called right before bytes go out: charges the place, and waits for the host's turn if it must."""
        ...

    def landed(self, request: Request) -> None:
        """Called when the response is complete or failed: the place is free."""
        ...

    def end(self, reason: str) -> None:
        """An operator has had enough: end the run as a limit does."""
        ...

    def outside(self, place: str) -> None:
        """An item arrived at `place` with no lease in hand."""
        ...

    def adopt(self, sink: Flushed) -> None:
        """The run flushes and closes the sink from now on."""
        ...

    def sink_key(self, name: str) -> str:
        """`name`, numbered if another sink of this run has it."""
        ...

    def token(self, sink: str) -> Any:
        """What the last flush of the sink of this name gave before the job was stopped; None: nothing."""
        ...

    def spool(self, name: str) -> Path | None:
        """How the names of files begin that the job keeps for the sink of this name; None without a job."""
        ...

    def closing(self, close: Callable[[], Awaitable[None]]) -> None:
        """Call `close` when the run has ended, after the last flush."""
        ...

    async def reserve(self, request: Request, size: int) -> None:
        """Wait until the run's memory ceiling has room for `size` more bytes of this request's body.

        They are given back when the response has been worked off.
        """
        ...

    def fail(self, error: Exception) -> None:
        """Stop the run in good order, with this error."""
        ...

    def gather(self, flush: Callable[[], None]) -> abc.DisposableBase:
        """Something gathers items; `flush` makes it emit what it has, when nothing else can move."""
        ...

    def congest(self, change: int) -> None:
        """+1: a queue of items is full, callbacks are not asked for more; -1: it has room again."""
        ...

    async def room(self) -> None:
        """Wait until no queue of items is full."""
        ...

    def on_room(self, resume: Callable[[], None]) -> None:
        """Call `resume` each time that the last full queue has room again."""
        ...

    def on_start(self, take: Callable[[Any], None]) -> None:
        """From now on give what the crawl's start brings to `take`, the scraper, so that its layers see it."""
        ...

    def refused(self, outcome: Failed | Dropped) -> None:
        """A link that a callback yielded was refused on its way to the frontier."""
        ...


class Flushed(Protocol):
    """A sink as the run sees it."""

    @property
    def key(self) -> str:
        """Its name in the job."""
        ...

    @property
    def unsure(self) -> bool:
        """Whether it was cut off while it took an item: in a job, what came since the last commit comes again."""
        ...

    async def flush(self) -> tuple[Any, list[tuple[Lease, int, int]]]:
        """Its token, and the items that are safe with it since the last time: (lease, ordinal, number)."""
        ...

    async def close(self) -> None: ...


class Sink(Protocol):
    """The end of the pipe: a frozen description, opened for each run."""

    def open(self, run: Run, token: Any = None) -> OpenSink:
        """Raises: SinkError if it cannot be written to. `token`: what `flush` gave before a crash."""
        ...


class OpenSink(Protocol):
    """A sink in one run. An item is safe when a `flush` after its `accept` has returned."""

    def accept(self, item: Item, item_id: ItemId) -> Awaitable[Item | None] | Item | None:
        """Take the item; what is returned (not None) is passed on instead of it.

        May be a plain function if it never has to wait.
        """
        ...

    async def flush(self) -> Any: ...

    async def close(self) -> None: ...


RUN: ContextVar[Run] = ContextVar("streamcrawl_run")
"""The run that is being subscribed, or in whose tasks we are."""

LEASE: ContextVar[Lease] = ContextVar("streamcrawl_lease")
"""For whom the present task works: the parent of a nested `fetch`."""


async def fetch(request: Request | str) -> Response:
    """Fetch from inside a callback, through the crawl's own layers.

    Args:
        request: A Request, or an absolute URL.

    Raises: FetchError (or what else made it fail), Drop if a layer refused it, RuntimeError outside a run.
    """
    run = RUN.get(None)
    if run is None:
        raise RuntimeError("fetch() works inside a crawl's callbacks; outside, use Crawl(...) or ops.download()")
    if isinstance(request, str):
        request = Request(request)
    outcome = await run.fetch(request)
    if isinstance(outcome, Response):
        return outcome
    from streamcrawl.errors import Drop

    raise outcome.error if isinstance(outcome, Failed) else Drop(outcome.reason)
