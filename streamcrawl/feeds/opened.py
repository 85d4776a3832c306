"""A feed in one run: records gather in a buffer and go out whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias, cast

from streamcrawl.core import Item, ItemId, Run
from streamcrawl.errors import ItemRefused, SinkError
from streamcrawl.events import Notice
from streamcrawl.feeds.formats import Csv, Format, FormatName, JsonArray, JsonLines
from streamcrawl.feeds.outputs import FileOutput, Output, StdOutput, StreamOutput, is_stream, open_file
from streamcrawl.feeds.tails import Tail, csv_columns, csv_tail, jsonl_tail

Mode: TypeAlias = Literal["overwrite", "append"]

BUFFER = 64 * 1024
"""Bytes of records that gather before they are written."""
FULL = 1024 * 1024
"""Bytes that wait at most while writing fails."""


class OpenFeed:
    """Takes items for a feed, and holds at most `BUFFER` bytes of them until the next write or `flush`."""

    __slots__ = ("_durable", "_format", "_name", "_output", "_parts", "_record", "_run", "_size", "_waiting")

    def __init__(self, name: str, run: Run, format_: Format, output: Output, *, durable: bool = False) -> None:
        self._name = name
        self._run = run
        self._format = format_
        self._record = format_.record
        self._output: Output | None = output
        self._durable = durable
        self._parts: list[bytes] = []
        self._waiting = 0
        self._size = output.offset or 0

    def accept(self, item: Item, item_id: ItemId) -> None:
        """Take an item, or a list of them.

        Raises: ItemRefused naming the field that cannot be written (of a list, the other items are taken); SinkError
            if nothing can be written any more.
        """
        if self._waiting > FULL:
            raise SinkError(f"feed {self._name}: it cannot be written to, and {self._waiting} bytes wait already")
        try:
            if isinstance(item, (list, tuple)):
                self._take_all(cast(Sequence[Item], item))
            else:
                self._append(self._record(item))
        except ItemRefused as error:
            raise ItemRefused(f"feed {self._name}: {error}") from None
        finally:
            if self._waiting > BUFFER:
                self._relieve()

    def _take_all(self, items: Sequence[Item]) -> None:
        wrong: list[str] = []
        for nth, item in enumerate(items, 1):
            try:
                self._append(self._record(item))
            except ItemRefused as error:
                wrong.append(f"item {nth} of {len(items)}: {error}")
        if wrong:
            raise ItemRefused("; ".join(wrong))

    def _relieve(self) -> None:
        try:
            self._write()
        except SinkError as error:
            # The records wait on for the next write; the run ends in good order, and `flush` tries again.
            self._run.fail(error)

    def _append(self, record: bytes) -> None:
        self._parts.append(record)
        self._waiting += len(record)
        self._size += len(record)

    def _write(self) -> Output:
        output = self._output
        if output is None:
            raise SinkError(f"feed {self._name}: closed")
        if self._parts:
            try:
                output.write(b"".join(self._parts))
            except OSError as error:
                raise _unwritable(self._name, error) from error
            self._parts.clear()
            self._waiting = 0
        return output

    @property
    def size(self) -> int:
        """Bytes of records that it has, written or waiting."""
        return self._size

    async def flush(self) -> int | None:
        """Hand everything to the system; to the disk, if the feed is durable.

        Gives the bytes in the file, to which `open` cuts it back; None for a stream. Raises: SinkError.
        """
        output = self._write()
        offset = output.offset
        if self._durable:
            await self._sync(output)
        return offset

    async def _sync(self, output: Output) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(None, output.sync)
        except OSError as error:
            raise _unwritable(self._name, error) from error

    async def close(self) -> None:
        """Write the format's end, and give the file its name. Raises: SinkError."""
        if self._output is None:
            return
        end = self._format.end()
        if end:
            self._append(end)
        try:
            output = self._write()
            if self._durable:
                await self._sync(output)
        except SinkError:
            self._output.abandon()
            raise
        finally:
            self._output = None
            self._record = self._closed
        try:
            output.close()
        except OSError as error:
            raise _unwritable(self._name, error) from error

    def _closed(self, item: Item) -> bytes:
        raise SinkError("closed")

    def __repr__(self) -> str:
        state = "closed" if self._output is None else f"{self._waiting} bytes waiting"
        return f"<OpenFeed {self._name}: {state}>"


