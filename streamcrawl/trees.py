"""The tree of a page of HTML."""

from __future__ import annotations

import threading
from typing import Any

_own = threading.local()


def html_tree(body: bytes, text: str) -> Any:
    """The root element of a page in UTF-8, as parsel makes it of the text; None if that has to do it.

    Bytes that are the text in UTF-8 are parsed as they are, and by a parser that is kept: to encode the text anew and
    to make a parser take an eighth of the whole time.

    Args:
        body: The page as it came.
        text: What it was decoded to, as UTF-8.
    """
    page = body.replace(b"\0", b"").strip()
    if not (b" " < page[:1] < b"\x7f" and b" " < page[-1:] < b"\x7f"):
        return None  # a byte-order mark, or white space that characters have and bytes do not
    if "\ufffd" in text:
        return None  # what was no UTF-8 has become that
    from lxml import etree, html

    parser = getattr(_own, "parser", None)
    if parser is None:
        parser = _own.parser = html.HTMLParser(recover=True, encoding="utf-8", huge_tree=True)
    try:
        return etree.fromstring(page, parser)
    except etree.XMLSyntaxError:
        return None  # it has no element


def gather(root: Any) -> None:
    """What follows `</html>` goes on in the body, as in browsers: libxml2 makes documents of their own of it.

    Source: HTML Standard, "after after body".
    """
    from lxml import etree

    found = root.find("body")
    body = root if found is None else found
    for later in list(root.itersiblings("html")):
        etree.strip_tags(later, "head", "body")
        body.append(later)
    etree.strip_tags(body, "html")
