"""Tests of ops.scope."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from through import Spy, through

from streamcrawl import Crawl, Response, fetch
from streamcrawl import operators as ops
from streamcrawl.core import Dropped, Request
from streamcrawl.errors import Drop
from streamcrawl.events import Notice, RequestDropped
from streamcrawl.operators.scope import Rule, scope
from streamcrawl.testing.fake_fetch import FakeFetch, page
from streamcrawl.testing.virtual_time import run_virtual

SITE = FakeFetch({"/": "home", "/a": "a", "/private": "no", "/shop/1": "one"})


def refused(layer_rules: tuple[Rule, ...], deny: Any, *urls: str) -> list[str]:
    outcomes = through(scope(*layer_rules, deny=deny), to=urls, fetch=SITE)
    assert len(outcomes) == len(urls)
    dropped = [outcome for outcome in outcomes if isinstance(outcome, Dropped)]
    assert {outcome.reason for outcome in dropped} <= {"off-site"}
    return [outcome.request.url for outcome in dropped]


def is_secure(request: Request) -> bool:
    return request.url.startswith("https:")


URLS = ("http://a.example/a", "https://www.a.example:8443/shop/1", "http://b.example/a", "http://nota.example/private")


@pytest.mark.parametrize(
    ("allowed", "deny", "out"),
    [
        (("a.example",), (), (2, 3)),
        (("www.a.example",), (), (0, 2, 3)),
        (("a.example", "b.example"), (), (3,)),
        (("A.Example",), (), (2, 3)),
        ((re.compile(r"/shop/"),), (), (0, 2, 3)),
        ((re.compile(r"/shop/"), "b.example"), (), (0, 3)),
        ((is_secure,), (), (0, 2, 3)),
        ((), "a.example", (0, 1)),
        ((), re.compile(r"/a$"), (0, 2)),
        ((), is_secure, (1,)),
        ((), ["b.example", "nota.example"], (2, 3)),
        (("a.example",), re.compile("/shop/"), (1, 2, 3)),
    ],
)
def test_what_is_refused(allowed: tuple[Rule, ...], deny: Any, out: tuple[int, ...]) -> None:
    assert refused(allowed, deny, *URLS) == [URLS[index] for index in out]


def test_dont_filter_passes() -> None:
    request = Request("http://b.example/", dont_filter=True)
    (outcome,) = through(scope("a.example", deny="b.example"), to=[request], fetch=SITE)
    assert not isinstance(outcome, Dropped)


def test_a_request_may_skip_it() -> None:
    request = Request("http://b.example/", skip=("scope",))
    (outcome,) = through(scope("a.example"), to=[request], fetch=SITE)
    assert not isinstance(outcome, Dropped)


def test_start_links_hops_and_what_is_fetched_within_are_judged(tmp_path: Path) -> None:
    """The pictures of an item are fetched with `dont_filter`: that says nothing about where they lead."""
    site = FakeFetch(
        {
            "http://a.example/": page(links=["/hop", "http://b.example/link"]),
            "/hop": page(status=302, headers={"Location": "http://c.example/hopped"}),
        }
    )
    refused: list[str] = []
    pictures: list[Any] = []

    async def callback(response: Response) -> AsyncIterator[Any]:
        for url in "http://d.example/nested", "http://a.example/well":
            try:
                await fetch(Request(url, dont_filter=True))
            except Drop as drop:
                refused.append(f"{url}: {drop}")
        yield {"image_urls": ["http://e.example/picture.png"]}
        for link in response.follow_all(css="a"):
            yield link

    async def main() -> Any:
        layers = ops.default_layers(robots_txt=None, scope=scope("a.example"))
        start = ["http://a.example/", "http://start.example/"]
        crawl = Crawl(start, scope="any").pipe(
            ops.download(*layers, fetch=site),
            ops.scrape(callback),
            ops.images(tmp_path.as_uri()),
            ops.on_item(pictures.append),
        )
        run = crawl.start()
        run.events.on(RequestDropped, lambda event: refused.append(event.dropped.request.url))
        return await run

    run_virtual(main)
    assert {request.url.split("/")[2] for _, request in site.log} == {"a.example"}
    assert set(refused) == {
        *("http://start.example/", "http://b.example/link", "http://c.example/hopped"),
        *("http://d.example/nested", "http://d.example/nested: off-site", "http://e.example/picture.png"),
    }


def test_each_domain_is_told_and_counted_once() -> None:
    spy = Spy()
    urls = ["http://b.example/1", "http://b.example:81/2", "http://c.example/", "http://a.example/"]
    # The spy is above, or the refused requests would not come to it.
    through(spy.layer, scope("a.example"), to=urls, fetch=SITE)
    told = [event.text for event in spy.events if isinstance(event, Notice)]
    assert told == [
        "off-site: http://b.example/1; no more is said of b.example",
        "off-site: http://c.example/; no more is said of c.example",
    ]
    assert spy.stats == {"offsite/filtered": 3, "offsite/domains": 2}


def test_no_rule_at_all_is_refused_when_built() -> None:
    with pytest.raises(ValueError, match="no rule would allow everything"):
        scope()


@pytest.mark.parametrize("name", ["http://a.example", "a.example/b", "*.a.example", "", "a b"])
def test_a_bad_name_is_refused_when_built(name: str) -> None:
    with pytest.raises(ValueError, match=f"not a domain name: {re.escape(repr(name))}"):
        scope(name)


@pytest.mark.parametrize("name", ["::1", "fe80::1"])
def test_what_to_write_for_an_address_is_said(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"not a domain name: {name!r} (write '[{name}]')")):
        scope(name)


@pytest.mark.parametrize("rules", [{"allowed": re.compile(b"x")}, {"deny": [re.compile(b"x")]}])
def test_a_pattern_of_bytes_is_refused_when_built(rules: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"scope\(re\.compile\(b'x'\)\): a URL is text"):
        scope(*[rules[name] for name in rules if name == "allowed"], deny=rules.get("deny", ()))


def test_a_function_that_raises_fails_its_request_only() -> None:
    def test(request: Request) -> bool:
        if request.url.endswith("/a"):
            raise KeyError("boom")
        return True

    outcomes = through(scope(test), to=["http://a.example/a", "http://a.example/"], fetch=SITE)
    assert [repr(outcome) for outcome in outcomes] == [
        "<Failed http://a.example/a: OperatorError: operator scope: KeyError: 'boom'>",
        "<Response 200 http://a.example/>",
    ]
