"""The Link: what a LinkExtractor finds."""

from __future__ import annotations

from typing import Any, Self

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

    def replace(self, **changes: Any) -> Self:
        """A copy in which these differ. Raises: TypeError for what a Link does not have."""
        return msgspec.structs.replace(self, **changes)


def _no_change(link: Link, name: str, value: object) -> None:
    raise AttributeError(f"a Link does not change: link.replace({name}={value!r}) gives one that differs")


Link.__setattr__ = _no_change  # type: ignore[assignment] # msgspec has put its own there, which says less
