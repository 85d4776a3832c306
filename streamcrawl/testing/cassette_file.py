"""The file of a cassette: one exchange after another, each a JSON object of several lines.

    {"cassette": 1, "id": "…", "date": "2030-01-01T00:00:00Z", "match": [], "redact": ["authorization"]}
    {"request": {"method": "GET", "url": "https://shop.example/", "headers": [["Accept", "*/*"]]},
     "response": {"status": 200, "seconds": 0.12, "headers": [
      ["Content-Type", "text/html"]
     ]},
     "text": [
      "<h1>Shop</h1>\\n"
     ]
    }

A body is "text", line by line, or "base64"; an exchange that failed has an "error", in the place of the response or
after a body that broke off. An exchange is whole when its last line, a single brace, is there: what was being written
when the process was killed is not, and does not count.
"""

from __future__ import annotations

import os
import uuid
from base64 import b64decode, b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from streamcrawl.errors import StreamcrawlError
from streamcrawl.testing.cassette_rules import Rules, key_of

VERSION = 1
LARGE = 1024 * 1024
"""Bytes of body from which on it is written as base64, a piece at a time."""
PIECE = 48 * 1024
LINE = 3072
"""Bytes of body in a line of base64."""
TAIL = 1024
_BINARY = bytes({*range(32), 127} - {9, 10, 12, 13, 27})


class CassetteError(StreamcrawlError):
    """A cassette that is not there, cannot be read, or cannot be written."""


class Header(msgspec.Struct, frozen=True):
    """The first line: what holds for all exchanges."""

    cassette: int
    id: str = ""
    date: str = ""
    match: tuple[str, ...] = ()
    redact: tuple[str, ...] = ()


class KeptRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a cassette has of a request. `by`: names of header fields that make it another one."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    body64: str = ""
    by: tuple[str, ...] = ()
    cookiejar: str | None = None

    def key(self, match: tuple[str, ...]) -> str:
        """What it is known by."""
        body = b64decode(self.body64) if self.body64 else self.body.encode()
        return key_of(self.method, self.url, body, self.headers, {*match, *self.by}, self.cookiejar)


class KeptResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a cassette has of a response, but for the body.

    Args:
        seconds: From the request until the response was there; with its body, unless that was streamed.
        latency: As the response says.
        charset: Of the body that stands there as text, if it is not UTF-8.
        cut: The reader of the body had enough before its end.
    """

    status: int
    seconds: float = 0.0
    latency: float = 0.0
    url: str = ""
    protocol: str = ""
    ip_address: str = ""
    wire_size: int = 0
    flags: tuple[str, ...] = ()
    charset: str = ""
    cut: bool = False
    headers: tuple[tuple[str, str], ...] = ()


class KeptError(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why there is no response, or no whole body."""

    kind: str
    message: str
    seconds: float = 0.0
    proxy: str = ""
    status: int = 0
    beyond: bool = False


class Exchange(msgspec.Struct, frozen=True):
    """One record. `body`: where the lines of its body are in the file, from byte to byte."""

    request: KeptRequest
    response: KeptResponse | None = None
    error: KeptError | None = None
    body: tuple[int, int] = (0, 0)
    base64: bool = False


class Place(NamedTuple):
    """Where an exchange stands in the file, in bytes."""

    at: int
    length: int


class Found(NamedTuple):
    """What stands in a file: its header, each exchange's request and place, and where the last whole one ends."""

    header: Header
    exchanges: list[tuple[KeptRequest, Place]]
    end: int
    path: Path


def scan(path: Path) -> Found:
    """Look through a cassette without reading its bodies. Raises: CassetteError."""
    try:
        with path.open("rb") as file:
            return _scanned(file, path)
    except OSError as error:
        part = part_of(path)
        hint = f"; what was recorded of a new one is in {part}" if part.exists() else ""
        raise CassetteError(f"{path}: no cassette there: {error.strerror}{hint}") from error


def _scanned(file: BinaryIO, path: Path) -> Found:
    header = _header(file.readline(), path)
    exchanges: list[tuple[KeptRequest, Place]] = []
    began: tuple[KeptRequest, int] | None = None
    at = end = file.tell()
    for number, line in enumerate(file, 2):
        if line.startswith(b"{"):
            began = (_request(line, path, number), at) if line.endswith(b"\n") else None
        elif began is not None and line.rstrip() == b"}" and line.endswith(b"\n"):
            end = at + len(line)
            exchanges.append((began[0], Place(began[1], end - began[1])))
            began = None
        at += len(line)
    return Found(header, exchanges, end, path)


