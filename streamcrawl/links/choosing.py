"""What makes a link wanted: options made into tests, once, when the extractor is built."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, cast

from streamcrawl.scoping import domain_test
from streamcrawl.urls import host_of, hostname_of, scheme_of

Names: TypeAlias = "str | Iterable[str] | None"
Regexes: TypeAlias = "str | re.Pattern[str] | Iterable[str | re.Pattern[str]] | None"
Test: TypeAlias = Callable[[str], bool]

PORTS = {"http": "80", "https": "443", "ftp": "21"}
"""What a URL without a port means."""

_WITH_PORT = re.compile(r"([^:]+|\[[^\]]*\]):([0-9]+)")


def each(value: Any) -> tuple[Any, ...]:
    """One, several or None, as a tuple."""
    if value is None:
        return ()
    if isinstance(value, (str, bytes, re.Pattern)):
        return (cast(Any, value),)
    return tuple(value)


def patterns(option: str, value: Regexes) -> tuple[re.Pattern[str], ...]:
    """Raises: ValueError for what is no regular expression."""
    found: list[re.Pattern[str]] = []
    for pattern in each(value):
        try:
            found.append(re.compile(pattern))
        except (re.error, TypeError) as error:
            raise ValueError(f"{option} has {pattern!r}, which is no regular expression: {error}") from None
    return tuple(found)


def searched(expressions: tuple[re.Pattern[str], ...]) -> Test:
    """Whether one of these is found in a text."""
    if len(expressions) == 1:
        search = expressions[0].search
        return lambda text: search(text) is not None
    searches = [expression.search for expression in expressions]
    return lambda text: any(search(text) is not None for search in searches)


def host_test(names: Iterable[str]) -> Test:
    """Whether a normalized URL's host is one of these domains or a subdomain of one.

    Args:
        names: Domain names; "name:port" is meant with that port only.

    Raises: ValueError for a name that is none.
    """
    by_port: dict[str | None, list[str]] = {}
    for name in names:
        place = _WITH_PORT.fullmatch(name)
        by_port.setdefault(place and place[2], []).append(place[1] if place else name)
    tests = {port: domain_test(domains) for port, domains in by_port.items()}
    anywhere = tests.pop(None, None)

    def within(url: str) -> bool:
        name = hostname_of(url)
        if anywhere is not None and anywhere(name):
            return True
        if not tests:
            return False
        test = tests.get(host_of(url).rpartition("://")[2][len(name) + 1 :] or PORTS.get(scheme_of(url), ""))
        return test is not None and test(name)

    return within


def suffix_test(extensions: Iterable[str]) -> Test:
    """Whether the path of a URL ends in one of these file extensions, in whatever case."""
    names = {extension.lower().removeprefix(".") for extension in extensions}
    simple = frozenset(name for name in names if "." not in name)
    dotted = tuple(f".{name}" for name in names - simple)

    def ends(url: str) -> bool:
        for mark in "#?":
            at = url.find(mark)
            if at >= 0:
                url = url[:at]
        if ";" in url:  # arguments of the last segment (";jsessionid=…") are no part of the file's name
            folder, _, file = url.rpartition("/")
            url = f"{folder}/{file.partition(';')[0]}"
        return url[url.rfind(".") + 1 :].lower() in simple or (dotted != () and url.lower().endswith(dotted))

    return ends
