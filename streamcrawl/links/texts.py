"""The texts of a page's links, in time and memory that the page's size bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lxml import etree

STEPS = 200_000
"""Tags that are read, on one page, for the texts of links that lie in other links."""

CHARACTERS = 1_000_000
"""Of such texts, on one page."""

_string: Callable[[Any], Any] = etree.XPath("string()", smart_strings=False)


class Texts:
    """Gives the text of each link of one page that has elements inside; asked in the page's order.

    No page may have a link in a link, and hardly one does. But a page that was made to do harm can: a thousand links
    around ten megabytes of text are ten gigabytes of texts. So the texts of nested links are cut when those of one page
    have come to `STEPS` or `CHARACTERS`.

    Args:
        count: How many of the page's links are in an element, itself included.
    """

    __slots__ = ("_characters", "_count", "_end", "_outer", "_steps", "_text")

    def __init__(self, count: Callable[[Any], int]) -> None:
        self._count = count
        self._outer: Any = None
        self._text = ""
        self._end = 0
        """Links before this number lie in `_outer`."""
        self._steps = STEPS
        self._characters = CHARACTERS

    def of(self, element: Any, number: int) -> str:
        """The text of the link of this number on its page."""
        if number >= self._end:
            self._outer, self._end = element, number + self._count(element)
            self._text = _string(element)
        elif element is not self._outer:  # which may be a link by two attributes
            return self._nested(element)
        return self._text

    def _nested(self, element: Any) -> str:
        pieces: list[str] = []
        for event, node in etree.iterwalk(element, events=("start", "end", "comment", "pi")):
            if self._steps <= 0 or self._characters <= 0:
                break
            self._steps -= 1
            piece = node.text if event == "start" else None if node is element else node.tail
            if piece:
                piece = piece[: self._characters]
                self._characters -= len(piece)
                pieces.append(piece)
        return "".join(pieces)