def _header(line: bytes, path: Path) -> Header:
    try:
        header = msgspec.json.decode(line, type=Header)
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise CassetteError(f"{path}: no cassette: it does not begin with one's first line") from None
    if header.cassette != VERSION:
        raise CassetteError(f"{path}: a cassette of version {header.cassette}; this streamcrawl reads {VERSION}")
    return header


def _request(line: bytes, path: Path, number: int) -> KeptRequest:
    try:
        return msgspec.json.decode(line.rstrip().removesuffix(b",") + b"}", type=dict[str, KeptRequest])["request"]
    except (msgspec.DecodeError, msgspec.ValidationError, KeyError) as error:
        raise CassetteError(f"{path}, line {number}: not the request of an exchange: {error}") from error


def read(file: BinaryIO, place: Place, path: Path) -> Exchange:
    """The exchange that stands there, but for its body. Raises: CassetteError."""
    at, length = place
    file.seek(at)
    head: list[bytes] = []
    body, base64 = (0, 0), False
    while file.tell() < at + length:
        line = file.readline()
        if line.strip() in (b'"text": [', b'"base64": ['):
            begin, base64 = file.tell(), b"base64" in line
            rest = _after(file, at + length)
            body = (begin, at + length - len(rest))
            # The comma before the body stays behind when that is left out.
            head[-1] = head[-1].rstrip().removesuffix(b",")
            head.append(rest.strip().removeprefix(b"]"))
            break
        head.append(line)
    try:
        exchange = msgspec.json.decode(b"".join(head), type=Exchange)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise CassetteError(f"{path}, byte {at}: no exchange: {error}") from error
    return msgspec.structs.replace(exchange, body=body, base64=base64)


def _after(file: BinaryIO, end: int) -> bytes:
    """What stands behind the lines of a body in an exchange that ends there: it is looked for from the end."""
    size = TAIL
    while True:
        start = max(0, end - size)
        file.seek(start)
        tail = file.read(end - start)
        found = tail.rfind(b"\n ]")
        if found >= 0 or start == 0:
            return tail[found + 1 :]
        size *= 16


def body_of(file: BinaryIO, exchange: Exchange) -> Iterator[bytes]:
    """The exchange's body, piece by piece, read as it is asked for."""
    at, end = exchange.body
    charset = (exchange.response.charset if exchange.response is not None else "") or "utf-8"
    while at < end:
        file.seek(at)
        lines = file.read(min(PIECE, end - at))
        lines += b"" if lines.endswith(b"\n") else file.readline()
        at += len(lines)
        rows = msgspec.json.decode(b"[" + lines.strip().removesuffix(b",") + b"]", type=list[str])
        if exchange.base64:
            yield b"".join(map(b64decode, rows))
        elif charset == "utf-8":
            yield "".join(rows).encode()
        else:
            yield b"".join(row.encode(charset) for row in rows)


# -- writing ----------------------------------------------------------------------------------------------------


def part_of(path: Path) -> Path:
    """Where a new cassette is written while there is an old one."""
    return path.with_name(f"{path.name}.part")


