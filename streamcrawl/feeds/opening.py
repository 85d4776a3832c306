"""How a feed is opened for one run: anew, at the end of what is there, or where a job stopped."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, TypeAlias, cast

from streamcrawl.core import Run
from streamcrawl.errors import SinkError
from streamcrawl.feeds.compression import CHUNK, Codec, last_member
from streamcrawl.feeds.events import Told
from streamcrawl.feeds.format import FeedFormat, Format, Notice, Settings
from streamcrawl.feeds.members import MemberOutput, Rest
from streamcrawl.feeds.opened import OpenFeed
from streamcrawl.feeds.outputs import FileOutput, Output, StdOutput, StreamOutput, is_stream, open_file
from streamcrawl.feeds.tails import Tail

Mode: TypeAlias = Literal["overwrite", "append"]


@dataclass(frozen=True, slots=True)
class Manner:
    """How a feed is written, wherever it goes.

    Args:
        format: The description of its format.
        settings: Of the format.
        codec: How it is compressed; None: it is not.
        level: Of the compression; None: the usual one.
        durable: Whether a flush waits for the disk.
        store_empty: Whether a feed of no items is stored.
    """

    format: FeedFormat
    settings: Settings = field(default_factory=Settings)
    codec: Codec | None = None
    level: int | None = None
    durable: bool = False
    store_empty: bool = True


class Token(NamedTuple):
    """What `flush` gave in an earlier run of the same job."""

    end: int
    """Bytes of the file that count."""
    rest: tuple[int, int] | None = None
    """Of a compressed feed: which file of the job has what came after them, and how many bytes of it count."""
    state: Any = None
    """The format's."""


def token_of(token: Any) -> Token | None:
    if token is None or isinstance(token, int):
        return None if token is None else Token(token)
    rest = token.get("rest")
    return Token(token["end"], None if rest is None else (rest[0], rest[1]), token.get("state"))


def open_feed(
    name: str,
    path: Path | None,
    manner: Manner,
    run: Run,
    *,
    mode: Mode = "overwrite",
    token: Any = None,
    spool: Path | None = None,
    own: bool = False,
    told: Told | None = None,
) -> OpenFeed:
    """Open a feed for one run.

    Args:
        name: What error messages call it.
        path: The file; None: standard output.
        token: What `flush` gave in an earlier run of the same job: the file is cut back there, and goes on.
        spool: How the names of files begin that the job keeps for it; None: there is no job.
        own: Nobody reads the file before it is whole: it needs no other name until then.
        told: Where it is told that it is whole.

    Raises: SinkError naming the path and the reason.
    """
    at = token_of(token)
    if at is not None and at.end and path is not None and not any(each.exists() for each in (path, hidden(path))):
        raise SinkError(f"feed {name}: {path} is gone, and {at.end} bytes were in it when the job stopped")
    opening = _Opening(name, manner, run, Told(run, name).notice)
    with ExitStack() as stack:
        try:
            if path is None or is_stream(path):
                made, output = opening.stream(path, stack)
            else:
                made, output = opening.file(path, at, mode, spool, stack, own=own)
        except OSError as error:
            raise SinkError(f"feed {name}: cannot write {path}: {error.strerror or error}") from error
        except SinkError as error:
            raise SinkError(f"feed {name}: {error}") from None
        stack.pop_all()
    empty = not output.size and (at is None or at.state is None)
    unwanted = None
    if not manner.store_empty and path is not None and not own and output.offset is not None:
        unwanted = hidden(path) if manner.format.ended else path
    return OpenFeed(name, run, made, output, durable=manner.durable, unwanted=unwanted, told=told, empty=empty)


class _Opening:
    """What opening a stream and a file have in common."""

    def __init__(self, name: str, manner: Manner, run: Run, notice: Notice) -> None:
        self._manner = manner
        self._run = run
        self._notice = notice

    def _format(self, state: Any) -> Format:
        return self._manner.format.make(self._manner.settings, state, self._notice)

    def _compressed(self, output: Output, rest: Rest | None) -> Output:
        codec = self._manner.codec
        return output if codec is None else MemberOutput(output, codec, self._manner.level, rest)

    def stream(self, path: Path | None, stack: ExitStack) -> tuple[Format, Output]:
        output: Output = StdOutput() if path is None else StreamOutput(stack.enter_context(open_file(path)))
        return self._format(None), self._compressed(output, None)

    def file(
        self, path: Path, token: Token | None, mode: Mode, spool: Path | None, stack: ExitStack, *, own: bool
    ) -> tuple[Format, Output]:
        rename: Path | None = None
        if self._manner.format.ended and not own:
            # It grows beside the target, which is replaced when it is complete.
            path, rename = _hide(path, token), path
        file = stack.enter_context(open_file(path))
        if mode == "append" and token is None:
            tail, state = self._append_at(file)
        else:
            tail, state = Tail(_checked(file, token)), None if token is None else token.state
        made = self._format(state)
        # Nothing of the file is touched before the format has agreed.
        output: Output = FileOutput(file, path, tail.end, rename)
        if self._manner.codec is not None:
            output = self._compressed(output, None if spool is None else Rest(spool, token and token.rest))
        if tail.add:
            output.write(tail.add)
        return made, output

    def _append_at(self, file: BinaryIO) -> tuple[Tail, Any]:
        find, settings = self._manner.format.tail, self._manner.settings
        assert find is not None, "what cannot be appended to is refused when the feed is described"
        size = file.seek(0, 2)
        if self._manner.codec is None:
            tail, state = find(file, settings)
        else:
            tail, state = self._append_compressed(file, self._manner.codec)
        if tail.end < size:
            self._notice(f"its last record was cut off: {size - tail.end} bytes of it are removed")
        elif tail.add:
            self._notice("its last record had no line end: completed")
        return tail, state

    def _append_compressed(self, file: BinaryIO, codec: Codec) -> tuple[Tail, Any]:
        """After the last whole member; what is within has been written whole, by this project at least."""
        find = self._manner.format.tail
        assert find is not None
        assert codec.decompressor is not None
        end, head = last_member(file, codec.decompressor)
        tail, state = find(cast("BinaryIO", BytesIO(head)), self._manner.settings)
        if len(head) < CHUNK and tail.end < len(head):
            raise SinkError("cannot append: its last record was cut off before it was compressed")
        return Tail(end, tail.add if len(head) < CHUNK else b""), state


def hidden(path: Path) -> Path:
    """Where a feed grows that is valid only with its end."""
    return path.with_name(path.name + ".part")


def _hide(path: Path, token: Token | None) -> Path:
    part = hidden(path)
    if path.is_dir():
        raise IsADirectoryError(None, "Is a directory")
    if token is not None and not part.exists() and path.exists():
        path.replace(part)  # it was closed, but the job did not get to note that
    return part


def _checked(file: BinaryIO, token: Token | None) -> int:
    """Where a feed goes on that is not appended to: at the token of the earlier run, or from the start."""
    if token is None:
        return 0
    size = file.seek(0, 2)
    if token.end > size:
        raise SinkError(f"it has {size} bytes, but {token.end} were written: it was changed since the job stopped")
    return token.end
