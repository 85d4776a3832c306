"""Where a crawl may go."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeAlias

from streamcrawl.core import Dropped, Request, Run
from streamcrawl.events import Notice
from streamcrawl.scoping import domain_test
from streamcrawl.streams.counting import count
from streamcrawl.streams.layer import Hooks, NamedLayer, layer
from streamcrawl.transport.body import shown
from streamcrawl.urls import hostname_of

Rule: TypeAlias = "str | re.Pattern[str] | Callable[[Request], bool]"
"""A domain name, a pattern searched in the URL, or a function."""

TOLD = 10_000
"""Domains that are counted and told of, in one run."""


def scope(*allowed: Rule, deny: Rule | Iterable[Rule] = ()) -> NamedLayer:
    """Drop requests that lead out of the crawl: of the start, links, hops, and nested fetches such as pictures.

    A request with `dont_filter` passes, and so does one with `skip=("scope",)`. A nested fetch passes with the latter
    only: the library's own have `dont_filter`, which says nothing about where they lead.

    Args:
        allowed: A request must match one of these: a domain name (its subdomains match too), a compiled regular
            expression that is searched in the URL, a function of the Request. None given: everything is allowed.
        deny: A request must match none of these; they win over `allowed`.

    Emits: `Dropped` with the reason "off-site" for what is refused; else what comes from below. One in, one out.
    Raises: ValueError for a bad domain name, or with no rule at all, TypeError for a pattern of bytes, when built.
    """
    denied = (deny,) if isinstance(deny, (str, re.Pattern)) or callable(deny) else tuple(deny)
    if not allowed and not denied:
        raise ValueError("scope() with no rule would allow everything: name a domain, a pattern or a function")
    inside, outside = _any_of(allowed), _any_of(denied)

    def make(run: Run) -> Hooks:
        refuse = _refusing(run)

        def down(request: Request) -> Request | Dropped:
            if request.dont_filter and not _is_nested(request):
                return request
            if (allowed and not inside(request)) or (denied and outside(request)):
                return refuse(request)
            return request

        return Hooks(down=down)

    return layer("scope", make)


def _is_nested(request: Request) -> bool:
    return request.lease is not None and request.lease.reply is not None


def _any_of(rules: Iterable[Rule]) -> Callable[[Request], bool]:
    rules = tuple(rules)
    names = [rule for rule in rules if isinstance(rule, str)]
    tests: list[Callable[[Request], bool]] = []
    if names:
        within = domain_test(names)
        tests.append(lambda request: within(hostname_of(request.url)))
    tests += [_searching(rule) for rule in rules if isinstance(rule, re.Pattern)]
    tests += [rule for rule in rules if not isinstance(rule, (str, re.Pattern))]
    return tests[0] if len(tests) == 1 else lambda request: any(test(request) for test in tests)


def _searching(pattern: re.Pattern[str]) -> Callable[[Request], bool]:
    if not isinstance(pattern.pattern, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
        raise TypeError(f"scope({pattern!r}): a URL is text, and so is a pattern for it: re.compile(…), without the b")
    search = pattern.search
    return lambda request: search(request.url) is not None


def _refusing(run: Run) -> Callable[[Request], Dropped]:
    told: set[str] = set()
    stats = run.stats

    def refuse(request: Request) -> Dropped:
        count(stats, "offsite/filtered")
        domain = hostname_of(request.url)
        if domain not in told and len(told) < TOLD:
            told.add(domain)
            stats["offsite/domains"] = len(told)
            if run.events.wants(Notice):
                text = f"off-site: {shown(request.url)}; no more is said of {domain}"
                run.events.emit(Notice(text=text, level="debug"))
        return Dropped(request, "off-site")

    return refuse
