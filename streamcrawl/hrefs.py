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

from streamcrawl import siblings
from streamcrawl.errors import InvalidURL

if TYPE_CHECKING:
    from cssselect.parser import Tree

LARGE = 2_048
"""Characters of a page from which on CSS that says where an element stands is asked from the right."""
LARGE_FOR_ANY = 262_144
"""From which on any CSS is: on smaller pages three simple steps take less time than one with three conditions."""

NAMESPACES = {
    "re": "http://exslt.org/regular-expressions",
    "set": "http://exslt.org/sets",
    siblings.PREFIX: siblings.URI,
}

_ONLY_HREF = re.compile(r"(?:^|[\s>+~,])(?:a|area|link)(?:[.#:\[][^\s>+~,]*)?$")
"""CSS whose last element has `href` and no `src`."""

_ASIDE = re.compile(r"""\"[^"]*"|'[^']*'|\[[^\[\]"']*\]""")
"""What is in quotes, or in brackets: it is not what XPath selects, but which of it."""

_VALUE = re.compile(r"@|\battribute\s*::|[\w-]\s*\(")
"""XPath that may give text, what is aside left out: attributes, `text()`, functions."""


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
    """The same for XPath, which may select text, elements, or both.

    Raises: ValueError for XPath that gives a number, or whether something is so.
    """
    if not _is_element(root):
        return []  # the page is JSON
    if _may_be_text(query):
        return _of_any(_compiled(query)(root), query)
    # Asked for attributes, it makes no element objects, which is much quicker.
    hrefs = _strings(_compiled(f"({query})/@href"), root)
    others = _strings(_compiled(f"({query})[not(@href)]/@src"), root)
    if hrefs and others:
        return _strings(_compiled(f"({query})/@*[name()='href' or name()='src' and not(../@href)]"), root)
    return hrefs or others


def is_large(size: int, query: str) -> bool:
    """Whether CSS is to be asked from the right on a page of so many characters."""
    return size > LARGE_FOR_ANY or (size > LARGE and _says_where(query))


@lru_cache(maxsize=256)
def _says_where(query: str) -> bool:
    """Whether it has combinators or pseudo-classes; "h1, p.x::text" has none."""
    from cssselect import SelectorError, parse
    from cssselect.parser import Attrib, Class, Element, Hash

    def is_plain(tree: Tree) -> bool:
        while isinstance(tree, (Attrib, Class, Hash)):
            tree = tree.selector
        return isinstance(tree, Element)

    try:
        return not all(is_plain(selector.parsed_tree) for selector in parse(query))
    except SelectorError:
        return True


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
    if not only_href or _may_be_text(path):
        return path, False
    # Without brackets it is quicker: what is in order need not be sorted.
    return (f"({path})/@href" if "|" in path else f"{path}/@href"), True


@lru_cache(maxsize=512)
def _compiled(path: str) -> Any:
    """The query. It gives attributes as plain text, so that no element objects are made."""
    from lxml import etree

    return etree.XPath(path, namespaces=NAMESPACES, smart_strings=False)


@lru_cache(maxsize=512)
def _may_be_text(query: str) -> bool:
    while (less := _ASIDE.sub("", query)) != query:
        query = less
    return _VALUE.search(query) is not None


def _of_any(found: Any, query: str) -> list[str]:
    """The addresses of what XPath has selected, whatever it is."""
    if isinstance(found, str):
        return [found] if found else []
    if not isinstance(found, list):
        raise ValueError(f"{query!r} selects no links: it gives {found!r}")
    several = cast("Iterable[Any]", found)
    hrefs: list[str | None] = []
    for each in several:
        if isinstance(each, str):
            hrefs.append(each)
        elif _is_element(each):
            href = each.get("href")
            hrefs.append(each.get("src") if href is None else href)
    return [href for href in hrefs if href is not None]


def _strings(query: Any, root: Any) -> list[str]:
    return cast("list[str]", query(root)) if _is_element(root) else []  # else the page is JSON


def _is_element(root: Any) -> bool:
    return hasattr(root, "itertext")


def _from_the_right(query: str) -> str | None:
    """One step that selects what a group of selectors does; None where some are elements and some are not."""
    from cssselect import SelectorError, parse

    try:
        selectors = parse(query)
        steps = [_step(selector.parsed_tree) for selector in selectors]
    except SelectorError:
        return None
    parts = {_part(selector.pseudo_element) for selector in selectors}
    part = parts.pop()
    if part is None or parts:
        return None
    if len(steps) == 1:
        return f"descendant-or-self::{steps[0]}{part}"
    return f"descendant-or-self::*[{' or '.join(f'self::{step}' for step in steps)}]{part}"


def _part(pseudo_element: Any) -> str | None:
    """What of the element is selected by `::text` and `::attr(…)`, as a step; None for what is none of these."""
    if pseudo_element is None:
        return ""
    if pseudo_element == "text":
        return "/text()"
    arguments: list[Any] = getattr(pseudo_element, "arguments", [])
    if getattr(pseudo_element, "name", "") == "attr" and len(arguments) == 1 and arguments[0].type == "IDENT":
        return f"/@{arguments[0].value}"
    return None


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
        return _SIBLINGS.sub(_by_function, _COUNTED.sub(_uncounted, str(xpath)))
    found = _step(tree.subselector)
    if tree.combinator == " ":
        return f"{found}[{_above(tree.selector)}]"
    left = _step(tree.selector)
    if tree.combinator == ">":
        return f"{found}[parent::{left}]"
    if tree.combinator == "~":
        return f"{found}[preceding-sibling::{left}]"
    # The number has to be the last condition: else all siblings are gathered before it is looked at.
    return f"{found}[preceding-sibling::*[1]/self::{left}]"


_COUNTED = re.compile(r"count\(((?:preceding|following)-sibling::[^\s()\[\]]+)\) ([<>]?=) (-?\d+)")
_SIBLINGS = re.compile(r"count\((preceding|following)-sibling::([A-Za-z0-9*-]+)\)")


def _uncounted(condition: re.Match[str]) -> str:
    """How many siblings there are, asked so that no more are looked at than that: `:first-child`, `:nth-child(3)`, …"""
    siblings, relation, number = condition[1], condition[2], int(condition[3])
    least = "true()" if number <= 0 else f"boolean({siblings}[{number}])"
    most = "false()" if number < 0 else f"not({siblings}[{number + 1}])"
    return {">=": least, "<=": most, "=": f"({least} and {most})" if number > 0 else most}[relation]


def _by_function(count: re.Match[str]) -> str:
    """What `:nth-child(2n)` and the like have to count."""
    siblings.install()
    return f"{siblings.PREFIX}:{count[1]}('{count[2]}')"


def _above(tree: Tree) -> str:
    """That there is an element above."""
    from cssselect.parser import CombinedSelector

    if isinstance(tree, CombinedSelector) and tree.combinator == " ":
        # What stands above one of them stands above the nearest.
        return f"ancestor::{_step(tree.subselector)}[1][{_above(tree.selector)}]"
    return f"ancestor::{_step(tree)}"
