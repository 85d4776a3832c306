"""scope_links: links that lead out of the crawl never reach the frontier."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from through import through

from streamcrawl import Crawl, Dropped, Request, Response
from streamcrawl import operators as ops
from streamcrawl.events import Scheduled
from streamcrawl.operators.scope import Rule
from streamcrawl.testing import run_virtual

URL = "http://www.shop.test/"
LINKS = [
    "/a",
    "http://shop.test/b",
    "HTTP://SHOP.Test:80/c",
    "http://shop.test.evil.test/",
    "http://shop.test@evil.test/",
    "http://evil.test/shop.test",
    "/login?next=/a",
]


def is_login(request: Request) -> bool:
    return "login" in request.url


def is_shop(request: Request) -> bool:
    return "shop" in request.url


def crawled(*allowed: Rule, deny: Any = (), links: list[Any] = LINKS, start: Any = URL) -> Any:
    """(URLs asked for, URLs that came into the frontier, the summary)."""
    asked: list[str] = []
    scheduled: list[str] = []

    def parse(page: Response) -> Iterator[Any]:
        if page.url == URL:
            yield from (each if isinstance(each, Request) else Request(page.urljoin(each)) for each in links)

    async def answer(request: Request) -> Response:
        asked.append(request.url)
        return Response(request.url, request=request)

    crawl = Crawl(start, scope="any").pipe(
        ops.download(*ops.default_layers(robots_txt=None), fetch=answer),
        ops.scrape(parse, ops.scope_links(*allowed, deny=deny)),
    )

    async def main() -> Any:
        run = crawl.start()
        run.events.on(Scheduled, lambda event: scheduled.append(event.request.url))
        return await run

    summary = run_virtual(main)
    assert summary.balanced
    assert sorted(asked) == sorted(scheduled)
    return asked, summary


def test_off_site_links_are_refused_before_they_are_queued() -> None:
    asked, summary = crawled("shop.test", deny=re.compile(r"/login\b"))
    assert sorted(asked) == ["http://shop.test/b", "http://shop.test/c", URL, f"{URL}a"]
    assert summary.counts.dropped == {"off-site": 4}
    assert (summary.stats["offsite/filtered"], summary.stats["offsite/domains"]) == (4, 3)


@pytest.mark.parametrize(
    ("allowed", "deny"),
    [
        (("shop.test",), ()),
        ((re.compile(r"/[ab]$"), "evil.test"), is_login),
        ((), "evil.test"),
        ((is_shop,), (re.compile("login"), "shop.test.evil.test")),
    ],
)
def test_it_judges_as_scope_does(allowed: Any, deny: Any) -> None:
    """One set of rules: what this layer lets through, the layer of download lets through, and nothing else."""
    asked, _ = crawled(URL.partition("//")[2].strip("/"), *allowed, deny=deny)
    layer = ops.scope(URL.partition("//")[2].strip("/"), *allowed, deny=deny)
    links = [Response(URL).urljoin(link) for link in LINKS]
    passed = [each.request.url for each in through(layer, to=links) if not isinstance(each, Dropped)]
    assert sorted(set(asked) - {URL}) == sorted(set(passed) - {URL})


def test_start_requests_are_judged_too() -> None:
    asked, summary = crawled("shop.test", links=[], start=[URL, "http://evil.test/"])
    assert asked == [URL]
    assert summary.counts.dropped == {"off-site": 1}


def test_who_may_pass_all_the_same() -> None:
    links = [
        Request("http://evil.test/1", dont_filter=True),
        Request("http://evil.test/2", skip=("scope_links",)),
        Request("http://evil.test/3", skip=("scope",)),
        Request("no URL at all"),
    ]
    asked, summary = crawled("shop.test", links=links)
    assert sorted(asked) == ["http://evil.test/1", "http://evil.test/2", URL]
    assert summary.counts.dropped == {"off-site": 1, "invalid URL": 1}


def test_arguments_are_checked_when_built() -> None:
    with pytest.raises(ValueError, match="no rule would allow everything"):
        ops.scope_links()
    with pytest.raises(ValueError, match="not a domain name"):
        ops.scope_links("http://shop.test/")
