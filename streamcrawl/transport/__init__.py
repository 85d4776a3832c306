"""What `fetch` stands on: http, https, file and data URLs; nothing heavy is imported before it is used."""

from streamcrawl.transport.decoding import Decoder, decode_body
from streamcrawl.transport.wire import SCHEMES, OpenWire, Wire

__all__ = ["SCHEMES", "Decoder", "OpenWire", "Wire", "decode_body"]
