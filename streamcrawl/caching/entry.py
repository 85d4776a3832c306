"""A stored answer, and how it is kept in bytes."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from streamcrawl.errors import StreamcrawlError

Vary = tuple[tuple[str, str | None], ...]
"""(Lower-case header name, value that the request had, None if it had none), sorted: which variant it is."""


class CorruptEntry(StreamcrawlError):
    """What was stored is not what was written: damaged, cut off, or of another version. It counts as not stored."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One stored response, and what of its request matters.

    Args:
        url: Where the response came from.
        method: Of the request.
        status: Of the response.
        headers: Of the response, as they are to be given out again; repeated fields apart, in order.
        body: As it came from the layer below: with its Content-Encoding, if it has one.
        vary: Which variant of its key it is.
        request_time: When the request was sent; seconds since the epoch.
        response_time: When the response came; seconds since the epoch.
        protocol: Such as "HTTP/1.1".
        ip_address: Of the server.
        invalidated: It is not to be given out before the server was asked.
    """

    url: str
    method: str = "GET"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    vary: Vary = ()
    request_time: float = 0.0
    response_time: float = 0.0
    protocol: str = ""
    ip_address: str = ""
    invalidated: bool = False

    def replace(self, **changes: object) -> Entry:
        """A copy with these fields changed."""
        return msgspec.structs.replace(self, **changes)

    @property
    def size(self) -> int:
        """Bytes that it takes in memory, more or less."""
        size = len(self.body) + 200
        for name, value in self.headers:  # of every page
            size += len(name) + len(value)
        return size


_MAGIC = b"scE\x01"
"""What it is, and the version of its form."""

_DIGEST = 16
_HEAD = len(_MAGIC) + _DIGEST

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def encode_entry(entry: Entry) -> bytes:
    """The entry in bytes: a magic number with the version, a checksum, MessagePack."""
    data = _encoder.encode(entry)
    return b"".join((_MAGIC, blake2b(data, digest_size=_DIGEST).digest(), data))


def decode_entry(data: bytes) -> Entry:
    """The entry that `encode_entry` made these bytes of.

    Raises: CorruptEntry if they are not, to the last bit, what it made.
    """
    if not data.startswith(_MAGIC):
        raise CorruptEntry(f"a stored response that begins with {data[:4]!r} and not with {_MAGIC!r}")
    payload = data[_HEAD:]
    if blake2b(payload, digest_size=_DIGEST).digest() != data[len(_MAGIC) : _HEAD]:
        raise CorruptEntry(f"a stored response of {len(data)} bytes does not fit its checksum")
    try:
        return _decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise CorruptEntry(f"a stored response that is no entry: {error}") from error
