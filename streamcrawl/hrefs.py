"""Where the links of a page stand: CSS and XPath made into queries for addresses, in time that the page's size bounds.

XPath engines build sets of nodes, and look for doubles in them one by one: `div a` and `a, area` take time by the
square of the page, hours for some megabytes that are made for it. On a large page CSS is therefore asked from the
right: which element is an `a`, and has a `div` above it? That gives the same elements.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from streamcrawl.errors import InvalidURL

if TYPE_CHECKING:
    from cssselect.parser import Tree

LARGE = 32_768
"""Characters of a page from which on CSS is asked from the right."""

NAMESPACES = {"re": "http://exslt.org/regular-expressions", "set": "http://exslt.org/sets"}

_ONLY_HREF = re.compile(r"(?:^|[\s>+~,])(?:a|area|link)(?:[.#:\[][^\s>+~,]*)?$")
"""CSS whose last element has `href` and no `src`."""

_VALUE = re.compile(r"(?:@[\w:*-]+|text\(\)|string\(.*\))\s*$")
"""XPath that gives text, not elements."""


def all_hrefs(root: Any) -> list[str]:
    """The addresses of all links of a page."""
    if not _is_element(root):
        return []
    return [href for element in root.iter("a", "area") if (href := element.get("href")) is not None]


def css_hrefs(root: Any, query: str, *, large: bool) -> list[str]:
    """The addresses of what CSS selects: `href`, or else `src`; or the text that it selects."""
    path, only_href = _css_links(query, large)
    return _strings(_compiled(path), root) if only_href else xpath_hrefs(root, path)


def xpath_hrefs(root: Any, query: str) -> list[str]:
    """The same for XPath."""
    if _VALUE.search(query) is not None:
        return _strings(_compiled(query), root)
    hrefs = _strings(_compiled(f"({query})/@href"), root)
    others = _strings(_compiled(f"({query})[not(@href)]/@src"), root)
    if hrefs and others:
        return _strings(_compiled(f"({query})/@*[name()='href' or name()='src' and not(../@href)]"), root)
    return hrefs or others


@lru_cache(maxsize=256)
def css_path(query: str, *, large: bool) -> str:
    """The XPath of what CSS selects on a page.

    Raises: SyntaxError for what is no CSS.
    """
    from parsel.csstranslator import HTMLTranslator

    path = _from_the_right(query) if large and ":scope" not in query else None
    return HTMLTranslator().css_to_xpath(query) if path is None else path


def chosen(
    hrefs: Iterable[str],
    join: Callable[[str], str],
    inside: Callable[[str], bool] | None,
    key: Callable[[str], str] | None,
) -> list[str]:
    """The links that lead `inside`, made absolute; of those with the same `key` the first.

    One that cannot be joined leads nowhere: it is left out if it matters where links lead.
    """
    urls: list[str] = []
    seen: set[str] = set()
    for href in hrefs:
        try:
            url = join(href)
        except InvalidURL:
            if inside is not None:
                continue
            url = href
        else:
            if inside is not None and not inside(url):
                continue
        if key is not None:
            page = key(url)
            if page in seen:
                continue
            seen.add(page)
        urls.append(url)
    return urls


@lru_cache(maxsize=256)
def _css_links(query: str, large: bool) -> tuple[str, bool]:
    """The XPath of the addresses, and True; or of the elements (or the text), and False."""
    path = css_path(query, large=large)
    only_href = all(_ONLY_HREF.search(part.strip()) is not None for part in query.split(","))
    if not only_href or _VALUE.search(path) is not None:
        return path, False
    # Without brackets it is quicker: what is in order need not be sorted.
    return (f"({path})/@href" if "|" in path else f"{path}/@href"), True


@lru_cache(maxsize=512)
def _compiled(path: str) -> Any:
    """The query. It gives attributes as plain text, so that no element objects are made."""
    from lxml import etree

    return etree.XPath(path, namespaces=NAMESPACES, smart_strings=False)


def _strings(query: Any, root: Any) -> list[str]:
    if not _is_element(root):
        return []  # the page is JSON
    found = query(root)
    return cast("list[str]", found) if isinstance(found, list) else [str(found)]


def _is_element(root: Any) -> bool:
    return hasattr(root, "itertext")


def _from_the_right(query: str) -> str | None:
    """One step that selects what a group of selectors does; None where some are no elements (`::text`, `::attr(…)`)."""
    from cssselect import SelectorError, parse

    try:
        selectors = parse(query)
        steps = [_step(selector.parsed_tree) for selector in selectors]
    except SelectorError:
        return None
    if any(selector.pseudo_element is not None for selector in selectors):
        return None
    if len(steps) == 1:
        return f"descendant-or-self::{steps[0]}"
    return f"descendant-or-self::*[{' or '.join(f'self::{step}' for step in steps)}]"


# Each condition has brackets of its own, and none has parentheses: only so the engine stops at the first node found,
# and does not sort what it finds, which takes long under thousands of levels.


def _step(tree: Tree) -> str:
    """The element that a selector is about, with everything that it says as conditions."""
    from cssselect.parser import CombinedSelector

    if not isinstance(tree, CombinedSelector):
        from cssselect import ExpressionError
        from parsel.csstranslator import HTMLTranslator

        xpath = HTMLTranslator().xpath(tree)
        if xpath.path:
            raise ExpressionError(f"{tree} is more than one step")  # as some are in older versions of cssselect
        return str(xpath)
    found = _step(tree.subselector)
    if tree.combinator == " ":
        return f"{found}[{_above(tree.selector)}]"
    left = _step(tree.selector)
    if tree.combinator == ">":
        return f"{found}[parent::{left}]"
    if tree.combinator == "~":
        return f"{found}[preceding-sibling::{left}]"
    return f"{found}[preceding-sibling::*[1][self::{left}]]"


def _above(tree: Tree) -> str:
    """That there is an element above."""
    from cssselect.parser import CombinedSelector

    if isinstance(tree, CombinedSelector) and tree.combinator == " ":
        # What stands above one of them stands above the nearest.
        return f"ancestor::{_step(tree.subselector)}[1][{_above(tree.selector)}]"
    return f"ancestor::{_step(tree)}"
