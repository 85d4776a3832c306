"""The layer that tells a link's target which page it stands on."""

from __future__ import annotations

from streamcrawl.core import Request, Run, ScrapeInput
from streamcrawl.referrer import DEFAULT_POLICY, POLICIES, policy_of, referrer_for
from streamcrawl.response import Response
from streamcrawl.streams.scrape_layer import NamedScrapeLayer, ScrapeHooks, scrape_layer


def referer(policy: str = DEFAULT_POLICY) -> NamedScrapeLayer:
    """Give each link a Referer, as browsers do.

    A page that sends `Referrer-Policy` decides for its own links. A request that has a `Referer` header or a
    `referrer` keeps it. What an errback yields has none: there was no page.

    Args:
        policy: One of the nine of W3C Referrer Policy, such as "no-referrer", "same-origin", "unsafe-url".

    Emits: the same Requests, `referrer` set; everything else untouched.
    Raises: ValueError for an unknown policy, when built.
    Source: W3C Referrer Policy; RFC 9110 §10.1.3 (Referer).
    """
    if policy not in POLICIES:
        raise ValueError(f"referer(policy={policy!r}): not one of {', '.join(name for name in POLICIES if name)}")

    def request(link: Request, page: ScrapeInput) -> Request:
        if not isinstance(page, Response) or link.referrer is not None or "referer" in link.headers:
            return link
        told = referrer_for(policy_of(page.headers) or policy, page.url, link.url)
        return link if told is None else link.replace(referrer=told)

    def make(run: Run) -> ScrapeHooks:
        return ScrapeHooks(request=request)

    return scrape_layer("referer", make)
