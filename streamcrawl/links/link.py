"""The Link: what a LinkExtractor finds."""

from __future__ import annotations

import msgspec


class Link(msgspec.Struct, frozen=True, gc=False):
    """A link of a page.

    Args:
        url: Where it leads: absolute, with its fragment.
        text: What the element says, markup left out, white space as it stands.
        fragment: What follows the `#` in `url`.
        nofollow: Whether its `rel` says so.
    """

    url: str
    text: str = ""
    fragment: str = ""
    nofollow: bool = False
