"""The layer that tells a link's target which page it stands on."""

from __future__ import annotations

from collections.abc import Mapping

from streamcrawl.core import Request, Run, ScrapeInput
from streamcrawl.events import Notice
from streamcrawl.referrer import DEFAULT_POLICY, POLICIES, TOKENS, Policy, last_known, referrer_for
from streamcrawl.response import Response
from streamcrawl.streams.scrape_layer import NamedScrapeLayer, ScrapeHooks, scrape_layer


def referer(
    policy: Policy = DEFAULT_POLICY, *, policies: Mapping[str, Policy | None] | None = None
) -> NamedScrapeLayer:
    """Give each link a Referer, as browsers do.

    `Request(referrer_policy=…)` says what goes for one link; else the page does, by its last `<meta name="referrer">`
    or else the last word of its `Referrer-Policy`, of those that are known; else `policy`. A word of a page is looked
    up in a fixed table, and is never imported. A request that has a `Referer` header or a `referrer` keeps it. What an
    errback yields has none, there was no page; nor have start requests and what is fetched within a page.

    Args:
        policy: One of the nine of W3C Referrer Policy, such as "no-referrer", "same-origin", "unsafe-url", or
            "scrapy-default"; or a function: (the page's URL, the link's) -> the referrer, or None.
        policies: Policies of yours by name, for `policy` and `Request.referrer_policy`. By the name of one of W3C's it
            stands in its place, in headers too; None: that one is not followed, as if nobody knew it.

    Emits: the same Requests, `referrer` set, and `referrer_policy` where hops have to go by it. An unknown policy of a
        request counts as none; a Notice of level "warning" tells of the first.
    Raises: ValueError for an unknown policy, when built.
    Source: W3C Referrer Policy; HTML Standard §4.2.5.1 ("referrer"); RFC 9110 §10.1.3 (Referer).
    """
    known = _known(policies or {})
    default = known.get(policy) if isinstance(policy, str) else policy
    if default is None:
        raise ValueError(f"referer(policy={policy!r}): not one of {', '.join(sorted(name for name in known if name))}")
    tokens = frozenset(TOKENS & known.keys())

    def make(run: Run) -> ScrapeHooks:
        told_of_unknown = False

        def own(link: Request) -> Policy | None:
            nonlocal told_of_unknown
            found = known.get(link.referrer_policy or "") if link.referrer_policy else None
            if found is None and link.referrer_policy and not told_of_unknown:
                told_of_unknown = True
                text = f"{link.url}: its referrer_policy {link.referrer_policy!r} is unknown and counts as none"
                run.events.emit(Notice(text=text, level="warning"))
            return found

        def request(link: Request, page: ScrapeInput) -> Request:
            if not isinstance(page, Response) or link.referrer is not None or "referer" in link.headers:
                return link
            chosen = own(link) if link.referrer_policy is not None else None
            if chosen is None:
                said = page.referrer_policies
                word = last_known(said, tokens) if said else None
                chosen = default if word is None else known[word]
            if not isinstance(chosen, str):
                told = chosen(page.url, link.url)
                return link if told is None else link.replace(referrer=told)
            told = referrer_for(chosen, page.url, link.url)
            if chosen == (link.referrer_policy or DEFAULT_POLICY):
                return link if told is None else link.replace(referrer=told)
            return link.replace(referrer=told, referrer_policy=chosen)

        return ScrapeHooks(request=request)

    return scrape_layer("referer", make)


def _known(policies: Mapping[str, Policy | None]) -> dict[str, Policy]:
    """Every policy by its name. A name of W3C's for another stands for that: what is kept is always one of theirs."""
    known: dict[str, Policy] = {name: name for name in POLICIES}
    for name, policy in policies.items():
        if policy is None:
            known.pop(name, None)
        elif callable(policy) or policy in POLICIES:
            known[name] = policy
        else:
            raise ValueError(f"referer(policies={{{name!r}: {policy!r}}}): neither a function nor one of W3C's")
    return known
