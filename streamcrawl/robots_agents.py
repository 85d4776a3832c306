"""Whose rules of a robots.txt hold: the names in a User-Agent field, and the groups that a file has for them.

Parsers look for a group's name anywhere in what they are given. So they are not given the field, whose comment may name
the hosts and words of others ("+https://example.org/bot"), but the name of the group that is to hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

EVERYBODY = "*"
"""The group for those who have none."""

KEPT = 64
"""Agents whose group is remembered, of one file; a crawl has one, or a few."""

_BROWSER = "mozilla/"
_COMPATIBLE = re.compile(r"[(;]\s*+compatible;\s*+([^/;)\s]++)", re.IGNORECASE)
_FIRST = re.compile(r"\s*+([^/\s(]++)")
_ADDRESS = re.compile(r"\S*(?://|www\.|@)\S*")
_PRODUCT = re.compile(r"([^\s/;,()]++)/")
_GROUP = re.compile(r"[ \t]*+user[- ]?agent[ \t]*+[: \t][ \t:]*+([^#]*+)", re.IGNORECASE)
_TOKEN = re.compile(r"[^\s/;,()]++")


def product_of(agent: str) -> str:
    """The product name in a User-Agent field, which is what rules are written for; a plain name is itself.

    Source: RFC 9309 §2.2.1; RFC 9110 §10.1.5 (product, comment).
    """
    found = _COMPATIBLE.search(agent) if _comes_as_a_browser(agent) else None
    found = found or _FIRST.match(agent)
    return agent if found is None else found[1]


def names_of(agent: str) -> Iterator[str]:
    """The names, in small letters, that a User-Agent field goes by; the one that says most first.

    A crawler's is its product. One that comes as a browser has several; not what stands in addresses.
    """
    yield agent.strip().lower()
    yield product_of(agent).lower()
    if _comes_as_a_browser(agent):
        for name in _PRODUCT.findall(_ADDRESS.sub(" ", agent)):
            if name.lower() != "mozilla":
                yield name.lower()
        yield "mozilla"


def _comes_as_a_browser(agent: str) -> bool:
    return agent.lstrip()[: len(_BROWSER)].lower() == _BROWSER


class Groups:
    """The groups that a robots.txt has, by the names that they go by.

    Args:
        text: The file.
    """

    __slots__ = ("_chosen", "_names")

    def __init__(self, text: str) -> None:
        self._names: dict[str, str] = {}
        self._chosen: dict[str, str] = {}
        for line in text.splitlines():
            found = _GROUP.match(line)
            if found is not None:
                self._add(found[1].strip().lower())

    def _add(self, name: str) -> None:
        for each in (name, name.replace("*", "")) if name != EVERYBODY else ():
            # RFC 9309 §2.2.1: a name has letters, "_" and "-"; of "Shop/2.0" and "Shop Bot" that is the beginning.
            token = _TOKEN.match(each)
            if each and token is not None:
                self._names[each] = each
                self._names.setdefault(token[0], each)

    def of(self, agent: str) -> str:
        """The name of the group that holds for the agent: its own, or that for everybody.

        Source: RFC 9309 §2.2.1: the product name, case ignored; "shop" is not "shopbot".
        """
        chosen = self._chosen.get(agent)
        if chosen is None:
            names = self._names
            chosen = next((names[name] for name in names_of(agent) if name in names), EVERYBODY) if names else EVERYBODY
            if len(self._chosen) >= KEPT:
                self._chosen.clear()
            self._chosen[agent] = chosen
        return chosen
