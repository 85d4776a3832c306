"""The sink behind `async for item in crawl`: it acknowledges an item by asking for the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, ClassVar

from streamcrawl.core import Item, ItemId
from streamcrawl.core import Run as RunProtocol
from streamcrawl.streams.sink import SinkOperator

if TYPE_CHECKING:
    from streamcrawl.crawl.run import Run


class Asking(SinkOperator):
    """One hand-over place between the run and the reader."""

    resumable: ClassVar[bool] = False

    def __init__(self) -> None:
        self._offered: asyncio.Queue[tuple[Item, asyncio.Future[None]]] = asyncio.Queue(1)

    def open(self, run: RunProtocol, token: Any = None) -> Asking:
        return self

    async def accept(self, item: Item, item_id: ItemId) -> None:
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._offered.put((item, taken))
        await taken

    async def flush(self) -> None:
        """What was taken is safe already."""

    async def close(self) -> None:
        """Nothing to close."""

    async def items(self, run: Run) -> AsyncIterator[Item]:
        """What the run offers, until it is over."""
        over = asyncio.ensure_future(run)
        offer: asyncio.Future[tuple[Item, asyncio.Future[None]]] | None = None
        try:
            while True:
                offer = asyncio.ensure_future(self._offered.get())
                await asyncio.wait((offer, over), return_when=asyncio.FIRST_COMPLETED)
                if not offer.done():
                    return
                item, taken = offer.result()
                yield item
                if not taken.done():  # the run may have failed while the reader worked
                    taken.set_result(None)
        finally:
            over.cancel()
            if offer is not None:
                offer.cancel()


def asking() -> tuple[Asking, Callable[[Run], AsyncIterator[Item]]]:
    """A sink, and the iterator at its other side."""
    sink = Asking()
    return sink, sink.items
