"""The `meta` elements at the beginning of a page, and what a declared refresh says."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from streamcrawl.response import Response

HTML = ("text/html", "application/xhtml+xml")
INERT = frozenset({"template"})
"""What stands in these is no part of the page. Source: WHATWG HTML, "the template element"."""

_SPACE = "\t\n\f\r "
_REFRESH = re.compile(
    # Possessive, so that no content makes it go back and forth.
    rf"[{_SPACE}]*+([0-9]++|(?=\.))[0-9.]*+(?=[;,{_SPACE}]|\Z)[{_SPACE}]*+[;,]?+[{_SPACE}]*+(.*)",
    re.DOTALL,
)
_URL_IS = re.compile(rf"url[{_SPACE}]*=[{_SPACE}]*", re.IGNORECASE)


class Meta(NamedTuple):
    """A `meta` element. Names are in lower case, what it lacks is empty."""

    name: str
    http_equiv: str
    content: str


class Refresh(NamedTuple):
    """Where a page goes after a while; `url` as it is written, "" for the page itself."""

    seconds: int
    url: str


def is_html(response: Response) -> bool:
    """Whether a browser would show it as a page of HTML: other than `response.kind`, not what is sent as plain text."""
    media = response.headers.get("content-type")
    if media is None:
        return response.kind == "html"
    return media.partition(";")[0].strip().lower() in HTML


def metas(text: str, ignored: Collection[str] = ()) -> Iterator[Meta]:
    """The `meta` elements of the beginning of a page, in order: not those in comments, scripts and templates.

    Args:
        text: HTML; it may break off anywhere.
        ignored: Elements, in lower case, whose content does not count.
    """
    from lxml import etree

    parser = etree.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True)
    data = text.replace("\0", "").encode("utf-8", "replace")
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError:
        return
    if root is None:  # pyright: ignore[reportUnnecessaryComparison] - of a page with no element in it
        return
    passed = INERT.union(ignored)
    for each in root.iter("meta"):
        if not any(above.tag in passed for above in each.iterancestors()):
            get = each.get
            yield Meta((get("name") or "").lower(), (get("http-equiv") or "").lower(), get("content") or "")


def parse_refresh(content: str) -> Refresh | None:
    """What the content of a declared refresh means, in `meta` or in a `Refresh` header field; None: nothing.

    Source: WHATWG HTML, "shared declarative refresh steps".
    """
    match = _REFRESH.match(content)
    if match is None:
        return None
    url = match[2]
    named = _URL_IS.match(url)
    if named is not None:
        url = url[named.end() :]
    if url[:1] in ("'", '"'):
        url = url[1:].partition(url[0])[0]
    return Refresh(int(match[1][:9] or 0), url)
