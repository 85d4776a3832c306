"""The records of an XML feed, given while the feed comes."""

from __future__ import annotations

import copy
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from streamcrawl.records.body import characters, checked_encoding
from streamcrawl.records.broken import BrokenFeed
from streamcrawl.response import Response
from streamcrawl.transport.body import one_line, shown

if TYPE_CHECKING:
    from parsel import Selector

MAX_RECORD = 4 * 1024 * 1024
"""Bytes; the elements of a record take up to some twenty times as many."""

MAX_PROLOG = 1024 * 1024
"""Bytes before the first element."""

MAX_TAG = 1024 * 1024
"""Characters of one tag; each of a hundred thousand attributes takes memory before anything is told of the element."""

Namespaces: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]
"""URIs by prefix."""

_DECLARATION = re.compile(rb"\s{0,64}<\?xml\s[^>]{0,256}?encoding\s{0,16}=\s{0,16}[\"']([A-Za-z0-9._:-]{1,40})[\"']")
_MARKS = re.compile("[\"'>]")
_TAG = re.compile(r"(?:\{([^{}]*)\}|([^\s:{}<>&]+):)?([^\s:{}<>&]+)")


class Wanted(NamedTuple):
    """Which elements are records.

    Args:
        filter: As lxml takes it: "{uri}name", "{*}name" for any namespace, or "name" for none.
        prefix: Those written with this prefix, None being none; "*": however they are written.
    """

    filter: str
    prefix: str | None


def wanted(tag: str, namespaces: Mapping[str, str]) -> Wanted:
    """Which elements `tag` names. Raises: ValueError if it is no name of an element."""
    match = _TAG.fullmatch(tag)
    if match is None:
        raise ValueError(f'tag={tag!r}: the name of an element, such as "item", "media:content" or "{{uri}}item"')
    uri, prefix, name = match.groups()
    if prefix is not None:
        uri, prefix = namespaces.get(prefix), prefix if prefix not in namespaces else "*"
    elif uri is not None:
        prefix = "*"
    if uri == "":
        return Wanted(name, "*")
    return Wanted(f"{{{'*' if uri is None else uri}}}{name}", prefix)


def xml_records(
    page: Response,
    tag: str,
    *,
    namespaces: Namespaces = (),
    encoding: str | None = None,
    max_record: int = MAX_RECORD,
) -> AsyncIterator[Selector]:
    """Each element `tag` of an XML feed, as soon as it has come: of a page with `stream=True`, or a whole one.

    Memory holds one record and the piece of the feed that is being parsed. Each record is a document of its own: it may
    be kept, and `//name` searches it alone. A record within another one comes before that.

    Args:
        page: Its body is read to its end; a gzip file is unpacked.
        tag: "item" for elements written so; "media:item" for those in the namespace that `namespaces` has for the
            prefix, else for those written so; "{uri}item"; "{*}item" for those of any namespace.
        namespaces: URIs by prefix, for `tag` and for selecting in the records.
        encoding: If it is known better than the feed knows: else byte-order mark, Content-Type, XML declaration, UTF-8.
        max_record: Bytes that one record may have.

    Emits: parsel Selectors, in the order in which the records end.
    Raises: ValueError when called; while it is iterated, after the last whole record: BrokenFeed if the feed is not
        well-formed, breaks off or has too large a record; FetchError if its body cannot be had to the end. External
        entities are never fetched, and entities that expand beyond all measure break the feed.
    Source: XML 1.0 §2.1 (well-formed documents); RFC 7303 §3 (encoding).
    """
    names = dict(namespaces)
    if max_record < 1:
        raise ValueError(f"max_record={max_record}: bytes, 1 or more")
    return _records(page, tag, wanted(tag, names), names, checked_encoding(encoding), max_record)


async def _records(
    page: Response, tag: str, which: Wanted, names: dict[str, str], encoding: str | None, limit: int
) -> AsyncIterator[Selector]:
    from parsel import Selector

    parsing = Parsing(which, limit)
    given = 0
    async for text in characters(page, encoding, _declared):
        why = parsing.feed(text)
        for element in parsing.records():
            yield Selector(root=element, type="xml", namespaces=names)
            given += 1
        why = why or parsing.too_long(tag)
        if why is not None:
            raise BrokenFeed(shown(page.url), why, given)
        parsing.prune()
    why = parsing.end()
    if why is not None:
        raise BrokenFeed(shown(page.url), why, given)


def _declared(head: bytes) -> str | None:
    """The encoding that a feed without a byte-order mark is in. Source: XML 1.0, appendix F.1."""
    if head.startswith((b"<\0?\0", b"<\0!\0")):
        return "utf-16-le"
    if head.startswith((b"\0<\0?", b"\0<\0!")):
        return "utf-16-be"
    found = _DECLARATION.match(head)
    name = found[1].decode("ascii") if found is not None else None
    # A declaration that could be read as ASCII cannot be right about these.
    return None if name is None or name.lower().startswith(("utf-16", "utf-32", "ucs-")) else name


