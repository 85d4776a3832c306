"""Where on a page links are looked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lxml import etree

from streamcrawl.hrefs import NAMESPACES, css_path


class Region:
    """What selects elements of a page.

    Raises: ValueError for what is no XPath or CSS, when built.
    """

    __slots__ = ("_large", "_said", "_small")

    def __init__(self, option: str, query: str, *, css: bool = False) -> None:
        self._said = f"{option} has {query!r}"
        try:
            self._small = _xpath(css_path(query, large=False) if css else query)
            self._large = _xpath(css_path(query, large=True)) if css else self._small
        except (SyntaxError, TypeError) as error:  # lxml's and cssselect's errors are SyntaxErrors
            raise ValueError(f"{self._said}, which is no {'CSS' if css else 'XPath'}: {error}") from None

    def elements(self, root: Any, *, large: bool) -> list[Any]:
        """What it selects. Raises: ValueError if that is no elements."""
        try:
            found: Any = (self._large if large else self._small)(root)
        except etree.XPathError as error:
            raise ValueError(f"{self._said}, which cannot be evaluated: {error}") from None
        elements: list[Any] = [found] if isinstance(found, (str, float, bool)) else found
        if not all(etree.iselement(each) for each in elements):
            raise ValueError(f"{self._said}, which selects no elements but text or a number")
        return elements


def _xpath(path: str) -> etree.XPath:
    return etree.XPath(path, namespaces=NAMESPACES, smart_strings=False)


def regions_of(regions: Iterable[Region], root: Any, *, large: bool) -> list[Any]:
    """The elements in which links are looked for, without those that lie in one that was there before: all of its
    links were. (A thousand elements in one another would give each link a thousand times.)

    Args:
        large: Whether the page is.
    """
    found = [element for region in regions for element in region.elements(root, large=large)]
    if len(found) < 2:
        return found
    # Only ancestors of these names can be regions: lxml passes over all others without making objects of them.
    names = {element.tag for element in found}
    done: set[Any] = set()
    outermost: list[Any] = []
    for element in found:
        if element in done or any(ancestor in done for ancestor in element.iterancestors(*names)):
            continue
        done.add(element)
        outermost.append(element)
    return outermost
