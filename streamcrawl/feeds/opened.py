"""A feed in one run: records gather in a buffer and go out whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from streamcrawl.core import Item, ItemId, Run
from streamcrawl.errors import ItemRefused, SinkError
from streamcrawl.feeds.events import Told
from streamcrawl.feeds.format import Format
from streamcrawl.feeds.outputs import Output

BUFFER = 64 * 1024
"""Bytes of records that gather before they are written."""
FULL = 1024 * 1024
"""Bytes that wait at most while writing fails."""


class OpenFeed:
    """Takes items for a feed, and holds at most `BUFFER` bytes of them until the next write or `flush`.

    Args:
        name: What error messages call it.
        unwanted: The file that is deleted if it stays empty; None: it stays.
        told: Where it is told that the feed is whole; None: nowhere.
        empty: Whether nothing is in it yet.
    """

    __slots__ = (
        "_durable",
        "_empty",
        "_format",
        "_lock",
        "_name",
        "_output",
        "_parts",
        "_record",
        "_run",
        "_told",
        "_unwanted",
        "_waiting",
        "items",
        "size",
    )

    def __init__(
        self,
        name: str,
        run: Run,
        format_: Format,
        output: Output,
        *,
        durable: bool = False,
        unwanted: Path | None = None,
        told: Told | None = None,
        empty: bool = True,
    ) -> None:
        self._name = name
        self._run = run
        self._format = format_
        self._record = format_.record
        self._output: Output | None = output
        self._durable = durable
        self._unwanted = unwanted
        self._told = told
        self._parts: list[bytes] = []
        self._waiting = 0
        self._empty = empty
        self._lock = asyncio.Lock()
        self.items = 0
        """Taken in this run."""
        self.size = output.size
        """Bytes that it has, written or waiting; when it is compressed, as far as that is known."""

    @property
    def empty(self) -> bool:
        """Whether no item is in it, and no end."""
        return self._empty

    def accept(self, item: Item, item_id: ItemId) -> Awaitable[None] | None:
        """Take an item, or a list of them; awaited where writing takes its time.

        Raises: ItemRefused naming the field that cannot be written (of a list, the other items are taken); SinkError
            if nothing can be written any more.
        """
        if self._waiting > FULL:
            raise SinkError(f"feed {self._name}: it cannot be written to, and {self._waiting} bytes wait already")
        refused: ItemRefused | None = None
        try:
            if isinstance(item, (list, tuple)):
                self._take_all(cast("Sequence[Item]", item))
            else:
                self._append(self._record(item))
                self.items += 1
        except ItemRefused as error:
            refused = ItemRefused(f"feed {self._name}: {error}")
        if self._waiting > BUFFER and self._output is not None:
            if not self._output.slow:
                self._relieve()
            elif refused is None:
                return self._relieve_later()
        if refused is not None:
            raise refused
        return None

    def _take_all(self, items: Sequence[Item]) -> None:
        wrong: list[str] = []
        for nth, item in enumerate(items, 1):
            try:
                self._append(self._record(item))
                self.items += 1
            except ItemRefused as error:
                wrong.append(f"item {nth} of {len(items)}: {error}")
        if wrong:
            raise ItemRefused("; ".join(wrong))

    def _append(self, record: bytes) -> None:
        self._parts.append(record)
        self._waiting += len(record)
        self.size += len(record)
        self._empty = False

    def _relieve(self) -> None:
        try:
            self._write()
        except SinkError as error:
            # The records wait on for the next write; the run ends in good order, and `flush` tries again.
            self._run.fail(error)

    async def _relieve_later(self) -> None:
        try:
            async with self._lock:
                await self._write_in_thread()
        except SinkError as error:
            self._run.fail(error)

    def _opened(self) -> Output:
        if self._output is None:
            raise SinkError(f"feed {self._name}: closed")
        return self._output

    def _write(self) -> Output:
        output = self._opened()
        if self._parts:
            try:
                output.write(b"".join(self._parts))
            except OSError as error:
                raise unwritable(self._name, error) from error
            self._parts.clear()
            self._waiting = 0
        return output

    async def _write_in_thread(self) -> Output:
        output = self._opened()
        parts, self._parts, waiting = self._parts, [], self._waiting
        self._waiting = 0
        try:
            await self._in_thread(output.write, b"".join(parts))
        except SinkError:
            self._parts = parts + self._parts
            self._waiting += waiting
            raise
        self.size = output.size + self._waiting
        return output

    async def _in_thread(self, work: Any, *arguments: Any) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)
        except OSError as error:
            raise unwritable(self._name, error) from error

    async def flush(self) -> Any:
        """Hand everything to the system; to the disk, if the feed is durable.

        Gives what `open_feed` goes on from: the bytes in the file, or a dict of them and more; None for a stream.
        Raises: SinkError.
        """
        async with self._lock:
            if self._opened().slow:
                output = await self._write_in_thread()
                rest = await self._in_thread(lambda: output.mark(durable=self._durable))
            else:
                output, rest = self._write(), None
                if self._durable:
                    await self._in_thread(output.sync)
        end, state = output.offset, self._format.state
        if end is None or (rest is None and state is None):
            return end
        return {"end": end, "rest": rest, "state": state}

    async def close(self) -> None:
        """Write the format's end, and give the file its name. Raises: SinkError."""
        if self._output is None:
            return
        unwanted = self._unwanted if self._empty else None
        if unwanted is None:
            self._take_end()
        try:
            await self._close(unwanted)
        except SinkError:
            if self._told is not None:
                self._told.failed()
            raise
        if self._told is not None and unwanted is None:
            self._told.stored(self._told.uri, 0, self.items, self.size)

    def _take_end(self) -> None:
        empty = self._empty
        end = self._format.end()
        if end:
            self._append(end)
        self._empty = empty

    async def _close(self, unwanted: Path | None) -> None:
        output = self._opened()
        try:
            if output.slow:
                async with self._lock:
                    await self._write_in_thread()
            else:
                self._write()
            if self._durable:
                await self._in_thread(output.sync)
        except SinkError:
            output.abandon()
            raise
        finally:
            self._output = None
            self._record = self._closed
        if unwanted is not None:
            output.abandon()
            with suppress(SinkError):
                await self._in_thread(unwanted.unlink)
        elif output.slow:
            await self._in_thread(output.close)
            self.size = output.size
        else:
            try:
                output.close()
            except OSError as error:
                raise unwritable(self._name, error) from error

    def _closed(self, item: Item) -> bytes:
        raise SinkError("closed")

    def __repr__(self) -> str:
        state = "closed" if self._output is None else f"{self._waiting} bytes waiting"
        return f"<OpenFeed {self._name}: {state}>"


def unwritable(name: str, error: OSError) -> SinkError:
    return SinkError(f"feed {name}: cannot be written: {error.strerror or error}")
