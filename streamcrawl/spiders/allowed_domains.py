"""The scope of a spider: its `allowed_domains`, as they are at the moment that a link is asked about."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from streamcrawl.core import Request
from streamcrawl.errors import FlowError
from streamcrawl.scoping import domain_test, scope_test
from streamcrawl.spiders.spider import Spider
from streamcrawl.urls import hostname_of

COMPARED = 1_000
"""Names of which each is looked at to see whether one has changed; of longer lists the length."""
NOWHERE: tuple[str, ...] = ()
REMEMBERED = 65_536
"""Verdicts kept at a time."""


class AllowedDomains:
    """Whether a request leads to one of the spider's domains, or with none stays on its start's host.

    A spider may change its `allowed_domains` while the run goes on: set it anew, or add to it. Of more than 1,000 names
    a change in place that leaves their number as it was is not seen.

    A request with `skip=("scope",)` may lead anywhere.
    """

    def __init__(self, spider: Spider) -> None:
        self._spider = spider
        self._host = scope_test("host")
        self._names: Any = None
        self._of: Any = None
        self._within: Callable[[str], bool] | None = None
        self._verdicts: dict[str, bool] = {}

    def __call__(self, request: Request) -> bool:
        """Raises: ValueError if the spider has put something there that is no domain name."""
        if request.skip and "scope" in request.skip:
            return True
        names: Collection[str] = getattr(self._spider, "allowed_domains", None) or NOWHERE
        if names is not self._of or len(names) != len(self._names) or (len(names) <= COMPARED and names != self._names):
            self._take(names)
        if self._within is None:
            return self._host(request)
        host = hostname_of(request.url)
        verdict = self._verdicts.get(host)
        if verdict is None:
            if len(self._verdicts) >= REMEMBERED:
                self._verdicts.clear()
            verdict = self._verdicts[host] = self._within(host)
        return verdict

    def _take(self, names: Collection[str]) -> None:
        self._within = domain_test(names) if names else None
        self._of = names
        self._names = type(names)(names) if isinstance(names, (list, set)) else names
        self._verdicts.clear()

    def __repr__(self) -> str:
        return f"<AllowedDomains {self._names!r}>"


def allowed_domains(request: Request) -> bool:
    """Stands for the scope of a spider in a crawl that was not started yet: each run has a spider of its own."""
    raise FlowError("the scope of a spider is known once the crawl of it is started")
