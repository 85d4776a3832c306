"""The tree of a page of HTML."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from streamcrawl.encoding import is_utf8

_own = threading.local()


def html_tree(body: bytes) -> Any:
    """The root element of a page that is declared to be UTF-8, as parsel makes it of the text; None if that has to.

    The bytes are parsed as they are, by a parser that is kept: to decode them, to encode the text anew and to make a
    parser take a fifth of the whole time.
    """
    page = body.strip()
    if not (b" " < page[:1] < b"\x7f" and b" " < page[-1:] < b"\x7f"):
        return None  # white space that characters have and bytes do not, perhaps
    if b"\0" in page or not is_utf8(page):
        return None
    try:
        return (getattr(_own, "parse", None) or _made())(page)
    except SyntaxError:
        return None  # it has no element


def _made() -> Callable[[bytes], Any]:
    from lxml import etree, html

    parser = html.HTMLParser(recover=True, encoding="utf-8", huge_tree=True)
    parse: Callable[[bytes], Any] = partial(etree.fromstring, parser=parser)
    _own.parse = parse
    return parse


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
