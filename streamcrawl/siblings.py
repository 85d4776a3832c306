"""How many siblings stand before or behind an element, for XPath: counted once a page, not once an element.

`tr:nth-child(odd)` asks that of every row of a table, and the engine's `count(preceding-sibling::*)` begins at the
first row each time: twenty thousand rows take half a minute.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

URI = "urn:streamcrawl:siblings"
PREFIX = "siblings"


@lru_cache(maxsize=1)
def install() -> None:
    """Make `siblings:preceding(name)` and `siblings:following(name)` known to lxml; "*" is any name."""
    from lxml import etree

    functions = etree.FunctionNamespace(URI)
    functions["preceding"] = _preceding
    functions["following"] = _following


def _preceding(context: Any, name: str) -> float:
    return _counted(context, name, "getprevious")


def _following(context: Any, name: str) -> float:
    return _counted(context, name, "getnext")


def _counted(context: Any, name: str, step: str) -> float:
    element = context.context_node
    # It lives as long as one evaluation, and so do the elements in it.
    counts: dict[Any, int] = context.eval_context.setdefault((step, name), {})
    found = counts.get(element)
    if found is not None:
        return float(found)
    passed: list[Any] = []
    while element is not None and element not in counts:
        passed.append(element)
        element = getattr(element, step)()
    count = 0 if element is None else counts[element] + _is_one(element, name)
    for each in reversed(passed):
        counts[each] = count
        count += _is_one(each, name)
    return float(counts[passed[0]])


def _is_one(element: Any, name: str) -> bool:
    return element.tag == name or (name == "*" and isinstance(element.tag, str))