class Writer:
    """Writes a cassette, exchange by exchange; each is in the operating system's hands before the next one.

    A new cassette takes the place of an old one when it is closed, and has an exchange; until then it is beside it.
    """

    def __init__(self, file: BinaryIO, path: Path, target: Path, header: Header) -> None:
        self._file = file
        self._path = path
        self._target = target
        self.header = header
        self.count = 0

    @classmethod
    def new(cls, path: Path, rules: Rules, now: float) -> Writer:
        """Begin a cassette. Raises: CassetteError."""
        date = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        header = Header(VERSION, uuid.uuid4().hex, date, rules.match, rules.redact)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            target = part_of(path) if path.exists() else path
            file = target.open("ab", buffering=0)
            _alone(file, path)
            file.truncate(0)
            _write(file, _spaced(header) + b"\n")
        except OSError as error:
            raise CassetteError(f"{path}: cannot be written: {error.strerror}") from error
        return cls(file, path, target, header)

    @classmethod
    def more(cls, found: Found, path: Path) -> Writer:
        """Go on with the cassette that was found, after its last whole exchange. Raises: CassetteError."""
        try:
            file = found.path.open("r+b", buffering=0)
            _alone(file, path)
            file.truncate(found.end)
            file.seek(found.end)
        except OSError as error:
            raise CassetteError(f"{found.path}: cannot be written: {error.strerror}") from error
        made = cls(file, path, found.path, found.header)
        made.count = len(found.exchanges)
        return made

    def write(
        self,
        request: KeptRequest,
        response: KeptResponse | None = None,
        body: bytes | BinaryIO = b"",
        error: KeptError | None = None,
    ) -> None:
        """Add an exchange. `body`: bytes, or a file to be read from its beginning. Raises: CassetteError."""
        pieces = _lines(request, response, body, error)
        try:
            # In one piece, so that a kill leaves all of it or nothing; but a large body is not joined.
            for piece in (b"".join(pieces),) if isinstance(body, bytes) else pieces:
                _write(self._file, piece)
        except OSError as raised:
            raise CassetteError(f"{self._target}: cannot be written: {raised.strerror}") from raised
        self.count += 1

    def close(self, *, whole: bool = True) -> Path | None:
        """Put the cassette in its place; one that is not `whole`, only where there was none.

        Gives where it is left beside the old one.
        """
        if self._file.closed:
            return None
        os.fsync(self._file.fileno())
        self._file.close()
        if self._target == self._path:
            return None
        if not self.count:
            self._target.unlink()
        elif whole:
            self._target.replace(self._path)
        else:
            return self._target
        return None

    def __repr__(self) -> str:
        return f"<Writer of {self._target}, {self.count} exchanges>"


def _alone(file: BinaryIO, path: Path) -> None:
    """Raises: CassetteError if another run writes to the file, in this process or in another one."""
    try:
        import fcntl
    except ImportError:  # Windows has none
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise CassetteError(f"{path}: another run is recording it") from error


def _write(file: BinaryIO, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _spaced(value: Any) -> bytes:
    """JSON in one line, with spaces, as people write it."""
    return msgspec.json.format(msgspec.json.encode(value), indent=0)


def _lines(
    request: KeptRequest, response: KeptResponse | None, body: bytes | BinaryIO, error: KeptError | None
) -> Iterator[bytes]:
    yield b'{"request": ' + _spaced(request)
    if response is not None:
        text, charset = as_text(body, response) if isinstance(body, bytes) else (None, "")
        yield b',\n "response": '
        yield _spaced(msgspec.structs.replace(response, headers=(), charset=charset)).removesuffix(b"}")
        yield b', "headers": ['
        yield b",".join(b"\n  " + _spaced(pair) for pair in response.headers)
        yield b"\n ]}" if response.headers else b"]}"
        if text is not None:
            rows = map(msgspec.json.Encoder().encode, _kept_lines(text))
            yield b',\n "text": [\n  ' + b",\n  ".join(rows) + b"\n ]"
        elif body:
            yield from _coded(body)
    if error is not None:
        yield b',\n "error": ' + _spaced(error)
    yield b"\n}\n"


def _coded(body: bytes | BinaryIO) -> Iterator[bytes]:
    opening = b',\n "base64": [\n  '
    before = opening
    for piece in _pieces(body):
        yield before + b'"' + b64encode(piece) + b'"'
        before = b",\n  "
    if before is not opening:
        yield b"\n ]"


def _kept_lines(text: str) -> list[str]:
    *whole, last = text.split("\n")
    lines = [f"{line}\n" for line in whole]
    return [*lines, last] if last else lines


def _pieces(body: bytes | BinaryIO) -> Iterator[bytes]:
    if isinstance(body, bytes):
        for at in range(0, len(body), LINE):
            yield body[at : at + LINE]
        return
    body.seek(0)
    while piece := body.read(PIECE):
        yield piece


def as_text(body: bytes, response: KeptResponse) -> tuple[str | None, str]:
    """The body as characters that give the same bytes again, and the charset if not UTF-8; None: it is no text."""
    if not body or len(body) > LARGE or body.translate(None, _BINARY) != body:
        return None, ""
    declared = ""
    for name, value in response.headers:
        if name.lower() == "content-type" and "charset=" in value.lower():
            declared = value.lower().partition("charset=")[2].partition(";")[0].strip(" \"'")
    try:
        return body.decode(), ""
    except UnicodeDecodeError:
        pass
    try:
        text = body.decode(declared)
        same = b"".join(line.encode(declared) for line in _kept_lines(text)) == body
        return (text, declared) if same else (None, "")
    except (UnicodeError, LookupError, ValueError):
        return None, ""
