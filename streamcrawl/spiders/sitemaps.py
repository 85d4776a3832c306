"""Sitemaps, read entry by entry: files of any size, in bounded memory.

Source: https://www.sitemaps.org/protocol.html; RSS 2.0; RFC 4287 (Atom).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from contextlib import suppress
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Literal, TypeAlias

from streamcrawl.errors import StreamcrawlError
from streamcrawl.transport.decoding import GZIP_MAGIC, Decoder, too_large

SitemapType: TypeAlias = Literal["urlset", "sitemapindex", "feed", "text", ""]

Entry: TypeAlias = dict[str, Any]
"""What a sitemap says of an address: "loc", "lastmod", "changefreq", "priority" as text, "alternate" a list of URLs."""

IN_MEMORY = 1024 * 1024
"""Bytes of a sitemap that are kept in memory; longer ones go to a temporary file."""
STEP = 32 * 1024
LONGEST_ENTRY = 1024 * 1024
"""Bytes that one entry may have, or what stands between two."""
LONGEST_LINE = 8 * 1024
"""Bytes of a line in a sitemap that is plain text."""
TURN = 1024 * 1024
"""Bytes written before others on the loop get their turn."""

_BLANK = b"\xef\xbb\xbf \t\r\n"
"""What may stand before the first character: UTF-8's mark, and white space, which many have there by mistake."""

_ROOTS: dict[str, tuple[SitemapType, str]] = {
    "urlset": ("urlset", "url"),
    "sitemapindex": ("sitemapindex", "sitemap"),
    "rss": ("feed", "item"),
    "rdf": ("feed", "item"),
    "feed": ("feed", "entry"),
}
"""By the name of the root element: what it is, and what its entries are called."""


class NotASitemap(StreamcrawlError):
    """What came in place of a sitemap, or an entry that no sitemap has."""


async def spooled(chunks: AsyncIterable[bytes], url: str, limit: int) -> IO[bytes]:
    """A sitemap's body as a file, at its beginning, gzip undone.

    Args:
        chunks: The body as it comes.
        url: For error messages.
        limit: Bytes, uncompressed.

    Raises: BodyTooLarge, DecodeError, and what `chunks` raises.
    """
    file: IO[bytes] = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - whoever reads it closes it
    decoder: Decoder | None = None
    head, size, turn = b"", 0, TURN
    try:
        async for chunk in chunks:
            if decoder is None:
                head += chunk
                if len(head) < len(GZIP_MAGIC):
                    continue
                decoder = Decoder(("gzip",) if head.startswith(GZIP_MAGIC) else (), limit, url, keep_truncated=True)
                chunk = head
            for piece in decoder.feed(chunk):
                size += file.write(piece)
                if size > turn:
                    turn = size + TURN
                    await asyncio.sleep(0)
        if decoder is None and head:
            file.write(head)
        if size > limit:
            raise too_large(url, limit)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


class Sitemap:
    """The entries of a sitemap, as they are asked for: iterate it, once.

    Args:
        file: Its body; closed at the end.
        url: For error messages.

    `type` is "urlset", "sitemapindex", "feed" (RSS or Atom), "text" (a URL in each line), or "" for what is none.
    """

    def __init__(self, file: IO[bytes], url: str = "") -> None:
        self._file = file
        self.url = url
        head = file.read(STEP).lstrip(_BLANK)
        file.seek(0)
        self.type: SitemapType
        self.type, self._tag = _sniffed(head)
        self.broken = False
        """After the last entry: whether it was not well-formed."""

    def __iter__(self) -> Iterator[Entry]:
        """Raises: NotASitemap for an entry of more than a megabyte."""
        with self._file:
            if self.type == "text":
                yield from _lines(self._file)
            elif self.type:
                yield from self._elements()

    def _elements(self) -> Iterator[Entry]:
        from lxml import etree

        # No entity is resolved, no DTD loaded, nothing fetched: a file of the web tells what its own bytes say.
        parser = etree.XMLPullParser(
            events=("end",),
            tag="{*}" + self._tag,
            resolve_entities=False,
            load_dtd=False,
            no_network=True,
            huge_tree=False,
            recover=True,
            remove_comments=True,
            remove_pis=True,
        )
        read: Callable[[Any], Entry] = _read_feed if self.type == "feed" else _read
        since = 0
        for piece in amended(iter(lambda: self._file.read(STEP), b"")):
            since += len(piece)
            parser.feed(piece)
            for _, element in parser.read_events():
                since = 0
                entry = read(element)
                _forget(element)
                if entry.get("loc"):
                    yield entry
            if since > LONGEST_ENTRY:
                raise NotASitemap(f"{self.url}: {since} bytes without an entry; reading was stopped")
        with suppress(etree.XMLSyntaxError):
            parser.close()
        self.broken = bool(parser.feed_error_log.filter_from_errors())

    def __del__(self) -> None:
        self._file.close()

    def __repr__(self) -> str:
        return f"<Sitemap {self.type or 'of no known kind'} {self.url}>"


