"""An item's pictures in one run: fetched, converted, stored, reported in the item."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5, sha1
from typing import Any, Protocol, TypeAlias, cast

from streamcrawl.core import Again, Dropped, Failed, Item, ItemId, Request, Run
from streamcrawl.errors import ItemRefused, SinkError
from streamcrawl.events import Notice
from streamcrawl.items import as_dict, with_field
from streamcrawl.response import Response
from streamcrawl.storage.pictures import BadPictureError, Picture, Size, convert
from streamcrawl.storage.store import Store

Report: TypeAlias = dict[str, Any]
"""url, status ("downloaded" or "failed"); path, checksum, width, height, or else error."""

THREADS = 2
"""Decoded pictures in memory at once: each may have millions of pixels."""


class Options(Protocol):
    """What `OpenImages` is to know."""

    @property
    def thumbs(self) -> tuple[tuple[str, Size], ...]: ...
    @property
    def urls_field(self) -> str: ...
    @property
    def result_field(self) -> str: ...
    @property
    def min_width(self) -> int: ...
    @property
    def min_height(self) -> int: ...


class OpenImages:
    """Takes items and gives them back with their pictures' reports."""

    __slots__ = ("_options", "_pending", "_run", "_store", "_threads", "_told")

    def __init__(self, options: Options, store: Store, run: Run) -> None:
        self._options = options
        self._store = store
        self._run = run
        self._pending: dict[str, asyncio.Future[Report]] = {}
        """By URL, while it is fetched: whoever else wants it waits for that."""
        self._threads: ThreadPoolExecutor | None = None
        self._told = False

    async def accept(self, item: Item, item_id: ItemId) -> Item:
        """The item with its result field, once its pictures are stored or have failed.

        Raises: ItemRefused for what is no item, or has no URLs in its field.
        """
        if isinstance(item, (list, tuple)):
            return [await self.accept(each, item_id) for each in cast(Sequence[Item], item)]
        try:
            urls = _urls(as_dict(item), self._options.urls_field)
        except TypeError as error:
            raise ItemRefused(f"images: {error}") from None
        reports = await asyncio.gather(*map(self._picture, urls))
        changed = with_field(item, self._options.result_field, reports)
        if changed is None:
            self._tell(type(item).__name__)
            return item
        return changed

    async def _picture(self, url: str) -> Report:
        while (pending := self._pending.get(url)) is not None:
            await asyncio.wait([pending])
            if not pending.cancelled():
                return pending.result()
        pending = self._pending[url] = asyncio.get_running_loop().create_future()
        try:
            report = await self._fetch(url)
            pending.set_result(report)
            return report
        finally:
            del self._pending[url]
            pending.cancel()  # of no effect unless we were cancelled: then one of those who wait takes over

    async def _fetch(self, url: str) -> Report:
        outcome = await self._run.fetch(Request(url, dont_filter=True))
        if not isinstance(outcome, Response):
            return self._failed(url, _why(outcome))
        if not 200 <= outcome.status < 300:
            return self._failed(url, f"HTTP status {outcome.status}")
        try:
            picture = await self._convert(outcome.body)
            return await self._store_all(url, picture)
        except (BadPictureError, SinkError) as error:
            return self._failed(url, str(error))

    async def _convert(self, body: bytes) -> Picture:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="images")
        options = self._options
        sizes = tuple(size for _, size in options.thumbs)

        def work() -> Picture:
            return convert(body, sizes, min_width=options.min_width, min_height=options.min_height)

        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _store_all(self, url: str, picture: Picture) -> Report:
        name = sha1(url.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
        path = f"full/{name}.jpg"
        for (thumb, _), data in zip(self._options.thumbs, picture.thumbs, strict=True):
            await self._store.put(f"thumbs/{thumb}/{name}.jpg", data)
        await self._store.put(path, picture.data)
        self._count("downloaded")
        return {
            "url": url,
            "path": path,
            "checksum": md5(picture.data, usedforsecurity=False).hexdigest(),
            "status": "downloaded",
            "width": picture.width,
            "height": picture.height,
        }

    def _failed(self, url: str, why: str) -> Report:
        self._count("failed")
        return {"url": url, "status": "failed", "error": why}

    def _count(self, status: str) -> None:
        stats = self._run.stats
        for key in ("file_count",) * (status == "downloaded") + (f"file_status_count/{status}",):
            stats[key] = stats.get(key, 0) + 1

    def _tell(self, kind: str) -> None:
        if not self._told and self._run.events.wants(Notice):
            field = self._options.result_field
            text = f"images: items of the class {kind} have no field {field!r} for their pictures"
            self._run.events.emit(Notice(text=text, level="warning"))
        self._told = True

    async def flush(self) -> None:
        """Nothing is held back: an accepted item's pictures are in the store."""

    async def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None


def _urls(item: dict[Any, Any], field: str) -> list[str]:
    """The distinct URLs of the item's field."""
    value = item.get(field)
    if value is None or value == "":
        return []
    try:
        found = [value] if isinstance(value, str) else list(value)
    except TypeError:
        raise TypeError(f"field {field!r} holds {value!r}: URLs are needed") from None
    return list(dict.fromkeys(map(str, found)))


def _why(outcome: Failed | Dropped | Again) -> str:
    return str(outcome.error) if isinstance(outcome, Failed) else outcome.reason