def _unwritable(name: str, error: OSError) -> SinkError:
    return SinkError(f"feed {name}: cannot be written: {error.strerror or error}")


def open_feed(
    name: str,
    path: Path | None,
    kind: FormatName,
    run: Run,
    *,
    mode: Mode = "overwrite",
    fields: tuple[str, ...] | None = None,
    durable: bool = False,
    token: int | None = None,
) -> OpenFeed:
    """Open a feed for one run.

    Args:
        name: What error messages call it.
        path: The file; None: standard output.
        token: What `flush` gave in an earlier run of the same job: the file is cut back there, and goes on.

    Raises: SinkError naming the path and the reason.
    """
    tell = partial(_tell, run, name)
    made: Format
    if token and path is not None and not any(each.exists() for each in (path, _part(path))):
        raise SinkError(f"feed {name}: {path} is gone, and {token} bytes were in it when the job stopped")
    with ExitStack() as opening:
        try:
            if path is None or is_stream(path):
                output: Output = StdOutput() if path is None else StreamOutput(opening.enter_context(open_file(path)))
                made = _format(kind, fields, tell)
            elif kind == "json":
                output = _json_file(path, token, opening)
                made = JsonArray(fields, begun=bool(output.offset))
            else:
                file = opening.enter_context(open_file(path))
                tail = (
                    _append_at(file, kind, tell) if mode == "append" and token is None else Tail(_checked(file, token))
                )
                columns = csv_columns(file) if kind == "csv" and tail.end else ()
                made = _format(kind, _agreed(columns, fields), tell, begun=bool(columns))
                output = FileOutput(file, path, tail.end)
                output.write(tail.add)
        except OSError as error:
            raise SinkError(f"feed {name}: cannot write {path}: {error.strerror or error}") from error
        except SinkError as error:
            raise SinkError(f"feed {name}: {error}") from None
        opening.pop_all()
    return OpenFeed(name, run, made, output, durable=durable)


def _format(
    kind: FormatName, fields: tuple[str, ...] | None, tell: Callable[[str], None], *, begun: bool = False
) -> Format:
    if kind == "csv":
        return Csv(fields, begun=begun, notice=tell)
    return JsonArray(fields) if kind == "json" else JsonLines(fields)


def _agreed(columns: tuple[str, ...], fields: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The columns of a CSV that goes on."""
    if columns and fields is not None and columns != fields:
        there, wanted = ", ".join(columns), ", ".join(fields)
        raise SinkError(f"cannot append: the file has the columns {there}; wanted: {wanted}")
    return columns or fields


def _part(path: Path) -> Path:
    """Where a JSON array grows."""
    return path.with_name(path.name + ".part")


def _json_file(path: Path, token: int | None, opening: ExitStack) -> FileOutput:
    """The array grows beside the target, which is replaced when it is complete."""
    part = _part(path)
    if path.is_dir():
        raise IsADirectoryError(None, "Is a directory")
    if token and not part.exists() and path.exists():
        path.replace(part)  # it was closed, but the job did not get to note that
    file = opening.enter_context(open_file(part))
    return FileOutput(file, part, _checked(file, token), rename=path)


def _append_at(file: BinaryIO, kind: FormatName, tell: Callable[[str], None]) -> Tail:
    size = file.seek(0, 2)
    tail = csv_tail(file) if kind == "csv" else jsonl_tail(file)
    if tail.end < size:
        tell(f"its last record was cut off: {size - tail.end} bytes of it are removed")
    elif tail.add:
        tell("its last record had no line end: completed")
    return tail


def _checked(file: BinaryIO, token: int | None) -> int:
    """Where a feed goes on that is not appended to: at the token of the earlier run, or from the start."""
    size = file.seek(0, 2)
    if token is not None and token > size:
        raise SinkError(f"it has {size} bytes, but {token} were written: it was changed since the job stopped")
    return token or 0


def _tell(run: Run, name: str, text: str) -> None:
    if run.events.wants(Notice):
        run.events.emit(Notice(text=f"feed {name}: {text}", level="warning"))