def _sniffed(head: bytes) -> tuple[SitemapType, str]:
    """What a body is, by its beginning."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = head.decode("utf-16", "ignore")
    else:
        text = head.replace(b"\0", b"").decode("utf-8", "ignore")  # UTF-16 without a mark, too
    if not text.startswith("<"):
        return ("text", "") if re.search(r"^\s*https?://", text, re.MULTILINE) else ("", "")
    root = re.search(r"<(?:[\w.-]+:)?([A-Za-z]\w*)", re.sub(r"<!--.*?(?:-->|\Z)", "", text, flags=re.DOTALL))
    return _ROOTS.get(root[1].lower() if root else "", ("", ""))


_UNESCAPED = re.compile(rb"<!\[CDATA\[|\]\]>|&(?!#?\w{1,31};)")
_MARK = re.compile(rb"[&<\]]")
_HELD = 40
"""Bytes at the end of a piece in which something may begin that goes on in the next."""


def amended(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces with every bare `&` escaped, the commonest fault of sitemaps, and no white space before the XML."""
    literal = False

    def escape(found: re.Match[bytes]) -> bytes:
        nonlocal literal
        token = found[0]
        if token != b"&":
            literal = token != b"]]>"
            return token
        return token if literal else b"&amp;"

    held = b""
    begun = wide = False
    for piece in pieces:
        if not begun:
            piece = piece.lstrip(_BLANK)
            begun, wide = bool(piece), b"\0" in piece[:4]
        if wide:
            yield piece
            continue
        data = held + piece
        start = max(0, len(data) - _HELD)
        mark = _MARK.search(data, start)
        cut = len(data) if mark is None else mark.start()
        if data[cut - 1 : cut + 1] == b"]]":
            cut -= 1  # or a "]]>" would be cut in two, whose first half lies before those last bytes
        data, held = data[:cut], data[cut:]
        yield _UNESCAPED.sub(escape, data)
    if held:
        yield _UNESCAPED.sub(escape, held)


def _read(element: Any) -> Entry:
    """The children of a `url` or `sitemap` element by their names, without namespaces."""
    entry: Entry = {}
    for child in element:
        tag = child.tag
        if not isinstance(tag, str) or len(child):  # an entity, or an extension's own structure
            continue
        name = tag.rpartition("}")[2]
        if name == "link":
            href = child.get("href")
            if href:
                entry.setdefault("alternate", []).append(href.strip())
        elif name not in entry:
            entry[name] = (child.text or "").strip()
    return entry


def _read_feed(element: Any) -> Entry:
    """The `link` and the date of an `item` of RSS, or of an `entry` of Atom."""
    entry: Entry = {}
    guid = ""
    for child in element:
        tag = child.tag
        if not isinstance(tag, str):
            continue
        name, text = tag.rpartition("}")[2], (child.text or "").strip()
        if name == "link":
            href = (child.get("href") or text).strip()
            if href and child.get("rel", "alternate") == "alternate":
                entry.setdefault("loc", href)
        elif name == "guid" and child.get("isPermaLink", "true") == "true":
            guid = text
        elif name in ("pubDate", "updated", "date"):
            entry["lastmod"] = text
    if guid.startswith(("http://", "https://")):
        entry.setdefault("loc", guid)
    return entry


def _forget(element: Any) -> None:
    """Let go of an element that was read, and of what stands before it."""
    element.clear()
    parent = element.getparent()
    if parent is not None:
        while element.getprevious() is not None:
            del parent[0]


def _lines(file: IO[bytes]) -> Iterator[Entry]:
    while line := file.readline(LONGEST_LINE):
        text = line.decode("utf-8-sig", "replace").strip()
        if "://" in text:
            yield {"loc": text}
