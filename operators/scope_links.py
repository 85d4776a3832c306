"""The layer of scrape that keeps links that lead out of the crawl from the frontier."""

from __future__ import annotations

from collections.abc import Iterable

from streamcrawl.core import Dropped, Request, Run, ScrapeInput
from streamcrawl.errors import Drop, InvalidURL
from streamcrawl.operators.scope import Rule, scope
from streamcrawl.streams.scrape_layer import NamedScrapeLayer, ScrapeHooks, scrape_layer
from streamcrawl.urls import normalize


def scope_links(*allowed: Rule, deny: Rule | Iterable[Rule] = ()) -> NamedScrapeLayer:
    """Drop links that lead out of the crawl before they are queued, by the rules of `scope`; start requests too.

    `scope` is a layer of `download`: it judges what goes down, hops of redirects and nested fetches included, when it
    is its turn. This one is a layer of `scrape`, and what it refuses costs no place in the frontier and none in a job.

    A link with `dont_filter` passes, and so does one with `skip=("scope_links",)`.

    Args:
        allowed: A link must match one of these: a domain name (its subdomains match too), a compiled regular
            expression that is searched in the URL, a function of the Request. None given: everything is allowed.
        deny: A link must match none of these; they win over `allowed`.

    Emits: the same Requests. What leads out is dropped ("off-site").
    Raises: ValueError for a bad domain name, or with no rule at all, when built.
    """
    rules = scope(*allowed, deny=deny)

    def make(run: Run) -> ScrapeHooks:
        judge = rules.make(run).down
        assert judge is not None

        def request(link: Request, page: ScrapeInput) -> Request:
            try:
                url = normalize(link.url)
            except InvalidURL:
                return link  # refused as what it is, at the door of the frontier
            verdict = judge(link if url == link.url else link.replace(url=url))
            if isinstance(verdict, Dropped):
                raise Drop(verdict.reason)
            return link

        return ScrapeHooks(request=request)

    return scrape_layer("scope_links", make)
