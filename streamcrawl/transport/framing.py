"""Where an answer ends on its connection: what a server sends beyond it is dropped, and never taken for another answer.

aiohttp's parser loses a page when more bytes follow in the same segment, and keeps what follows later for the next
request. Browsers and curl take the page, drop the rest, and close the connection: whatever it was, the connection is
out of step (request smuggling, response-queue poisoning).
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpResponseParser, RawResponseMessage
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError

from streamcrawl.transport.counters import RECEIVED, SENT
from streamcrawl.transport.leniency import END, HEAD_SIZE, final, mended, promising

EXCESS = "wire/excess"
MALFORMED = "wire/malformed"

STEP = 4096
"""Bytes within which the end of a message is looked for one by one."""


class Noticed(Protocol):
    """Is told the name of the counter that something belongs to, and how much of it there is."""

    def __call__(self, name: str, more: int = 1, /) -> object: ...


Messages: TypeAlias = "Sequence[tuple[RawResponseMessage, aiohttp.StreamReader]]"
Fed: TypeAlias = "tuple[Messages, bool, bytes]"

NOTHING: Fed = ((), False, b"")


def unnoticed(_: str, __: int = 1, /) -> None:
    """Nobody counts."""


def framed(connector: aiohttp.TCPConnector, noticed: Noticed) -> aiohttp.TCPConnector:
    """The connector, whose connections give one answer to one request."""
    # aiohttp has no public way to say which protocol a connection has.
    connector._factory = partial(FramedConnection, noticed, asyncio.get_running_loop())  # type: ignore[assignment]  # pyright: ignore[reportPrivateUsage]
    return connector


class FramedConnection(ResponseHandler):
    """One connection to a server."""

    def __init__(self, noticed: Noticed, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._noticed = noticed
        self._poll: Any = None
        self._counted = False
        self.answered = False
        """It has brought an answer before."""

    def set_response_params(self, **params: Any) -> None:
        """A request is about to be sent."""
        # What a server says before it is asked waits until now; it is read by the parser that is made for the answer.
        early, self._tail = self._tail, b""
        super().set_response_params(**params)
        self._parser = cast("Any", OneAnswer(self, self._parser, params))
        if early:
            super().data_received(early)

    def sent(self, size: int) -> None:
        """A request of so many bytes has gone out, or is on its way."""
        self._noticed(SENT, size)

    def data_received(self, data: bytes) -> None:
        """A segment has come: counted here, it is measured, whatever becomes of it."""
        self._noticed(RECEIVED, len(data))
        super().data_received(data)

    def parser_like(self, params: dict[str, Any], limit: int) -> Any:
        """A parser like the one that aiohttp makes; `limit`: bytes held before it pauses, 0: as asked for."""
        return HttpResponseParser(
            self,
            self._loop,
            limit or params.get("read_bufsize", 2**16),
            timer=params.get("timer"),
            payload_exception=aiohttp.ClientPayloadError,
            response_with_body=not params.get("skip_payload", False),
            read_until_eof=params.get("read_until_eof", False),
            auto_decompress=params.get("auto_decompress", True),
            **{name: params[name] for name in ("max_line_size", "max_field_size", "max_headers") if name in params},
        )

    def is_connected(self) -> bool:
        """Whether a request can be sent: the connection is open, and nothing has come unasked.

        The pool asks before it gives the connection to a request. What waits in the socket has not been seen by the
        event loop yet: the server's good-bye, or what would be taken for the answer to that request.
        """
        return super().is_connected() and not self._unread()

    def _unread(self) -> bool:
        if self._poll is None:
            assert self.transport is not None
            sock = self.transport.get_extra_info("socket")
            self._poll = poll_of(sock.fileno()) if sock is not None else never
        return bool(self._poll(0))

    def out_of_step(self) -> None:
        """More came than was asked for: not one more request goes out on this connection."""
        if not self._counted:
            self._counted = True
            self._noticed(EXCESS)
        self.force_close()

    def malformed(self) -> None:
        """An answer was mended: where it ends is a guess, so nothing else may come after it."""
        self._noticed(MALFORMED)
        self.force_close()


class OneAnswer:
    """aiohttp's parser for the answer to one request, up to the end of that answer.

    Args:
        connection: The answer's.
        parser: aiohttp's, new.
        params: What it was made with.
    """

    __slots__ = ("_connection", "_heard", "_holding", "_params", "_parser", "body")

    def __init__(self, connection: FramedConnection, parser: Any, params: dict[str, Any]) -> None:
        self._connection = connection
        self._parser = parser
        self._params = params
        self._heard = b""
        self._holding: HttpProcessingError | None = None
        self.body: aiohttp.StreamReader | None = None
        """Of the final answer, as soon as its header fields have come."""

    def feed_data(self, data: bytes) -> Fed:
        """What the parser makes of a segment, but for what is beyond the answer. Raises: HttpProcessingError."""
        body = self.body
        if body is None:
            return self._head(data)
        if body.is_eof():
            return self._beyond(data)
        try:
            fed: Fed = self._parser.feed_data(data)
        except HttpProcessingError:
            if body.is_eof():
                return self._beyond(data)
            raise
        if fed[0] or (body.is_eof() and self._has_begun()):
            return self._beyond(data)
        return fed

    def _has_begun(self) -> bool:
        """Whether the parser, which is at the end of the answer, has seen a part of another one."""
        try:
            return self._parser.feed_eof() is not None
        except Exception:  # it is not even a good one
            return True

    def _beyond(self, data: bytes) -> Fed:
        """Bytes after the answer. Lone line breaks are no harm."""
        if data.strip(b"\r\n"):
            self._connection.out_of_step()
            transport = self._connection.transport
            if transport is not None:
                transport.close()
        return NOTHING

    def _head(self, data: bytes) -> Fed:
        self._heard = heard = self._heard + data  # where the whole head comes in one segment, nothing is copied
        try:
            if self._holding is not None:
                return self._mended(self._holding)
            messages, upgraded, tail = self._parser.feed_data(data)
        except HttpProcessingError as error:
            return self._mended(error)
        if messages:
            messages = self._answered(messages)
            if self.body is not None and self.body.is_eof() and self._has_begun():
                self._connection.out_of_step()
            return messages, upgraded, tail
        if len(heard) > HEAD_SIZE:
            raise BadHttpMessage(f"The header fields are longer than {HEAD_SIZE} bytes")
        return NOTHING

    def _answered(self, messages: Messages) -> Messages:
        """Up to the final one; from here on the answer's body is known."""
        for at, (message, body) in enumerate(messages):
            if message.code > 199 or message.code < 100 or message.code == 101:
                self.body = body
                self._heard = b""
                # Nobody asked for another protocol; and HTTP/1.0 knows no chunks (RFC 9112 §6.1).
                if message.code == 101 or (message.chunked and message.version == aiohttp.HttpVersion10):
                    self._connection.force_close()
                if at + 1 < len(messages):
                    self._connection.out_of_step()
                    return messages[: at + 1]
                return messages
        self._heard = final(self._heard)
        return messages

    def _mended(self, error: HttpProcessingError) -> Fed:
        """The page, from what the parser has refused: cut at its end, or with the head as it was meant.

        Raises: `error` if it is no page in any way.
        """
        heard = self._heard = final(self._heard)
        end = END.search(heard)
        if end is None:
            if len(heard) > HEAD_SIZE or not promising(heard):
                raise error
            self._holding = error  # the head is judged when it is whole
            return NOTHING
        fed = self._cut(heard)
        if fed is None:
            head = mended(heard[: end.end()])
            fed = None if head is None else self._cut(head + heard[end.end() :])
            if fed is None:
                raise error
            self._connection.malformed()
        self._holding = None
        return fed

    def _cut(self, heard: bytes) -> Fed | None:
        """What a new parser makes of the answer, without what follows it; None if it refuses that too."""
        start = self._last_step(heard)
        self._parser = parser = self._connection.parser_like(self._params, 0)
        messages: list[Any] = []
        upgraded, at = False, start
        try:
            messages += parser.feed_data(heard[:start])[0]
            while at < len(heard) and not (messages and messages[0][1].is_eof()):
                size = 1 if at < start + STEP else len(heard)
                more, upgraded, _ = parser.feed_data(heard[at : at + size])
                messages += more
                at += size
        except HttpProcessingError:
            return None
        if messages:
            messages = list(self._answered(messages[:1]))
        if heard[at:].strip(b"\r\n"):
            self._connection.out_of_step()
        return messages, upgraded, b""

    def _last_step(self, heard: bytes) -> int:
        """Where the step begins in which the answer ends, or something is wrong."""
        trial = self._connection.parser_like(self._params, 4 * len(heard))
        messages: list[Any] = []
        for start in range(0, len(heard), STEP):
            try:
                messages += trial.feed_data(heard[start : start + STEP])[0]
            except HttpProcessingError:
                return start
            if messages and messages[0][1].is_eof():
                return start
        return len(heard)

    def feed_eof(self) -> Any:
        """The server has said good-bye. Raises: HttpProcessingError if it broke off its answer by that."""
        if self.body is not None and self.body.is_eof():
            return None  # what the parser has half of is no matter of the answer's
        return self._parser.feed_eof()

    def pause_reading(self) -> None:
        """Enough has come for now."""
        self._parser.pause_reading()


def poll_of(fd: int) -> Callable[[int], Any]:
    """What says whether something waits to be read from a socket."""
    if not hasattr(select, "poll"):  # Windows, where select has no bound on the number
        return lambda wait: select.select([fd], [], [], wait)[0]
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return poll.poll


def never(_: int) -> bool:
    """A transport without a socket."""
    return False
