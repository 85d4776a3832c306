"""The LinkExtractor: which links of a page are wanted, said once and asked of every page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any
from urllib.parse import urljoin

from lxml import etree
from w3lib.url import canonicalize_url

from streamcrawl.arguments import telling
from streamcrawl.core import RUN
from streamcrawl.errors import InvalidURL
from streamcrawl.hrefs import LARGE
from streamcrawl.links.choosing import Names, Regexes, Test, each, host_test, patterns, searched, suffix_test
from streamcrawl.links.elements import Elements
from streamcrawl.links.extensions import IGNORED_EXTENSIONS
from streamcrawl.links.link import Link
from streamcrawl.links.regions import Region, regions_of
from streamcrawl.links.texts import Texts
from streamcrawl.response import Response
from streamcrawl.streams.counting import count
from streamcrawl.urls import normalize

FOLLOWED = ("http://", "https://", "file://", "ftp://")
"""How the URLs begin that are links."""

WHITE = " \t\n\r\f"
"""ASCII whitespace, as HTML has it."""


@telling
class LinkExtractor:
    """Finds the links of a page that are wanted. A description: any number of crawls may use it at once.

    Where an option takes one or several, several mean: any of them; None means none.

    Args:
        allow: Regular expressions: one is found in the absolute URL. None given: every URL is allowed.
        deny: Regular expressions: none is found in the absolute URL. They win over `allow`.
        allow_domains: Domain names: the URL's host is one, or a subdomain of one. "name:port" is meant with that port
            only.
        deny_domains: Likewise: it is none.
        restrict_xpaths: XPaths of the regions of the page in which links are looked for, these elements included.
        restrict_css: The same in CSS.
        restrict_text: Regular expressions: one is found in the text of the link.
        tags: Names of the elements that are links; "*": every element.
        attrs: Names of the attributes that hold the URL; "*": every attribute.
        deny_tags: Names of elements that are none after all.
        deny_attrs: Names of attributes that hold none after all.
        process_value: Takes each value, made absolute; gives the one to go on with, absolute or relative to the page,
            or None: no link.
        canonicalize: URLs in canonical form: arguments sorted, no fragment. Good for comparing; some servers answer
            such a URL differently.
        unique: Each URL once.
        strip: White space around a value is no part of it.
        deny_extensions: A path that ends in one of these file extensions leads to no page; None: `IGNORED_EXTENSIONS`.

    Raises: ValueError for what is no regular expression, XPath, CSS, domain or name, when built.
    """

    __slots__ = (
        "_by_host",
        "_by_pattern",
        "_by_text",
        "_by_url",
        "_canonicalize",
        "_elements",
        "_options",
        "_process_value",
        "_regions",
        "_strip",
        "_unique",
    )

    def __init__(
        self,
        allow: Regexes = (),
        *,
        deny: Regexes = (),
        allow_domains: Names = (),
        deny_domains: Names = (),
        restrict_xpaths: Names = (),
        restrict_css: Names = (),
        restrict_text: Regexes = (),
        tags: Names = ("a", "area"),
        attrs: Names = ("href",),
        deny_tags: Names = (),
        deny_attrs: Names = (),
        process_value: Callable[[Any], Any] | None = None,
        canonicalize: bool = False,
        unique: bool = True,
        strip: bool = True,
        deny_extensions: Names = None,
    ) -> None:
        given = locals()
        defaults = {"allow": (), **(LinkExtractor.__init__.__kwdefaults__ or {})}
        self._options = {name: given[name] for name, default in defaults.items() if given[name] != default}
        self._elements = Elements(tags, attrs, deny_tags, deny_attrs)
        self._regions = (
            *(Region("restrict_xpaths", query) for query in each(restrict_xpaths)),
            *(Region("restrict_css", query, css=True) for query in each(restrict_css)),
        )
        self._process_value = process_value
        self._canonicalize, self._unique, self._strip = canonicalize, unique, strip
        self._by_pattern = _tests(searched, patterns("allow", allow), patterns("deny", deny))
        self._by_host = _tests(host_test, each(allow_domains), each(deny_domains))
        extensions = IGNORED_EXTENSIONS if deny_extensions is None else each(deny_extensions)
        self._by_url = (*self._by_pattern, *self._by_host, *_tests(suffix_test, (), extensions))
        texts = patterns("restrict_text", restrict_text)
        self._by_text = searched(texts) if texts else None

    def extract_links(self, response: Response) -> list[Link]:
        """The wanted links of a page, in its order.

        What is no URL, and what leads to no document (`mailto:`, `javascript:`, …), is left out; in a crawl they are
        counted as `links/invalid` and `links/not_followed`.

        Raises: ValueError if a region's XPath selects no elements but text.
        """
        root = response.selector.root
        if not etree.iselement(root):
            return []  # the page is JSON
        xml = response.kind == "xml"
        large = response.size > LARGE
        regions = regions_of(self._regions, root, large=large) if self._regions else (root,)
        pairs = chain.from_iterable(self._elements.pairs(region, xml) for region in regions)
        values = _Values(response, self._accepted, self._strip, self._process_value)
        links = list(self._links(pairs, values, Texts(lambda element: self._count(element, xml))))
        values.told()
        return links

    def matches(self, url: str) -> bool:
        """Whether a URL is wanted as far as its host and `allow` and `deny` go."""
        try:
            normal = normalize(url)
        except InvalidURL:
            normal = url
        return all(wanted(normal) for wanted in self._by_host) and all(wanted(url) for wanted in self._by_pattern)

    def _links(self, pairs: Iterator[tuple[Any, str]], values: _Values, texts: Texts) -> Iterator[Link]:
        # This runs for every link of every page.
        url_of, by_text, unique = values.url_of, self._by_text, self._unique
        known: dict[str, str | None] = {}
        seen: set[str | None] = {None}
        for number, (element, value) in enumerate(pairs):
            try:
                url = known[value]
            except KeyError:
                url = url_of(value)
                if self._process_value is None:
                    known[value] = url
            if url in seen:
                continue
            assert url is not None
            text = texts.of(element, number) if len(element) else (element.text or "")
            if by_text is not None and not by_text(text):
                continue
            if unique:
                seen.add(url)
            rel = element.get("rel")
            yield Link(url, text, url.partition("#")[2], rel is not None and _has_nofollow(rel))

    def _count(self, element: Any, xml: bool) -> int:
        return sum(1 for _ in self._elements.pairs(element, xml))

    def _accepted(self, url: str) -> str | None:
        """The URL that the link has; None if it is not wanted."""
        for wanted in self._by_url:
            if not wanted(url):
                return None
        return canonicalize_url(url) if self._canonicalize else url

    def __repr__(self) -> str:
        return f"LinkExtractor({', '.join(f'{name}={value!r}' for name, value in self._options.items())})"


class _Values:
    """What the values of one page's attributes lead to."""

    def __init__(
        self,
        response: Response,
        accepted: Callable[[str], str | None],
        strip: bool,
        process_value: Callable[[Any], Any] | None,
    ) -> None:
        self._accepted = accepted
        self._join = response.joining()
        self._strip = strip
        self._process = process_value
        self._base = _base_of(response) if process_value is not None else ""
        self._invalid = self._not_followed = 0

    def url_of(self, value: str) -> str | None:
        """The URL of a link; None: there is none, or it is not wanted."""
        return self._joined(value) if self._process is None else self._processed(value, self._process)

    def _joined(self, value: str) -> str | None:
        try:
            url = self._join(value)
        except InvalidURL:
            self._invalid += 1
            return None
        if not url.startswith(FOLLOWED):
            self._not_followed += 1
            return None
        return self._accepted(url)

    def _processed(self, value: str, process: Callable[[Any], Any]) -> str | None:
        try:
            # Not made a URL yet: the function wants to see what the page says.
            absolute = urljoin(self._base, value.strip(WHITE) if self._strip else value)
        except ValueError:
            self._invalid += 1
            return None
        processed = process(absolute)
        if processed is None:
            return None
        if not isinstance(processed, str):
            raise TypeError(f"process_value gave {processed!r} for {absolute!r}: it must be a str or None")
        return self._joined(processed)

    def told(self) -> None:
        """Count, in the run's statistics, what led nowhere."""
        if not (self._invalid or self._not_followed):
            return
        run = RUN.get(None)
        if run is not None:
            for name, number in (("links/invalid", self._invalid), ("links/not_followed", self._not_followed)):
                if number:
                    count(run.stats, name, number)


def _base_of(response: Response) -> str:
    try:
        return response.urljoin("")
    except InvalidURL:
        return response.url  # such as data:, which nothing can be joined with


def _tests(make: Callable[[Any], Test], allowed: tuple[Any, ...], denied: tuple[Any, ...]) -> tuple[Test, ...]:
    """Whether a URL is wanted: if one of `allowed` is true of it (or there are none), and none of `denied`."""
    return (*((make(allowed),) if allowed else ()), *((_not(make(denied)),) if denied else ()))


def _not(test: Test) -> Test:
    return lambda url: not test(url)


def _has_nofollow(rel: str) -> bool:
    return "nofollow" in rel.lower().replace(",", " ").split()
