"""Which elements and attributes of a page hold links."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lxml import etree

from streamcrawl.links.choosing import Names, each

_XHTML = "{http://www.w3.org/1999/xhtml}"


class Elements:
    """Gives what holds links in a region of a page: (element, value), in the page's order.

    Raises: ValueError for a name that no element or attribute can have, when built.
    """

    __slots__ = ("_attr", "_attrs", "_deny_attrs", "_deny_tags", "_html", "_xml")

    def __init__(self, tags: Names, attrs: Names, deny_tags: Names, deny_attrs: Names) -> None:
        self._deny_tags = _names("deny_tags", deny_tags)
        self._deny_attrs = _names("deny_attrs", deny_attrs)
        found = _names("tags", tags)
        self._html: tuple[str, ...] | None = None
        """The names as HTML has them; None: all names."""
        self._xml: tuple[str, ...] | None = None
        if "*" not in found:
            self._html = tuple(sorted(found - self._deny_tags))
            self._xml = (*self._html, *(_XHTML + name for name in self._html))
        attributes = _names("attrs", attrs)
        self._attrs: frozenset[str] | None = None if "*" in attributes else attributes - self._deny_attrs
        self._attr = next(iter(self._attrs)) if self._attrs is not None and len(self._attrs) == 1 else None

    def pairs(self, region: Any, xml: bool) -> Iterator[tuple[Any, str]]:
        """Each element with the value of each of its attributes that holds a link.

        Args:
            region: An element; it is looked at itself too.
            xml: Whether names may be qualified, as in XHTML that is parsed as XML.
        """
        names = self._xml if xml else self._html
        if names == () or (self._attrs is not None and not self._attrs):
            return iter(())
        elements = self._all(region) if names is None else region.iter(*names)
        return self._of_one(elements, self._attr) if self._attr is not None else self._of_several(elements)

    def _all(self, region: Any) -> Iterator[Any]:
        elements = region.iter(etree.Element)
        denied = self._deny_tags
        return (each for each in elements if each.tag.removeprefix(_XHTML) not in denied) if denied else elements

    def _of_one(self, elements: Iterator[Any], name: str) -> Iterator[tuple[Any, str]]:
        # This runs for every link of every page.
        for element in elements:
            value = element.get(name)
            if value is not None:
                yield element, value

    def _of_several(self, elements: Iterator[Any]) -> Iterator[tuple[Any, str]]:
        names, denied = self._attrs, self._deny_attrs
        for element in elements:
            for name, value in element.items():
                if name not in denied if names is None else name in names:
                    yield element, value


def _names(option: str, names: Names) -> frozenset[str]:
    found = frozenset(each(names))
    for name in found - {"*"}:
        try:
            etree.QName(name)
        except (ValueError, TypeError):
            raise ValueError(f"{option} has {name!r}, which is no name") from None
    return found
