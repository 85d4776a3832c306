"""An item's files in one run: looked up, fetched, stored, reported in the item."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Generator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from inspect import isawaitable
from typing import Any, Protocol, cast

from streamcrawl.backoff import backoff
from streamcrawl.core import LEASE, Again, Dropped, Failed, Item, ItemId, Request, Run
from streamcrawl.errors import FetchError, ItemRefused, SinkError
from streamcrawl.events import Notice
from streamcrawl.frontier.fingerprint import fingerprint
from streamcrawl.items import as_dict, with_field
from streamcrawl.media.events import MediaFailed, MediaStored
from streamcrawl.media.index import Index
from streamcrawl.media.options import Broken, Common, Report, Unusable, told
from streamcrawl.referrer import referrer_for
from streamcrawl.response import Response
from streamcrawl.storage.store import Stat, Store, StoreError, reason
from streamcrawl.streams.counting import count
from streamcrawl.urls import normalize
from streamcrawl.vetting import vetted

DAY = 86_400
REMEMBERED = 4096
"""Files of which it is known without asking the store that they are there, the last ones."""
AT_ONCE = 64
"""Files of one item that are under way at once."""
TRIES = 3
"""Of a file that breaks off in the middle, when no layer can see it any more."""
_wait = backoff(1.0, ceiling=10.0)


class Kind(Protocol):
    """What files and pictures differ in."""

    name: str

    def taken(self, response: Response) -> AbstractAsyncContextManager[Response]:
        """The response, read as far as it is to be held, for as long as it is. Raises: FetchError."""
        ...

    def places(self, request: Request, item: Item) -> tuple[str, ...]:
        """Where the file may be, if it was stored before; () if that hangs on the response."""
        ...

    async def found(self, path: str, stat: Stat, request: Request, item: Item) -> Report | None:
        """What else the report says of a file that is there; None if not all that belongs to it is."""
        ...

    async def keep(self, request: Request, response: Response, item: Item) -> Report:
        """Store it: path, checksum, and what else the report says. Raises: Unusable, StoreError."""
        ...

    async def close(self) -> None: ...


class OpenMedia:
    """Takes items and gives them back with the reports of their files."""

    __slots__ = ("_index", "_kind", "_known", "_options", "_pending", "_run", "_store", "_told")

    def __init__(self, options: Common, kind: Kind, store: Store, run: Run) -> None:
        self._options = options
        self._kind = kind
        self._store = store
        self._run = run
        self._index = Index(store, run) if options.index else None
        self._pending: dict[Any, asyncio.Future[Report]] = {}
        """While a file is fetched: whoever else wants it waits for that."""
        self._known: OrderedDict[Any, Report] = OrderedDict()
        """What was stored last; failures are not remembered."""
        self._told = False

    # -- items -----------------------------------------------------------------------------------------------------

    async def accept(self, item: Item, item_id: ItemId) -> Item:
        """The item with its result field, once its files are stored or have failed.

        Raises: ItemRefused for what is no item, or has no URLs in its field; StoreError if the store is lost.
        """
        if isinstance(item, (list, tuple)):
            return [await self.accept(each, item_id) for each in cast("Sequence[Item]", item)]
        try:
            fields = as_dict(item)
            requests = self._requests(item, fields)
        except TypeError as error:
            raise ItemRefused(f"{self._kind.name}: {error}") from None
        reports = await self._all(requests, item)
        return await self._completed(item, reports)

    def _requests(self, item: Item, fields: dict[Any, Any]) -> list[Request]:
        hook = self._options.get_media_requests
        if hook is None:
            return [_request(url) for url in _urls(fields, self._options.urls_field)]
        with _of_the_user("get_media_requests"):
            return [each if isinstance(each, Request) else _request(each) for each in hook(item)]

    async def _all(self, requests: list[Request], item: Item) -> list[Report]:
        """The reports in the order of the requests."""
        if len(requests) == 1:
            return [await self._one(requests[0], item)]
        reports: list[Report] = [{}] * len(requests)
        waiting = iter(enumerate(requests))

        async def work() -> None:
            for number, request in waiting:
                reports[number] = await self._one(request, item)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(AT_ONCE, len(requests))):
                    group.create_task(work())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return reports

    async def _completed(self, item: Item, reports: list[Report]) -> Item:
        if self._options.item_completed is not None:
            with _of_the_user("item_completed"):
                return await _given(self._options.item_completed(reports, item))
        if self._options.failures == "omit":
            reports = [report for report in reports if report["status"] != "failed"]
        changed = with_field(item, self._options.result_field, reports)
        if changed is None:
            self._tell(type(item).__name__)
            return item
        return changed

    # -- one file --------------------------------------------------------------------------------------------------

    async def _one(self, request: Request, item: Item) -> Report:
        """The report of one file. What several items want at the same time is fetched once."""
        try:
            request = self._prepared(request)
            places = self._kind.places(request, item)
        except Exception as error:  # of a path function, or a URL that is none
            return self._failed(request, told(error))
        if not places:
            return await self._get(request, item, places)
        key = (fingerprint(request), places)
        while (pending := self._pending.get(key)) is not None:
            await asyncio.wait([pending])
            if not pending.cancelled():
                return self._counted(request, dict(pending.result()))
        if (known := self._known.get(key)) is not None:
            self._known.move_to_end(key)
            return self._counted(request, {**known, "status": "uptodate"})
        pending = self._pending[key] = asyncio.get_running_loop().create_future()
        try:
            report = await self._get(request, item, places)
            pending.set_result(report)
            if report["status"] != "failed":
                self._remember(key, report)
            return dict(report)
        finally:
            del self._pending[key]
            pending.cancel()  # of no effect unless we were cancelled: then one of those who wait takes over

    def _remember(self, key: Any, report: Report) -> None:
        self._known[key] = report
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _prepared(self, request: Request) -> Request:
        """The request as it is sent. Raises: InvalidURL, TypeError."""
        options, request = self._options, vetted(request)
        changes: dict[str, Any] = {"dont_filter": True, "stream": True}
        normalize(request.url)  # it is sent as it stands, and normalized on its way
        if not options.redirects and request.max_redirects is None:
            changes["max_redirects"] = 0
        if options.skip:
            changes["skip"] = tuple(dict.fromkeys((*request.skip, *options.skip)))
        if options.max_size is not None and request.max_size is None:
            changes["max_size"] = options.max_size
        lease = LEASE.get(None)
        if lease is not None:
            page = lease.page.request
            if request.cookiejar is None:
                changes["cookiejar"] = page.cookiejar
            if request.referrer is None and "referer" not in request.headers:
                changes["referrer"] = referrer_for(request.referrer_policy or options.referer, page.url, request.url)
        return request.replace(**changes)

    async def _get(self, request: Request, item: Item, places: tuple[str, ...]) -> Report:
        try:
            report = await self._uptodate(request, item, places)
            if report is None:
                report = await self._downloaded(request, item)
        except StoreError as error:
            if not error.single:
                raise
            return self._failed(request, str(error))
        except Unusable as error:
            return self._failed(request, str(error))
        return self._counted(request, report)

    async def _uptodate(self, request: Request, item: Item, places: tuple[str, ...]) -> Report | None:
        expires = self._options.expires
        if expires == 0:
            return None
        for group in filter(None, (places[:1], places[1:])):  # the likely one, then all others at once
            stats = await asyncio.gather(*(self._store.stat(path, self._options.digest) for path in group))
            for path, stat in zip(group, stats, strict=True):
                if stat is None or (expires is not None and self._run.now() - stat.modified > expires * DAY):
                    continue
                more = await self._kind.found(path, stat, request, item)
                if more is not None:
                    return {"url": request.url, "path": path, "checksum": stat.checksum, "status": "uptodate", **more}
        return None

    async def _downloaded(self, request: Request, item: Item) -> Report:
        for number in range(1, TRIES + 1):
            try:
                return await self._fetched(request, item)
            except Broken:
                if number == TRIES:
                    raise
                await asyncio.sleep(_wait(number, self._run.random))
        raise AssertionError("unreachable")

    async def _fetched(self, request: Request, item: Item) -> Report:
        outcome = await self._run.fetch(request)
        if not isinstance(outcome, Response):
            raise Unusable(_why(outcome))
        stream = outcome.stream
        try:
            part = outcome.status == 206 and "range" not in request.headers
            if not 200 <= outcome.status < 300 or part:
                raise Unusable(f"HTTP status {outcome.status}")
            async with self._kind.taken(outcome) as response:
                stored = await self._stored(request, await self._passed(response, item), item)
        except FetchError as error:  # the reader of a body hears of it
            raise Broken(reason(error)) from error
        finally:
            if stream is not None:
                await stream.aclose()
        cached = "cached" in outcome.flags
        status = "cached" if cached else "downloaded"
        report = {
            "url": request.url,
            "path": stored["path"],
            "checksum": stored["checksum"],
            "status": status,
            **stored,
        }
        hops = (*outcome.request.via, outcome.request.url)[1:]
        if hops:
            report["redirects"] = list(hops)
        return report

    async def _passed(self, response: Response, item: Item) -> Response:
        hook = self._options.media_downloaded
        if hook is None:
            return response
        try:
            return await _given(hook(response, item)) or response
        except Exception as error:
            raise Unusable(told(error)) from error

    async def _stored(self, request: Request, response: Response, item: Item) -> Report:
        report = await self._kind.keep(request, response, item)
        if self._index is not None:
            await self._index.add(
                {"path": report["path"], "url": request.url, "stored": round(self._run.now(), 3), **report}
            )
        return report

    # -- telling ---------------------------------------------------------------------------------------------------

    def _counted(self, request: Request, report: Report) -> Report:
        status, stats = report["status"], self._run.stats
        count(stats, f"file_status_count/{status}")
        if status == "failed":
            if self._run.events.wants(MediaFailed):
                self._run.events.emit(MediaFailed(request=request, error=report["error"]))
            return report
        count(stats, "file_count")
        if self._run.events.wants(MediaStored):
            self._run.events.emit(MediaStored(request=request, report=report))
        return report

    def _failed(self, request: Request, why: str) -> Report:
        return self._counted(request, {"url": request.url, "status": "failed", "error": why})

    def _tell(self, kind: str) -> None:
        if not self._told and self._run.events.wants(Notice):
            field = self._options.result_field
            text = (
                f"{self._kind.name}: items of the class {kind} have no field {field!r} for the reports of their files"
            )
            self._run.events.emit(Notice(text=text, level="warning"))
        self._told = True

    # -- what the run does -----------------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Nothing is held back: an accepted item's files are in the store."""
        if self._index is not None:
            await self._index.write()

    async def close(self) -> None:
        try:
            await self.flush()
        finally:
            await self._kind.close()
            await self._store.close()

    def __repr__(self) -> str:
        return f"<OpenMedia {self._kind.name} in {self._store!r}: {len(self._pending)} under way>"


@contextmanager
def _of_the_user(hook: str) -> Generator[None]:
    """What a user's function raises is its item's failure, even what would else say that the store is lost."""
    try:
        yield
    except (OSError, SinkError) as error:
        raise ItemRefused(f"{hook}: {told(error)}") from error


async def _given(value: Any) -> Any:
    return await value if isawaitable(value) else value


def _request(url: object) -> Request:
    return Request(url if isinstance(url, str) else repr(url))


def _urls(item: dict[Any, Any], field: str) -> list[Any]:
    """What the item's field holds: several, or one as text."""
    value = item.get(field)
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, (bytes, dict)):
        raise TypeError(f"field {field!r} holds {value!r}: URLs are needed")
    try:
        return list(value)
    except TypeError:
        raise TypeError(f"field {field!r} holds {value!r}: URLs are needed") from None


def _why(outcome: Failed | Dropped | Again) -> str:
    return reason(outcome.error) if isinstance(outcome, Failed) else outcome.reason