class Parsing:
    """An XML document that is parsed while it comes, and forgotten behind the parser."""

    __slots__ = (
        "_begun",
        "_fed",
        "_head",
        "_limit",
        "_open",
        "_outer",
        "_parser",
        "_probe",
        "_quote",
        "_root",
        "_root_too",
        "_tag",
        "_wanted",
    )

    def __init__(self, which: Wanted, limit: int) -> None:
        self._wanted = which
        self._limit = limit
        self._head = b""
        self._probe: Any = _parser(None)
        """Finds the root, whose name the other parser has to know: it tells of no elements but those of names given."""
        self._parser: Any = None
        self._root: Any = None
        self._root_too = False
        """Whether elements of the root's name are records."""
        self._outer: Any = None
        """The record that has begun, the outermost if they are nested."""
        self._open = 0
        self._fed = 0
        self._begun = 0
        self._tag = 0
        """Characters that came of a tag whose end has not; 0: there is none."""
        self._quote = ""
        """What ends the attribute of that tag which has begun."""

    def too_long(self, name: str) -> str | None:
        """What is longer than it may be: a record of this `name` that has begun, a tag, what comes before the root."""
        if self._tag > MAX_TAG:
            return f"a tag of more than {MAX_TAG} characters"
        if self._root is None:
            return f"no element in {MAX_PROLOG} bytes" if self._fed > MAX_PROLOG else None
        if self._open > 0 and self._fed - self._begun > self._limit:
            return f"a <{name}> of more than {self._limit} bytes"
        return None

    def feed(self, text: str) -> str | None:
        """Parse on; give what is wrong with it, if anything is."""
        from lxml import etree

        data = text.encode("utf-8", "replace")
        self._fed += len(data)
        self._measure(text)
        if self._tag > MAX_TAG:
            return None
        try:
            if self._parser is None:
                self._find_root(data)
            else:
                self._parser.feed(data)
        except etree.XMLSyntaxError as error:
            return _why(error)
        return None

    def _measure(self, text: str) -> None:
        begin = text.rfind("<")
        if begin >= 0:
            self._tag, self._quote, text = 0, "", text[begin:]
        elif not self._tag:
            return
        second = text[1:2] if begin >= 0 else text[:1] if self._tag == 1 else ""
        if second in ("!", "?"):  # no tag: a CDATA section may be longer
            self._tag = 0
            return
        for mark in _MARKS.findall(text):
            if mark == ">" and not self._quote:
                self._tag = 0
                return
            if mark != ">" and self._quote in ("", mark):
                self._quote = "" if self._quote else mark
        self._tag += len(text)

    def _find_root(self, data: bytes) -> None:
        self._head += data
        try:
            self._probe.feed(data)
        finally:
            root = next((element for _, element in self._probe.read_events()), None)
            if root is not None:
                self._root_too = _has_name(root, self._wanted)
                self._parser = _parser({self._wanted.filter, root.tag})
                head, self._head, self._probe = self._head, b"", None
                self._parser.feed(head)

    def records(self) -> Iterator[Any]:
        """The records that have ended since the last time, each the root of a document of its own, made when it is
        asked for: a record may have two hundred others in it.
        """
        for event, element in () if self._parser is None else self._parser.read_events():
            if self._root is None:
                self._root = element
            if not self._is_record(element):
                continue
            if event == "start":
                if self._open == 0:
                    self._outer, self._begun = element, self._fed
                self._open += 1
                continue
            self._open -= 1
            if self._open == 0:
                self._outer = None
            record = copy.deepcopy(element)
            record.tail = None
            yield record

    def _is_record(self, element: Any) -> bool:
        prefix = self._wanted.prefix
        if prefix != "*" and element.prefix != prefix:
            return False
        return self._root_too or element.tag != self._root.tag

    def prune(self) -> None:
        """Forget what is complete; the last child of each element is what the parser still works at."""
        node = self._root
        while node is not None and node is not self._outer and len(node):
            del node[:-1]
            node = node[-1]
        if self._root is not None and self._root.getnext() is not None:
            self._forget_rest()

    def _forget_rest(self) -> None:
        """What may follow the root, comments and instructions, is put into an element that nobody keeps."""
        from lxml import etree

        nowhere = etree.Element("nowhere")
        for each in list(self._root.itersiblings()):
            nowhere.append(each)

    def end(self) -> str | None:
        """Say that the document has ended; give what is wrong with that."""
        from lxml import etree

        try:
            (self._parser or self._probe).close()
        except etree.XMLSyntaxError as error:
            return _why(error)
        return None


def _parser(tags: set[str] | None) -> Any:
    from lxml import etree

    return etree.XMLPullParser(
        events=("start",) if tags is None else ("start", "end"),
        tag=None if tags is None else sorted(tags),
        encoding="utf-8",
        resolve_entities=cast(Any, "internal"),  # the types know True and False
        load_dtd=False,
        no_network=True,
        huge_tree=False,  # so libxml2's bounds hold: depth, length of texts, growth by entities
        collect_ids=False,
    )


def _has_name(element: Any, which: Wanted) -> bool:
    uri, _, name = element.tag.rpartition("}")
    wanted_uri, _, wanted_name = which.filter.rpartition("}")
    return name == wanted_name and wanted_uri in (uri, "{*")


def _why(error: Any) -> str:
    return re.sub(r" \(<string>, line \d+\)$", "", one_line(error)) or "not well-formed XML"
